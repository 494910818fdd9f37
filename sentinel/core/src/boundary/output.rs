//! Everything a Duke can ask the world to do.

use std::net::SocketAddr;

use duke_resp::{Bytes, Frame, Protocol};

use crate::id::{ClientId, LinkId, RequestId};

/// One thing to do. The order matters.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Say this to a client.
    Answer {
        /// The client.
        client: ClientId,
        /// What to say.
        reply: Frame,
    },
    /// Close a client's connection once everything said to it has been sent.
    Close {
        /// The client.
        client: ClientId,
    },
    /// Open a connection. Ends in `LinkUp` or `LinkDown`.
    Connect {
        /// The new connection.
        link: LinkId,
        /// Where to.
        address: SocketAddr,
    },
    /// Close a connection; nothing more is to be heard of it.
    Disconnect {
        /// The connection.
        link: LinkId,
    },
    /// Make this text durable, replacing what was there, then answer `Persisted`. A state that is
    /// still to be written when a newer one comes need not be written any more.
    Persist {
        /// Its number, rising.
        sequence: u64,
        /// The whole state.
        text: String,
    },
    /// From now on answer this client in this dialect.
    Protocol {
        /// The client.
        client: ClientId,
        /// The dialect.
        protocol: Protocol,
    },
    /// Whether this Duke knows its group's past, and so may be counted on.
    Ready(bool),
    /// Send a command.
    Request {
        /// On which connection.
        link: LinkId,
        /// Its number, for the reply.
        request: RequestId,
        /// The command's words.
        words: Vec<Bytes>,
    },
    /// End the process.
    Shutdown,
}

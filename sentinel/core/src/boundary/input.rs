//! Everything that can happen to a Duke.

use std::net::SocketAddr;

use duke_resp::{Bytes, Frame};

use crate::id::{ClientId, LinkId, RequestId};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A client sent a command, which has at least one word.
    Asked {
        /// Who asked.
        client: ClientId,
        /// The command's words.
        words: Vec<Bytes>,
    },
    /// A client connected.
    Joined {
        /// The new client.
        client: ClientId,
        /// Where it comes from.
        address: SocketAddr,
    },
    /// A client is gone.
    Left {
        /// The client.
        client: ClientId,
    },
    /// A connection ended or never came to be. What was asked on it will not be answered.
    LinkDown {
        /// The connection.
        link: LinkId,
        /// Why.
        error: LinkError,
    },
    /// A connection stands.
    LinkUp {
        /// The connection.
        link: LinkId,
    },
    /// Everything up to this sequence is durable.
    Persisted {
        /// The sequence of an earlier [`Output::Persist`](crate::Output::Persist).
        sequence: u64,
    },
    /// The answer to a request.
    Replied {
        /// The connection it came on.
        link: LinkId,
        /// The request.
        request: RequestId,
        /// The answer.
        reply: Frame,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkError {
    /// The peer closed it.
    Closed,
    /// Anything else.
    Other,
    /// The peer does not read what is sent.
    Overflow,
    /// The peer does not speak the protocol.
    Protocol,
    /// Nobody listens there.
    Refused,
    /// The peer reset it.
    Reset,
    /// It took too long.
    TimedOut,
    /// There is no way there.
    Unreachable,
}

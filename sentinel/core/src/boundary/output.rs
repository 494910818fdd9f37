//! Everything a Duke can ask the world to do.

use std::net::SocketAddr;

use duke_resp::{Bytes, Frame, Protocol};

use crate::id::{ClientId, LinkId, RequestId, ScriptId};

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
    /// Say whether a file can be run, with [`Input::Checked`](crate::Input::Checked).
    Check {
        /// The file.
        path: String,
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
    /// End the process at once with this status: a failure that was ordered to be simulated.
    Crash(u8),
    /// From now on a client that is trusted, and asks where the master of this name is, may be told this
    /// without asking the engine; nothing any more if there is no reply. It is what the engine would say.
    Directory {
        /// The master's name.
        name: String,
        /// What to say.
        reply: Option<Frame>,
    },
    /// Close a connection; nothing more is to be heard of it.
    Disconnect {
        /// The connection.
        link: LinkId,
    },
    /// Trust no client any more that was trusted until now.
    Distrust,
    /// End a script's process, whatever it is doing.
    KillScript {
        /// Its number.
        script: ScriptId,
    },
    /// From now on what comes unasked on this connection is wanted, as `Published`.
    Listen {
        /// The connection.
        link: LinkId,
    },
    /// From now on log what is at least this important.
    LogLevel(LogLevel),
    /// Say how much of a processor this process took, with [`Input::Measured`](crate::Input::Measured).
    Measure,
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
    /// Say the same to many clients.
    Publish {
        /// The clients, each once.
        clients: Vec<ClientId>,
        /// What to say.
        message: Frame,
    },
    /// Say what a file holds, with [`Input::FileRead`](crate::Input::FileRead).
    Read {
        /// The file.
        path: String,
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
    /// Look the host up, without holding up anything else; answered by
    /// [`Input::Resolved`](crate::Input::Resolved).
    Resolve {
        /// Its name.
        host: String,
    },
    /// Run a program, and say when it runs and when it ended. It inherits the environment and no
    /// open file.
    RunScript {
        /// Its number.
        script: ScriptId,
        /// The program and its arguments.
        words: Vec<String>,
    },
    /// End the process.
    Shutdown,
    /// Everything this client asked was answered. Until it asks something else of the engine it may be
    /// answered from the directory, which is reported with [`Input::Served`](crate::Input::Served).
    Trust {
        /// The client.
        client: ClientId,
    },
    /// Replace a file's text as a whole, and say so with
    /// [`Input::FileWritten`](crate::Input::FileWritten).
    Write {
        /// The file.
        path: String,
        /// The whole text.
        text: String,
    },
}

/// How important a line of the log is, in Sentinel's words.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum LogLevel {
    /// `debug`
    Debug,
    /// `verbose`
    Verbose,
    /// `notice`
    #[default]
    Notice,
    /// `warning`
    Warning,
    /// `nothing`
    Nothing,
}

impl LogLevel {
    /// Reads Sentinel's word for it, in any case.
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        let all = [
            Self::Debug,
            Self::Verbose,
            Self::Notice,
            Self::Warning,
            Self::Nothing,
        ];
        all.into_iter()
            .find(|level| level.word().eq_ignore_ascii_case(word))
    }

    /// Sentinel's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Verbose => "verbose",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Nothing => "nothing",
        }
    }
}

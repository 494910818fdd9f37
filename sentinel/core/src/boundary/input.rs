//! Everything that can happen to a Duke.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use duke_resp::{Bytes, Frame};

use crate::id::{ClientId, LinkId, RequestId, ScriptId};
use crate::time::Time;

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
    /// Whether a file can be run, as [`Output::Check`](crate::Output::Check) asked.
    Checked {
        /// The file.
        path: String,
        /// Whether it exists and may be executed.
        executable: bool,
    },
    /// A file's text, as [`Output::Read`](crate::Output::Read) asked.
    FileRead {
        /// The file.
        path: String,
        /// Its text, or why there is none.
        text: Result<String, String>,
    },
    /// A file was written, as [`Output::Write`](crate::Output::Write) asked.
    FileWritten {
        /// Why it was not, if it was not; then the old file stands.
        error: Option<String>,
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
    /// The address this side of a connection has; said before it stands, if it is known.
    LinkLocal {
        /// The connection.
        link: LinkId,
        /// Our end of it.
        local: IpAddr,
    },
    /// A connection stands.
    LinkUp {
        /// The connection.
        link: LinkId,
    },
    /// How long this process has been running on a processor, as
    /// [`Output::Measure`](crate::Output::Measure) asked.
    Measured {
        /// Its own work.
        user: Duration,
        /// The kernel's work for it.
        system: Duration,
    },
    /// Everything up to this sequence is durable.
    Persisted {
        /// The sequence of an earlier [`Output::Persist`](crate::Output::Persist).
        sequence: u64,
    },
    /// The newest state could not be made durable; it is tried again, and a later
    /// [`Input::Persisted`] says when that worked.
    PersistFailed {
        /// The sequence of an earlier [`Output::Persist`](crate::Output::Persist).
        sequence: u64,
    },
    /// A server said something on a connection that listens.
    Published {
        /// The connection.
        link: LinkId,
        /// What it said: a message with channel and payload, as a rule.
        message: Frame,
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
    /// The address of a host, as [`Output::Resolve`](crate::Output::Resolve) asked.
    Resolved {
        /// The host's name.
        host: String,
        /// Its address; none if it has none just now.
        address: Option<IpAddr>,
    },
    /// A client has said nothing for as long as it may, or that long again.
    Quiet {
        /// The client.
        client: ClientId,
    },
    /// Questions of a client were answered from the directory, after what was said of it last. There
    /// are no outputs for it.
    Served {
        /// The client.
        client: ClientId,
        /// How many questions.
        count: u64,
        /// When the last one was.
        at: Time,
    },
    /// A script ended.
    ScriptEnded {
        /// Its number.
        script: ScriptId,
        /// How.
        end: ScriptEnd,
    },
    /// A script runs.
    ScriptStarted {
        /// Its number.
        script: ScriptId,
        /// Its process.
        pid: u32,
    },
}

/// How a script ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScriptEnd {
    /// It exited with this status.
    Exited(i32),
    /// It was ended by this signal.
    Killed(i32),
    /// It could not be started.
    NotStarted,
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

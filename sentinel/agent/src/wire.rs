//! One connection to the server or to a Duke: log in, ask, and see the other side go.
//!
//! Sets no time limits: whoever calls drops the connection when it has waited long enough. What the
//! other side says is bounded, and trusted in nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use duke_resp::{Bytes, BytesMut, Frame, Protocol, ReplyDecoder, ReplyError, ReplyLimit, encode};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[cfg(not(test))]
use self::tcp::{Stream, dial};
#[cfg(test)]
use crate::stage::{Stream, dial};

/// The agent's name, at the server and at the Dukes.
const USER: &str = "agent";
/// The most that is kept of what the other side said, in characters.
const TEXT_MAX: usize = 200;
/// Bytes that are read at a time.
const CHUNK: usize = 4096;
/// Enough for a ROLE of a master with hundreds of replicas.
const LIMIT: ReplyLimit = ReplyLimit {
    depth: 4,
    values: 4096,
    reply_bytes: 64 * 1024,
};

/// Why a connection is of no more use.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    /// The other side closed it.
    #[error("the connection was closed")]
    Closed,
    /// The operating system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not the protocol.
    #[error(transparent)]
    Protocol(#[from] ReplyError),
    /// The user was not let in; the text is the other side's.
    #[error("{0}")]
    Refused(String),
    /// Something came that nobody asked for; the text is the other side's, if it is an error.
    #[error("it spoke unasked: {0}")]
    Unasked(String),
    /// The password file cannot be read.
    #[error("cannot read the password file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    decoder: ReplyDecoder,
    buffer: BytesMut,
}

impl Wire {
    /// Connects to `HOST:PORT`.
    pub(crate) async fn connect(address: &str) -> io::Result<Self> {
        Ok(Self {
            stream: dial(address).await?,
            decoder: ReplyDecoder::new(LIMIT),
            buffer: BytesMut::new(),
        })
    }

    /// Logs in with the password that is in the folder now: it may have been changed.
    pub(crate) async fn login(&mut self, users: &Path) -> Result<(), WireError> {
        let path = users.join(USER);
        let text =
            fs::read_to_string(&path).map_err(|source| WireError::Unreadable { path, source })?;
        let password = text.trim_end_matches(['\r', '\n']);
        let reply = self.ask(&[&["AUTH", USER, password]]).await?;
        match reply.first().and_then(Frame::as_error) {
            Some(refusal) => Err(WireError::Refused(shown(refusal))),
            None => Ok(()),
        }
    }

    /// Sends all requests at once; returns as many replies, in order.
    pub(crate) async fn ask(&mut self, requests: &[&[&str]]) -> Result<Vec<Frame>, WireError> {
        let mut bytes = BytesMut::new();
        for words in requests {
            let words = words
                .iter()
                .map(|word| Bytes::copy_from_slice(word.as_bytes()));
            encode(&Frame::command(words), Protocol::Resp2, &mut bytes);
        }
        self.stream.write_all(&bytes).await?;
        let mut replies = Vec::with_capacity(requests.len());
        while replies.len() < requests.len() {
            match self.decoder.decode(&mut self.buffer)? {
                Some(reply) => replies.push(reply),
                None => self.read().await?,
            }
        }
        Ok(replies)
    }

    /// Waits, between two questions, until the connection ends. Whatever is said meanwhile ends it.
    pub(crate) async fn end(&mut self) -> WireError {
        loop {
            match self.decoder.decode(&mut self.buffer) {
                Ok(None) => {}
                Ok(Some(said)) => {
                    let text = said.as_error().or_else(|| said.as_text());
                    return WireError::Unasked(text.map(shown).unwrap_or_default());
                }
                Err(error) => return error.into(),
            }
            if let Err(error) = self.read().await {
                return error;
            }
        }
    }

    async fn read(&mut self) -> Result<(), WireError> {
        self.buffer.reserve(CHUNK);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }
}

/// What the other side said, fit for a log and an answer.
pub(crate) fn shown(text: &Bytes) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .filter(|character| !character.is_control())
        .take(TEXT_MAX)
        .collect()
}

/// Where connections come from but in unit tests, whose time only goes on in memory.
#[cfg(not(test))]
mod tcp {
    use std::io;

    pub(super) use tokio::net::TcpStream as Stream;

    pub(super) async fn dial(address: &str) -> io::Result<Stream> {
        let stream = Stream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

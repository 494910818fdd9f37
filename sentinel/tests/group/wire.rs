//! A tiny blocking client of the wire protocol: one request, one answer, bounded patience.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use duke_resp::{Bytes, BytesMut, Frame, Protocol, ReplyDecoder, ReplyLimit, encode};

/// One connection to a Duke or a data node.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    decoder: ReplyDecoder,
    buffer: BytesMut,
}

impl Wire {
    /// Connects within `patience`, which also bounds every later read and write.
    pub(crate) fn connect(address: SocketAddr, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let decoder = ReplyDecoder::new(ReplyLimit::default());
        Ok(Self {
            stream,
            decoder,
            buffer: BytesMut::new(),
        })
    }

    /// Connects and authenticates.
    pub(crate) fn login(
        address: SocketAddr,
        patience: Duration,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let mut wire = Self::connect(address, patience)?;
        wire.ask(&["AUTH", user, password])
            .context("could not log in")?;
        Ok(wire)
    }

    /// Sends a request and returns its answer; an error answer is an error.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Frame> {
        let reply = self.raw(words)?;
        if let Some(refusal) = reply.as_error() {
            bail!("{words:?} was answered {}", shown(refusal));
        }
        Ok(reply)
    }

    /// Sends a request and returns whatever comes.
    pub(crate) fn raw(&mut self, words: &[&str]) -> Result<Frame> {
        let mut request = BytesMut::new();
        let words = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        encode(&Frame::command(words), Protocol::Resp2, &mut request);
        self.send(&request)?;
        self.receive()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Waits for the next answer or push.
    pub(crate) fn receive(&mut self) -> Result<Frame> {
        loop {
            if let Some(reply) = self.decoder.decode(&mut self.buffer)? {
                return Ok(reply);
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk)?;
            ensure!(read > 0, "the connection was closed");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    /// True once the other side has closed; errors if it says something instead.
    pub(crate) fn closed(&mut self) -> Result<bool> {
        let mut chunk = [0; 64];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(true),
            Ok(_) => bail!("data came instead of the end"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Text of any string frame; empty for everything else.
pub(crate) fn text(frame: &Frame) -> String {
    let number = frame.as_integer().map(|number| number.to_string());
    frame
        .as_text()
        .map(|text| shown(text))
        .or(number)
        .unwrap_or_default()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

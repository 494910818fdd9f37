//! A connection that speaks the wire protocol: commands out, frames in.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use duke_resp::{Bytes, BytesMut, Frame, Protocol, ReplyDecoder, ReplyLimit, encode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// For one answer of somebody who is alive.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    decoder: ReplyDecoder,
    buffer: BytesMut,
}

/// A port of this host.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A command as it stands on the wire.
pub(crate) fn command(words: &[&str]) -> BytesMut {
    let mut bytes = BytesMut::new();
    let words = words
        .iter()
        .map(|word| Bytes::copy_from_slice(word.as_bytes()));
    encode(&Frame::command(words), Protocol::Resp2, &mut bytes);
    bytes
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            decoder: ReplyDecoder::new(ReplyLimit::default()),
            buffer: BytesMut::new(),
        })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Waits for the next frame, however long it takes.
    pub(crate) async fn receive(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer)? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
        }
    }

    /// One question, one answer, which is no error.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Result<Frame> {
        let answer = async {
            self.send(&command(words)).await?;
            self.receive().await
        };
        let reply = timeout(PATIENCE, answer)
            .await
            .with_context(|| format!("{words:?} was not answered"))??;
        if let Some(error) = reply.as_error() {
            bail!(
                "{words:?} was answered {}",
                String::from_utf8_lossy(error).into_owned()
            );
        }
        Ok(reply)
    }
}

/// One question on a connection of its own.
pub(crate) async fn ask(port: u16, words: &[&str]) -> Result<Frame> {
    Wire::connect(local(port)).await?.ask(words).await
}

/// The text of a frame of any kind of string, or of a number.
pub(crate) fn text(frame: &Frame) -> String {
    let number = frame.as_integer().map(|number| number.to_string());
    let text = frame
        .as_text()
        .map(|text| String::from_utf8_lossy(text).into_owned());
    text.or(number).unwrap_or_default()
}

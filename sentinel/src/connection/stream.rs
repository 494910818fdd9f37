//! A connection's bytes, encrypted or not. Everything else about connections need not know which.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Arc<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket, if bytes may be written to it as they are.
    pub(crate) fn plain(&self) -> Option<Arc<TcpStream>> {
        match self {
            Self::Plain(socket) => Some(Arc::clone(socket)),
            Self::Tls(_) => None,
        }
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Our end of it, if the system knows.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        let address = self.socket().local_addr();
        address.ok().as_ref().map(SocketAddr::ip)
    }

    /// Waits for bytes and appends them; an error of its own kind when there will never be more.
    ///
    /// A buffer is reserved only when something is there: ten thousand idle clients should cost
    /// sockets, not buffers. Nothing is lost if this is not waited for to the end.
    pub(crate) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<()> {
        let read = match self {
            Self::Plain(socket) => loop {
                socket.readable().await?;
                buffer.reserve(READ_BYTES);
                match socket.try_read_buf(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => break done?,
                }
            },
            Self::Tls(stream) => {
                let there = stream.fill_buf().await?;
                let read = there.len();
                buffer.extend_from_slice(there);
                stream.consume(read);
                read
            }
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Writes everything.
    pub(crate) async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => {
                let mut rest = chunk;
                while !rest.is_empty() {
                    socket.writable().await?;
                    match socket.try_write(rest) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        written => rest = rest.get(written?..).unwrap_or_default(),
                    }
                }
                Ok(())
            }
            Self::Tls(stream) => {
                stream.write_all(chunk).await?;
                stream.flush().await
            }
        }
    }
}

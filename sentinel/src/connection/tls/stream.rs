//! One connection, plain or not.
//!
//! Decides nothing. While it waits it holds no buffer of ours: ten thousand idle clients should cost
//! sockets, not memory.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use tracing::debug;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long the farewell of TLS may take.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// A connection that stands.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Arc<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The socket, if bytes may be written to it as they are.
    pub(crate) fn plain(&self) -> Option<Arc<TcpStream>> {
        match self {
            Self::Plain(socket) => Some(Arc::clone(socket)),
            Self::Tls(_) => None,
        }
    }

    /// Waits for bytes and appends them; their number, 0 at the end. May be given up at any time.
    pub(crate) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => loop {
                socket.readable().await?;
                match take(socket, buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
            },
            Self::Tls(stream) => {
                poll_fn(|context| {
                    let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
                    let mut taken = ReadBuf::uninit(&mut scratch);
                    ready!(Pin::new(stream.as_mut()).poll_read(context, &mut taken))?;
                    buffer.extend_from_slice(taken.filled());
                    Poll::Ready(Ok(taken.filled().len()))
                })
                .await
            }
        }
    }

    /// Writes everything, and leaves nothing in buffers of ours.
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

    /// Tells the other side that nothing follows. A plain socket says so by being closed.
    pub(crate) async fn farewell(&mut self) {
        if let Self::Tls(stream) = self {
            let told = timeout(FAREWELL_PATIENCE, stream.shutdown()).await;
            debug!(?told, "closed a TLS connection");
        }
    }
}

/// Reads what there is just now. It goes by way of the stack, so that the buffer is as large as what came,
/// which is mostly little: what is kept of an answer keeps the memory it was read into, and allocating for
/// the largest that might come costs more than copying.
fn take(socket: &TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
    let mut count = 0;
    let tried = socket.try_io(Interest::READABLE, || {
        let (taken, _) = recv(socket, &mut scratch, RecvFlags::empty())?.0;
        buffer.extend_from_slice(taken);
        count = taken.len();
        // Less than could have come is all there is: to ask again would be a call for every question.
        if (1..READ_BYTES).contains(&count) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match tried {
        Err(error) if count == 0 => Err(error),
        Ok(()) | Err(_) => Ok(count),
    }
}

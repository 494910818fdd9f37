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
use tokio::io::{AsyncRead, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
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
    Local(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below, if it is one of TCP.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Local(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().0),
        }
    }

    /// The socket, if bytes may be written to it as they are.
    pub(crate) fn plain(&self) -> Option<Arc<TcpStream>> {
        match self {
            Self::Plain(socket) => Some(Arc::clone(socket)),
            Self::Local(_) | Self::Tls(_) => None,
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
            Self::Local(stream) => read(stream, buffer).await,
            Self::Tls(stream) => read(stream.as_mut(), buffer).await,
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
            Self::Local(stream) => stream.write_all(chunk).await,
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

/// Waits for bytes, by way of the stack as below.
async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|context| {
        let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
        let mut taken = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut taken))?;
        buffer.extend_from_slice(taken.filled());
        Poll::Ready(Ok(taken.filled().len()))
    })
    .await
}

/// Reads what there is just now. It goes by way of the stack, so that the buffer is as large as what came,
/// which is mostly little: what is kept of an answer keeps the memory it was read into, and allocating for
/// the largest that might come costs more than copying. What was less than there is room for was all:
/// the socket is not asked again before more comes.
fn take(socket: &TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
    let mut taken = ReadBuf::uninit(&mut scratch);
    let asked = socket.try_io(Interest::READABLE, || {
        match socket.try_read_buf(&mut taken)? {
            1..READ_BYTES => Err(io::ErrorKind::WouldBlock.into()),
            0 | READ_BYTES.. => Ok(()),
        }
    });
    let count = taken.filled().len();
    if count == 0 {
        asked?;
    }
    buffer.extend_from_slice(taken.filled());
    Ok(count)
}

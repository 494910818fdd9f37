//! Outgoing connections to data nodes and other Dukes.
//!
//! Connects once, writes the engine's commands without waiting for answers, and matches replies to
//! requests in order. When to connect, what to say and when to give up is the engine's business;
//! every end is reported to it as a typed reason, and a connection that ended stays ended. What was not
//! sent when a link is given up is never sent.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use duke_core::{LinkError, LinkId, RequestId};
use duke_resp::{Frame, Protocol, ReplyDecoder, ReplyLimit, encode};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::connection::outbox::{End, Outbox, Work};
use crate::connection::tls::{Caller, Stream};

/// Commands that may pile up for one peer, in bytes; the engine gives up long before.
const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Rest after a connection could not be made for want of files.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(20);

/// What happens on outgoing connections, in order for each of them.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The connection ended, or never came to be.
    Down { link: LinkId, error: LinkError },
    /// Something was said unasked, on a connection that listens.
    Published { link: LinkId, message: Frame },
    /// The answer to a request.
    Replied {
        link: LinkId,
        request: RequestId,
        reply: Frame,
    },
    /// The connection stands; with our end of it, and where its commands go.
    Up {
        link: LinkId,
        local: Option<IpAddr>,
        outbox: Arc<Outbox>,
    },
}

/// One outgoing connection; dropping it resets the connection without a report. An order that still
/// waits in the socket is withdrawn by that: closed in order, the system would deliver it when it can,
/// be it minutes later, and a server that was taken for dead would obey.
#[derive(Debug)]
pub(crate) struct Link {
    /// None until it stands: nothing is said before.
    outbox: Option<Arc<Outbox>>,
    waiting: Arc<Waiting>,
    listens: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Requests whose replies are still to come, oldest first.
type Waiting = Mutex<VecDeque<RequestId>>;

impl Link {
    /// Starts to connect to `address`, by TLS if there is a `caller`; gives up after `patience`.
    pub(crate) fn start(
        link: LinkId,
        address: SocketAddr,
        patience: Duration,
        caller: Option<Caller>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let waiting = Arc::new(Waiting::default());
        let listens = Arc::new(AtomicBool::new(false));
        let connection = Connection {
            link,
            listens: Arc::clone(&listens),
            waiting: Arc::clone(&waiting),
            events,
        };
        let task = tokio::spawn(connection.run(address, patience, caller)).abort_handle();
        Self {
            outbox: None,
            waiting,
            listens,
            task,
        }
    }

    /// The connection stands.
    pub(crate) fn stands(&mut self, outbox: Arc<Outbox>) {
        self.outbox = Some(outbox);
    }

    /// From now on what comes unasked is wanted.
    pub(crate) fn listen(&self) {
        self.listens.store(true, Ordering::Relaxed);
    }

    /// Takes `words`, which [`Link::push`] sends; the reply comes back under `request`.
    pub(crate) fn send(&self, request: RequestId, words: Vec<Bytes>) {
        let Some(outbox) = &self.outbox else {
            return;
        };
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(request);
        let command = Frame::command(words);
        // An overflow cuts the connection, whose task reports it.
        let appended = outbox.append(|buffer| encode(&command, Protocol::Resp2, buffer));
        if appended.is_err() {
            debug!(?request, "cut a link whose peer does not read");
        }
    }

    /// Sends everything taken so far, in one packet if it fits, and without waking the connection's task.
    pub(crate) fn push(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.push();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.finish(End::Cut);
        }
        self.task.abort();
    }
}

struct Connection {
    link: LinkId,
    listens: Arc<AtomicBool>,
    waiting: Arc<Waiting>,
    events: mpsc::Sender<LinkEvent>,
}

impl Connection {
    async fn run(self, address: SocketAddr, patience: Duration, caller: Option<Caller>) {
        let error = match connect_patiently(address, caller, patience).await {
            Err(_) => LinkError::TimedOut,
            Ok(Err(error)) => reason(&error),
            Ok(Ok(stream)) => {
                let local = stream
                    .socket()
                    .and_then(|socket| socket.local_addr().ok())
                    .map(|address| address.ip());
                let outbox = Arc::new(Outbox::with_socket(OUTBOX_BYTES_MAX, stream.plain()));
                let up = LinkEvent::Up {
                    link: self.link,
                    local,
                    outbox: Arc::clone(&outbox),
                };
                if self.report(up).await {
                    self.converse(stream, &outbox).await
                } else {
                    return;
                }
            }
        };
        debug!(link = ?self.link, %address, ?error, "a link ended");
        self.report(LinkEvent::Down {
            link: self.link,
            error,
        })
        .await;
    }

    /// Writes and reads by turns until the connection ends.
    async fn converse(&self, mut stream: Stream, outbox: &Outbox) -> LinkError {
        let mut decoder = ReplyDecoder::new(ReplyLimit::default());
        let mut buffer = BytesMut::new();
        loop {
            match outbox.next() {
                Work::Close => return LinkError::Overflow,
                Work::Write(chunk) => {
                    let written = tokio::select! {
                        biased;
                        () = outbox.cut() => return LinkError::Overflow,
                        written = stream.write(&chunk) => written,
                    };
                    if let Err(error) = written {
                        return reason(&error);
                    }
                    continue;
                }
                Work::Idle => {}
            }
            tokio::select! {
                biased;
                () = outbox.woken() => {}
                taken = stream.read(&mut buffer) => {
                    let delivered = self.deliver(&mut decoder, &mut buffer).await;
                    match taken {
                        Ok(0) => return LinkError::Closed,
                        Ok(_) => {}
                        Err(error) => return reason(&error),
                    }
                    if let Err(error) = delivered {
                        return error;
                    }
                }
            }
        }
    }

    /// Hands every whole reply to the engine under the request it answers.
    async fn deliver(
        &self,
        decoder: &mut ReplyDecoder,
        buffer: &mut BytesMut,
    ) -> Result<(), LinkError> {
        loop {
            let reply = match decoder.decode(buffer) {
                Ok(Some(reply)) => reply,
                Ok(None) => return Ok(()),
                Err(error) => {
                    debug!(link = ?self.link, %error, "received no reply but junk");
                    return Err(LinkError::Protocol);
                }
            };
            let request = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let link = self.link;
            let event = match request {
                Some(request) => LinkEvent::Replied {
                    link,
                    request,
                    reply,
                },
                None if self.listens.load(Ordering::Relaxed) => LinkEvent::Published {
                    link,
                    message: reply,
                },
                // A server that speaks unasked is none of ours.
                None => return Err(LinkError::Protocol),
            };
            if !self.report(event).await {
                return Err(LinkError::Closed);
            }
        }
    }

    /// False when the driver is gone.
    async fn report(&self, event: LinkEvent) -> bool {
        self.events.send(event).await.is_ok()
    }
}

/// Connects within `patience`. That we have no file left is our own trouble: told to the engine it would
/// look like a dead server, so it is tried again until there is one or nobody wants the link any more.
async fn connect_patiently(
    address: SocketAddr,
    caller: Option<Caller>,
    patience: Duration,
) -> Result<io::Result<Stream>, Elapsed> {
    let mut warned = false;
    loop {
        let connected = timeout(patience, connect(address, caller.clone())).await;
        match &connected {
            Ok(Err(error)) if is_shortage(error) => {
                if !warned {
                    warn!(%address, %error, "cannot connect for want of files");
                    warned = true;
                }
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
            Ok(_) | Err(_) => return connected,
        }
    }
}

/// Whether this process, or this host, has as many files open as it may.
fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|error| short.contains(&error))
}

async fn connect(address: SocketAddr, caller: Option<Caller>) -> io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // However it ends, it is reset.
    stream.set_zero_linger()?;
    match caller {
        None => Ok(Stream::Plain(Arc::new(stream))),
        Some(caller) => caller.greet(stream, address).await,
    }
}

/// The typed reason for an error of the operating system.
fn reason(error: &io::Error) -> LinkError {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    let is = |kinds: &[Kind]| kinds.contains(&kind);
    if is(&[Kind::ConnectionRefused]) {
        LinkError::Refused
    } else if is(&[
        Kind::ConnectionReset,
        Kind::ConnectionAborted,
        Kind::BrokenPipe,
    ]) {
        LinkError::Reset
    } else if is(&[Kind::UnexpectedEof]) {
        LinkError::Closed
    } else if is(&[Kind::TimedOut]) {
        LinkError::TimedOut
    } else if is(&[Kind::HostUnreachable, Kind::NetworkUnreachable]) {
        LinkError::Unreachable
    } else {
        LinkError::Other
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Peer {
        link: Link,
        events: mpsc::Receiver<LinkEvent>,
        stream: TcpStream,
    }

    /// A link that stands, and the other end of it.
    async fn peer() -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (sender, mut events) = mpsc::channel(8);
        let mut link = Link::start(
            LinkId(1),
            listener.local_addr().unwrap(),
            PATIENCE,
            None,
            sender,
        );
        let (stream, _) = listener.accept().await.unwrap();
        match events.recv().await {
            Some(LinkEvent::Up {
                link: LinkId(1),
                outbox,
                ..
            }) => link.stands(outbox),
            other => panic!("{other:?}"),
        }
        Peer {
            link,
            events,
            stream,
        }
    }

    async fn end(events: &mut mpsc::Receiver<LinkEvent>) -> LinkError {
        loop {
            if let LinkEvent::Down { error, .. } = events.recv().await.unwrap() {
                return error;
            }
        }
    }

    #[tokio::test]
    async fn replies_come_back_under_the_requests_they_answer() {
        let Peer {
            link,
            mut events,
            mut stream,
        } = peer().await;
        link.send(RequestId(7), vec![Bytes::from_static(b"PING")]);
        link.send(RequestId(9), vec![Bytes::from_static(b"ROLE")]);
        link.push();
        let mut sent = [0; 28];
        stream.read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nROLE\r\n");
        for piece in [b"+PO".as_slice(), b"NG\r\n-ERR", b" no\r\n"] {
            stream.write_all(piece).await.unwrap();
        }
        let mut replies = Vec::new();
        while replies.len() < 2 {
            if let Some(LinkEvent::Replied { request, reply, .. }) = events.recv().await {
                replies.push((request, reply));
            }
        }
        let expected = [Frame::simple("PONG"), Frame::error("ERR no")];
        assert_eq!(
            replies,
            [RequestId(7), RequestId(9)]
                .into_iter()
                .zip(expected)
                .collect::<Vec<_>>()
        );
        drop(stream);
        assert_eq!(end(&mut events).await, LinkError::Closed);
    }

    #[tokio::test]
    async fn a_port_nobody_listens_on_refuses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (sender, mut events) = mpsc::channel(8);
        let _link = Link::start(LinkId(1), address, PATIENCE, None, sender);
        assert_eq!(end(&mut events).await, LinkError::Refused);
    }

    #[tokio::test]
    async fn a_killed_peer_is_a_reset() {
        let Peer {
            link: _link,
            mut events,
            stream,
        } = peer().await;
        // What the kernel does to the sockets of a process that leaves data unread.
        stream.set_zero_linger().unwrap();
        drop(stream);
        assert_eq!(end(&mut events).await, LinkError::Reset);
    }

    #[tokio::test]
    async fn a_peer_that_speaks_unasked_or_junk_is_left() {
        for words in ["+PONG\r\n", "SSH-2.0\r\n"] {
            let Peer {
                link: _link,
                mut events,
                mut stream,
            } = peer().await;
            stream.write_all(words.as_bytes()).await.unwrap();
            assert_eq!(end(&mut events).await, LinkError::Protocol, "{words}");
        }
    }

    #[tokio::test]
    async fn what_a_link_did_not_send_is_withdrawn_with_it() {
        let Peer {
            link,
            events: _events,
            mut stream,
        } = peer().await;
        // More than the sockets hold of one whose other side does not read.
        let word = Bytes::from(vec![b'x'; OUTBOX_BYTES_MAX]);
        let mut sent = 0;
        for request in 0..16 {
            link.send(RequestId(request), vec![word.clone()]);
            link.push();
            sent += word.len();
        }
        drop(link);
        let mut taken = Vec::new();
        let end = stream.read_to_end(&mut taken).await;
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
        assert!(taken.len() < sent, "all of it arrived");
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_left() {
        let Peer {
            link,
            mut events,
            stream: _stream,
        } = peer().await;
        let word = Bytes::from(vec![b'x'; OUTBOX_BYTES_MAX / 2]);
        for request in 0..64 {
            link.send(RequestId(request), vec![word.clone()]);
            link.push();
            tokio::task::yield_now().await;
        }
        assert_eq!(end(&mut events).await, LinkError::Overflow);
    }
}

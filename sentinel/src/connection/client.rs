//! Incoming connections: who may connect, how much each may send and how much may pile up for it.
//!
//! Reads requests and hands them to the driver one by one, but for those that the directory answers, and
//! writes what the post does not. A client that does not read its answers is not read from either; one that
//! is sent more events than it reads is dropped. Knows no command.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use duke_core::ClientId;
use duke_resp::{RequestDecoder, RequestError, RequestLimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::connection::directory::{Directory, Standing};
use crate::connection::entrance::Entrance;
use crate::connection::outbox::{Outbox, Work};
use crate::connection::post::Post;
use crate::connection::tls::Stream;

/// Bytes that may pile up for one client before it is dropped. Stock allows subscribers 8 MiB for a
/// minute; our events are a hundred bytes each, and a client ten thousand events behind is lost.
const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Requests that are handed on at once.
const BATCH: usize = 64;
/// Silence after which the kernel asks whether a client's host is still there.
const KEEPALIVE: Duration = Duration::from_mins(5);
/// Rest after the system refused to accept, for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What happens on incoming connections, in order for each of them.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    /// Whole requests in order, none without words.
    Asked {
        client: ClientId,
        requests: Vec<Vec<Bytes>>,
    },
    /// Bytes that are no request; the connection waits to be closed.
    Broken {
        client: ClientId,
        error: RequestError,
    },
    /// A new connection and where its answers go.
    Joined {
        client: ClientId,
        address: SocketAddr,
        outbox: Arc<Outbox>,
        standing: Arc<Standing>,
    },
    /// The client closed its side, or its connection failed; what is still owed may be written.
    Left { client: ClientId },
    /// The client has said nothing for as long as it may, or that long again.
    Quiet { client: ClientId },
}

/// Accepts connections for ever.
///
/// At most so many as there are places are served at a time; the next one is told so and closed, as stock
/// does.
pub(crate) async fn accept(entrance: Entrance, reception: Arc<Reception>) {
    loop {
        let accepted = tokio::select! {
            accepted = entrance.accept() => accepted,
            // Whoever connects to a Duke that ends is refused and asks another.
            () = reception.events.closed() => return,
        };
        let guest = match accepted {
            Ok(guest) => guest,
            Err(error) => {
                warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&reception.places).try_acquire_owned() else {
            guest.refuse(b"-ERR max number of clients reached\r\n");
            continue;
        };
        let (address, client) = (guest.address(), reception.next());
        let reception = Arc::clone(&reception);
        tokio::spawn(async move {
            // Whoever only pretends to shake hands has a place, and nothing else.
            if let Some(stream) = guest.enter().await {
                Connection::join(client, address, stream, reception).await;
            }
            drop(place);
        });
    }
}

/// What all clients have in common, whichever listener they come to.
#[derive(Debug)]
pub(crate) struct Reception {
    /// The number given last.
    last: std::sync::atomic::AtomicU64,
    places: Arc<Semaphore>,
    /// How long a client may say nothing.
    idle_max: Option<Duration>,
    events: mpsc::Sender<ClientEvent>,
    pub(crate) directory: Directory,
    pub(crate) post: Arc<Post>,
}

impl Reception {
    /// For so many clients at a time, whose events the driver takes from the other end. Of each that says
    /// nothing for `idle_max` it is told.
    pub(crate) fn open(
        clients_max: usize,
        idle_max: Option<Duration>,
        events: mpsc::Sender<ClientEvent>,
    ) -> Arc<Self> {
        Arc::new(Self {
            last: std::sync::atomic::AtomicU64::new(0),
            places: Arc::new(Semaphore::new(clients_max)),
            idle_max,
            events,
            directory: Directory::default(),
            post: Post::start(),
        })
    }

    fn next(&self) -> ClientId {
        ClientId(self.last.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)
    }
}

struct Connection {
    client: ClientId,
    stream: Stream,
    outbox: Arc<Outbox>,
    standing: Arc<Standing>,
    reception: Arc<Reception>,
}

/// How reading ended.
enum Ended {
    /// The driver is gone.
    Abandoned,
    Broken(RequestError),
    /// The client's side is closed.
    Closed,
    /// The driver ordered the end.
    Ordered,
}

impl Connection {
    /// Tells the driver, and serves until the end.
    async fn join(
        client: ClientId,
        address: SocketAddr,
        stream: Stream,
        reception: Arc<Reception>,
    ) {
        let outbox = Arc::new(Outbox::with_socket(OUTBOX_BYTES_MAX, stream.plain()));
        let standing = Arc::new(Standing::new(client));
        let joined = ClientEvent::Joined {
            client,
            address,
            outbox: Arc::clone(&outbox),
            standing: Arc::clone(&standing),
        };
        if reception.events.send(joined).await.is_err() {
            return;
        }
        let connection = Self {
            client,
            stream,
            outbox,
            standing,
            reception,
        };
        connection.serve().await;
    }

    async fn serve(mut self) {
        if let Some(socket) = self.stream.socket()
            && let Err(error) = prepare(socket)
        {
            debug!(client = ?self.client, %error, "could not prepare a socket");
        }
        let ended = self.converse().await;
        let client = self.client;
        let event = match ended {
            // The driver hears of it as well, so that the engine forgets the client.
            Ended::Closed | Ended::Ordered => ClientEvent::Left { client },
            Ended::Broken(error) => ClientEvent::Broken { client, error },
            Ended::Abandoned => return,
        };
        if self.reception.events.send(event).await.is_err() {
            return;
        }
        self.finish().await;
    }

    /// Reads and writes by turns until one side ends.
    async fn converse(&mut self) -> Ended {
        let mut decoder = RequestDecoder::new(RequestLimit::default());
        let mut buffer = BytesMut::new();
        let (mut heard, idle_max) = (Instant::now(), self.reception.idle_max);
        loop {
            match self.outbox.next() {
                Work::Close => return Ended::Ordered,
                Work::Write(chunk) => {
                    if self.write(&chunk).await.is_err() {
                        return Ended::Closed;
                    }
                    continue;
                }
                Work::Idle => {}
            }
            if decoder.is_between() && self.serve_here(&mut buffer) {
                // Whoever never stops asking takes turns with everybody else.
                consume_budget().await;
                continue;
            }
            let mut requests = Vec::new();
            let broken = loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(words)) => requests.push(words),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
                if requests.len() == BATCH {
                    break None;
                }
            };
            let more = requests.len() == BATCH;
            if !requests.is_empty() {
                self.standing.leave(requests.len());
                let client = self.client;
                let asked = ClientEvent::Asked { client, requests };
                if self.reception.events.send(asked).await.is_err() {
                    return Ended::Abandoned;
                }
            }
            if let Some(error) = broken {
                return Ended::Broken(error);
            }
            if more {
                continue;
            }
            if buffer.is_empty() {
                // Ten thousand idle clients should cost sockets, not buffers.
                buffer = BytesMut::new();
            }
            tokio::select! {
                biased;
                () = self.outbox.woken() => {}
                taken = self.stream.read(&mut buffer) => {
                    if !matches!(taken, Ok(1..)) {
                        return Ended::Closed;
                    }
                    heard = Instant::now();
                }
                () = quiet_since(heard, idle_max) => {
                    heard = Instant::now();
                    let client = self.client;
                    if self.reception.events.send(ClientEvent::Quiet { client }).await.is_err() {
                        return Ended::Abandoned;
                    }
                }
            }
        }
    }

    /// Answers questions without the engine; false if there are none in front, or it is to be asked.
    fn serve_here(&self, buffer: &mut BytesMut) -> bool {
        let Reception {
            directory, post, ..
        } = &*self.reception;
        directory.serve(&self.standing, &self.outbox, post, buffer)
    }

    /// Writes what is still owed after reading ended, until the driver orders the end.
    async fn finish(&mut self) {
        loop {
            match self.outbox.next() {
                Work::Close => return self.stream.farewell().await,
                Work::Idle => self.outbox.woken().await,
                Work::Write(chunk) => {
                    if self.write(&chunk).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        tokio::select! {
            biased;
            () = self.outbox.cut() => Err(io::ErrorKind::ConnectionAborted.into()),
            written = self.stream.write(chunk) => written,
        }
    }
}

/// Waits until somebody heard of last then has said nothing for as long as it may.
async fn quiet_since(heard: Instant, idle_max: Option<Duration>) {
    match idle_max {
        Some(longest) => sleep_until(heard + longest).await,
        None => pending().await,
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

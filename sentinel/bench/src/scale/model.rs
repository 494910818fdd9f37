//! Data servers that are only modelled: as many as wanted in this process, behind one listening
//! socket, each at an address of its own within 127.0.0.0/8. They know what a sentinel says to a
//! server, keep roles and subscribers, and store nothing.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use duke_resp::{Bytes, BytesMut, Frame, Protocol, RequestDecoder, RequestLimit, encode};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Builder,
    sync::{Notify, oneshot},
};

/// Bytes read at once.
const READ_BYTES: usize = 4 * 1024;
/// Sockets that share the port, and connections that may wait to be accepted on each.
const LISTENERS: usize = 16;
const BACKLOG: u32 = 4096;

/// What is asked most by far, as it stands on the wire, and its answer.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

/// All modelled servers, which run on a thread of their own: whoever measures must not wait for them, nor
/// they for him.
#[derive(Debug)]
pub(super) struct Fleet {
    servers: Arc<Servers>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Servers {
    port: u16,
    /// Servers of one master, itself included.
    each: usize,
    all: Vec<Server>,
    connections: AtomicUsize,
    commands: AtomicU64,
}

/// One of them.
#[derive(Debug, Default)]
struct Server {
    /// It answers nobody any more.
    dead: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The address it follows; a master if none.
    follows: Option<(String, String)>,
    subscribers: Vec<Weak<Voice>>,
}

/// One connection to a server, and what it could not be told yet. Whoever has something to say says it
/// without waking the connection's task: the model is not to be the load that is measured.
#[derive(Debug)]
struct Voice {
    stream: TcpStream,
    waiting: Mutex<BytesMut>,
    woken: Notify,
}

/// Where a server is.
pub(super) fn address(index: usize) -> Ipv4Addr {
    let [.., high, middle, low] = index.to_be_bytes();
    Ipv4Addr::new(127, high.saturating_add(1), middle, low)
}

/// The server at an address.
pub(super) fn index(ip: IpAddr) -> Option<usize> {
    let IpAddr::V4(ip) = ip else { return None };
    let [_, high, middle, low] = ip.octets();
    let high = usize::from(high).checked_sub(1)?;
    Some(high << 16 | usize::from(middle) << 8 | usize::from(low))
}

impl Fleet {
    /// So many masters with so many replicas each begin to listen.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub(super) fn start(masters: usize, replicas: usize) -> Result<Self> {
        let each = 1 + replicas;
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (listeners, port) = {
            let _inside = runtime.enter();
            listen()?
        };
        let all = (0..masters * each).map(|index| {
            let master = index / each * each;
            let follows =
                (index != master).then(|| (address(master).to_string(), port.to_string()));
            let state = State {
                follows,
                subscribers: Vec::new(),
            };
            Server {
                dead: AtomicBool::new(false),
                state: Mutex::new(state),
            }
        });
        let servers = Arc::new(Servers {
            port,
            each,
            all: all.collect(),
            connections: AtomicUsize::new(0),
            commands: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let ours = Arc::clone(&servers);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                for listener in listeners {
                    tokio::spawn(accept(listener, Arc::clone(&ours)));
                }
                // The sender says nothing; it only goes.
                drop(stopped.await);
            });
        });
        Ok(Self {
            servers,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.servers.port
    }

    /// How many servers one master has, itself included.
    pub(super) fn each(&self) -> usize {
        self.servers.each
    }

    /// The index of a master's server.
    pub(super) fn of(&self, master: usize, which: usize) -> usize {
        master * self.servers.each + which
    }

    /// How many connections stand.
    pub(super) fn connections(&self) -> usize {
        self.servers.connections.load(Ordering::Relaxed)
    }

    /// How many commands were ever sent to a server.
    pub(super) fn commands(&self) -> u64 {
        self.servers.commands.load(Ordering::Relaxed)
    }

    /// From now on a server answers nobody, as if its host had lost power.
    pub(super) fn kill(&self, index: usize) {
        if let Some(server) = self.servers.all.get(index) {
            server.dead.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has panicked, and said so.
            drop(thread.join());
        }
    }
}

impl Servers {
    fn info(&self, index: usize) -> String {
        let mut text = format!("# Server\r\nrun_id:{index:040x}\r\n# Replication\r\n");
        let follows = self.all[index].lock().follows.clone();
        // Writing to a String cannot fail.
        let _ok = match follows {
            Some((host, port)) => write!(
                text,
                "role:slave\r\nmaster_host:{host}\r\nmaster_port:{port}\r\nmaster_link_status:up\r\n\
                 master_last_io_seconds_ago:0\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:1000\r\n\
                 slave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\n"
            ),
            None => write!(text, "role:master\r\n{}", self.replicas(index)),
        };
        text.push_str("master_repl_offset:1000\r\n");
        text
    }

    /// Whoever of the same group follows this one.
    fn replicas(&self, master: usize) -> String {
        let own = address(master).to_string();
        let first = master / self.each * self.each;
        let group = first..first + self.each;
        let mut lines = String::new();
        for (number, replica) in group
            .filter(|index| {
                let state = self.all[*index].lock();
                state.follows.as_ref().is_some_and(|(host, _)| *host == own)
            })
            .enumerate()
        {
            // Writing to a String cannot fail.
            let _ok = write!(
                lines,
                "slave{number}:ip={},port={},state=online,offset=1000,lag=0\r\n",
                address(replica),
                self.port
            );
        }
        lines
    }
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, channel: &Bytes, payload: &Bytes) -> i64 {
        let mut message = BytesMut::new();
        let words = [
            Frame::bulk("message"),
            Frame::Bulk(channel.clone()),
            Frame::Bulk(payload.clone()),
        ];
        encode(&Frame::Push(words.to_vec()), Protocol::Resp2, &mut message);
        let subscribers = &mut self.lock().subscribers;
        subscribers.retain(|subscriber| {
            let voice = subscriber.upgrade();
            voice.is_some_and(|voice| voice.say(&message).is_ok())
        });
        i64::try_from(subscribers.len()).unwrap_or(0)
    }
}

impl Voice {
    /// Says it at once, as far as the socket takes it; the connection's task says the rest.
    fn say(&self, words: &[u8]) -> io::Result<()> {
        let mut waiting = self.lock();
        let mut rest = words;
        if waiting.is_empty() {
            match self.stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if !rest.is_empty() {
            waiting.extend_from_slice(rest);
            drop(waiting);
            self.woken.notify_one();
        }
        Ok(())
    }

    /// Says what waits.
    async fn catch_up(&self) -> io::Result<()> {
        loop {
            {
                let mut waiting = self.lock();
                if waiting.is_empty() {
                    return Ok(());
                }
                match self.stream.try_write(&waiting) {
                    Ok(written) => drop(waiting.split_to(written)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            self.stream.writable().await?;
        }
    }

    /// Hears what was said, if anything was; false at the end.
    fn hear(&self, input: &mut BytesMut) -> io::Result<bool> {
        let mut scratch = [0; READ_BYTES];
        let mut count = 0;
        // What was less than there is room for was all: the socket need not be asked again.
        let asked = self.stream.try_io(Interest::READABLE, || {
            count = self.stream.try_read(&mut scratch)?;
            match count {
                1..READ_BYTES => Err(ErrorKind::WouldBlock.into()),
                0 | READ_BYTES.. => Ok(()),
            }
        });
        input.extend_from_slice(&scratch[..count]);
        match asked {
            Ok(()) => Ok(count > 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Several sockets on one port: thousands of servers, each with a queue of its own for newcomers, would
/// not lose any of them when a sentinel starts, and one queue would.
fn listen() -> Result<(Vec<TcpListener>, u16)> {
    let (mut listeners, mut port) = (Vec::new(), 0);
    for _ in 0..LISTENERS {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseport(true)?;
        socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
        port = socket.local_addr()?.port();
        listeners.push(socket.listen(BACKLOG)?);
    }
    Ok((listeners, port))
}

async fn accept(listener: TcpListener, servers: Arc<Servers>) {
    while let Ok((stream, _)) = listener.accept().await {
        let servers = Arc::clone(&servers);
        tokio::spawn(async move {
            servers.connections.fetch_add(1, Ordering::Relaxed);
            // A sentinel that ends takes its connections with it.
            drop(serve(stream, &servers).await);
            servers.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn serve(stream: TcpStream, fleet: &Servers) -> Result<()> {
    stream.set_nodelay(true)?;
    let own = index(stream.local_addr()?.ip()).context("servers are in 127.0.0.0/8")?;
    let server = fleet
        .all
        .get(own)
        .context("there are not so many servers")?;
    let voice = Arc::new(Voice {
        stream,
        waiting: Mutex::default(),
        woken: Notify::new(),
    });
    let mut decoder = RequestDecoder::new(RequestLimit::default());
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut queued = None;
    loop {
        tokio::select! {
            biased;
            readable = voice.stream.readable() => readable?,
            () = voice.woken.notified() => {
                voice.catch_up().await?;
                continue;
            }
        }
        if !voice.hear(&mut input)? {
            return Ok(());
        }
        if input[..] == *PING {
            input.clear();
            output.extend_from_slice(PONG);
            fleet.commands.fetch_add(1, Ordering::Relaxed);
        }
        while let Some(words) = decoder.decode(&mut input)? {
            let reply = obey(fleet, own, &words, &mut queued, &voice);
            encode(&reply, Protocol::Resp2, &mut output);
            fleet.commands.fetch_add(1, Ordering::Relaxed);
        }
        if !server.dead.load(Ordering::Relaxed) && !output.is_empty() {
            voice.say(&output)?;
        }
        output.clear();
    }
}

/// Does what one command says; `queued` counts those between MULTI and EXEC.
fn obey(
    fleet: &Servers,
    own: usize,
    words: &[Bytes],
    queued: &mut Option<usize>,
    voice: &Arc<Voice>,
) -> Frame {
    let name = words.first().map(|word| word.to_ascii_lowercase());
    let name = name.as_deref().unwrap_or_default();
    let word = |at: usize| {
        let word = words.get(at).map(|word| String::from_utf8_lossy(word));
        word.unwrap_or_default().into_owned()
    };
    let server = &fleet.all[own];
    let reply = match (name, words) {
        (b"ping", _) => return Frame::simple("PONG"),
        (b"info", _) => return Frame::bulk(fleet.info(own)),
        (b"publish", [_, channel, payload]) => {
            let dead = server.dead.load(Ordering::Relaxed);
            let heard = if dead {
                0
            } else {
                server.publish(channel, payload)
            };
            return Frame::Integer(heard);
        }
        (b"subscribe", [_, channel]) => {
            server.lock().subscribers.push(Arc::downgrade(voice));
            let channel = Frame::Bulk(channel.clone());
            return Frame::Push(vec![Frame::bulk("subscribe"), channel, Frame::Integer(1)]);
        }
        (b"multi", _) => {
            *queued = Some(0);
            return Frame::ok();
        }
        (b"exec", _) => {
            let count = queued.take().unwrap_or(0);
            return Frame::Array(vec![Frame::ok(); count]);
        }
        (b"slaveof" | b"replicaof", _) => {
            let nobody = word(1).eq_ignore_ascii_case("no");
            server.lock().follows = (!nobody).then(|| (word(1), word(2)));
            Frame::ok()
        }
        _ => Frame::ok(),
    };
    match queued {
        Some(count) => {
            *count += 1;
            Frame::simple("QUEUED")
        }
        None => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Wire, text};

    #[test]
    fn every_server_has_an_address_of_its_own() {
        for number in [0, 1, 255, 256, 14_999, 70_000] {
            assert_eq!(index(IpAddr::V4(address(number))), Some(number));
        }
    }

    #[tokio::test]
    async fn a_server_changes_its_role_and_tells_its_subscribers() {
        let fleet = Fleet::start(2, 2).unwrap();
        let at = |index: usize| (IpAddr::V4(address(index)), fleet.port()).into();
        let (master, replica) = (fleet.of(1, 0), fleet.of(1, 2));
        let mut ears = Wire::connect(at(replica)).await.unwrap();
        ears.ask(&["SUBSCRIBE", "hello"]).await.unwrap();
        let mut wire = Wire::connect(at(replica)).await.unwrap();
        let info = text(&wire.ask(&["INFO"]).await.unwrap());
        assert!(
            info.contains(&format!("master_host:{}", address(master))),
            "{info}"
        );
        wire.ask(&["PUBLISH", "hello", "you"]).await.unwrap();
        let heard = ears.receive().await.unwrap();
        assert_eq!(text(&heard.as_array().unwrap_or_default()[2]), "you");
        wire.ask(&["MULTI"]).await.unwrap();
        wire.ask(&["SLAVEOF", "NO", "ONE"]).await.unwrap();
        let done = wire.ask(&["EXEC"]).await.unwrap();
        assert_eq!(done.as_array().map(<[_]>::len), Some(1));
        let info = text(&wire.ask(&["INFO"]).await.unwrap());
        assert!(info.contains("role:master"), "{info}");
    }
}

//! For tests: a server and Dukes that answer as they are told to, on connections in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use duke_resp::{Bytes, BytesMut, Frame, Protocol, RequestDecoder, RequestLimit, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};

/// One end of a connection in memory.
pub(crate) type Stream = DuplexStream;

/// Bytes under way in one direction of a connection.
const UNDER_WAY: usize = 64 * 1024;

thread_local! {
    /// Who listens in this test, by address.
    static LISTENERS: RefCell<BTreeMap<String, mpsc::UnboundedSender<Stream>>> = RefCell::default();
}

/// Connects to whoever listens at `address`.
pub(crate) async fn dial(address: &str) -> io::Result<Stream> {
    let (ours, theirs) = tokio::io::duplex(UNDER_WAY);
    let taken = LISTENERS.with_borrow(|listeners| listeners.get(address)?.send(theirs).ok());
    taken
        .map(|()| ours)
        .ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
}

/// Listens at an address of its own.
fn listen() -> (SocketAddr, mpsc::UnboundedReceiver<Stream>) {
    static PORT: AtomicU16 = AtomicU16::new(10_000);
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (sender, receiver) = mpsc::unbounded_channel();
    LISTENERS.with_borrow_mut(|listeners| listeners.insert(address.to_string(), sender));
    (address, receiver)
}

/// A ROLE, in the way servers say it.
pub(crate) type Role = &'static [&'static str];

/// A master with one replica.
pub(crate) const MASTER: Role = &["master", "1"];
/// A master that nobody follows.
pub(crate) const ALONE: Role = &["master", "0"];
/// A replica in sync.
pub(crate) const IN_SYNC: Role = &["slave", "10.0.0.2", "6379", "connected"];
/// A former master that is to follow nobody yet.
pub(crate) const DEMOTED: Role = &["slave", "127.0.0.1", "1", "connect"];

/// The password of the user `agent`, unless a test changes it.
const PASSWORD: &str = "secret";

#[derive(Debug)]
struct State {
    password: &'static str,
    role: Role,
    /// ROLEs that were asked for.
    asked: usize,
    connected: usize,
}

/// A server that says who it is.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The agent's folder of passwords.
    pub(crate) users: PathBuf,
    state: Arc<Mutex<State>>,
    held: watch::Sender<bool>,
    /// Counts up when all connections are to be cut.
    cuts: watch::Sender<usize>,
}

impl Server {
    pub(crate) fn start(role: Role) -> Self {
        let (address, mut calls) = listen();
        // The port makes the name this server's own.
        let name = format!("duke-agent-{}-{}", std::process::id(), address.port());
        let users = std::env::temp_dir().join(name);
        fs::create_dir_all(&users).unwrap();
        fs::write(users.join("agent"), format!("{PASSWORD}\n")).unwrap();
        let server = Self {
            address,
            users,
            state: Arc::new(Mutex::new(State {
                password: PASSWORD,
                role,
                asked: 0,
                connected: 0,
            })),
            held: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
        };
        let state = Arc::clone(&server.state);
        let (held, cuts) = (server.held.subscribe(), server.cuts.subscribe());
        tokio::spawn(async move {
            while let Some(stream) = calls.recv().await {
                state.lock().unwrap().connected += 1;
                let mut cuts = cuts.clone();
                let conversation = serve(stream, Arc::clone(&state), held.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        // Also when the server is dropped.
                        _ = cuts.changed() => {}
                        () = conversation => {}
                    }
                });
            }
        });
        server
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    pub(crate) fn connected(&self) -> usize {
        self.state.lock().unwrap().connected
    }

    pub(crate) fn become_role(&self, role: Role) {
        self.state.lock().unwrap().role = role;
    }

    pub(crate) fn set_password(&self, password: &'static str) {
        self.state.lock().unwrap().password = password;
    }

    /// Answers nothing for a while, or again.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Is gone, as a process that ended.
    pub(crate) fn stop(&self) {
        LISTENERS.with_borrow_mut(|listeners| listeners.remove(&self.address.to_string()));
        self.cut();
    }
}

/// Answers on one connection of a server's.
async fn serve(stream: Stream, state: Arc<Mutex<State>>, mut held: watch::Receiver<bool>) {
    let mut talk = Talk::new(stream);
    while let Some(words) = talk.hear().await {
        if held.wait_for(|held| !held).await.is_err() {
            return;
        }
        let reply = {
            let mut state = state.lock().unwrap();
            state.asked += usize::from(words == ["ROLE"]);
            answer(&state, &words)
        };
        talk.say(&reply).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.users));
    }
}

fn answer(state: &State, words: &[String]) -> Frame {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["AUTH", "agent", password] if *password == state.password => Frame::ok(),
        ["AUTH", ..] => Frame::error("WRONGPASS invalid username-password pair"),
        ["PING"] => Frame::simple("PONG"),
        ["ROLE"] => match *state.role {
            ["master", replicas] => Frame::Array(vec![
                Frame::bulk("master"),
                Frame::Integer(1),
                Frame::Array(vec![Frame::Null; replicas.parse().unwrap()]),
            ]),
            [error] => Frame::error(error),
            _ => Frame::Array(state.role.iter().copied().map(Frame::bulk).collect()),
        },
        _ => Frame::error("NOPERM this user has no permissions to run the command"),
    }
}

/// What a Duke says to a request; the next one for each request, the last one for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    /// An answer to DUKE HANDOVER.
    Line(&'static str),
    /// It begins the hand-over: the server becomes this, at once.
    Begins(Role),
    /// It closes the connection.
    Closes,
    /// It never answers.
    Nothing,
}

/// Dukes behind one address.
#[derive(Debug)]
pub(crate) struct Dukes {
    pub(crate) address: String,
    /// Everything they were asked but AUTH.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Dukes {
    /// Dukes who say this, one after the other, and know of so many nodes besides the master.
    pub(crate) fn start(server: &Server, lines: &[Says], others: usize) -> Self {
        let (address, mut calls) = listen();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let dukes = Self {
            address: address.to_string(),
            heard: Arc::clone(&heard),
        };
        let lines: VecDeque<Says> = lines.iter().copied().collect();
        let lines = Arc::new(Mutex::new(lines));
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            while let Some(stream) = calls.recv().await {
                let (lines, state) = (Arc::clone(&lines), Arc::clone(&state));
                let heard = Arc::clone(&heard);
                tokio::spawn(async move {
                    let mut talk = Talk::new(stream);
                    while let Some(words) = talk.hear().await {
                        match duke_turn(&words, &lines, &state, others, &heard) {
                            Turn::Say(reply) => talk.say(&reply).await,
                            Turn::Hang => std::future::pending().await,
                            Turn::Close => return,
                        }
                    }
                });
            }
        });
        dukes
    }

    /// What they were asked, but AUTH.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// What a Duke does next.
enum Turn {
    Close,
    Hang,
    Say(Frame),
}

fn duke_turn(
    words: &[String],
    lines: &Mutex<VecDeque<Says>>,
    state: &Mutex<State>,
    others: usize,
    heard: &Mutex<Vec<String>>,
) -> Turn {
    let command = words.first().map(String::as_str).unwrap_or_default();
    if command == "AUTH" {
        return Turn::Say(answer(&state.lock().unwrap(), words));
    }
    heard.lock().unwrap().push(words.join(" "));
    if command == "SENTINEL" {
        return Turn::Say(Frame::Array(vec![Frame::Null; others]));
    }
    let mut lines = lines.lock().unwrap();
    let next = match lines.len() {
        1 => lines.front().copied(),
        _ => lines.pop_front(),
    };
    match next.unwrap() {
        Says::Begins(role) => {
            state.lock().unwrap().role = role;
            Turn::Say(Frame::ok())
        }
        Says::Closes => Turn::Close,
        Says::Line(line) => Turn::Say(Frame::error(line)),
        Says::Nothing => Turn::Hang,
    }
}

/// The other end of a connection of the agent's.
struct Talk {
    stream: Stream,
    decoder: RequestDecoder,
    buffer: BytesMut,
}

impl Talk {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            decoder: RequestDecoder::new(RequestLimit::default()),
            buffer: BytesMut::new(),
        }
    }

    async fn hear(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some(words) = self.decoder.decode(&mut self.buffer).unwrap() {
                let text = |word: Bytes| String::from_utf8(word.to_vec()).unwrap();
                return Some(words.into_iter().map(text).collect());
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }

    async fn say(&mut self, reply: &Frame) {
        let mut bytes = BytesMut::new();
        encode(reply, Protocol::Resp2, &mut bytes);
        // The other side may be gone, which is the point of some tests.
        drop(self.stream.write_all(&bytes).await);
    }
}

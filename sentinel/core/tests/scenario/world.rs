//! A group in one process: engines, model servers, a network and disks, in virtual time.

mod network;
mod transcript;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    iter::repeat,
    net::SocketAddr,
    time::Duration,
};

use duke_core::{
    ClientId, Durable, Engine, Input, LinkError, LinkId, Output, RequestId, Secrets, Time, config,
};
use duke_resp::{Bytes, Frame};

use self::transcript::printed;
use crate::server::{Door, Server};

/// How long a message takes, in milliseconds.
const DELAY: u64 = 1;
/// How long a connection attempt that meets silence takes to fail.
const CONNECT_PATIENCE: u64 = 1500;
/// After how long a write that failed is tried again.
const DISK_PAUSE: u64 = 50;
/// The client through which the script talks to a Duke.
const SCRIPT: ClientId = ClientId(1_000_000);

/// Who a command comes from.
#[derive(Clone, Copy)]
pub(crate) enum Rights {
    Operator,
    Peer,
    Agent,
    Nobody,
}

struct Duke {
    name: String,
    address: SocketAddr,
    engine: Option<Engine>,
    frozen: bool,
    disk: Option<String>,
    disk_millis: u64,
    /// Its disk takes nothing.
    spoiled: bool,
    /// The newest sequence its disk has.
    saved: u64,
    links: BTreeMap<LinkId, Link>,
    /// Connections of other Dukes here, and what is still to be answered on them.
    clients: BTreeMap<ClientId, Caller>,
    life: u64,
    ready: bool,
    /// When it was last woken: a deadline that stays is waited for once a millisecond.
    woken: Option<u64>,
    inbox: Vec<Event>,
}

struct Link {
    to: SocketAddr,
    up: bool,
    number: u64,
}

struct Caller {
    duke: usize,
    link: LinkId,
    open: VecDeque<RequestId>,
}

/// Something on its way.
#[derive(Clone)]
enum Event {
    Connected {
        duke: usize,
        link: LinkId,
    },
    Broken {
        duke: usize,
        link: LinkId,
        error: LinkError,
    },
    ToNode {
        duke: usize,
        link: LinkId,
        request: RequestId,
        words: Vec<Bytes>,
    },
    ToDuke {
        duke: usize,
        link: LinkId,
        request: RequestId,
        words: Vec<Bytes>,
    },
    Reply {
        duke: usize,
        link: LinkId,
        request: RequestId,
        reply: Frame,
    },
    Durable {
        duke: usize,
        life: u64,
        sequence: u64,
        text: String,
    },
    Sync {
        node: SocketAddr,
    },
}

pub(crate) struct World {
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    dukes: Vec<Duke>,
    nodes: BTreeMap<SocketAddr, Server>,
    cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    transcript: String,
    names: Vec<(String, String)>,
    generation: u64,
}

fn node_address(number: usize) -> SocketAddr {
    format!("10.0.0.{number}:6379").parse().unwrap()
}

fn duke_address(number: usize) -> SocketAddr {
    format!("10.0.1.{number}:26379").parse().unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            queue: BTreeMap::new(),
            numbers: 0,
            dukes: Vec::new(),
            nodes: BTreeMap::new(),
            cuts: BTreeSet::new(),
            transcript: String::new(),
            names: Vec::new(),
            generation: 0,
        }
    }

    // --- what scripts command ---

    pub(crate) fn group(&mut self, dukes: usize, nodes: usize) {
        for number in 1..=nodes {
            let address = node_address(number);
            self.nodes.insert(address, Server::new(address));
            self.names.push((
                format!("{} {}", address.ip(), address.port()),
                format!("n{number}"),
            ));
            self.names.push((address.to_string(), format!("n{number}")));
        }
        for number in 1..=dukes {
            self.dukes.push(Duke {
                name: format!("d{number}"),
                address: duke_address(number),
                engine: None,
                frozen: false,
                disk: None,
                disk_millis: 1,
                spoiled: false,
                saved: 0,
                links: BTreeMap::new(),
                clients: BTreeMap::new(),
                life: 0,
                ready: false,
                woken: None,
                inbox: Vec::new(),
            });
            self.boot(number - 1);
        }
        self.feed();
    }

    /// Tells every living Duke who belongs to the group.
    pub(crate) fn feed(&mut self) {
        let ids: Vec<(String, SocketAddr)> = (0..self.dukes.len())
            .filter_map(|duke| Some((self.id_of(duke)?, self.dukes[duke].address)))
            .collect();
        let size = self.dukes.len();
        let quorum = size / 2 + 1;
        let mut members = vec![
            "DUKE".to_owned(),
            "MEMBERS".into(),
            size.to_string(),
            quorum.to_string(),
        ];
        members.extend(ids.iter().map(|(id, address)| format!("{id}@{address}")));
        let mut nodes = vec!["DUKE".to_owned(), "NODES".into()];
        nodes.extend(self.nodes.keys().map(ToString::to_string));
        for duke in 0..self.dukes.len() {
            self.operator(duke, &members);
            self.operator(duke, &nodes);
        }
    }

    pub(crate) fn seed(&mut self, node: &str) {
        let address = Self::node(node);
        self.nodes.get_mut(&address).unwrap().lead();
        self.generation += 1;
        let epoch = 100 * (self.generation - 1) + 1;
        let words = [
            "DUKE".to_owned(),
            "SEED".into(),
            self.generation.to_string(),
            address.ip().to_string(),
            address.port().to_string(),
            epoch.to_string(),
        ];
        for duke in 0..self.dukes.len() {
            self.operator(duke, &words);
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_millis()).unwrap();
        loop {
            let event = self.queue.keys().next().map(|(at, _)| *at);
            let timer = (0..self.dukes.len())
                .filter_map(|duke| self.wake(duke))
                .min();
            let next = event.into_iter().chain(timer).min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                let (_, event) = self.queue.pop_first().unwrap();
                self.happen(event);
            } else {
                for duke in 0..self.dukes.len() {
                    if self.wake(duke).is_some_and(|at| at <= self.now) {
                        let now = Time::from_millis(self.now);
                        self.dukes[duke].woken = Some(self.now);
                        self.dukes[duke].engine.as_mut().unwrap().tick(now);
                        self.drain(duke);
                    }
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn kill(&mut self, name: &str) {
        if let Some(duke) = self.duke(name) {
            self.dukes[duke].engine = None;
            self.dukes[duke].links.clear();
            self.dukes[duke].clients.clear();
            self.dukes[duke].inbox.clear();
            let address = self.dukes[duke].address;
            self.break_links_to(address, LinkError::Reset);
        } else {
            let address = Self::node(name);
            self.nodes.get_mut(&address).unwrap().alive = false;
            self.break_links_to(address, LinkError::Reset);
            self.lose_touch(address);
        }
    }

    pub(crate) fn start(&mut self, name: &str) {
        if let Some(duke) = self.duke(name) {
            self.boot(duke);
        } else {
            let address = Self::node(name);
            self.nodes.get_mut(&address).unwrap().start();
        }
    }

    /// The name of a node that takes writes, if there is one.
    pub(crate) fn master(&self) -> Option<String> {
        let leads = |server: &Server| server.alive && server.follows.is_none();
        let number = self.nodes.values().position(leads)?;
        Some(format!("n{}", number + 1))
    }

    /// Starts a node if it is dead.
    pub(crate) fn revive(&mut self, name: &str) {
        let address = Self::node(name);
        if !self.nodes[&address].alive {
            self.start(name);
        }
    }

    pub(crate) fn empty(&mut self, name: &str) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().offset = 0;
    }

    /// What a dead node's disk has is older than what it had.
    pub(crate) fn rewind(&mut self, name: &str, bytes: u64) {
        self.nodes.get_mut(&Self::node(name)).unwrap().offset = bytes;
    }

    /// A node answers only PING and INFO while it reads its data.
    pub(crate) fn loading(&mut self, name: &str, loading: bool) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().loading = loading;
    }

    /// A node gives full copies slowly: whoever follows it stays without its data.
    pub(crate) fn withhold(&mut self, name: &str) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().withholds = true;
    }

    /// A node hears nothing more of its master's stream, for as long as it is the same connection.
    pub(crate) fn stall(&mut self, name: &str) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().stalled = true;
    }

    /// A node's users have no right to something Dukes do.
    pub(crate) fn forbid(&mut self, name: &str, what: &str) {
        let address = Self::node(name);
        let server = self.nodes.get_mut(&address).unwrap();
        match what {
            "pause" => server.forbids_pause = true,
            "roles" => server.forbids_roles = true,
            other => panic!("nobody forbids {other}"),
        }
    }

    /// A node whose data set on disk says which history it is from.
    pub(crate) fn snapshot(&mut self, name: &str) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().snapshots = true;
    }

    /// A node's passwords are others from now on, and its connections break.
    pub(crate) fn lock(&mut self, name: &str, door: Door) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().door = door;
        self.break_links_to(address, LinkError::Reset);
    }

    /// Somebody else's server takes a node's address.
    pub(crate) fn squat(&mut self, name: &str) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().replace();
        self.break_links_to(address, LinkError::Reset);
        self.lose_touch(address);
    }

    pub(crate) fn rank(&mut self, name: &str, priority: u32) {
        let address = Self::node(name);
        self.nodes.get_mut(&address).unwrap().priority = priority;
    }

    pub(crate) fn wipe(&mut self, name: &str) {
        let duke = self.duke(name).unwrap();
        self.dukes[duke].disk = None;
    }

    pub(crate) fn freeze(&mut self, name: &str, frozen: bool) {
        if let Some(duke) = self.duke(name) {
            self.dukes[duke].frozen = frozen;
            if !frozen {
                // As in the shell: the clock comes first, then what waited in the sockets.
                let now = Time::from_millis(self.now);
                if let Some(engine) = &mut self.dukes[duke].engine {
                    engine.tick(now);
                    self.drain(duke);
                }
                for event in std::mem::take(&mut self.dukes[duke].inbox) {
                    self.happen(event);
                }
            }
            return;
        }
        let address = Self::node(name);
        let server = self.nodes.get_mut(&address).unwrap();
        server.frozen = frozen;
        if !frozen {
            for ((duke, number), request, words) in std::mem::take(&mut server.waiting) {
                let link = self.dukes[duke]
                    .links
                    .iter()
                    .find(|(_, link)| link.number == number);
                let Some(link) = link.map(|(id, _)| *id) else {
                    continue;
                };
                let words = words.into_iter().map(Bytes::from).collect();
                self.happen(Event::ToNode {
                    duke,
                    link,
                    request: RequestId(request),
                    words,
                });
            }
        }
    }

    pub(crate) fn write(&mut self, name: &str, bytes: u64) {
        let address = Self::node(name);
        let server = self.nodes.get_mut(&address).unwrap();
        assert!(
            server.alive && server.follows.is_none() && server.paused_until <= self.now,
            "{name} takes no writes"
        );
        server.offset += bytes;
        let offset = server.offset;
        for replica in self.nodes.values_mut() {
            let deaf = replica.frozen || replica.stalled;
            if replica.follows == Some(address) && replica.in_touch && !deaf {
                replica.offset = offset;
            }
        }
    }

    pub(crate) fn point(&mut self, name: &str, target: &str) {
        let (address, target) = (Self::node(name), Self::node(target));
        let server = self.nodes.get_mut(&address).unwrap();
        server.follow(target);
        self.later(DELAY, Event::Sync { node: address });
    }

    /// Somebody without a Duke's knowledge makes a server master.
    pub(crate) fn promote(&mut self, name: &str) {
        let server = self.nodes.get_mut(&Self::node(name)).unwrap();
        server.lead();
    }

    pub(crate) fn slow(&mut self, name: &str, time: Duration) {
        let duke = self.duke(name).unwrap();
        self.dukes[duke].disk_millis = u64::try_from(time.as_millis()).unwrap();
    }

    /// A Duke's disk takes nothing from now on, or writes again.
    pub(crate) fn spoil(&mut self, name: &str, spoiled: bool) {
        let duke = self.duke(name).unwrap();
        self.dukes[duke].spoiled = spoiled;
    }

    pub(crate) fn ask(&mut self, name: &str, rights: Rights, words: &[&str]) {
        let duke = self.duke(name).unwrap();
        let words: Vec<String> = words.iter().map(|word| self.resolve(word)).collect();
        let replies = self.command(duke, rights, &words);
        for reply in replies {
            let text = printed(&reply);
            self.tell(&format!("{name} answered {text}"));
        }
    }

    /// Whether there is one master that everybody follows and every Duke names.
    pub(crate) fn settled(&mut self) -> Result<(), String> {
        let masters: Vec<SocketAddr> = self
            .nodes
            .values()
            .filter(|node| node.follows.is_none())
            .map(|node| node.address)
            .collect();
        let [master] = masters.as_slice() else {
            return Err(format!("masters are {masters:?}"));
        };
        let astray = |node: &&Server| node.address != *master && !node.in_touch;
        if let Some(node) = self.nodes.values().find(astray) {
            return Err(format!("{} is not in touch with {master}", node.address));
        }
        for duke in 0..self.dukes.len() {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"].map(str::to_owned);
            let named = self.command(duke, Rights::Nobody, &words);
            let named: Vec<String> = named.iter().map(printed).collect();
            if named != [format!("[{} {}]", master.ip(), master.port())] {
                let name = &self.dukes[duke].name;
                return Err(format!("{name} names {named:?} instead of {master}"));
            }
        }
        Ok(())
    }

    // --- how it works ---

    fn boot(&mut self, duke: usize) {
        let text =
            "duke group mymaster\nduke state /state\nsentinel failover-timeout mymaster 3000\n";
        let secrets = Secrets {
            data: "data".into(),
            admin: "admin".into(),
            peer: "peer".into(),
            agent: "agent".into(),
        };
        let kept = self.dukes[duke]
            .disk
            .as_deref()
            .map(|text| Durable::read(text).unwrap());
        let seed = u64::try_from(duke).unwrap() + 10 * self.dukes[duke].life;
        let now = Time::from_millis(self.now);
        let engine = Engine::new(config::parse(text).unwrap(), secrets, kept, seed, now);
        self.dukes[duke].engine = Some(engine);
        self.dukes[duke].life += 1;
        self.dukes[duke].saved = 0;
        self.dukes[duke].ready = false;
        let mut heard = vec![Input::Joined {
            client: SCRIPT,
            address: duke_address(99),
        }];
        heard.push(Input::Asked {
            client: SCRIPT,
            words: vec!["PSUBSCRIBE".into(), "*".into()],
        });
        for input in heard {
            self.give(duke, input);
        }
        let id = self.id_of(duke).unwrap();
        let name = self.dukes[duke].name.clone();
        self.names.insert(0, (id, name));
    }

    fn id_of(&mut self, duke: usize) -> Option<String> {
        self.dukes[duke].engine.as_ref()?;
        let replies = self.command(duke, Rights::Nobody, &["SENTINEL".into(), "MYID".into()]);
        let text = replies.first()?.as_text()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Talks to a Duke over a connection of its own and returns what it answers at once.
    fn command(&mut self, duke: usize, rights: Rights, words: &[String]) -> Vec<Frame> {
        self.numbers += 1;
        let client = ClientId(2_000_000 + self.numbers);
        self.give(
            duke,
            Input::Joined {
                client,
                address: duke_address(99),
            },
        );
        let login: Option<[&str; 3]> = match rights {
            Rights::Operator => Some(["AUTH", "operator", "admin"]),
            Rights::Peer => Some(["AUTH", "duke", "peer"]),
            Rights::Agent => Some(["AUTH", "agent", "agent"]),
            Rights::Nobody => None,
        };
        if let Some(login) = login {
            let words = login
                .iter()
                .map(|word| Bytes::from_static(word.as_bytes()))
                .collect();
            self.give(duke, Input::Asked { client, words });
        }
        let before = self.answers_to(duke, client).len();
        let asked = words.iter().map(|word| Bytes::from(word.clone())).collect();
        self.give(
            duke,
            Input::Asked {
                client,
                words: asked,
            },
        );
        // An answer may have to wait for the disk.
        let end = self.now + 5_000;
        while self.answers_to(duke, client).len() == before && self.now < end {
            self.run(Duration::from_millis(1));
        }
        self.answers_to(duke, client).split_off(before)
    }

    fn answers_to(&self, duke: usize, client: ClientId) -> Vec<Frame> {
        let inbox = &self.dukes[duke].inbox;
        let wanted = RequestId(client.0);
        let reply = |event: &Event| {
            if let Event::Reply { request, reply, .. } = event
                && *request == wanted
            {
                return Some(reply.clone());
            }
            None
        };
        inbox.iter().filter_map(reply).collect()
    }

    fn operator(&mut self, duke: usize, words: &[String]) {
        if self.dukes[duke].engine.is_none() || self.dukes[duke].frozen {
            return;
        }
        let replies = self.command(duke, Rights::Operator, words);
        if replies != [Frame::ok()] {
            let name = self.dukes[duke].name.clone();
            let text = replies.iter().map(printed).collect::<String>();
            self.tell(&format!("{name} refused {}: {text}", words[1]));
        }
    }

    fn later(&mut self, delay: u64, event: Event) {
        self.numbers += 1;
        self.queue.insert((self.now + delay, self.numbers), event);
    }

    fn wake(&self, duke: usize) -> Option<u64> {
        let duke = &self.dukes[duke];
        let engine = duke.engine.as_ref().filter(|_| !duke.frozen)?;
        let earliest = duke.woken.map_or(0, |woken| woken + 1);
        engine
            .deadline()
            .map(|time| time.as_millis().max(earliest).max(self.now))
    }

    fn give(&mut self, duke: usize, input: Input) {
        let now = Time::from_millis(self.now);
        if let Some(engine) = &mut self.dukes[duke].engine {
            engine.handle(now, input);
            self.drain(duke);
        }
    }

    fn drain(&mut self, duke: usize) {
        while let Some(output) = self.dukes[duke].engine.as_mut().and_then(Engine::poll) {
            self.carry_out(duke, output);
        }
    }

    fn carry_out(&mut self, duke: usize, output: Output) {
        match output {
            Output::Answer {
                client: SCRIPT,
                reply,
            } => self.heard(duke, &reply),
            Output::Answer { client, reply } => self.answered(duke, client, reply),
            Output::Connect { link, address } => self.connect(duke, link, address),
            Output::Disconnect { link } => {
                self.dukes[duke].links.remove(&link);
            }
            Output::Persist { sequence, text } => {
                let (life, wait) = (self.dukes[duke].life, self.dukes[duke].disk_millis);
                self.later(
                    wait,
                    Event::Durable {
                        duke,
                        life,
                        sequence,
                        text,
                    },
                );
            }
            Output::Publish { clients, message } => {
                for (client, reply) in clients.into_iter().zip(repeat(message)) {
                    self.carry_out(duke, Output::Answer { client, reply });
                }
            }
            Output::Ready(ready) => self.dukes[duke].ready = ready,
            Output::Request {
                link,
                request,
                words,
            } => {
                let Some(to) = self.dukes[duke].links.get(&link).map(|link| link.to) else {
                    return;
                };
                let event = if self.nodes.contains_key(&to) {
                    Event::ToNode {
                        duke,
                        link,
                        request,
                        words,
                    }
                } else {
                    Event::ToDuke {
                        duke,
                        link,
                        request,
                        words,
                    }
                };
                self.later(DELAY, event);
            }
            Output::Close { .. }
            | Output::Directory { .. }
            | Output::Protocol { .. }
            | Output::Shutdown
            | Output::Trust { .. } => {}
            Output::Check { .. }
            | Output::Crash(_)
            | Output::Distrust
            | Output::KillScript { .. }
            | Output::Listen { .. }
            | Output::LogLevel(_)
            | Output::Measure
            | Output::Read { .. }
            | Output::Resolve { .. }
            | Output::RunScript { .. }
            | Output::Write { .. } => unreachable!("a closed group wants none of this"),
        }
    }

    fn answered(&mut self, duke: usize, client: ClientId, reply: Frame) {
        let Some(caller) = self.dukes[duke].clients.get_mut(&client) else {
            let request = RequestId(client.0);
            let link = LinkId(0);
            self.dukes[duke].inbox.push(Event::Reply {
                duke,
                link,
                request,
                reply,
            });
            return;
        };
        let Some(request) = caller.open.pop_front() else {
            return;
        };
        let event = Event::Reply {
            duke: caller.duke,
            link: caller.link,
            request,
            reply,
        };
        self.later(DELAY, event);
    }

    fn duke(&self, name: &str) -> Option<usize> {
        self.dukes.iter().position(|duke| duke.name == name)
    }

    fn node(name: &str) -> SocketAddr {
        node_address(name.strip_prefix('n').unwrap().parse().unwrap())
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.duke(name)
            .map_or_else(|| Self::node(name), |duke| self.dukes[duke].address)
    }

    /// Names in a command stand for addresses: `@n1` for `ip:port`; `#d1` anywhere for an id.
    fn resolve(&mut self, word: &str) -> String {
        if let Some(name) = word.strip_prefix('@') {
            return self.address(name).to_string();
        }
        let mut word = word.to_owned();
        for duke in 0..self.dukes.len() {
            let name = format!("#{}", self.dukes[duke].name);
            if word.contains(&name) {
                let id = self.id_of(duke).unwrap_or_default();
                word = word.replace(&name, &id);
            }
        }
        word
    }
}

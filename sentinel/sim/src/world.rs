//! The world: hosts, what happens between them in virtual time, and who watches.
//!
//! One event after the other, from one queue and one seed. Decides nothing about the group: engines,
//! model servers, clients and the operator do, each in a file of its own below `world/`. After each
//! event the oracle has looked at whatever the event could have changed.

mod channel;
mod choice;
mod client;
mod duke;
mod health;
mod node;
mod open;
mod operator;
mod peace;
mod replication;
mod stranger;
mod trouble;

use std::{collections::VecDeque, fmt::Write as _, net::SocketAddr};

use duke_core::{LinkError, RequestId};
use duke_resp::{Bytes, Frame};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

use self::{client::Client, duke::Duke, health::Health, operator::Operator};
use crate::{
    fault::{Fault, Kind as FaultKind, Undo},
    history::{History, Place},
    network::{Connection, ConnectionId, Delivery, Host, Kind, Network, Passage, Segment, Side},
    options::Options,
    oracle::Oracle,
    queue::{MILLI, Micros, Queue, SECOND},
    server::{Server, Witness},
};

/// What is said on connections.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A Duke's command.
    Command(RequestId, Vec<Bytes>),
    /// Its answer; to INFO with the truth beside it.
    Reply(RequestId, Frame, Option<Witness>),
    /// A replica's data ends there.
    Sync(Place),
    /// It goes on from there in this stream.
    Continue(Place),
    /// It will be given everything.
    CopyBegins,
    /// Everything.
    Copy(Place),
    /// The stream went on.
    Stream(Place),
    /// A hello went through the stream, too.
    Relay(Bytes),
    /// A hello, to whoever listens to a server's channel.
    Push(Bytes),
    /// A replica is still there.
    Acknowledge,
    /// A client's write.
    Write,
    /// It is done.
    Written(Place),
    /// It is refused.
    Refused,
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    Network(Passage<Message>),
    /// A Duke's disk has written.
    Written {
        duke: usize,
        life: u32,
    },
    /// A server's once-a-second work.
    Cron {
        node: usize,
        life: u32,
    },
    /// A server may hold its clients' writes no longer.
    Resume {
        node: usize,
        life: u32,
    },
    /// A server has read its data in.
    Loaded {
        node: usize,
        life: u32,
    },
    /// A server has a copy ready for a follower.
    Copied {
        node: usize,
        life: u32,
        connection: ConnectionId,
    },
    /// A client's next step; after so many of its connections.
    Client {
        client: usize,
        turn: u64,
    },
    /// A client's question, at a Duke.
    Discovery {
        client: usize,
        duke: usize,
        turn: u64,
    },
    /// Its answer, at the client.
    Discovered {
        client: usize,
        turn: u64,
        master: Option<SocketAddr>,
    },
    /// The operator looks after the group.
    Operate,
    /// A fault begins, drawn when it does.
    Trouble,
    /// A fault ends.
    Undo(Undo),
}

/// What happens next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// This Duke is told the time.
    Tick(usize, Micros),
    /// The first event of the queue.
    Event,
}

impl From<Passage<Message>> for Event {
    fn from(passage: Passage<Message>) -> Self {
        Self::Network(passage)
    }
}

/// What waits in a host's sockets while its process does not run.
type Inbox = VecDeque<(ConnectionId, Side, Segment<Message>)>;

/// The whole world of one run.
#[derive(Debug)]
pub struct World {
    /// What the run is like.
    pub options: Options,
    /// How late it is.
    pub now: Micros,
    /// Events that happened.
    pub events: u64,
    pub(crate) oracle: Oracle,
    pub(crate) history: History,
    queue: Queue<Event>,
    network: Network<Message>,
    rng: ChaCha8Rng,
    dukes: Vec<Duke>,
    nodes: Vec<Server>,
    clients: Vec<Client>,
    operator: Operator,
    frozen: Vec<bool>,
    health: Health,
    inboxes: Vec<Inbox>,
    /// Hosts that faults may touch; all, until some stay lost.
    lost: Vec<bool>,
    peace: bool,
    /// Until when something may be lost by faults of servers and of the network.
    disturbed: Micros,
    /// Since when no server takes writes.
    masterless: Option<Micros>,
    log: Option<String>,
}

impl World {
    /// A group that has just been started; `logs` if what happens is to be told.
    #[must_use]
    pub fn new(options: Options, logs: bool) -> Self {
        let (dukes, nodes, clients) = (options.dukes, options.nodes, options.clients);
        let hosts = dukes + nodes + clients + 1;
        let mut history = History::default();
        let servers = (0..nodes)
            .map(|node| {
                let address = Self::node_address(node);
                Server::new(dukes + node, address, options.persistence, &mut history)
            })
            .collect();
        let mut world = Self {
            now: 0,
            events: 0,
            oracle: Oracle::new(&options),
            history,
            queue: Queue::default(),
            network: Network::new(hosts, options.delay),
            rng: ChaCha8Rng::seed_from_u64(options.seed ^ 0x5eed),
            dukes: (0..dukes).map(|duke| Duke::new(duke, &options)).collect(),
            nodes: servers,
            clients: (0..clients).map(|_| Client::default()).collect(),
            operator: Operator::new(dukes),
            frozen: vec![false; hosts],
            health: Health::new(dukes, nodes),
            inboxes: (0..hosts).map(|_| Inbox::new()).collect(),
            lost: vec![false; hosts],
            peace: false,
            disturbed: 0,
            masterless: None,
            log: logs.then(String::new),
            options,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let (closed, able) = (!self.is_open(), self.options.hands_over);
        for server in &mut self.nodes {
            // Those of a closed group are new enough; their Dukes may lack the right.
            server.hold.known = closed || able;
            server.hold.allowed = able;
        }
        if self.is_open() {
            self.open_servers();
        }
        for duke in 0..self.options.dukes {
            self.draw_drift(duke);
            self.boot(duke);
        }
        for node in 0..self.options.nodes {
            let first = self.rng.random_range(0..SECOND);
            self.queue.push(first, Event::Cron { node, life: 1 });
        }
        for client in 0..self.options.clients {
            let first = 200 * MILLI + self.rng.random_range(0..self.options.write_pause);
            self.queue.push(first, Event::Client { client, turn: 0 });
        }
        if !self.is_open() {
            self.queue.push(MILLI, Event::Operate);
        }
    }

    /// Lets everything happen that happens before `end`, or until an invariant is broken.
    pub fn run_until(&mut self, end: Micros) {
        while self.oracle.broken().is_none() && self.step(end) {}
        if self.oracle.broken().is_none() {
            self.now = self.now.max(end);
        }
    }

    /// What happens next, if that is before `end`.
    fn next(&self, end: Micros) -> Option<Next> {
        let event = self.queue.next_at().unwrap_or(Micros::MAX);
        let mut woken = None;
        let mut wake = Micros::MAX;
        for (index, duke) in self.dukes.iter().enumerate() {
            if duke.wake < wake {
                wake = duke.wake;
                woken = Some(index);
            }
        }
        if event.min(wake) >= end {
            return None;
        }
        let woken = woken.filter(|_| wake < event);
        Some(woken.map_or(Next::Event, |duke| Next::Tick(duke, wake)))
    }

    /// Lets the next thing happen, if that is before `end`.
    pub(crate) fn step(&mut self, end: Micros) -> bool {
        match self.next(end) {
            None => return false,
            Some(Next::Tick(duke, wake)) => {
                self.events += 1;
                self.now = self.now.max(wake);
                self.tick(duke);
            }
            Some(Next::Event) => {
                if let Some(event) = self.take_event() {
                    self.happen(event);
                }
            }
        }
        true
    }

    /// Takes the next event out of the queue: it is its time now.
    fn take_event(&mut self) -> Option<Event> {
        let (at, event) = self.queue.pop()?;
        self.events += 1;
        self.now = self.now.max(at);
        Some(event)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Network(passage) => self.pass(passage),
            Event::Written { duke, life } => self.written(duke, life),
            Event::Cron { node, life } => self.cron(node, life),
            Event::Resume { node, life } => self.pause_ends(node, life),
            Event::Loaded { node, life } => self.loaded(node, life),
            Event::Copied {
                node,
                life,
                connection,
            } => self.copied(node, life, connection),
            Event::Client { client, turn } => self.client_turn(client, turn),
            Event::Discovery { client, duke, turn } => self.discovery(client, duke, turn),
            Event::Discovered {
                client,
                turn,
                master,
            } => self.discovered(client, turn, master),
            Event::Operate => self.operate(),
            Event::Trouble => self.trouble(),
            Event::Undo(undo) => self.undo(undo),
        }
    }

    // --- the network ---

    fn pass(&mut self, passage: Passage<Message>) {
        let delivery = self
            .network
            .pass(&mut self.queue, &mut self.rng, self.now, passage);
        match delivery {
            Delivery::Nothing => {}
            Delivery::To(host, connection, side, segment) => {
                self.receive(host, connection, side, segment);
            }
            Delivery::Failed(host, connection, error) => {
                // The caller learns of it as of a connection that ended.
                self.receive(host, connection, 0, Segment::End(error));
            }
            Delivery::Release(connection, side, segments) => {
                for segment in segments {
                    self.pass(Passage::Arrival(connection, side, segment));
                }
            }
        }
    }

    fn receive(&mut self, host: Host, id: ConnectionId, side: Side, segment: Segment<Message>) {
        if self.frozen[host] {
            self.inboxes[host].push_back((id, side, segment));
        } else {
            self.deliver(host, id, side, segment);
        }
    }

    fn deliver(&mut self, host: Host, id: ConnectionId, side: Side, segment: Segment<Message>) {
        let (dukes, nodes) = (self.options.dukes, self.options.nodes);
        if host < dukes {
            self.at_duke(host, id, side, segment);
        } else if host < dukes + nodes {
            self.at_node(host - dukes, id, side, segment);
        } else {
            self.at_client(host - dukes - nodes, id, &segment);
        }
    }

    fn connect(&mut self, kind: Kind, from: Host, to: Host) -> ConnectionId {
        self.network
            .connect(&mut self.queue, &mut self.rng, self.now, kind, [from, to])
    }

    fn send(&mut self, id: ConnectionId, side: Side, message: Message) {
        let segment = Segment::Data(message);
        self.network
            .send(&mut self.queue, &mut self.rng, self.now, id, side, segment);
    }

    fn close(&mut self, id: ConnectionId, side: Side, error: LinkError) {
        self.network
            .close(&mut self.queue, &mut self.rng, self.now, id, side, error);
    }

    /// Every connection of a host, with the host's side of it.
    fn connections_of(&self, host: Host) -> Vec<(ConnectionId, Side)> {
        let side = |connection: &Connection<Message>| {
            let side = connection.ends.iter().position(|end| *end == host)?;
            Some((connection.id, side))
        };
        self.network.connections().filter_map(side).collect()
    }

    /// A host's process stops or goes on being run.
    fn freeze(&mut self, host: Host, frozen: bool) {
        if self.frozen[host] == frozen {
            return;
        }
        self.frozen[host] = frozen;
        if host < self.options.dukes {
            self.reckon(host);
            if !frozen {
                // As in the shell: the clock comes first, then what waited in the sockets.
                self.tick(host);
                self.catch_up(host);
            }
        }
        while !self.frozen[host]
            && let Some((id, side, segment)) = self.inboxes[host].pop_front()
        {
            self.deliver(host, id, side, segment);
        }
    }

    /// Whether two hosts reach each other and both are run.
    fn is_conversation_possible(&self, one: Host, other: Host) -> bool {
        let up = |host: Host| self.network.powered[host] && !self.frozen[host];
        up(one)
            && up(other)
            && !self.network.is_blocked(one, other)
            && !self.network.is_blocked(other, one)
    }

    // --- names ---

    fn duke_address(duke: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 1, last_octet(duke)], 26379))
    }

    fn node_address(node: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last_octet(node)], 6379))
    }

    /// The address a Duke or node listens at.
    fn address_of(&self, host: Host) -> SocketAddr {
        host.checked_sub(self.options.dukes)
            .map_or_else(|| Self::duke_address(host), Self::node_address)
    }

    /// The host at an address, if there is one.
    fn host_at(&self, address: SocketAddr) -> Option<Host> {
        let SocketAddr::V4(address) = address else {
            return None;
        };
        match address.ip().octets() {
            [10, 0, 1, number] => usize::from(number)
                .checked_sub(1)
                .filter(|duke| *duke < self.options.dukes),
            [10, 0, 0, number] => usize::from(number)
                .checked_sub(1)
                .filter(|node| *node < self.options.nodes)
                .map(|node| self.options.dukes + node),
            _ => None,
        }
    }

    /// The node at an address, if there is one.
    fn node_at(&self, address: SocketAddr) -> Option<usize> {
        self.host_at(address)?.checked_sub(self.options.dukes)
    }

    /// A host's name in the log.
    fn name(&self, host: Host) -> String {
        let (dukes, nodes) = (self.options.dukes, self.options.nodes);
        if host < dukes {
            format!("d{}", host + 1)
        } else if host < dukes + nodes {
            format!("n{}", host - dukes + 1)
        } else if host < dukes + nodes + self.options.clients {
            format!("c{}", host - dukes - nodes + 1)
        } else {
            "operator".to_owned()
        }
    }

    // --- the log ---

    fn is_logging(&self) -> bool {
        self.log.is_some()
    }

    fn tell(&mut self, line: std::fmt::Arguments<'_>) {
        let now = self.now;
        if let Some(log) = &mut self.log {
            // Writing to a String cannot fail.
            let _ok = writeln!(log, "{}.{:06} {line}", now / SECOND, now % SECOND);
        }
    }

    /// What happened so far, if it is told.
    #[must_use]
    pub fn log(&self) -> &str {
        self.log.as_deref().unwrap_or_default()
    }

    /// Lets a fault begin now.
    pub fn strike(&mut self, fault: Fault) {
        self.tell(format_args!("fault: {fault}"));
        self.begin_fault(fault);
        self.examine(fault.kind == FaultKind::Reset, None);
        if fault.kind == FaultKind::JumpClock {
            self.examine(false, Some(fault.duke));
        }
    }
}

fn last_octet(index: usize) -> u8 {
    u8::try_from(index + 1).expect("groups are small")
}

//! A Duke's driver: does for the engine what Duke's shell does, with a clock, a disk and connections
//! that can be spoiled.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
};

use duke_core::{
    ClientId, Durable, Engine, Input, LinkError, LinkId, Output, RequestId, Secrets, Time, View,
    config,
};
use duke_resp::{Bytes, Frame};
use rand::RngExt as _;

use super::{Event, Message, World};
use crate::{
    disk::{Disk, MASTER},
    mutant::Mutation,
    network::{ConnectionId, Host, Kind, Segment, Side},
    options::{Group, Options},
    oracle::Order,
    queue::{MILLI, Micros},
    server::{PASSWORD, nowhere},
};

/// Through which everything a Duke publishes is heard.
const LISTENER: ClientId = ClientId(1);
/// Through which the world asks on behalf of others; another one each time.
const FIRST_GUEST: u64 = 2;
/// Guests are numbered below every connection.
const GUESTS: u64 = 4000;

/// Where sentinels say hello.
const CHANNEL: Bytes = Bytes::from_static(b"__sentinel__:hello");

/// Passwords of the group.
pub(super) const SECRETS: [&str; 4] = [PASSWORD, "admin", "peer", "agent"];

/// One Duke.
#[derive(Debug)]
pub(super) struct Duke {
    pub(super) address: SocketAddr,
    pub(super) engine: Option<Engine>,
    pub(super) disk: Disk,
    pub(super) life: u32,
    /// When its process must be told the time; never, while that is past everything.
    pub(super) wake: Micros,
    /// What its disk takes on top of the usual.
    pub(super) slow: Micros,
    /// Its disk writes nothing.
    pub(super) fails: bool,
    settings: config::Settings,
    links: Vec<(LinkId, ConnectionId)>,
    clock: Clock,
    ticked: Option<Micros>,
    guests: u64,
    /// What guests were answered and have not taken yet.
    answers: VecDeque<(ClientId, Frame)>,
    /// Sequences the disk finished while the process did not run.
    finished: Vec<u64>,
    /// INFO asked for since it leads, where and when.
    infos: Vec<(RequestId, LinkId, Micros)>,
    /// Questions for the group's past, and who was asked.
    recoveries: Vec<(RequestId, Host)>,
    /// Logins that were not answered yet, and on which connections they were accepted.
    logins: Vec<(RequestId, LinkId)>,
    admitted: Vec<LinkId>,
    /// It is dead, and somebody pretends to be one at its address.
    pub(super) impostor: Option<u64>,
}

/// A monotonic clock that may run too fast and jump ahead.
#[derive(Debug)]
struct Clock {
    ahead_millis: u64,
    /// How much it gains in a million microseconds.
    drift: i64,
}

impl Clock {
    fn read(&self, now: Micros) -> u64 {
        let rate = u128::from(1_000_000_u64.saturating_add_signed(self.drift));
        let elapsed = u128::from(now) * rate / 1_000_000_000;
        self.ahead_millis + u64::try_from(elapsed).unwrap_or(u64::MAX)
    }

    /// When it shows at least `millis`.
    fn when(&self, millis: u64) -> Micros {
        let rate = u128::from(1_000_000_u64.saturating_add_signed(self.drift));
        let wanted = u128::from(millis.saturating_sub(self.ahead_millis)) * 1_000_000_000;
        u64::try_from(wanted.div_ceil(rate)).unwrap_or(u64::MAX)
    }
}

impl Duke {
    pub(super) fn new(duke: usize, options: &Options) -> Self {
        let text = format!(
            "duke group mymaster\nduke state /state\nsentinel down-after-milliseconds mymaster {}\n\
             sentinel failover-timeout mymaster {}\nsentinel parallel-syncs mymaster {}\n",
            options.down_after, options.failover_timeout, options.parallel_syncs
        );
        Self {
            address: World::duke_address(duke),
            engine: None,
            disk: match options.group {
                Group::Closed => Disk::new(options.group),
                Group::Open => Disk::with(options.group, World::first_file(options)),
            },
            life: 0,
            wake: Micros::MAX,
            slow: 0,
            fails: false,
            settings: config::parse(&text).expect("the options make a configuration"),
            links: Vec::new(),
            clock: Clock {
                ahead_millis: 0,
                drift: 0,
            },
            ticked: None,
            guests: 0,
            answers: VecDeque::new(),
            finished: Vec::new(),
            infos: Vec::new(),
            recoveries: Vec::new(),
            logins: Vec::new(),
            admitted: Vec::new(),
            impostor: None,
        }
    }

    /// What it holds true, while it runs.
    pub(super) fn view(&self) -> Option<View<'_>> {
        let engine = self.engine.as_ref()?;
        engine
            .view()
            .or_else(|| Some(engine.view_of(MASTER)?.belief))
    }
}

impl World {
    pub(super) fn draw_drift(&mut self, duke: usize) {
        let most = self.options.drift * 1_000;
        if most > 0 {
            self.dukes[duke].clock.drift = self.rng.random_range(-most..=most);
        }
    }

    /// Starts a Duke's process with what its disk has.
    pub(super) fn boot(&mut self, duke: usize) {
        if self.dukes[duke].impostor.take().is_some() {
            self.vacate(duke);
        }
        let seed = self.rng.random();
        let now = self.time(duke);
        let mut engine = match self.options.group {
            Group::Closed => self.closed_engine(duke, seed, now),
            Group::Open => {
                self.oracle.started_open(duke);
                self.open_engine(duke, seed, now)
            }
        };
        let one = &mut self.dukes[duke];
        if let Some(Mutation::Engine(mutant)) = self.options.mutation {
            engine.mutate(mutant);
        }
        one.engine = Some(engine);
        one.life += 1;
        one.ticked = None;
        let host = duke;
        self.network.listening[host] = true;
        self.network.powered[host] = true;
        let listener = Input::Joined {
            client: LISTENER,
            address: Self::duke_address(100),
        };
        self.give(duke, listener);
        let words = vec![Bytes::from_static(b"PSUBSCRIBE"), Bytes::from_static(b"*")];
        let client = LISTENER;
        self.give(duke, Input::Asked { client, words });
    }

    fn closed_engine(&mut self, duke: usize, seed: u64, now: Time) -> Engine {
        let one = &self.dukes[duke];
        let text = one.disk.text();
        let mut kept =
            text.map(|text| Durable::read(text).expect("the engine reads what it wrote"));
        let members = kept.iter().flat_map(|kept| kept.members.keys().cloned());
        self.oracle.started(duke, members.collect::<BTreeSet<_>>());
        if let Some(kept) = &mut kept
            && self.options.mutation == Some(Mutation::ForgetEpochs)
        {
            kept.current_epoch = kept.config_epoch;
            kept.leader_epoch = 0;
            kept.leader.clear();
        }
        let [data, admin, peer, agent] = SECRETS.map(str::to_owned);
        let secrets = Secrets {
            data,
            admin,
            peer,
            agent,
        };
        Engine::new(one.settings.clone(), secrets, kept, seed, now)
    }

    /// A Duke's process dies; without power nobody is told. `lucky` if what its disk was writing had got
    /// through.
    pub(super) fn kill_duke(&mut self, duke: usize, power: bool, lucky: bool) {
        let one = &mut self.dukes[duke];
        one.engine = None;
        one.disk.crash(lucky);
        one.links.clear();
        one.answers.clear();
        one.finished.clear();
        one.infos.clear();
        one.recoveries.clear();
        one.logins.clear();
        one.admitted.clear();
        one.wake = Micros::MAX;
        self.network.powered[duke] = power;
        self.network.listening[duke] = false;
        self.frozen[duke] = false;
        self.inboxes[duke].clear();
        for (id, side) in self.connections_of(duke) {
            self.close(id, side, LinkError::Reset);
        }
        self.oracle.stopped(duke);
    }

    pub(super) fn wipe(&mut self, duke: usize) {
        self.dukes[duke].disk.wipe();
    }

    /// A Duke's clock jumps ahead.
    pub(super) fn jump(&mut self, duke: usize, millis: u64) {
        self.dukes[duke].clock.ahead_millis += millis;
        self.reckon(duke);
    }

    fn time(&self, duke: usize) -> Time {
        Time::from_millis(self.dukes[duke].clock.read(self.now))
    }

    /// Lets time pass on a Duke.
    pub(super) fn tick(&mut self, duke: usize) {
        let now = self.time(duke);
        self.dukes[duke].ticked = Some(self.now);
        if let Some(engine) = &mut self.dukes[duke].engine {
            engine.tick(now);
            self.drain(duke);
        }
    }

    pub(super) fn give(&mut self, duke: usize, input: Input) {
        let now = self.time(duke);
        if let Some(engine) = &mut self.dukes[duke].engine {
            engine.handle(now, input);
            self.drain(duke);
        }
    }

    /// When the process must be told the time; never twice within a millisecond.
    pub(super) fn reckon(&mut self, duke: usize) {
        let running = !self.frozen[duke];
        let one = &mut self.dukes[duke];
        let deadline = one
            .engine
            .as_ref()
            .filter(|_| running)
            .and_then(Engine::deadline);
        one.wake = deadline.map_or(Micros::MAX, |deadline| {
            let earliest = one.ticked.map_or(0, |ticked| ticked + MILLI);
            one.clock
                .when(deadline.as_millis())
                .max(earliest)
                .max(self.now)
        });
    }

    fn drain(&mut self, duke: usize) {
        self.observe(duke);
        while let Some(output) = self.dukes[duke].engine.as_mut().and_then(Engine::poll) {
            self.carry_out(duke, output);
        }
        self.reckon(duke);
    }

    /// Shows the oracle what a Duke holds true now, before anything of it is said.
    fn observe(&mut self, duke: usize) {
        let led = self.oracle.leads(duke);
        let one = &mut self.dukes[duke];
        let Some(engine) = &one.engine else { return };
        if !led {
            one.infos.clear();
        }
        if let Some(view) = engine.view() {
            let kept = one.disk.kept();
            self.oracle
                .observe(duke, self.now, view, kept, &self.nodes, &mut self.history);
            let replaced = self.oracle.take_replaced(duke);
            if replaced.is_some_and(|master| self.is_surely_well(master)) {
                self.oracle
                    .needless(duke, "a majority has had it well and in reach");
            }
        } else {
            self.observe_open(duke);
        }
        if let Some(remark) = self.oracle.take_remark() {
            self.tell(format_args!("{remark}"));
        }
    }

    fn carry_out(&mut self, duke: usize, output: Output) {
        match output {
            Output::Answer { client, reply } => self.answer(duke, client, reply),
            Output::Connect { link, address } => {
                let to = self
                    .host_at(address)
                    .expect("Dukes are told true addresses");
                let id = self.connect(Kind::Duke(link), duke, to);
                self.dukes[duke].links.push((link, id));
            }
            Output::Disconnect { link } => {
                if let Some(id) = self.unlink(duke, link) {
                    self.close(id, 0, LinkError::Closed);
                }
            }
            Output::Persist { sequence, text } => self.save(duke, sequence, text),
            Output::Publish { clients, message } => {
                for client in clients {
                    self.answer(duke, client, message.clone());
                }
            }
            Output::Request {
                link,
                request,
                words,
            } => self.request(duke, link, request, words),
            // What a closed group never wants done, or what nobody here looks at.
            Output::Check { .. }
            | Output::Close { .. }
            | Output::Crash(_)
            | Output::Directory { .. }
            | Output::Distrust
            | Output::KillScript { .. }
            | Output::Listen { .. }
            | Output::LogLevel(_)
            | Output::Measure
            | Output::Protocol { .. }
            | Output::Read { .. }
            | Output::Ready(_)
            | Output::Resolve { .. }
            | Output::RunScript { .. }
            | Output::Shutdown
            | Output::Trust { .. }
            | Output::Write { .. } => {}
        }
    }

    fn answer(&mut self, duke: usize, client: ClientId, reply: Frame) {
        if client == LISTENER {
            if self.is_logging() {
                self.published(duke, &reply);
            }
            return;
        }
        if client.0 < GUESTS {
            self.dukes[duke].answers.push_back((client, reply));
            return;
        }
        let id = ConnectionId(client.0);
        let question = self
            .network
            .get_mut(id)
            .and_then(|connection| connection.questions.pop_front());
        let Some((request, epoch)) = question else {
            return;
        };
        if let Some(epoch) = epoch {
            let kept = self.dukes[duke].disk.kept();
            self.oracle.voted(duke, epoch, &reply, kept);
        }
        self.send(id, 0, Message::Reply(request, reply, None));
    }

    /// Tells the log what a Duke published.
    fn published(&mut self, duke: usize, reply: &Frame) {
        let items = reply.as_array().unwrap_or_default();
        let word = |index: usize| {
            let text = items.get(index).and_then(Frame::as_text)?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        if let (Some("pmessage"), Some(name), Some(payload)) =
            (word(0).as_deref(), word(2), word(3))
        {
            self.tell(format_args!("d{} {name} {payload}", duke + 1));
        }
    }

    fn request(&mut self, duke: usize, link: LinkId, request: RequestId, words: Vec<Bytes>) {
        let Some(id) = self.linked(duke, link) else {
            return;
        };
        let Some(to) = self.network.get(id).map(|connection| connection.ends[1]) else {
            return;
        };
        match words.first().map_or(&b""[..], |word| word) {
            b"INFO" if self.oracle.leads(duke) => {
                let infos = &mut self.dukes[duke].infos;
                // A leader may have put its question again because it does not go by the first one's answer.
                if self.options.group == Group::Open {
                    infos.retain(|(_, on, _)| *on != link);
                    self.oracle.disregard(duke, to);
                }
                infos.push((request, link, self.now));
            }
            b"AUTH" => self.dukes[duke].logins.push((request, link)),
            b"DUKE" => self.dukes[duke].recoveries.push((request, to)),
            b"REPLICAOF" | b"SLAVEOF" => {
                if !self.is_open() && !self.dukes[duke].admitted.contains(&link) {
                    self.oracle.gave_orders_to_stranger(duke, to);
                }
                let order = order_in(&words);
                let address = self.address_of(to);
                match self.dukes[duke].disk.kept() {
                    Some(kept) if self.is_open() => {
                        let world = (kept, &self.nodes[..]);
                        self.oracle.ordered_open(duke, order, address, world);
                    }
                    kept => {
                        let world = (kept, &self.nodes[..]);
                        self.oracle.ordered(duke, self.now, order, address, world);
                    }
                }
                if self.is_logging() {
                    let (from, to) = (self.name(duke), self.name(to));
                    self.tell(format_args!("{from} orders {to}: {order:?}"));
                }
            }
            _ => {}
        }
        self.send(id, 1, Message::Command(request, words));
    }

    fn save(&mut self, duke: usize, sequence: u64, text: String) {
        if self.dukes[duke].disk.save(sequence, text) {
            self.begin_writing(duke);
        }
        if self.options.mutation == Some(Mutation::AcknowledgeEarly) {
            self.give(duke, Input::Persisted { sequence });
        }
    }

    fn begin_writing(&mut self, duke: usize) {
        let (shortest, longest) = self.options.disk;
        let time = self.rng.random_range(shortest..=longest) + self.dukes[duke].slow;
        let life = self.dukes[duke].life;
        self.queue
            .push(self.now + time, Event::Written { duke, life });
        self.oracle.disk_begins(duke, self.now);
    }

    pub(super) fn written(&mut self, duke: usize, life: u32) {
        if self.dukes[duke].life != life {
            return;
        }
        if self.dukes[duke].fails {
            return self.write_again(duke);
        }
        let Some((sequence, more)) = self.dukes[duke].disk.written() else {
            return;
        };
        self.oracle.disk_ends(duke, self.now);
        if let Some(kept) = self.dukes[duke].disk.kept().filter(|_| self.is_open()) {
            self.oracle.kept(duke, kept);
        }
        if more {
            self.begin_writing(duke);
        }
        if self.frozen[duke] {
            self.dukes[duke].finished.push(sequence);
        } else {
            self.oracle.disk_fails(duke, false);
            self.give(duke, Input::Persisted { sequence });
        }
    }

    /// What the disk finished while the process did not run.
    pub(super) fn catch_up(&mut self, duke: usize) {
        for sequence in std::mem::take(&mut self.dukes[duke].finished) {
            self.oracle.disk_fails(duke, false);
            self.give(duke, Input::Persisted { sequence });
        }
    }

    // --- what comes to a Duke ---

    pub(super) fn at_duke(
        &mut self,
        duke: usize,
        id: ConnectionId,
        side: Side,
        segment: Segment<Message>,
    ) {
        if self.dukes[duke].engine.is_none() {
            return self.impostor_hears(duke, id, side, &segment);
        }
        if side == 1 {
            return self.peer_says(duke, id, segment);
        }
        let Some(link) = self.link_of(duke, id) else {
            return;
        };
        match segment {
            Segment::Established => {
                if self.is_open() {
                    let local = Self::duke_address(duke).ip();
                    self.give(duke, Input::LinkLocal { link, local });
                }
                self.give(duke, Input::LinkUp { link });
            }
            Segment::Data(Message::Push(hello)) => {
                let words = [Bytes::from_static(b"message"), CHANNEL, hello];
                let message = Frame::Array(words.map(Frame::Bulk).to_vec());
                self.give(duke, Input::Published { link, message });
            }
            Segment::End(error) => {
                self.unlink(duke, link);
                self.close(id, 0, error);
                self.give(duke, Input::LinkDown { link, error });
            }
            Segment::Data(Message::Reply(request, reply, witness)) => {
                self.note_login(duke, request, &reply);
                if let Some(witness) = witness {
                    let infos = &self.dukes[duke].infos;
                    let asked = infos.iter().find(|(asked, _, _)| *asked == request);
                    let asked = asked.map(|(_, _, at)| *at);
                    self.informed(duke, &witness, asked);
                }
                // The connection may be gone by now: what came on it before waited in the socket.
                let known = |(asked, _): &(RequestId, Host)| *asked == request;
                let asked = self.dukes[duke].recoveries.iter().position(known);
                if let Some(asked) = asked {
                    let (_, peer) = self.dukes[duke].recoveries.swap_remove(asked);
                    self.oracle.recollected(duke, peer, &reply);
                }
                self.give(
                    duke,
                    Input::Replied {
                        link,
                        request,
                        reply,
                    },
                );
            }
            Segment::Data(_) => {}
        }
    }

    /// Remembers on which connections a Duke's login was accepted.
    fn note_login(&mut self, duke: usize, request: RequestId, reply: &Frame) {
        let one = &mut self.dukes[duke];
        if let Some(at) = one.logins.iter().position(|(asked, _)| *asked == request) {
            let (_, link) = one.logins.swap_remove(at);
            if *reply == Frame::ok() {
                one.admitted.push(link);
            }
        }
    }

    /// Another Duke says something on a connection it opened.
    fn peer_says(&mut self, duke: usize, id: ConnectionId, segment: Segment<Message>) {
        let client = ClientId(id.0);
        match segment {
            Segment::Data(Message::Command(request, words)) => {
                let vote = asks_for_vote(&words);
                let Some(connection) = self.network.get_mut(id) else {
                    return;
                };
                let from = connection.ends[0];
                connection.questions.push_back((request, vote));
                if !std::mem::replace(&mut connection.joined, true) {
                    let address = Self::duke_address(from);
                    self.give(duke, Input::Joined { client, address });
                }
                if words.first().is_some_and(|word| &word[..] == b"PUBLISH") {
                    self.oracle
                        .greeted(duke, self.now, words.get(2).map_or(b"", |word| word));
                }
                self.give(duke, Input::Asked { client, words });
            }
            Segment::End(error) => {
                self.close(id, 1, error);
                self.give(duke, Input::Left { client });
            }
            Segment::Established | Segment::Data(_) => {}
        }
    }

    fn linked(&self, duke: usize, link: LinkId) -> Option<ConnectionId> {
        let links = &self.dukes[duke].links;
        let found = links.iter().find(|(known, _)| *known == link);
        found.map(|(_, id)| *id)
    }

    fn link_of(&self, duke: usize, id: ConnectionId) -> Option<LinkId> {
        let links = &self.dukes[duke].links;
        let found = links.iter().find(|(_, known)| *known == id);
        found.map(|(link, _)| *link)
    }

    fn unlink(&mut self, duke: usize, link: LinkId) -> Option<ConnectionId> {
        let id = self.linked(duke, link)?;
        self.dukes[duke].links.retain(|(known, _)| *known != link);
        self.dukes[duke].admitted.retain(|known| *known != link);
        self.dukes[duke].logins.retain(|(_, known)| *known != link);
        if let Some(connection) = self.network.get_mut(id) {
            let host = connection.ends[1];
            self.oracle.disregard(duke, host);
        }
        Some(id)
    }

    // --- guests: what is asked of a Duke without a connection ---

    /// Asks a Duke as somebody who proved to be `user`, if anybody; its answer, if that comes at once.
    pub(super) fn ask(
        &mut self,
        duke: usize,
        user: Option<usize>,
        words: &[&str],
    ) -> Option<Frame> {
        let one = &mut self.dukes[duke];
        one.guests = (one.guests + 1) % (GUESTS - FIRST_GUEST);
        let client = ClientId(FIRST_GUEST + one.guests);
        let address = Self::duke_address(101);
        self.give(duke, Input::Joined { client, address });
        if let Some(user) = user {
            let name = ["", "operator", "duke", "agent"][user];
            self.ask_as(duke, client, &["AUTH", name, SECRETS[user]]);
        }
        self.dukes[duke].answers.clear();
        self.ask_as(duke, client, words);
        let answer = self.dukes[duke].answers.pop_back();
        self.give(duke, Input::Left { client });
        answer.map(|(_, reply)| reply)
    }

    fn ask_as(&mut self, duke: usize, client: ClientId, words: &[&str]) {
        let words = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        self.give(duke, Input::Asked { client, words });
    }
}

/// What a REPLICAOF orders.
fn order_in(words: &[Bytes]) -> Order {
    let text = |index: usize| {
        let word = words.get(index)?;
        std::str::from_utf8(word).ok()
    };
    let ip = text(1).and_then(|word| word.parse().ok());
    let port = text(2).and_then(|word| word.parse().ok());
    match ip.zip(port) {
        None => Order::Promote,
        Some((ip, port)) if SocketAddr::new(ip, port) == nowhere() => Order::MakeWay,
        Some((ip, port)) => Order::Follow(SocketAddr::new(ip, port)),
    }
}

/// The epoch in which a command asks for a vote, if it does.
fn asks_for_vote(words: &[Bytes]) -> Option<u64> {
    let [command, sub, _, _, epoch, candidate, ..] = words else {
        return None;
    };
    let asks = &command[..] == b"SENTINEL"
        && sub.eq_ignore_ascii_case(b"is-master-down-by-addr")
        && &candidate[..] != b"*";
    let epoch = std::str::from_utf8(epoch).ok()?.parse().ok()?;
    asks.then_some(epoch)
}

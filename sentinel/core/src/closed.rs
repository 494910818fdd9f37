//! A Duke of a closed group: takes inputs to whom they concern, keeps the outputs in order behind
//! their barrier, and wakes everything whose time has come. Decides nothing itself.

mod command;
pub mod config;
mod directory;
pub(crate) mod durable;
mod election;
mod epoch;
mod event;
mod failover;
mod liveness;
mod login;
mod member;
mod node;
mod reason;
mod session;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use duke_resp::{Bytes, Frame};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

use self::{
    config::{MasterSettings, Settings},
    durable::Durable,
    election::Candidacy,
    failover::Failover,
    member::Peer,
    node::{Node, Told},
    session::Session,
};
use crate::{
    id::{ClientId, LinkId, RequestId},
    info::Lineage,
    input::{Input, LinkError},
    link::{Purpose, State},
    outbox::Outbox,
    output::Output,
    secret::Secrets,
    switchover::{Cause, Cut, POLL},
    time::{Time, millis},
};

/// Between two connection attempts to somebody who cannot be reached.
const RECONNECT: Duration = Duration::from_millis(100);
/// Between two looks at a node where all is well.
const INFO_PERIOD: Duration = Duration::from_secs(1);
/// Between two looks at a node while something changes.
const INFO_QUICK: Duration = Duration::from_millis(100);
/// The longest pause between two PINGs.
const PING_PERIOD_MAX: Duration = Duration::from_millis(250);
/// How late this Duke may be before it doubts its own clock rather than others' silence. Sentinel:
/// TILT, which stands still for half a minute instead.
const STALL: Duration = Duration::from_millis(100);
/// The shortest pause between two PINGs.
const PING_PERIOD_MIN: Duration = Duration::from_millis(10);

/// Whose connection it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    Node(SocketAddr),
    Peer(String),
}

/// A Duke of a closed group: one master, members and nodes told by an operator.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) settings: Settings,
    pub(crate) secrets: Secrets,
    pub(crate) durable: Durable,
    pub(crate) now: Time,
    pub(crate) nodes: BTreeMap<SocketAddr, Node>,
    pub(crate) peers: BTreeMap<String, Peer>,
    pub(crate) sessions: BTreeMap<ClientId, Session>,
    pub(crate) failover: Failover,
    /// Why there is one, or was the last.
    pub(crate) cause: Cause,
    pub(crate) candidacy: Candidacy,
    /// Clients of the master before, while they are not cut off yet.
    pub(crate) cut: Option<Cut<SocketAddr>>,
    /// Generation and epoch of the master this Duke made last.
    pub(crate) made: Option<(u64, u64)>,
    /// When the master last changed, as this Duke knows it.
    pub(crate) switched: Time,
    /// The sequence under which that is on disk.
    pub(crate) switch_saved: u64,
    /// What the directory says, if it says anything.
    listed: Option<Frame>,
    /// The replication ids of the group's data, as its master last named them.
    pub(crate) lineage: Option<Lineage>,
    /// Those of the master before, as far as they are known.
    pub(crate) former_lineage: Option<Lineage>,
    /// Who named the present ones.
    pub(crate) lineage_told: Told,
    /// How long after the beginning of time the replica that named them had last heard the master.
    pub(crate) lineage_heard: Duration,
    /// Masters of earlier epochs that have not yet been seen following the present one.
    pub(crate) formers: BTreeSet<SocketAddr>,
    /// Whether enough Dukes find the master down.
    pub(crate) agreed_down: bool,
    /// The newest state could not be written when that was tried last.
    pub(crate) disk_fails: bool,
    /// Of this Duke's questions to the others while it has no memory.
    pub(crate) nonce: u64,
    owners: BTreeMap<LinkId, Owner>,
    rng: ChaCha8Rng,
    outbox: Outbox,
    numbers: u64,
    started: Time,
    /// When something is to be done next, as of the last input.
    due: Option<Time>,
    #[cfg(feature = "mutation")]
    pub(crate) mutant: Option<crate::Mutant>,
}

impl Closed {
    /// A Duke that starts at `now`, with what it kept of an earlier life, if anything.
    pub(crate) fn new(
        settings: Settings,
        secrets: Secrets,
        kept: Option<Durable>,
        seed: u64,
        now: Time,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let fresh = kept.is_none();
        let mut durable = kept.unwrap_or_default();
        if durable.id.is_empty() {
            let (high, low) = (rng.random::<u128>(), rng.random::<u32>());
            durable.id = format!("{high:032x}{low:08x}");
        }
        let nonce = rng.random();
        let mut engine = Self {
            settings,
            secrets,
            durable,
            now,
            nodes: BTreeMap::new(),
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            failover: Failover::Idle,
            cause: Cause::Outage,
            candidacy: Candidacy::default(),
            cut: None,
            made: None,
            switched: now,
            switch_saved: 0,
            listed: None,
            lineage: None,
            former_lineage: None,
            lineage_told: Told::Former,
            lineage_heard: Duration::ZERO,
            formers: BTreeSet::new(),
            agreed_down: false,
            disk_fails: false,
            nonce,
            owners: BTreeMap::new(),
            rng,
            outbox: Outbox::default(),
            numbers: 0,
            started: now,
            due: None,
            #[cfg(feature = "mutation")]
            mutant: None,
        };
        if fresh {
            engine.persist();
        }
        engine.meet();
        engine.emit(Output::Ready(engine.durable.memory));
        engine.advance();
        engine
    }

    /// Takes one thing that happened.
    pub(crate) fn handle(&mut self, now: Time, input: Input) {
        self.pass(now);
        match input {
            Input::Asked { client, words } => {
                let looks = self.asked(client, &words);
                // Nothing has changed that would have to be decided anew.
                if looks && self.due.is_none_or(|due| now < due) {
                    return;
                }
            }
            Input::Joined { client, address } => {
                self.sessions.insert(client, Session::new(client, address));
                self.trust(client);
            }
            Input::Left { client } => {
                self.sessions.remove(&client);
            }
            Input::LinkDown { link, error } => self.link_down(link, error),
            Input::LinkUp { link } => self.link_up(link),
            Input::Persisted { sequence } => {
                self.disk_fails = false;
                self.outbox.acknowledge(sequence);
            }
            Input::PersistFailed { .. } => self.persist_failed(),
            Input::Replied {
                link,
                request,
                reply,
            } => self.replied(link, request, &reply),
            // A closed group runs no scripts, looks up no names, listens to no channels.
            Input::Checked { .. }
            | Input::FileRead { .. }
            | Input::FileWritten { .. }
            | Input::LinkLocal { .. }
            | Input::Measured { .. }
            | Input::Published { .. }
            // However long clients say nothing, they may stay: the kernel finds out who is gone.
            | Input::Quiet { .. }
            | Input::Resolved { .. }
            // Nobody is told how many commands there were.
            | Input::Served { .. }
            | Input::ScriptEnded { .. }
            | Input::ScriptStarted { .. } => {}
        }
        self.advance();
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Time) {
        self.pass(now);
        self.advance();
    }

    /// The next thing to do, if it may be done yet.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outbox.next()
    }

    pub(crate) fn held(&self) -> usize {
        self.outbox.held()
    }

    /// When [`Closed::tick`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// The same, found by looking at everything.
    fn next_due(&self) -> Option<Time> {
        let nodes = self.nodes.values().flat_map(|node| {
            let silence = self.silence(node.wire.silent_since(), node.down);
            let next_info = node.wire.reached().map(|_| node.next_info);
            [wire_deadline(&node.wire), silence, next_info]
        });
        let peers = self.peers.values().flat_map(|peer| {
            let silence = self.silence(peer.wire.silent_since(), peer.down);
            let up = peer.wire.reached().is_some();
            let hello = (up && self.durable.memory).then_some(peer.next_hello);
            let opinion = (up && self.wants_opinions()).then_some(peer.next_opinion);
            let recovery = (up && !self.durable.memory).then_some(peer.next_recovery);
            [
                wire_deadline(&peer.wire),
                silence,
                hello.into_iter().chain(opinion).chain(recovery).min(),
            ]
        });
        let own = [
            self.candidacy_deadline(),
            self.failover_deadline(),
            self.handover_expiry(),
            self.cut.as_ref().map(|cut| cut.until),
        ];
        nodes.chain(peers).chain(own).flatten().min()
    }

    fn silence(&self, since: Option<Time>, down: Option<Time>) -> Option<Time> {
        let expiry = since?
            .after(self.master_settings().down_after)
            .after(Duration::from_millis(1));
        down.is_none().then_some(expiry)
    }

    fn pass(&mut self, now: Time) {
        assert!(
            now >= self.now,
            "time went back from {:?} to {now:?}",
            self.now
        );
        let late = self
            .deadline()
            .map_or(Duration::ZERO, |due| now.since(due.max(self.now)));
        self.now = now;
        if late > STALL {
            tracing::warn!(late_ms = millis(late), "was not run for a while");
            let nodes = self.nodes.values_mut().map(|node| &mut node.wire);
            let peers = self.peers.values_mut().map(|peer| &mut peer.wire);
            for wire in nodes.chain(peers) {
                wire.forgive(now, late);
            }
            // An order that waited for the disk meanwhile may no longer be right when it leaves.
            let ordered = self.nodes.values().filter(|node| node.pointing);
            let ordered: Vec<SocketAddr> = ordered.map(|node| node.address).collect();
            for address in ordered {
                self.withdraw(address);
            }
        }
    }

    /// Does everything whose time has come, in the order in which facts become decisions.
    fn advance(&mut self) {
        self.tend_links();
        self.judge();
        self.consult();
        self.recover();
        self.elect();
        self.fail_over();
        self.steer();
        // Behind everything that asks nodes for reasons of its own: of two questions at one moment only the
        // second one's answer would count.
        self.look();
        self.greet();
        self.list();
        self.due = self.next_due();
    }

    // --- what the parts share ---

    /// The settings in force: those of the file, or what was set since.
    #[must_use]
    pub(crate) fn master_settings(&self) -> MasterSettings {
        self.durable.settings.unwrap_or(self.settings.master)
    }

    /// Wants something done, once everything remembered until now is durable.
    pub(crate) fn emit(&mut self, output: Output) {
        self.outbox.hold(output);
    }

    /// Wants something said that promises nothing.
    pub(crate) fn tell(&mut self, output: Output) {
        self.outbox.free(output);
    }

    /// Wants something done before anything that waits, also on the same connection.
    pub(crate) fn overtake(&mut self, output: Output) {
        self.outbox.overtake(output);
    }

    /// Makes the state durable before anything emitted from now on leaves; says under which number.
    pub(crate) fn persist(&mut self) -> u64 {
        self.outbox
            .persist(self.durable.print(&self.settings.group))
    }

    /// Whether everything remembered is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.outbox.is_settled()
    }

    /// Whether everything up to this number is durable.
    pub(crate) fn is_durable(&self, sequence: u64) -> bool {
        self.outbox.is_durable(sequence)
    }

    /// A number below `below`, 0 if that is 0.
    pub(crate) fn random_below(&mut self, below: u64) -> u64 {
        if below == 0 {
            0
        } else {
            self.rng.random_range(0..below)
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.now.since(self.started)
    }

    fn number(&mut self) -> u64 {
        self.numbers = self.numbers.saturating_add(1);
        self.numbers
    }

    /// Sends a command to a node, if its connection stands.
    pub(crate) fn ask_node(&mut self, address: SocketAddr, purpose: Purpose, words: &[&str]) {
        let request = RequestId(self.number());
        let Some(node) = self.nodes.get_mut(&address) else {
            return;
        };
        let asks = matches!(purpose, Purpose::Greeting | Purpose::Info | Purpose::Ping);
        // Whoever has yet to let us in is given no orders.
        let link = if asks {
            node.wire.reached()
        } else {
            node.wire.up()
        };
        let Some(link) = link else { return };
        node.wire.asked.insert(request, purpose);
        self.request(link, request, purpose, words);
    }

    /// Sends a command to another Duke, if its connection stands.
    pub(crate) fn ask_peer(&mut self, id: &str, purpose: Purpose, words: &[&str]) {
        let request = RequestId(self.number());
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let Some(link) = peer.wire.reached() else {
            return;
        };
        peer.wire.asked.insert(request, purpose);
        self.request(link, request, purpose, words);
    }

    fn request(&mut self, link: LinkId, request: RequestId, purpose: Purpose, words: &[&str]) {
        let words = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        let output = Output::Request {
            link,
            request,
            words,
        };
        match purpose {
            Purpose::Nothing | Purpose::Pointing | Purpose::Promotion(_) => {
                self.outbox.hold(output);
            }
            // What a node says of itself must be asked behind the orders that change it.
            // A switchover goes by a vote that is durable, and writes stand still meanwhile.
            Purpose::Greeting
            | Purpose::Info
            | Purpose::News
            | Purpose::Part
            | Purpose::Holding(_)
            | Purpose::Demotion(_) => self.outbox.free(output),
            Purpose::Identity
            | Purpose::Login
            | Purpose::Opinion(_)
            | Purpose::Ping
            | Purpose::Recovery => self.outbox.overtake(output),
        }
    }

    /// Brings the connections in line with who belongs to the group now.
    pub(crate) fn meet(&mut self) {
        let now = self.now;
        let mut links = Vec::new();
        let members = &self.durable.members;
        let id = &self.durable.id;
        self.peers.retain(|name, peer| {
            let stays = members.get(name) == Some(&peer.address) && name != id;
            links.extend(peer.wire.link().filter(|_| !stays));
            stays
        });
        for (name, address) in members.iter().filter(|(name, _)| *name != id) {
            self.peers
                .entry(name.clone())
                .or_insert_with(|| Peer::new(now, name.clone(), *address));
        }
        let mut wanted = self.durable.nodes.clone();
        // The operator may not know yet that a node became master, or that its pod is gone.
        wanted.extend(self.durable.master);
        self.nodes.retain(|address, node| {
            let stays = wanted.contains(address);
            links.extend(node.wire.link().filter(|_| !stays));
            stays
        });
        for address in wanted {
            self.nodes
                .entry(address)
                .or_insert_with(|| Node::new(now, address));
        }
        self.formers
            .retain(|former| self.nodes.contains_key(former));
        for link in links {
            self.owners.remove(&link);
            self.outbox.overtake(Output::Disconnect { link });
        }
    }

    // --- connections ---

    fn tend_links(&mut self) {
        self.renew_links();
        let idle = |state: State, now: Time| matches!(state, State::Idle(due) if due <= now);
        let due: Vec<(Owner, SocketAddr)> = self
            .nodes
            .values()
            .filter(|node| idle(node.wire.state, self.now))
            .map(|node| (Owner::Node(node.address), node.address))
            .chain(
                self.peers
                    .values()
                    .filter(|peer| idle(peer.wire.state, self.now))
                    .map(|peer| (Owner::Peer(peer.id.clone()), peer.address)),
            )
            .collect();
        for (owner, address) in due {
            let link = LinkId(self.number());
            let now = self.now;
            if let Some(wire) = self.wire(&owner) {
                wire.connecting(now, link);
            }
            self.owners.insert(link, owner);
            self.outbox.overtake(Output::Connect { link, address });
        }
        self.ping();
    }

    /// Gives up connections on which nothing is heard any more; new ones are tried at once.
    fn renew_links(&mut self) {
        let (now, down_after) = (self.now, self.master_settings().down_after);
        let nodes = self.nodes.values().map(|node| &node.wire);
        let peers = self.peers.values().map(|peer| &peer.wire);
        let stale: Vec<LinkId> = nodes
            .chain(peers)
            .filter(|wire| wire.is_stale(now, down_after))
            .filter_map(crate::link::Wire::link)
            .collect();
        for link in stale {
            self.outbox.overtake(Output::Disconnect { link });
            self.link_down(link, LinkError::TimedOut);
        }
    }

    fn wire(&mut self, owner: &Owner) -> Option<&mut crate::link::Wire> {
        match owner {
            Owner::Node(address) => self.nodes.get_mut(address).map(|node| &mut node.wire),
            Owner::Peer(id) => self.peers.get_mut(id).map(|peer| &mut peer.wire),
        }
    }

    fn ping(&mut self) {
        let quarter = self
            .master_settings()
            .down_after
            .checked_div(4)
            .unwrap_or(PING_PERIOD_MAX);
        let period = quarter.clamp(PING_PERIOD_MIN, PING_PERIOD_MAX);
        let now = self.now;
        let nodes: Vec<SocketAddr> = self
            .nodes
            .values()
            .filter(|node| node.wire.wants_ping(now))
            .map(|node| node.address)
            .collect();
        for address in nodes {
            self.ask_node(address, Purpose::Ping, &["PING"]);
            if let Some(node) = self.nodes.get_mut(&address) {
                node.wire.pinged(now, period);
            }
        }
        let peers: Vec<String> = self
            .peers
            .values()
            .filter(|peer| peer.wire.wants_ping(now))
            .map(|peer| peer.id.clone())
            .collect();
        for id in peers {
            self.ask_peer(&id, Purpose::Ping, &["PING"]);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.wire.pinged(now, period);
            }
        }
    }

    /// Asks nodes for INFO whose last one is old.
    fn look(&mut self) {
        let master = self.durable.master;
        let busy = !matches!(self.failover, Failover::Idle);
        // A master holds its clients' writes until the chosen node says that it has everything.
        let chosen = if let Failover::HandingOver { target, .. } = self.failover {
            Some(target)
        } else {
            None
        };
        let due: Vec<(SocketAddr, Duration)> = self
            .nodes
            .values()
            .filter(|node| node.wire.reached().is_some() && node.next_info <= self.now)
            .map(|node| {
                let settled = !busy
                    && master.is_some_and(|master| {
                        if master == node.address {
                            node.is_master()
                        } else {
                            node.replicates(master)
                        }
                    });
                let period = if chosen == Some(node.address) {
                    POLL
                } else if settled {
                    INFO_PERIOD
                } else {
                    INFO_QUICK
                };
                (node.address, period)
            })
            .collect();
        for (address, period) in due {
            self.inform(address, period);
        }
    }

    /// Asks a node for INFO now.
    pub(crate) fn inform(&mut self, address: SocketAddr, next: Duration) {
        let now = self.now;
        self.ask_node(address, Purpose::Info, &["INFO"]);
        if let Some(node) = self.nodes.get_mut(&address) {
            node.next_info = now.after(next);
        }
    }

    /// Forgets what a node said of itself, because it was said before something changed.
    pub(crate) fn doubt(&mut self, address: SocketAddr) {
        if let Some(node) = self.nodes.get_mut(&address) {
            node.informed = None;
            node.next_info = self.now;
            // Answers that are still on their way speak of the time before.
            for purpose in node.wire.asked.values_mut() {
                if *purpose == Purpose::Info {
                    *purpose = Purpose::Nothing;
                }
            }
        }
    }

    pub(crate) fn link_down(&mut self, link: LinkId, error: LinkError) {
        let pause = RECONNECT;
        self.end_link(link, error, pause);
    }

    /// A connection ended; if we were never let in there, the next attempt is due after `pause`.
    fn end_link(&mut self, link: LinkId, error: LinkError, pause: Duration) {
        let Some(owner) = self.owners.remove(&link) else {
            return;
        };
        tracing::debug!(?owner, ?error, "lost a link");
        let now = self.now;
        let mut stood = false;
        if let Some(wire) = self.wire(&owner) {
            if matches!(wire.state, State::Connecting(_)) {
                // Whoever refused us is not there any more.
                wire.refusal = None;
            }
            stood = wire.lost(now, RECONNECT, pause);
        }
        if let Owner::Peer(id) = &owner
            && *id == self.durable.leader
            && self.waits_for_another()
            && let Some(master) = self.durable.master.and_then(|at| self.nodes.get_mut(&at))
        {
            // It may have left the master half way.
            master.next_info = now;
        }
        if let Owner::Node(address) = owner {
            self.doubt(address);
            if let Some(node) = self.nodes.get_mut(&address) {
                node.pointing = false;
            }
            self.promotion_lost(address, stood);
        }
    }

    fn replied(&mut self, link: LinkId, request: RequestId, reply: &Frame) {
        let Some(owner) = self.owners.get(&link).cloned() else {
            return;
        };
        let Some(wire) = self.wire(&owner) else {
            return;
        };
        let Some(purpose) = wire.asked.remove(&request) else {
            return;
        };
        if wire.up().is_none() && !matches!(purpose, Purpose::Identity | Purpose::Login) {
            return;
        }
        match (&owner, purpose) {
            (_, Purpose::Greeting | Purpose::News | Purpose::Nothing | Purpose::Part) => {
                if let Frame::Error(text) = reply {
                    let text = String::from_utf8_lossy(text);
                    tracing::warn!(?owner, %text, "a peer refused a command");
                }
            }
            (_, Purpose::Login) => self.logged_in(&owner, link, reply),
            (_, Purpose::Ping) => self.ponged(&owner, reply),
            (Owner::Node(address), Purpose::Info) => self.informed(*address, reply),
            (Owner::Node(_), Purpose::Holding(epoch)) => self.hold_answered(epoch, reply),
            (Owner::Node(_), Purpose::Demotion(epoch)) => self.demotion_answered(epoch, reply),
            (Owner::Node(address), Purpose::Promotion(epoch)) => {
                self.promoted(*address, epoch, reply);
            }
            (Owner::Node(address), Purpose::Pointing) => self.pointed(*address, reply),
            (Owner::Peer(id), Purpose::Opinion(epoch)) => self.opinion(&id.clone(), epoch, reply),
            (Owner::Peer(id), Purpose::Identity) => self.identified(&id.clone(), link, reply),
            (Owner::Peer(id), Purpose::Recovery) => self.recollection(&id.clone(), reply),
            (Owner::Node(_), Purpose::Identity | Purpose::Opinion(_) | Purpose::Recovery)
            | (
                Owner::Peer(_),
                Purpose::Info
                | Purpose::Holding(_)
                | Purpose::Demotion(_)
                | Purpose::Promotion(_)
                | Purpose::Pointing,
            ) => {
                unreachable!("nobody is asked what only the other kind can answer")
            }
        }
    }

    fn ponged(&mut self, owner: &Owner, reply: &Frame) {
        let now = self.now;
        let Some(wire) = self.wire(owner) else { return };
        // As Sentinel: a server that loads or has lost its master is alive.
        let acceptable = if let Frame::Error(text) = reply {
            text.starts_with(b"LOADING") || text.starts_with(b"MASTERDOWN")
        } else {
            *reply == Frame::simple("PONG")
        };
        if acceptable {
            wire.ponged(now);
        } else {
            wire.refused();
        }
    }
}

fn wire_deadline(wire: &crate::link::Wire) -> Option<Time> {
    match wire.state {
        State::Idle(due) => Some(due),
        State::Connecting(_) => None,
        State::Greeting(_) => {
            let ping = wire.may_ping().then_some(wire.next_ping);
            [Some(wire.greeting_ends()), ping]
                .into_iter()
                .flatten()
                .min()
        }
        State::Up(_) => wire.may_ping().then_some(wire.next_ping),
    }
}

//! A Duke of open groups, as stock Sentinel is: it watches any number of masters, finds their
//! replicas and the other sentinels itself, and keeps what it knows in its sentinel.conf.
//!
//! This file takes inputs to whom they concern, keeps outputs in order behind the disk, and wakes
//! whoever's time has come. One master is looked at at a time, and only when something happened to
//! it: five thousand of them cost what happens to them, not what there is. `sentinel/README.md` lists
//! where the rules differ from stock's, and why.

pub(crate) mod acl;
mod address;
mod command;
mod election;
mod event;
mod failover;
mod hello;
mod judge;
mod link;
mod master;
mod peer;
mod save;
mod script;
mod server;
mod session;
mod timer;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

pub use self::master::view::OpenView;
use self::{
    acl::Users,
    address::Address,
    event::Level,
    hello::Hello,
    link::Owner,
    master::Master,
    peer::{Peer, Witness},
    script::Job,
    server::Server,
    session::Session,
    timer::{Sleeper, Timers, Turns},
};
use crate::{
    conf::{Conf, MasterConf},
    id::{ClientId, LinkId},
    input::Input,
    outbox::Outbox,
    output::Output,
    time::Time,
};

/// How late this Duke may be before it doubts its own clock rather than others' silence. Sentinel:
/// TILT, which stands still for half a minute instead.
const STALL: Duration = Duration::from_millis(100);

/// The time constants, which `SENTINEL DEBUG` changes.
#[derive(Clone, Debug)]
pub(crate) struct Periods {
    pub(crate) info: Duration,
    pub(crate) ping: Duration,
    pub(crate) ask: Duration,
    pub(crate) publish: Duration,
    pub(crate) down_after: Duration,
    pub(crate) failover_timeout: Duration,
    pub(crate) tilt_trigger: Duration,
    pub(crate) tilt: Duration,
    pub(crate) slave_reconf: Duration,
    pub(crate) reconnect: Duration,
    pub(crate) election: Duration,
    pub(crate) script_max: Duration,
    pub(crate) script_retry: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            info: seconds(10),
            ping: seconds(1),
            ask: seconds(1),
            publish: seconds(2),
            down_after: seconds(30),
            failover_timeout: seconds(180),
            tilt_trigger: seconds(2),
            tilt: seconds(30),
            slave_reconf: seconds(10),
            reconnect: seconds(15),
            election: seconds(10),
            script_max: seconds(60),
            script_retry: seconds(30),
        }
    }
}

/// A Duke without a list of members.
#[derive(Debug)]
pub(crate) struct Open {
    /// What it is told about itself; masters live in `masters` instead.
    conf: Conf,
    periods: Periods,
    now: Time,
    started: Time,
    /// Of this process; not the sentinel's id.
    run_id: String,
    masters: BTreeMap<String, Box<Master>>,
    peers: BTreeMap<u64, Peer>,
    owners: BTreeMap<LinkId, Owner>,
    /// Our end of connections.
    locals: BTreeMap<LinkId, IpAddr>,
    /// Where masters were last found by their addresses; not always where they are.
    places: BTreeMap<SocketAddr, String>,
    turns: Turns,
    timers: Timers,
    /// Masters something happened to.
    touched: BTreeSet<String>,
    /// Other sentinels something happened to.
    awake: BTreeSet<u64>,
    /// Hellos that were heard and not looked at yet.
    heard: VecDeque<Hello>,
    sessions: BTreeMap<ClientId, Session>,
    /// Those of them that subscribed to something.
    subscribers: BTreeSet<ClientId>,
    /// Those with commands behind one that waits.
    behind: BTreeSet<ClientId>,
    /// Clients that ever came.
    joined: u64,
    /// Commands they ever sent.
    commands: u64,
    users: Users,
    scripts: VecDeque<Job>,
    /// What hosts' names meant last; nothing if they mean nothing.
    names: BTreeMap<String, Option<IpAddr>>,
    /// Names that are being looked up.
    asked_names: BTreeSet<String>,
    /// Whether files can be run, as far as was asked.
    files: BTreeMap<String, bool>,
    /// Whoever waits for the file to be written, with the sequence.
    saving: VecDeque<(u64, ClientId)>,
    /// How long this process ran, itself and in the kernel, while it is being told.
    usage: Option<(Duration, Duration)>,
    /// Whoever waits for the file of users to be read, and to be written.
    loading: VecDeque<ClientId>,
    storing: VecDeque<ClientId>,
    /// What was refused for want of permission.
    denials: acl::log::Log,
    /// Clients that go once they have been answered.
    leaving: Vec<ClientId>,
    /// The last state could not be written.
    save_fails: bool,
    /// Simulated failures: after the election, after the promotion.
    crash_elected: bool,
    crash_promoted: bool,
    rng: ChaCha8Rng,
    outbox: Outbox,
    numbers: u64,
    #[cfg(feature = "mutation")]
    pub(crate) mutant: Option<crate::Mutant>,
}

impl Open {
    pub(crate) fn new(conf: Conf, seed: u64, now: Time) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let run_id = identity(&mut rng);
        let mut open = Self {
            users: Users::new(&conf.server),
            conf,
            periods: Periods::default(),
            now,
            started: now,
            run_id,
            masters: BTreeMap::new(),
            peers: BTreeMap::new(),
            owners: BTreeMap::new(),
            locals: BTreeMap::new(),
            places: BTreeMap::new(),
            turns: Turns::default(),
            timers: Timers::default(),
            touched: BTreeSet::new(),
            awake: BTreeSet::new(),
            heard: VecDeque::new(),
            sessions: BTreeMap::new(),
            subscribers: BTreeSet::new(),
            behind: BTreeSet::new(),
            joined: 0,
            commands: 0,
            scripts: VecDeque::new(),
            names: BTreeMap::new(),
            asked_names: BTreeSet::new(),
            files: BTreeMap::new(),
            saving: VecDeque::new(),
            usage: None,
            loading: VecDeque::new(),
            storing: VecDeque::new(),
            denials: acl::log::Log::default(),
            leaving: Vec::new(),
            save_fails: false,
            crash_elected: false,
            crash_promoted: false,
            rng,
            outbox: Outbox::default(),
            numbers: 0,
            #[cfg(feature = "mutation")]
            mutant: None,
        };
        open.begin();
        open
    }

    fn begin(&mut self) {
        let fresh = self.conf.sentinel.id.is_empty();
        if fresh {
            self.conf.sentinel.id = identity(&mut self.rng);
        }
        for (name, conf) in std::mem::take(&mut self.conf.masters) {
            self.watch(&name, conf);
        }
        if fresh {
            self.save();
        }
        let names: Vec<String> = self.masters.keys().cloned().collect();
        for name in names {
            self.with(&name, |open, master| {
                let payload = format!("{} quorum {}", open.at_master(master), master.conf.quorum);
                open.event(Some(master), Level::Warning, "+monitor", &payload);
            });
        }
        self.tell(Output::Ready(true));
        self.settle();
    }

    /// Begins to watch a master, with everything that is known of it.
    pub(crate) fn watch(&mut self, name: &str, conf: MasterConf) {
        let by_name = self.conf.sentinel.announce_hostnames;
        let ip = self.resolve(&conf.place.host);
        let address = Address::new(&conf.place.host, conf.place.port, ip);
        let turn = self.turns.take(self.now);
        let server = Server::new(turn, self.number(), address, by_name, false);
        let mut master = Box::new(Master::new(name, conf, server));
        let conf = &mut master.conf;
        for place in std::mem::take(&mut conf.replicas) {
            let ip = self.resolve(&place.host);
            let address = Address::new(&place.host, place.port, ip);
            if !address.same(&master.server.address) {
                let turn = self.turns.take(self.now);
                let server = Server::new(turn, self.number(), address, by_name, true);
                master.replicas.insert(server.name.clone(), server);
            }
        }
        for (id, place) in std::mem::take(&mut master.conf.sentinels) {
            if id == self.conf.sentinel.id {
                continue;
            }
            let ip = self.resolve(&place.host);
            let address = Address::new(&place.host, place.port, ip);
            let peer = self.peer_for(&id, &address);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.masters.insert(name.to_owned());
            }
            master.sentinels.insert(id, Witness::new(self.now, peer));
        }
        self.masters.insert(name.to_owned(), master);
        self.touched.insert(name.to_owned());
    }

    pub(crate) fn held(&self) -> usize {
        self.outbox.held()
    }

    /// Takes one thing that happened.
    pub(crate) fn handle(&mut self, now: Time, input: Input) {
        self.pass(now);
        match input {
            Input::Asked { client, words } => self.asked(client, words),
            Input::Checked { path, executable } => {
                self.files.insert(path, executable);
                self.resume();
                // A command that names two files waits for the other one still.
                if self.behind.is_empty() {
                    self.files.clear();
                }
            }
            Input::Joined { client, address } => self.welcome(client, address),
            Input::Left { client } => {
                self.left(client);
            }
            Input::LinkDown { link, error } => self.link_down(link, error),
            Input::LinkLocal { link, local } => {
                self.locals.insert(link, local);
            }
            Input::LinkUp { link } => self.link_up(link),
            Input::PersistFailed { sequence } => self.save_failed(sequence),
            Input::Measured { user, system } => {
                self.usage = Some((user, system));
                self.resume();
                // The next one who asks wants to know anew.
                self.usage = None;
            }
            Input::Persisted { sequence } => self.saved(sequence),
            Input::FileRead { path, text } => self.users_read(&path, text),
            Input::FileWritten { error } => self.users_written(error),
            Input::Published { link, message } => self.link_heard(link, &message),
            Input::Quiet { client } => self.quiet(client),
            Input::Replied {
                link,
                request,
                reply,
            } => self.replied(link, request, &reply),
            Input::Resolved { host, address } => self.name_resolved(&host, address),
            // Nothing has changed but numbers.
            Input::Served { client, count, at } => return self.served(client, count, at),
            Input::ScriptEnded { script, end } => self.script_ended(script, end),
            Input::ScriptStarted { script, pid } => self.script_started(script, pid),
        }
        self.settle();
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Time) {
        self.pass(now);
        self.settle();
    }

    /// The next thing to do, if it may be done yet.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        let output = self.outbox.next()?;
        let Output::Persist { sequence, text: _ } = output else {
            return Some(output);
        };
        // Written out only now: of many changes in a row only the last is.
        self.outbox.set_writing(true);
        let text = self.printed();
        Some(Output::Persist { sequence, text })
    }

    /// When [`Open::tick`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn pass(&mut self, now: Time) {
        assert!(
            now >= self.now,
            "time went back from {:?} to {now:?}",
            self.now
        );
        let due = self.deadline().map_or(now, |due| due.max(self.now));
        let late = now.since(due);
        self.now = now;
        if late > STALL {
            tracing::warn!(
                late_ms = crate::time::millis(late),
                "was not run for a while"
            );
            for master in self.masters.values_mut() {
                for server in master.servers_mut() {
                    server.command.forgive(now, late);
                }
            }
            for peer in self.peers.values_mut() {
                peer.wire.forgive(now, late);
            }
            self.withdraw_all();
        }
    }

    /// Looks after everybody something happened to or whose time has come, until nothing is left.
    fn settle(&mut self) {
        while let Some(sleeper) = self.timers.due(self.now) {
            match sleeper {
                Sleeper::Master(name) => {
                    self.touched.insert(name);
                }
                Sleeper::Peer(number) => {
                    self.awake.insert(number);
                }
                Sleeper::Scripts => self.run_scripts(),
            }
        }
        loop {
            if let Some(number) = self.awake.pop_first() {
                self.tend_peer(number);
            } else if let Some(hello) = self.heard.pop_front() {
                let name = hello.name.clone();
                self.with(&name, |open, master| open.hear(master, &hello));
            } else if let Some(name) = self.touched.pop_first() {
                self.look_after(&name);
            } else {
                break;
            }
        }
        if self.timers.next().is_some_and(|time| time <= self.now) {
            // Scripts that were asked for meanwhile.
            self.run_scripts();
        }
    }

    fn look_after(&mut self, name: &str) {
        let Some((key, mut master)) = self.masters.remove_entry(name) else {
            return;
        };
        self.tend(&mut master);
        self.judge(&mut master);
        self.consult(&mut master);
        self.elect(&mut master);
        self.fail_over(&mut master);
        self.steer(&mut master);
        self.greet(&mut master);
        self.list(&mut master);
        let due = self.master_deadline(&master);
        // What is due at once was done; a rule that finds more to do says so by touching.
        let due = due.map(|due| due.max(self.now.after(Duration::from_millis(1))));
        self.timers.set(Sleeper::Master(key.clone()), due);
        self.masters.insert(key, master);
    }

    /// Does something to one master, which is looked after then; nothing if there is no such master.
    pub(crate) fn with<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut Self, &mut Master) -> T,
    ) -> Option<T> {
        let (key, mut master) = self.masters.remove_entry(name)?;
        let result = act(self, &mut master);
        self.touched.insert(key.clone());
        self.masters.insert(key, master);
        Some(result)
    }

    /// Wants something done, once everything remembered until now is durable.
    pub(crate) fn emit(&mut self, output: Output) {
        self.outbox.hold(output);
    }

    /// Wants something done that promises nothing.
    pub(crate) fn tell(&mut self, output: Output) {
        self.outbox.free(output);
    }

    /// A number below `below`, 0 if that is 0.
    pub(crate) fn random_below(&mut self, below: u64) -> u64 {
        if below == 0 {
            0
        } else {
            self.rng.random_range(0..below)
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers = self.numbers.saturating_add(1);
        self.numbers
    }

    /// The address a host had last; none if it has none, or was never looked up.
    pub(crate) fn lookup(&self, host: &str) -> Option<IpAddr> {
        crate::conf::ip(host).or_else(|| self.names.get(host).copied().flatten())
    }

    /// The same, and has the name looked up again where names may stand at all.
    pub(crate) fn resolve(&mut self, host: &str) -> Option<IpAddr> {
        if crate::conf::ip(host).is_none()
            && self.conf.sentinel.resolve_hostnames
            && self.asked_names.insert(host.to_owned())
        {
            let host = host.to_owned();
            self.tell(Output::Resolve { host });
        }
        self.lookup(host)
    }

    fn name_resolved(&mut self, host: &str, address: Option<IpAddr>) {
        self.asked_names.remove(host);
        if address.is_some() || !self.names.contains_key(host) {
            self.names.insert(host.to_owned(), address);
        }
        let mut stale = Vec::new();
        let known = self.lookup(host);
        for (name, master) in &mut self.masters {
            for server in master.servers_mut() {
                if server.address.host == host && server.address.ip != known && known.is_some() {
                    server.address.ip = known;
                    stale.extend(server.command.link());
                    stale.extend(server.ears.link());
                    self.touched.insert(name.clone());
                }
            }
        }
        for (number, peer) in &mut self.peers {
            if peer.address.host == host && peer.address.ip != known && known.is_some() {
                peer.address.ip = known;
                stale.extend(peer.wire.link());
                self.awake.insert(*number);
            }
        }
        for link in stale {
            self.disconnect(link);
        }
        self.resume();
    }
}

/// Forty hexadecimal digits.
fn identity(rng: &mut ChaCha8Rng) -> String {
    let (high, low) = (rng.random::<u128>(), rng.random::<u32>());
    format!("{high:032x}{low:08x}")
}

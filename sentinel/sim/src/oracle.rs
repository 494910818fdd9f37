//! The invariants: what must hold after every event, whatever went wrong.
//!
//! Sees what each Duke believes, remembers, says and orders, and what the servers truly hold. It
//! remembers across crashes what a Duke may have forgotten. Each file below `oracle/` holds one
//! promise:
//!
//! Of closed groups:
//!
//! - [`vote`]: one leader in an epoch; a vote is given once, by a member with memory, to a member,
//!   and is on disk before it is said; a leader has a majority of such votes.
//! - [`belief`]: what a Duke believes never goes back; one master in an epoch, made by whoever was
//!   elected in it or by the operator; memory comes from the operator or a majority that has it.
//! - [`promotion`]: the promoted node lacks no acknowledged write that another eligible node, asked in
//!   the same election, holds. [`crate::history`] says which losses asynchronous replication permits.
//! - [`emptier`]: nobody is promoted who never had a whole copy, or who is back empty, while another may have more.
//! - [`needless`]: nobody replaces a master that is well, unless somebody ordered it.
//! - [`trust`]: nobody is ordered about who never accepted the group's password; whose disk fails promises nothing.
//! - [`order`]: orders in a master's name are given only while a majority is known to believe in it;
//!   nothing is said of which the disk does not know; strangers change nothing.
//!
//! Of open ones the same about votes and what is believed, but only what stock's protocol can promise:
//!
//! - [`open`]: epochs never go back, neither in the file nor over a crash; whoever promotes was elected, or told
//!   to; orders and names are of masters the file knows.
//! - [`claim`]: nobody who answered in the same election has a better claim, as stock sees it, than who is promoted.

mod belief;
mod claim;
mod emptier;
mod needless;
mod open;
mod order;
mod promotion;
mod trust;
mod vote;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use duke_core::View;

use self::open::Floor;
pub(crate) use self::order::Order;
use crate::{
    disk::Kept,
    history::History,
    network::Host,
    options::{Group, Options},
    queue::{MILLI, Micros},
    server::{Server, Witness},
};

/// Generation and epoch, by which masters and elections are named.
pub(crate) type Epoch = (u64, u64);

/// A Duke's view, kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Belief {
    id: String,
    memory: bool,
    generation: u64,
    current_epoch: u64,
    config_epoch: u64,
    leader_epoch: u64,
    leader: String,
    master: Option<SocketAddr>,
    master_down: bool,
    leads: Option<u64>,
    target: Option<SocketAddr>,
}

/// What the oracle remembers of one Duke's present life.
#[derive(Debug, Default)]
struct Watch {
    /// The last view; none while it does not run.
    belief: Option<Belief>,
    /// Names of the members it was told of.
    members: BTreeSet<String>,
    /// What each other Duke said in its hellos.
    greetings: BTreeMap<String, Greetings>,
    /// Masters' epoch it heard of.
    heard: Epoch,
    /// Dukes that told it the past.
    recollections: BTreeSet<Host>,
    /// The life of each node in which it was seen in touch with the master.
    touched: BTreeMap<Host, u32>,
    /// What nodes said in the present election, and when they were asked.
    witnesses: Vec<(Micros, Witness)>,
    /// The present master, if this Duke made it one, in an open group.
    made: Option<SocketAddr>,
    /// What each node said last, in an open group.
    said: BTreeMap<Host, Witness>,
    /// The best claim each of them made since just before the present election.
    best: BTreeMap<Host, Witness>,
    /// When a node was last told to become master.
    targets: BTreeMap<Host, Micros>,
    /// When it came to believe in its master.
    switched: Micros,
    /// In which epoch it believed in the same master before, and since when, if it did.
    renewed: Option<(Epoch, Micros)>,
    disk: DiskWatch,
    /// It was told that its disk takes nothing.
    disk_fails: bool,
    /// Somebody ordered it to replace the master, and it has not done so yet.
    ordered: bool,
    /// The master it has just begun to replace although nobody ordered that.
    replaced: Option<SocketAddr>,
}

/// In which master's epoch another Duke believes, by its hellos, and when it said so last.
#[derive(Clone, Copy, Debug, Default)]
struct Greetings {
    latest: (Micros, Epoch),
    /// The last one that said otherwise.
    former: (Micros, Epoch),
}

/// Since when a disk is busy, and until when it was.
#[derive(Clone, Copy, Debug, Default)]
struct DiskWatch {
    pending: u32,
    since: Micros,
    until: Micros,
}

/// All invariants of one run.
#[derive(Debug)]
pub(crate) struct Oracle {
    broken: Option<String>,
    remark: Option<String>,
    group: Group,
    majority: usize,
    /// How long a node that was asked can certainly not be found down.
    trust: Micros,
    /// How long a replica that is to be promoted may have been out of touch, in an open group.
    apart_max: Micros,
    watches: Vec<Watch>,
    /// Who was made master in which epoch.
    masters: BTreeMap<Epoch, SocketAddr>,
    /// Who led in which epoch.
    leaders: BTreeMap<Epoch, String>,
    /// Which vote a Duke gave in which epoch.
    votes: BTreeMap<(String, Epoch), String>,
    /// Moves that were ordered since nothing but Dukes has had trouble: they lose nothing.
    orders: BTreeSet<Epoch>,
    /// Beginnings the operator gave.
    seeds: BTreeSet<Epoch>,
    /// Masters made in an epoch in which another one was made, too.
    rivals: BTreeMap<Epoch, BTreeSet<SocketAddr>>,
    /// The Duke the operator is speaking to about one.
    being_seeded: Option<usize>,
    /// What each Duke's file said at most, in an open group.
    floors: Vec<Floor>,
    /// The newest master any file knew, and the epoch it was made in, in an open group.
    written: Option<(u64, SocketAddr)>,
    /// Names of everybody who ever was a member.
    members: BTreeSet<String>,
    /// Acknowledged writes that were lost as asynchronous replication permits.
    pub(crate) lost: usize,
}

impl Oracle {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            broken: None,
            remark: None,
            group: options.group,
            majority: match options.group {
                Group::Closed => options.majority(),
                Group::Open => options.majority().max(options.quorum),
            },
            trust: options.down_after * MILLI * 4 / 5,
            apart_max: 10 * options.down_after * MILLI * 4 / 5,
            floors: vec![Floor::default(); options.dukes],
            written: None,
            watches: (0..options.dukes).map(|_| Watch::default()).collect(),
            masters: BTreeMap::new(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            orders: BTreeSet::new(),
            seeds: BTreeSet::new(),
            rivals: BTreeMap::new(),
            being_seeded: None,
            members: BTreeSet::new(),
            lost: 0,
        }
    }

    /// The first promise that was broken.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// A promise is broken.
    pub(crate) fn fail(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Something the log should tell.
    pub(crate) fn take_remark(&mut self) -> Option<String> {
        self.remark.take()
    }

    /// How often the master was made anew.
    pub(crate) fn switches(&self) -> usize {
        self.masters.len().saturating_sub(1)
    }

    /// A Duke of a closed group starts, and knows these members.
    pub(crate) fn started(&mut self, duke: usize, members: BTreeSet<String>) {
        self.watches[duke] = Watch {
            members,
            ..Watch::default()
        };
    }

    /// A Duke's process died.
    pub(crate) fn stopped(&mut self, duke: usize) {
        self.watches[duke] = Watch::default();
    }

    /// The operator told a Duke who the members are.
    pub(crate) fn told(&mut self, duke: usize, names: &[String]) {
        self.members.extend(names.iter().cloned());
        self.watches[duke].members = names.iter().cloned().collect();
    }

    /// The operator gives the group a beginning.
    pub(crate) fn seeded(&mut self, generation: u64, epoch: u64) {
        self.seeds.insert((generation, epoch));
    }

    /// The operator tells this Duke of a beginning, or is done with that.
    pub(crate) fn seeds(&mut self, duke: Option<usize>) {
        self.being_seeded = duke;
    }

    /// Whether a Duke replaces the master, as it was last seen.
    pub(crate) fn leads(&self, duke: usize) -> bool {
        let belief = self.watches[duke].belief.as_ref();
        belief.is_some_and(|belief| belief.leads.is_some())
    }

    /// Looks at a Duke after something happened to it.
    pub(crate) fn observe(
        &mut self,
        duke: usize,
        now: Micros,
        view: View<'_>,
        kept: Option<&Kept>,
        nodes: &[Server],
        history: &mut History,
    ) {
        if self.watches[duke]
            .belief
            .as_ref()
            .is_some_and(|known| known.is(&view))
        {
            return;
        }
        let next = Belief::of(&view);
        let known = self.watches[duke].belief.replace(next.clone());
        if let Some(known) = &known
            && known.configured() != next.configured()
        {
            let same = known.master == next.master;
            let watch = &mut self.watches[duke];
            watch.renewed = same.then(|| (known.configured(), watch.switched));
        }
        self.check_progress(duke, known.as_ref(), &next);
        self.check_disk(duke, known.as_ref(), &next);
        self.check_master(duke, now, known.as_ref(), &next, nodes, history);
        let led = known.as_ref().and_then(|known| known.leads);
        if next.leads != led
            && let Some(epoch) = next.leads
        {
            self.check_election(duke, &next, epoch, kept);
            self.watches[duke].witnesses.clear();
        }
        if led.is_some() && next.leads.is_none() {
            self.watches[duke].ordered = false;
        }
        let told = known.as_ref().and_then(|known| known.target);
        if next.target != told
            && let Some(target) = next.target
        {
            self.check_choice(duke, now, &next, target, nodes, history);
            self.check_need(duke, &next, target);
            self.check_emptier(duke, &next, target, nodes, history);
        }
    }

    /// The node at an address.
    fn host(nodes: &[Server], address: SocketAddr) -> Option<&Server> {
        nodes.iter().find(|node| node.address == address)
    }
}

impl Belief {
    fn of(view: &View<'_>) -> Self {
        Self {
            id: view.id.to_owned(),
            memory: view.memory,
            generation: view.generation,
            current_epoch: view.current_epoch,
            config_epoch: view.config_epoch,
            leader_epoch: view.leader_epoch,
            leader: view.leader.to_owned(),
            master: view.master,
            master_down: view.master_down,
            leads: view.leads,
            target: view.target,
        }
    }

    fn is(&self, view: &View<'_>) -> bool {
        self.current_epoch == view.current_epoch
            && self.config_epoch == view.config_epoch
            && self.leader_epoch == view.leader_epoch
            && self.generation == view.generation
            && self.memory == view.memory
            && self.master_down == view.master_down
            && self.leads == view.leads
            && self.target == view.target
            && self.master == view.master
            && self.leader == view.leader
    }

    /// The epoch in which its master was made.
    fn configured(&self) -> Epoch {
        (self.generation, self.config_epoch)
    }
}

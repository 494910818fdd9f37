//! Replacing the master: how far the replacement is, and what comes next.
//!
//! ```text
//!            agreed down, own turn          majority
//!   Idle ───────────────────────▶ Candidate ────────▶ Selecting ──────▶ Promoting ─────▶ Idle
//!    ▲ ▲   SENTINEL FAILOVER          │ no majority       │ │ nobody fit    │ ▲ │ no answer (master switched;
//!    │ └──────────────────────────────┘                   │ │               │ │ │           `steering` does the rest)
//!    └────────────────────────────────────────────────────┴─│───────────────┘ │ │
//!    ▲                      ordered, and the master is alive └▶ HandingOver ───┘ │ the old master gets its role back
//!    └──────────────────────────────────────────────────────────────┴───────────┘
//! ```

mod handover;
mod selection;
mod steering;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use duke_resp::Frame;

use crate::{
    closed::{
        Closed,
        durable::process_name,
        election::LAPSE,
        node::{Holding, Node, Told},
    },
    input::LinkError,
    link::{Purpose, is_carried_out},
    mutation::Mutant,
    output::Output,
    switchover::{
        Cause, Cut, Old, Switchover,
        transaction::{self, Besides, NO_ONE},
    },
    time::Time,
};

/// How long nodes may take to say how much they have.
const SELECTION_PATIENCE: Duration = Duration::from_millis(200);
/// How long a node may take to become master.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(2);
/// The same while a living master waits for it without its role.
const HANDOVER_PATIENCE: Duration = Duration::from_millis(500);
/// A node that did not become master when it was told to is not told again for this long.
const UNFIT: Duration = Duration::from_secs(5);

/// How far a failover is on this Duke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Failover {
    /// There is none.
    Idle,
    /// Asking for votes; the own one is durable with sequence `own`.
    Candidate { epoch: u64, own: u64, until: Time },
    /// Elected; waiting for the nodes to say how much they have.
    Selecting {
        epoch: u64,
        asked: BTreeSet<SocketAddr>,
        until: Time,
    },
    /// The master lives, and is moved to the target as somebody ordered.
    HandingOver {
        epoch: u64,
        target: SocketAddr,
        plan: Switchover,
    },
    /// A node was told to become master.
    Promoting {
        epoch: u64,
        target: SocketAddr,
        obeyed: bool,
        until: Time,
        /// The old master that made way, and gets its role back if this comes to nothing.
        old: Option<Old<SocketAddr>>,
    },
}

impl Failover {
    /// Sentinel's word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Idle => "none",
            Self::Candidate { .. } => "wait_start",
            Self::Selecting { .. } => "select_slave",
            Self::HandingOver { plan, .. } => plan.word(),
            Self::Promoting { obeyed: false, .. } => "send_slaveof_noone",
            Self::Promoting { obeyed: true, .. } => "wait_promotion",
        }
    }
}

impl Closed {
    pub(crate) fn failover_deadline(&self) -> Option<Time> {
        match &self.failover {
            Failover::Idle => None,
            // It waits for the disk, but not for ever.
            Failover::Selecting { until, .. } if self.now >= *until => {
                Some(until.after(LAPSE).after(Duration::from_millis(1)))
            }
            Failover::Candidate { until, .. }
            | Failover::Selecting { until, .. }
            | Failover::Promoting { until, .. } => Some(*until),
            Failover::HandingOver { plan, .. } => Some(plan.deadline()),
        }
    }

    /// Goes on with a failover as far as it can go now.
    pub(crate) fn fail_over(&mut self) {
        self.call_off();
        self.count_if_candidate();
        if let Failover::Selecting {
            epoch,
            asked,
            until,
        } = &self.failover
        {
            if self.now.since(*until) > LAPSE {
                self.publish_master("-failover-abort-not-elected", "");
                self.retry_later();
            } else if (asked.is_empty() || self.now >= *until) && self.is_settled() {
                // An order that waited for the disk might leave when another Duke has long been elected.
                self.select(*epoch);
            }
        }
        self.go_on_handing_over();
        if let Failover::Promoting { target, until, .. } = self.failover
            && self.now >= until
        {
            self.abort_promotion(target);
        }
    }

    /// Elected: every node is asked how much it has.
    pub(crate) fn begin_selection(&mut self, epoch: u64) {
        // Where a living master is to be moved it is waited for, too: its connection may just have been cut, with
        // those of all clients.
        let moved = self.durable.master.filter(|_| self.cause != Cause::Outage);
        let known: BTreeSet<SocketAddr> = self
            .nodes
            .values()
            .filter(|node| {
                let returned = node.restarted || node.demoted.is_some();
                node.wire.reached().is_some() && (node.down.is_none() || returned)
            })
            .map(|node| node.address)
            .chain(moved)
            .collect();
        self.publish_master("+failover-state-select-slave", "");
        // Whoever is down is not waited for, but if it comes back meanwhile, it is not chosen by what
        // it had before.
        let all: Vec<SocketAddr> = self.nodes.keys().copied().collect();
        for address in all {
            self.doubt(address);
            self.inform(address, SELECTION_PATIENCE);
        }
        let until = self.now.after(SELECTION_PATIENCE);
        self.failover = Failover::Selecting {
            epoch,
            asked: known,
            until,
        };
    }

    /// A node said how much it has.
    pub(crate) fn selection_informed(&mut self, address: SocketAddr) {
        if let Failover::Selecting { asked, .. } = &mut self.failover {
            asked.remove(&address);
        }
    }

    fn select(&mut self, epoch: u64) {
        let Some(target) = self.candidate() else {
            self.candidacy.told = true;
            self.publish_master("-failover-abort-no-good-slave", "");
            return self.retry_later();
        };
        self.publish_node("+selected-slave", target);
        let at_once = self.mutated(Mutant::PromoteAtOnce);
        if self.cause == Cause::Outage || self.agreed_down || at_once {
            self.promote(epoch, target, None);
        } else {
            self.hand_over(epoch, target);
        }
    }

    /// Tells a node to become master; `old` made way for it.
    fn promote(&mut self, epoch: u64, target: SocketAddr, old: Option<Old<SocketAddr>>) {
        self.publish_node("+failover-state-send-slaveof-noone", target);
        let cut = Besides {
            cut: true,
            ..Besides::default()
        };
        self.await_promotion(epoch, target, cut, old);
    }

    fn await_promotion(
        &mut self,
        epoch: u64,
        target: SocketAddr,
        besides: Besides,
        old: Option<Old<SocketAddr>>,
    ) {
        self.give_role(target, NO_ONE, besides, Purpose::Promotion(epoch));
        self.inform(target, SELECTION_PATIENCE);
        let patience = old
            .as_ref()
            .map_or(PROMOTION_PATIENCE, |_| HANDOVER_PATIENCE);
        self.failover = Failover::Promoting {
            epoch,
            target,
            obeyed: false,
            until: self.now.after(patience),
            old,
        };
    }

    /// Gives a node another role, in one transaction; what it said before counts no more.
    fn give_role(
        &mut self,
        address: SocketAddr,
        role: [&str; 2],
        besides: Besides,
        purpose: Purpose,
    ) {
        let waits = !matches!(purpose, Purpose::Demotion(_));
        let part = if waits {
            Purpose::Nothing
        } else {
            Purpose::Part
        };
        for words in transaction::commands("REPLICAOF", role, besides) {
            self.ask_node(address, part, &words);
        }
        self.ask_node(address, purpose, &["EXEC"]);
        self.doubt(address);
    }

    /// The promotion's transaction was answered.
    pub(crate) fn promoted(&mut self, address: SocketAddr, in_epoch: u64, reply: &Frame) {
        let Failover::Promoting {
            epoch,
            target,
            obeyed,
            ..
        } = &mut self.failover
        else {
            return;
        };
        if *target != address || *epoch != in_epoch {
            return;
        }
        if is_carried_out(reply) {
            *obeyed = true;
        } else {
            tracing::warn!(%address, ?reply, "a node refused to become master");
            self.abort_promotion(address);
        }
    }

    /// The node that was told to become master may have said that it is.
    pub(crate) fn promotion_seen(&mut self, address: SocketAddr) {
        let Failover::Promoting {
            epoch,
            target,
            obeyed: true,
            old,
            ..
        } = &self.failover
        else {
            return;
        };
        let (epoch, target, old) = (*epoch, *target, old.clone());
        if target == address && self.nodes.get(&address).is_some_and(Node::is_master) {
            self.publish_node("+promoted-slave", address);
            self.publish_master("+failover-state-reconf-slaves", "");
            self.durable.config_epoch = epoch;
            self.made = Some((self.durable.generation, epoch));
            let process = self
                .nodes
                .get(&address)
                .map(|node| node.info.run_id.clone());
            self.switch(address, &process.unwrap_or_default());
            self.cut = old.map(|old| Cut::new(self.now, old));
            self.publish_master("+failover-end", "");
        }
    }

    /// The connection to the promoted node was lost before it was seen to be master, or a new one
    /// (not one that stood) could not be made.
    pub(crate) fn promotion_lost(&mut self, address: SocketAddr, stood: bool) {
        if let Failover::Promoting { target, obeyed, .. } = self.failover
            && target == address
            && !(obeyed && stood)
        {
            self.abort_promotion(address);
        }
        self.handover_lost(address);
        self.selection_informed(address);
    }

    fn abort_promotion(&mut self, target: SocketAddr) {
        let (epoch, old) = match &self.failover {
            Failover::Promoting { epoch, old, .. } => (*epoch, old.clone()),
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::HandingOver { .. } => return,
        };
        self.publish_node("-failover-abort-slave-timeout", target);
        self.spare(target);
        match old.filter(|_| !self.mutated(Mutant::KeepRole)) {
            Some(old) => self.give_back(epoch, &old),
            None => self.retry_soon(),
        }
        self.withdraw(target);
    }

    /// Leaves a node alone that did not become master when it was to.
    fn spare(&mut self, target: SocketAddr) {
        let until = self.now.after(UNFIT);
        if let Some(node) = self.nodes.get_mut(&target) {
            node.unfit_until = Some(until);
        }
    }

    /// An order that is still waiting for the disk must not leave once it is no longer meant: its
    /// connection goes with it.
    pub(crate) fn withdraw(&mut self, address: SocketAddr) {
        let link = self.nodes.get(&address).and_then(|node| node.wire.up());
        if let Some(link) = link {
            self.overtake(Output::Disconnect { link });
            self.link_down(link, LinkError::Other);
        }
    }

    /// Withdraws every order that is not obeyed yet, or was given in the name of another master than `address`.
    fn withdraw_others(&mut self, address: SocketAddr) {
        let target = match self.failover {
            // Even the one to `address`: it may still wait for the disk, and come when yet another is master.
            Failover::Promoting { target, obeyed, .. } if target != address || !obeyed => {
                Some(target)
            }
            Failover::HandingOver { ref plan, .. } if plan.has_demoted() => self.durable.master,
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::HandingOver { .. }
            | Failover::Promoting { .. } => None,
        };
        self.release();
        self.failover = Failover::Idle;
        let mut told: BTreeSet<SocketAddr> = target.into_iter().collect();
        if self.durable.master != Some(address) {
            let pointing = self.nodes.values().filter(|node| node.pointing);
            told.extend(pointing.map(|node| node.address));
        }
        for node in told {
            self.withdraw(node);
        }
    }

    /// Somebody else made `address` master.
    pub(crate) fn adopt(&mut self, address: SocketAddr) {
        // What it said before may be of an earlier time in which it was master, and of another history.
        self.doubt(address);
        self.switch(address, "");
        // Which process it was then nobody said. The one that answers first is taken for it: one
        // that restarted since follows nothing.
        if let Some(node) = self.nodes.get_mut(&address) {
            node.info.run_id.clear();
        }
    }

    /// `address` is the master from now on, by what the state already says of epochs and generation;
    /// `process` is its run id, if it was this Duke that saw it become master.
    fn switch(&mut self, address: SocketAddr, process: &str) {
        let group = self.settings.group.clone();
        self.withdraw_others(address);
        let old = self.durable.master.replace(address);
        self.durable.process = process_name(process);
        self.lineage_told = Told::Former;
        self.former_lineage = self.lineage.clone();
        self.switched = self.now;
        self.candidacy = crate::closed::election::Candidacy::default();
        self.agreed_down = false;
        self.cut = None;
        self.formers.remove(&address);
        if let Some(old) = old.filter(|old| *old != address) {
            self.formers.insert(old);
        }
        for peer in self.peers.values_mut() {
            peer.master_down = None;
        }
        self.meet();
        let now = self.now;
        for node in self.nodes.values_mut() {
            node.restarted = false;
            node.demoted = None;
            node.stray = None;
            node.apart = false;
            // Who failed to take the present master's place is not tried again at once.
            node.unfit_until = node.unfit_until.filter(|_| old == Some(address));
            node.next_info = now;
            if node.address == address {
                node.down = None;
                node.holding = Holding::Unseen;
                if node.is_known() && node.is_master() {
                    self.lineage = Some(node.info.lineage.clone());
                    self.lineage_told = Told::Master;
                }
            }
        }
        self.switch_saved = self.persist();
        self.hurry_hellos();
        let from = old.unwrap_or(address);
        self.publish(
            "+switch-master",
            &format!(
                "{group} {} {} {} {}",
                from.ip(),
                from.port(),
                address.ip(),
                address.port()
            ),
        );
        let replicas: Vec<SocketAddr> = self
            .nodes
            .keys()
            .filter(|node| **node != address)
            .copied()
            .collect();
        for replica in replicas {
            self.publish_node("+slave", replica);
        }
    }

    /// Starts a failover because somebody asked for it; false if there is nobody to promote.
    ///
    /// Whether somebody has all the data is seen once everybody was asked; what is known now may be
    /// a moment old.
    pub(crate) fn start_by_order(&mut self, cause: Cause) -> bool {
        let master = self.durable.master;
        let able = |node: &Node| {
            node.is_known()
                && node.down.is_none()
                && node.info.priority > 0
                && master != Some(node.address)
        };
        let possible = self.nodes.values().any(able);
        if possible {
            self.stand(cause);
        }
        possible
    }
}

//! Replacing the master: whom to promote, and how far the replacement is.
//!
//! ```text
//!            agreed down, own turn          majority
//!   Idle ───────────────────────▶ Candidate ────────▶ Selecting ──────▶ Promoting ─────▶ Idle
//!    ▲ ▲   SENTINEL FAILOVER          │ no majority       │ nobody fit      │ no answer     (master switched;
//!    │ └──────────────────────────────┘                   │                 │                `steer` does the rest)
//!    └────────────────────────────────────────────────────┴─────────────────┘
//! ```

use std::{cmp::Reverse, collections::BTreeSet, net::SocketAddr, time::Duration};

use duke_resp::Frame;

use crate::{election::LAPSE, engine::Engine, link::Purpose, node::Node, time::Time};

/// How long nodes may take to say how much they have.
const SELECTION_PATIENCE: Duration = Duration::from_millis(200);
/// How long a node may take to become master.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(2);
/// A node that did not become master when it was told to is not told again for this long.
const UNFIT: Duration = Duration::from_secs(5);
/// A node that follows somebody else without reason is left alone for this long.
const STRAY_PATIENCE: Duration = Duration::from_secs(1);
/// How much longer each next Duke waits before it gives an order: one is enough, and each cuts the
/// node's clients off.
const STEER_DELAY: Duration = Duration::from_millis(200);

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
    /// A node was told to become master.
    Promoting {
        epoch: u64,
        target: SocketAddr,
        obeyed: bool,
        until: Time,
    },
}

impl Failover {
    /// Sentinel's word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Idle => "none",
            Self::Candidate { .. } => "wait_start",
            Self::Selecting { .. } => "select_slave",
            Self::Promoting { obeyed: false, .. } => "send_slaveof_noone",
            Self::Promoting { obeyed: true, .. } => "wait_promotion",
        }
    }
}

impl Engine {
    pub(crate) fn failover_deadline(&self) -> Option<Time> {
        match &self.failover {
            Failover::Idle => None,
            Failover::Candidate { until, .. }
            | Failover::Selecting { until, .. }
            | Failover::Promoting { until, .. } => Some(*until),
        }
    }

    /// Goes on with a failover as far as it can go now.
    pub(crate) fn fail_over(&mut self) {
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
            } else if asked.is_empty() || self.now >= *until {
                self.select(*epoch);
            }
        }
        if let Failover::Promoting { target, until, .. } = self.failover
            && self.now >= until
        {
            self.abort_promotion(target);
        }
    }

    /// Elected: every node is asked how much it has.
    pub(crate) fn begin_selection(&mut self, epoch: u64) {
        let known: BTreeSet<SocketAddr> = self
            .nodes
            .values()
            .filter(|node| node.wire.up().is_some() && node.down.is_none_or(|_| node.restarted))
            .map(|node| node.address)
            .collect();
        self.publish_master("+failover-state-select-slave", "");
        for address in &known {
            self.doubt(*address);
            self.inform(*address, SELECTION_PATIENCE);
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

    /// The node to promote: of those that hold the group's data the one with the most.
    ///
    /// A node that restarted and has not been in sync since holds what it once had; the master of
    /// before may have writes nobody else has. Neither is compared with the others. If there is no
    /// other, the master itself may be promoted in place: it held the newest data. Only when it stays
    /// away whoever is left takes its place.
    pub(crate) fn candidate(&self) -> Option<SocketAddr> {
        let best = |nodes: &mut dyn Iterator<Item = &Node>| {
            nodes
                .max_by_key(|node| {
                    let info = &node.info;
                    (
                        info.offset,
                        Reverse(info.priority),
                        Reverse(info.run_id.clone()),
                    )
                })
                .map(|node| node.address)
        };
        let fit = || self.nodes.values().filter(|node| self.is_fit(node));
        best(&mut fit().filter(|node| self.is_current(node)))
            .or_else(|| self.master_in_place())
            .or_else(|| best(&mut fit().filter(|_| self.is_master_given_up())))
    }

    /// Whether a node could be promoted at all.
    fn is_fit(&self, node: &Node) -> bool {
        let former = self.formers.contains(&node.address) && node.is_master();
        node.is_known()
            && node.down.is_none()
            && !node.info.loading
            && !node.info.role.is_blank()
            && node.info.priority > 0
            && !former
            && node.unfit_until.is_none_or(|until| until <= self.now)
            && self.durable.master != Some(node.address)
    }

    /// Whether its data is a part of the group's present history, as far as this Duke saw. While the
    /// master lives nobody who has lost touch with it takes its place.
    fn is_current(&self, node: &Node) -> bool {
        let in_touch = self
            .durable
            .master
            .is_some_and(|master| node.replicates(master));
        if self.master_down().is_none() && !in_touch {
            return false;
        }
        let ours = match &self.lineage {
            Some(lineage) if lineage.is_known() && node.info.lineage.is_known() => {
                lineage.meets(&node.info.lineage)
            }
            // Nobody knows any more what the master had: at least it was in touch with it.
            _ => !node.info.unsynced,
        };
        ours && !node.reborn && !self.formers.contains(&node.address)
    }

    /// The master itself, if it is back from a restart and nobody else may hold as much.
    fn master_in_place(&self) -> Option<SocketAddr> {
        let master = self.nodes.get(&self.durable.master?)?;
        // Somebody who is out of reach just now may hold more than a master that restarted empty.
        let patience = self.master_settings().failover_timeout;
        let given_up = |node: &Node| {
            node.wire
                .silent_since()
                .is_some_and(|since| self.now.since(since) > patience)
        };
        let alone = self.nodes.values().all(|node| {
            let outdated = node.is_known() && (node.info.role.is_blank() || !self.is_current(node));
            node.address == master.address || outdated || (!node.is_known() && given_up(node))
        });
        let back = master.is_known() && master.restarted && !master.info.loading;
        (alone && back).then_some(master.address)
    }

    /// Whether the master has been down for longer than anybody should wait for it.
    fn is_master_given_up(&self) -> bool {
        let patience = self.master_settings().failover_timeout;
        self.master_down()
            .is_some_and(|since| self.now.since(since) > patience)
    }

    fn select(&mut self, epoch: u64) {
        let Some(target) = self.candidate() else {
            self.publish_master("-failover-abort-no-good-slave", "");
            return self.retry_later();
        };
        self.publish_node("+selected-slave", target);
        self.publish_node("+failover-state-send-slaveof-noone", target);
        for words in [
            &["MULTI"][..],
            &["REPLICAOF", "NO", "ONE"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["CLIENT", "KILL", "TYPE", "pubsub"],
        ] {
            self.ask_node(target, Purpose::Nothing, words);
        }
        self.ask_node(target, Purpose::Promotion(epoch), &["EXEC"]);
        self.doubt(target);
        self.inform(target, SELECTION_PATIENCE);
        let until = self.now.after(PROMOTION_PATIENCE);
        self.failover = Failover::Promoting {
            epoch,
            target,
            obeyed: false,
            until,
        };
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
        let done = reply
            .as_array()
            .and_then(<[Frame]>::first)
            .is_some_and(|first| !matches!(first, Frame::Error(_)));
        if done {
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
            ..
        } = self.failover
        else {
            return;
        };
        if target == address && self.nodes.get(&address).is_some_and(Node::is_master) {
            self.publish_node("+promoted-slave", address);
            self.publish_master("+failover-state-reconf-slaves", "");
            self.durable.config_epoch = epoch;
            self.switch(address);
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
        self.selection_informed(address);
    }

    fn abort_promotion(&mut self, target: SocketAddr) {
        self.publish_node("-failover-abort-slave-timeout", target);
        let until = self.now.after(UNFIT);
        if let Some(node) = self.nodes.get_mut(&target) {
            node.unfit_until = Some(until);
        }
        self.retry_soon();
    }

    /// `address` is the master from now on, by what the state already says of epochs and generation.
    pub(crate) fn switch(&mut self, address: SocketAddr) {
        let group = self.settings.group.clone();
        let old = self.durable.master.replace(address);
        self.switched = self.now;
        self.failover = Failover::Idle;
        self.candidacy = crate::election::Candidacy::default();
        self.agreed_down = false;
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
            node.stray = None;
            node.unfit_until = None;
            node.next_info = now;
            if node.address == address {
                node.down = None;
                node.reborn = false;
                if node.is_known() && node.is_master() {
                    self.lineage = Some(node.info.lineage.clone());
                }
            }
        }
        self.persist();
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

    /// Points every node that follows somebody else at the master.
    ///
    /// At once: nodes that follow nothing or a former master, and former masters. After a second
    /// look: everybody else, because another Duke may know better than this one. Dukes go one after
    /// the other, whoever made the master first.
    pub(crate) fn steer(&mut self) {
        let Some(master) = self.sane_master() else {
            return;
        };
        let elsewhere = self
            .candidacy
            .not_before
            .is_some_and(|until| until > self.now);
        let quiet = self.failover == Failover::Idle && self.durable.memory && !elsewhere;
        if !quiet || !self.is_confirmed() {
            return;
        }
        let turn = STEER_DELAY.saturating_mul(self.steering_rank());
        let mut places = self.places(master);
        let mut due = Vec::new();
        for node in self.nodes.values_mut() {
            if node.address == master || !node.is_known() || node.pointing || node.down.is_some() {
                continue;
            }
            if node.info.role.follows(master) {
                node.stray = None;
                continue;
            }
            // Nobody reads from it: it takes no place among those that are re-pointed in turn.
            let useless = node.info.role.is_blank() || self.formers.contains(&node.address);
            let behind = self
                .formers
                .iter()
                .any(|former| node.info.role.follows(*former));
            let patience = if useless || behind {
                turn
            } else {
                turn.saturating_add(STRAY_PATIENCE)
            };
            let since = *node.stray.get_or_insert(self.now);
            let confirmed = node.informed.is_some_and(|at| at.since(since) >= patience);
            if confirmed && (useless || places > 0) {
                places = places.saturating_sub(usize::from(!useless));
                due.push(node.address);
            }
        }
        for address in due {
            self.point(address, master);
        }
    }

    /// How many Dukes go before this one in giving orders.
    fn steering_rank(&self) -> u32 {
        let durable = &self.durable;
        let somebody_made_it =
            durable.leader_epoch == durable.config_epoch && !durable.leader.is_empty();
        if self.made_master() {
            0
        } else {
            self.rank().saturating_add(u32::from(somebody_made_it))
        }
    }

    /// How many more replicas may be made to copy the master's data now.
    fn places(&self, master: SocketAddr) -> usize {
        let syncing = self
            .nodes
            .values()
            .filter(|node| node.wire.up().is_some() && node.down.is_none())
            .filter(|node| {
                let follows = node.info.role.follows(master);
                node.pointing || (follows && !node.replicates(master))
            })
            .count();
        let allowed = self.master_settings().parallel_syncs;
        usize::try_from(allowed)
            .unwrap_or(usize::MAX)
            .saturating_sub(syncing)
    }

    /// The master, if it is well and said so after it became master.
    fn sane_master(&self) -> Option<SocketAddr> {
        let node = self.nodes.get(&self.durable.master?)?;
        let sane = node.is_known()
            && node.is_master()
            && node.down.is_none()
            && !node.restarted
            && node.informed.is_some_and(|at| at >= self.switched);
        sane.then_some(node.address)
    }

    fn point(&mut self, address: SocketAddr, master: SocketAddr) {
        let (ip, port) = (master.ip().to_string(), master.port().to_string());
        let takes_writes = self.nodes.get(&address).is_some_and(Node::is_master);
        let event = if takes_writes {
            "+convert-to-slave"
        } else {
            "+fix-slave-config"
        };
        self.publish_node(event, address);
        for words in [
            &["MULTI"][..],
            &["REPLICAOF", &ip, &port],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["CLIENT", "KILL", "TYPE", "pubsub"],
        ] {
            self.ask_node(address, Purpose::Nothing, words);
        }
        self.ask_node(address, Purpose::Pointing, &["EXEC"]);
        self.doubt(address);
        if let Some(node) = self.nodes.get_mut(&address) {
            node.pointing = true;
            node.stray = None;
        }
    }

    /// A node answered the order to follow the master.
    pub(crate) fn pointed(&mut self, address: SocketAddr, reply: &Frame) {
        let said = std::slice::from_ref(reply)
            .iter()
            .chain(reply.as_array().unwrap_or_default());
        let refused = said.into_iter().find_map(|frame| {
            if let Frame::Error(text) = frame {
                Some(text.clone())
            } else {
                None
            }
        });
        if let Some(text) = refused {
            let text = String::from_utf8_lossy(&text);
            tracing::warn!(%address, %text, "a node refused to follow the master");
            if let Some(node) = self.nodes.get_mut(&address) {
                node.pointing = false;
            }
        }
    }

    /// Starts a failover because somebody asked for it; false if there is nobody to promote.
    ///
    /// Whether somebody has all the data is seen once everybody was asked; what is known now may be
    /// a moment old.
    pub(crate) fn start_by_order(&mut self) -> bool {
        let master = self.durable.master;
        let able = |node: &Node| {
            node.is_known()
                && node.down.is_none()
                && node.info.priority > 0
                && master != Some(node.address)
        };
        let possible = self.nodes.values().any(able);
        if possible {
            self.stand();
        }
        possible
    }
}

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

use crate::{engine::Engine, link::Purpose, node::Node, time::Time};

/// How long nodes may take to say how much they have.
const SELECTION_PATIENCE: Duration = Duration::from_millis(200);
/// How long a node may take to become master.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(2);
/// A node that follows somebody else without reason is left alone for this long.
const STRAY_PATIENCE: Duration = Duration::from_secs(1);

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
            && (asked.is_empty() || self.now >= *until)
        {
            self.select(*epoch);
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
    /// A node that restarted and has not been in sync since comes last, whatever it says. If every
    /// node restarted, only the master itself may be promoted, in place: it held the newest data.
    pub(crate) fn candidate(&self) -> Option<SocketAddr> {
        let fit = |node: &&Node| {
            let former = self.formers.contains(&node.address) && node.is_master();
            let past = self.durable.master == Some(node.address);
            node.is_known()
                && node.down.is_none()
                && !node.info.loading
                && !node.info.role.is_blank()
                && node.info.priority > 0
                && !former
                && !past
        };
        let best = self.nodes.values().filter(fit).max_by_key(|node| {
            let info = &node.info;
            (
                !node.reborn,
                info.offset,
                Reverse(info.priority),
                Reverse(info.run_id.clone()),
            )
        });
        if let Some(node) = best {
            return Some(node.address);
        }
        let master = self.nodes.get(&self.durable.master?)?;
        // Somebody who is out of reach just now may hold more than a master that restarted empty.
        let patience = self.master_settings().failover_timeout;
        let given_up = |node: &Node| {
            node.wire
                .silent_since()
                .is_some_and(|since| self.now.since(since) > patience)
        };
        let alone = self.nodes.values().all(|node| {
            let blank = node.is_known() && node.info.role.is_blank();
            node.address == master.address || blank || (!node.is_known() && given_up(node))
        });
        let back = master.is_known() && master.restarted && !master.info.loading;
        (alone && back).then_some(master.address)
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
            self.persist();
            self.hurry_hellos();
        }
    }

    /// The connection to the promoted node was lost before it was seen to be master.
    pub(crate) fn promotion_lost(&mut self, address: SocketAddr) {
        if let Failover::Promoting {
            target,
            obeyed: false,
            ..
        } = self.failover
            && target == address
        {
            self.abort_promotion(address);
        }
        self.selection_informed(address);
    }

    fn abort_promotion(&mut self, target: SocketAddr) {
        self.publish_node("-failover-abort-slave-timeout", target);
        self.retry_later();
    }

    /// `address` is the master from now on.
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
            node.next_info = now;
            if node.address == address {
                node.down = None;
                node.reborn = false;
            }
        }
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
    /// look: everybody else, because another Duke may know better than this one.
    pub(crate) fn steer(&mut self) {
        let Some(master) = self.sane_master() else {
            return;
        };
        let quiet = matches!(self.failover, Failover::Idle) && self.durable.memory;
        if !quiet {
            return;
        }
        let now = self.now;
        let syncing = self
            .nodes
            .values()
            .filter(|node| node.info.role.follows(master) && !node.replicates(master))
            .count();
        let allowed = usize::try_from(self.master_settings().parallel_syncs).unwrap_or(usize::MAX);
        let mut places = allowed.saturating_sub(syncing);
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
            if node.info.role.is_blank() || self.formers.contains(&node.address) {
                due.push(node.address);
                continue;
            }
            let behind = self
                .formers
                .iter()
                .any(|former| node.info.role.follows(*former));
            let since = *node.stray.get_or_insert(now);
            let confirmed = node
                .informed
                .is_some_and(|at| at.since(since) >= STRAY_PATIENCE);
            if (behind || confirmed) && places > 0 {
                places = places.saturating_sub(1);
                due.push(node.address);
            }
        }
        for address in due {
            self.point(address, master);
        }
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
        self.publish_node("+fix-slave-config", address);
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
        }
        if let Some(node) = self.nodes.get_mut(&address) {
            node.pointing = false;
        }
    }

    /// Starts a failover because somebody asked for it; false if there is nobody to promote.
    pub(crate) fn start_by_order(&mut self) -> bool {
        if self
            .candidate()
            .is_none_or(|target| Some(target) == self.durable.master)
        {
            return false;
        }
        self.stand();
        true
    }
}

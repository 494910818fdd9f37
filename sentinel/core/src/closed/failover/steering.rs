//! Who follows whom: points every node that goes astray at the master.
//!
//! Acts in the master's name only while a majority believes in it, and never during an election.

use std::{net::SocketAddr, time::Duration};

use duke_resp::Frame;

use super::Failover;
use crate::{
    closed::{Closed, node::Node},
    link::Purpose,
    mutation::Mutant,
    switchover::transaction::Besides,
};

/// A node that follows somebody else without reason is left alone for this long.
const STRAY_PATIENCE: Duration = Duration::from_secs(1);
/// How much longer each next Duke waits before it gives an order: one is enough, and each cuts the
/// node's clients off.
const STEER_DELAY: Duration = Duration::from_millis(200);
/// How long a node that refused is left alone.
const REFUSAL: Duration = Duration::from_secs(1);

impl Closed {
    /// Points every node that follows somebody else at the master.
    ///
    /// At once: nodes that follow nothing or a former master, and former masters. After a second
    /// look: everybody else, because another Duke may know better than this one. Dukes go one after
    /// the other, whoever made the master first.
    pub(crate) fn steer(&mut self) {
        let Some(master) = self.sane_master() else {
            return;
        };
        let elsewhere = self.waits_for_another();
        let quiet = self.failover == Failover::Idle && self.durable.memory && !elsewhere;
        if !quiet || !self.is_confirmed() {
            return;
        }
        let spared = self.spared_master(master);
        let leaves_masters = self.mutated(Mutant::LeaveFormerMasters);
        let listens = |node: &Node| {
            let busy = node.pointing || node.down.is_some() || node.info.loading;
            let waits = busy || spared == Some(node.address);
            node.address != master && node.is_known() && !waits
        };
        let mut strays = false;
        for node in self.nodes.values_mut().filter(|node| listens(node)) {
            if node.info.role.follows(master) || (leaves_masters && node.is_master()) {
                node.stray = None;
            } else {
                node.stray.get_or_insert(self.now);
                strays = true;
            }
        }
        if !strays {
            return;
        }
        let turn = STEER_DELAY.saturating_mul(self.steering_rank());
        let mut places = self.places(master);
        let mut due = Vec::new();
        for node in self.nodes.values().filter(|node| listens(node)) {
            let Some(since) = node.stray else { continue };
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

    /// The old master whose clients are not cut off yet, because some Duke may still send them back to it.
    fn spared_master(&mut self, master: SocketAddr) -> Option<SocketAddr> {
        let cut = self.cut.as_ref()?;
        let ours = Some((self.durable.generation, self.durable.config_epoch));
        let all_know = self.is_durable(self.switch_saved)
            && self.peers.values().all(|peer| {
                let out_of_reach = peer.down.is_some() || peer.wire.up().is_none();
                out_of_reach || peer.believes == ours
            });
        let follows = |node: &Node| node.info.role.follows(master);
        let old = cut.old.at;
        let spared = !cut.is_due(self.now, all_know);
        if self.nodes.get(&old).is_none_or(follows) {
            self.cut = None;
        }
        spared.then_some(old)
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
        let cut = self.cut.take_if(|cut| cut.old.at == address);
        let besides = Besides {
            cut: true,
            unpause: cut.is_some_and(|cut| cut.old.held),
            ..Besides::default()
        };
        self.give_role(address, [&ip, &port], besides, Purpose::Pointing);
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
            // It is told again once it said anew what it is, not each millisecond.
            self.doubt(address);
            let later = self.now.after(REFUSAL);
            if let Some(node) = self.nodes.get_mut(&address) {
                node.pointing = false;
                node.next_info = later;
            }
        }
    }
}

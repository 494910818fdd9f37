//! Whom a leader promotes.
//!
//! The bound that is checked: when a leader decides, no *eligible* node holds a write that some client
//! knows to be acknowledged and that the chosen node, by its own answer in the same election, lacks.
//! Eligible is a node that answered this leader in this election as a replica in good order (its data
//! complete, not loading, of a priority above 0), that this leader has seen in touch with the present
//! master in the same life of its process, and that it did not try in vain just before. (It must have answered
//! so lately that the leader cannot have found it down again.) All else that
//! is lost with an election was held only by nodes that were away, restarted, or at odds with the
//! group's history: losing that is what asynchronous replication permits.

use std::net::SocketAddr;

use super::{Belief, Oracle};
use crate::{
    history::History,
    network::Host,
    queue::{Micros, SECOND},
    server::{Role, Server, Witness},
};

/// For so long a leader leaves a node alone that did not become master.
const UNFIT: Micros = 8 * SECOND;

impl Oracle {
    /// A node told a Duke how much it has; `asked` is when it was asked for an election, if it was.
    pub(crate) fn informed(&mut self, duke: usize, witness: &Witness, asked: Option<Micros>) {
        let watch = &mut self.watches[duke];
        let Some(belief) = &watch.belief else { return };
        let node = witness.node;
        let in_touch = witness.follows == belief.master.map(|master| (master, true));
        if in_touch {
            watch.touched.insert(node, witness.life);
        } else if watch.touched.get(&node) != Some(&witness.life) {
            watch.touched.remove(&node);
        }
        if let Some(asked) = asked {
            watch.witnesses.retain(|(_, other)| other.node != node);
            watch.witnesses.push((asked, *witness));
        }
    }

    /// What a node answered counts no more: the Duke lost its connection to it, and it may be another process
    /// when it is back; or it is asked anew.
    pub(crate) fn disregard(&mut self, duke: usize, node: Host) {
        self.watches[duke]
            .witnesses
            .retain(|(_, witness)| witness.node != node);
    }

    /// A leader chose whom to promote.
    pub(super) fn check_choice(
        &mut self,
        duke: usize,
        now: Micros,
        belief: &Belief,
        target: SocketAddr,
        nodes: &[Server],
        history: &History,
    ) {
        let Some(chosen) = Self::host(nodes, target) else {
            return self.fail(format!("d{} promotes {target}, which is no node", duke + 1));
        };
        let watch = &self.watches[duke];
        let said = |witness: &&(Micros, Witness)| witness.1.node == chosen.host;
        let Some((_, own)) = watch.witnesses.iter().find(said) else {
            return self.fail(format!("d{} promotes {target} unasked", duke + 1));
        };
        let better = watch
            .witnesses
            .iter()
            .filter(|(asked, witness)| witness.node != own.node && now - asked < self.trust)
            .map(|(_, witness)| witness)
            // Who died since has not what it had; whom another leader made master closed all connections.
            .filter(|witness| {
                let same = |server: &&Server| {
                    server.host == witness.node && server.life == witness.life && server.alive
                };
                let server = nodes.iter().find(same);
                server
                    .is_some_and(|server| server.role != Role::Master || witness.follows.is_none())
            })
            .filter(|witness| self.is_eligible(duke, now, belief, witness))
            .find_map(|witness| Some((witness.node, history.lacks(own.place, witness.place)?)));
        if let Some((node, write)) = better {
            let better = nodes.iter().find(|server| server.host == node);
            let better = better.map(|server| server.address);
            self.fail(format!(
                "d{} promotes {target}, which ends at {:?}, although {better:?} holds {write:?}",
                duke + 1,
                own.place
            ));
        }
        let host = chosen.host;
        self.watches[duke].targets.insert(host, now);
    }

    fn is_eligible(&self, duke: usize, now: Micros, belief: &Belief, witness: &Witness) -> bool {
        let watch = &self.watches[duke];
        let Some((follows, up)) = witness.follows else {
            return false;
        };
        let spared = watch
            .targets
            .get(&witness.node)
            .is_some_and(|at| now - at < UNFIT);
        let touched = watch.touched.get(&witness.node) == Some(&witness.life);
        let in_touch = up || belief.master_down;
        Some(follows) == belief.master
            && witness.synced
            && !witness.loading
            && witness.priority > 0
            && touched
            && in_touch
            && !spared
    }
}

//! Whom a leader of an open group promotes.
//!
//! Stock chooses by what servers say of themselves: the lowest priority, then the highest offset, then
//! the lowest run id; Duke puts last whoever is in the middle of a full synchronization, and behind these
//! who says it is a master: first of them the one that the group's master says it follows. Offsets of
//! different histories are compared as if they were of one, so nothing is demanded of what servers truly
//! hold.
//!
//! The bound that is checked: when a leader decides, no *eligible* server has, by its own words in the
//! same election, the better claim. Eligible is whoever answered this leader in this election, does not
//! load, has a priority above 0, was in touch with its master lately enough, and was not tried in vain just
//! before; and answered so lately that the leader cannot have found it down again. Which of several answers
//! the leader goes by nobody else knows: of the chosen one the best counts, and what it said before if it did not
//! answer in time; of the others the last, unless they were asked anew since.

use std::{cmp::Reverse, net::SocketAddr};

use super::{Belief, Oracle};
use crate::{
    queue::{Micros, SECOND},
    server::{Server, Witness},
};

/// For so long a leader leaves a server alone that did not become master, with what clocks may add.
const UNFIT: Micros = 8 * SECOND;

impl Oracle {
    /// A server told a Duke what it has; `asked` is when it was asked for an election, if it was.
    pub(crate) fn informed_open(&mut self, duke: usize, witness: &Witness, asked: Option<Micros>) {
        let watch = &mut self.watches[duke];
        watch.said.insert(witness.node, *witness);
        let best = watch.best.entry(witness.node).or_insert(*witness);
        if claim(witness, None) < claim(best, None) {
            *best = *witness;
        }
        if let Some(asked) = asked {
            watch
                .witnesses
                .retain(|(_, other)| other.node != witness.node);
            watch.witnesses.push((asked, *witness));
        }
    }

    /// A leader chose whom to promote.
    pub(super) fn check_claim(
        &mut self,
        duke: usize,
        now: Micros,
        belief: &Belief,
        target: SocketAddr,
        nodes: &[Server],
    ) {
        let Some(chosen) = Self::host(nodes, target).map(|server| server.host) else {
            return self.fail(format!("d{} promotes {target}, which is no node", duke + 1));
        };
        let watch = &self.watches[duke];
        let Some(own) = watch.best.get(&chosen) else {
            return self.fail(format!("d{} promotes {target} unasked", duke + 1));
        };
        let master = belief
            .master
            .and_then(|master| Self::host(nodes, master))
            .and_then(|master| watch.said.get(&master.host));
        let followed = master.and_then(|master| master.follows);
        let claim = |witness: &Witness| claim(witness, followed.map(|(address, _)| address));
        let better = watch
            .witnesses
            .iter()
            .filter(|(asked, witness)| witness.node != chosen && now - asked < self.trust)
            .map(|(_, witness)| witness)
            .filter(|witness| claim(witness) < claim(own))
            .find(|witness| self.is_candidate(duke, now, belief, witness));
        if let Some(better) = better {
            let (better, own) = (claim(better), claim(own));
            self.fail(format!(
                "d{} promotes {target} with the claim {own:?} although another one has {better:?}",
                duke + 1
            ));
        }
        self.watches[duke].targets.insert(chosen, now);
    }

    fn is_candidate(&self, duke: usize, now: Micros, belief: &Belief, witness: &Witness) -> bool {
        let spared = self.watches[duke]
            .targets
            .get(&witness.node)
            .is_some_and(|at| now - at < UNFIT);
        let lately = witness
            .apart_since
            .is_none_or(|since| now - since + SECOND < self.apart_max);
        let is_master = belief.master == Some(witness.address);
        !is_master && !witness.loading && witness.priority > 0 && lately && !spared
    }
}

/// What a server has to show, when the group's master says it follows that one: the least comes first.
fn claim(witness: &Witness, followed: Option<SocketAddr>) -> (bool, bool, bool, u32, Reverse<u64>) {
    let is_master = witness.follows.is_none();
    (
        is_master,
        is_master && followed != Some(witness.address),
        witness.unsynced,
        witness.priority,
        Reverse(witness.place.offset),
    )
}

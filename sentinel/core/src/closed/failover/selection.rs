//! Whom to promote: which nodes come into question, and which of them has the best claim.

use std::{cmp::Reverse, net::SocketAddr};

use crate::{
    closed::{
        Closed,
        node::{Node, Told},
    },
    info::{Info, Lineage},
    mutation::Mutant,
};

/// What a node has to offer; the greatest claim wins.
///
/// Who has data of the present master's own goes before whoever only shares an older history with it:
/// between these offsets say nothing. Then the most of it comes first, because what only one node has
/// would be lost. Priority breaks ties (the lower number wins, as in Sentinel), and names settle the
/// rest, so that every Duke chooses alike.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Claim {
    present: bool,
    offset: u64,
    priority: Reverse<u32>,
    run_id: Reverse<String>,
}

impl Claim {
    /// `present` is how much of the present master's own data it has, if any.
    fn of(info: &Info, present: Option<u64>) -> Self {
        Self {
            present: present.is_some(),
            offset: present.unwrap_or(info.offset),
            priority: Reverse(info.priority),
            run_id: Reverse(info.run_id.clone()),
        }
    }
}

impl Closed {
    /// The node to promote: of those that hold the group's data the one with the most.
    ///
    /// A node that restarted and has not been in sync since holds what it once had; the master of
    /// before may have writes nobody else has. Neither is compared with the others. If there is no
    /// other, the master itself may be promoted in place: it held the newest data. Only when it stays
    /// away, or is back without a single key, whoever is left takes its place.
    pub(crate) fn candidate(&self) -> Option<SocketAddr> {
        let best = |nodes: &mut dyn Iterator<Item = &Node>| {
            let claim = |node: &&Node| Claim::of(&node.info, self.present_part(node));
            let chosen = if self.mutated(Mutant::PromoteLowest) {
                nodes.min_by_key(claim)
            } else {
                nodes.max_by_key(claim)
            };
            chosen.map(|node| node.address)
        };
        let fit = || self.nodes.values().filter(|node| self.is_fit(node));
        // It takes writes that nobody else has, perhaps, and lacks those of its successor.
        let superseded = |node: &Node| self.formers.contains(&node.address) && node.is_master();
        let returned = self.returned_master();
        let emptied = returned.is_some_and(|master| self.is_emptied(master));
        let given_up = self.is_master_given_up();
        let left = || fit().filter(move |node| given_up || (emptied && node.info.keys > 0));
        best(&mut fit().filter(|node| self.is_current(node)))
            .or_else(|| Some(returned.filter(|_| !emptied)?.address))
            .or_else(|| best(&mut left().filter(|node| !superseded(node))))
            .or_else(|| best(&mut left()))
    }

    /// Whether a node could be promoted at all.
    fn is_fit(&self, node: &Node) -> bool {
        node.is_known()
            && node.down.is_none()
            && !node.info.loading
            && !node.info.role.is_blank()
            && node.info.priority > 0
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
        let ours = self.present_part(node).is_some()
            || match &self.lineage {
                Some(lineage) if lineage.is_known() && node.info.lineage.is_known() => {
                    lineage.meets(&node.info.lineage)
                }
                // Nobody knows any more what the master had: at least it was in touch with it.
                _ => !node.info.unsynced,
            };
        // Who restarted may have what it once had, and a former master writes of its own, until it has
        // taken over the present one's history.
        let former = self.formers.contains(&node.address);
        ours && (self.has_followed(node) || !(node.reborn || former))
    }

    /// Whether it follows the present master, and names its very history: they have been in touch, if
    /// out of this Duke's sight. A server that has only read an old copy of that history back from its
    /// disk is not taken for one: it says that it never was in touch (Redis and Valkey:
    /// `master_link_down_since_seconds:-1`).
    fn has_followed(&self, node: &Node) -> bool {
        let follows = |master| node.info.role.follows(master) && !node.info.unsynced;
        self.durable.master.is_some_and(follows) && self.names_present_history(node)
    }

    fn names_present_history(&self, node: &Node) -> bool {
        let known = |lineage: &Lineage| lineage.now == node.info.lineage.now;
        self.present_lineage().is_some_and(known)
    }

    /// The present master's history, if it is known.
    fn present_lineage(&self) -> Option<&Lineage> {
        let known = self.lineage.as_ref().filter(|known| known.is_known());
        known.filter(|_| self.lineage_told > Told::Former)
    }

    /// How much of the present master's own data a node has: it names that very history, or one that
    /// goes on from it. Where one of them names none it has at least been in touch with the master since
    /// it was told to follow it; but perhaps with an earlier process at that address, whose history ended
    /// when it was made anew.
    fn present_part(&self, node: &Node) -> Option<u64> {
        let Info {
            lineage, offset, ..
        } = &node.info;
        let follows = |master| node.info.role.follows(master) && !node.info.unsynced;
        let part = match self.present_lineage() {
            Some(known) if lineage.is_known() => lineage.part_of(&known.now, *offset),
            _ => {
                let follows = self.durable.master.is_some_and(follows);
                follows.then_some(*offset)
            }
        };
        part.or_else(|| self.mutated(Mutant::IgnoreLineage).then_some(*offset))
    }

    /// Whether the master came back without a single key, and others, of whatever history, have some.
    /// Offsets and names of histories do not tell: a server that reads a file of commands back has lost them
    /// just like an empty one.
    fn is_emptied(&self, master: &Node) -> bool {
        let keeps = |node: &Node| self.is_fit(node) && node.info.keys > 0;
        master.info.keys == 0 && self.nodes.values().any(keeps)
    }

    /// The master itself, if it is back from a restart and nobody else may hold as much of its history.
    fn returned_master(&self) -> Option<&Node> {
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
        (alone && back).then_some(master)
    }

    /// Whether the master has been down for longer than anybody should wait for it.
    fn is_master_given_up(&self) -> bool {
        let patience = self.master_settings().failover_timeout;
        self.master_down()
            .is_some_and(|since| self.now.since(since) > patience)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn info() -> impl Strategy<Value = Info> {
        (0_u64..3, 0_u32..3, "[ab]{2}").prop_map(|(offset, priority, run_id)| Info {
            run_id,
            offset,
            priority,
            ..Info::default()
        })
    }

    proptest! {
        #[test]
        fn claims_are_in_a_total_order(one in info(), two in info(), three in info()) {
            let [a, b, c] = [&one, &two, &three].map(|info| Claim::of(info, Some(info.offset)));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if one.offset > two.offset {
                prop_assert!(a > b, "nothing outweighs data");
            }
        }
    }
}

//! Whom to promote: which nodes come into question, and which of them has the best claim.

use std::{cmp::Reverse, net::SocketAddr};

use crate::{
    closed::{
        Closed,
        node::{Holding, Node, Told},
    },
    info::{Info, Lineage},
    mutation::Mutant,
    time::Time,
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
    /// The node to promote: of those that hold a part of the present history the one with the most.
    ///
    /// A node that restarted and has not been in sync since holds what it once had, one in its first copy
    /// nothing whole, the master of before may have writes nobody else has, and another history is another
    /// group's. None of them takes the place of a master that may come back with more, however long it stays
    /// away: then there is none until it does, or until the operator gives the group a new beginning.
    ///
    /// A Duke that was not told the data nodes of record cannot know who else may have more: it chooses nobody.
    pub(crate) fn candidate(&self) -> Option<SocketAddr> {
        if self.durable.nodes.is_empty() {
            return None;
        }
        let fit = || self.nodes.values().filter(|node| self.is_fit(node));
        let current = self.best(fit().filter(|node| self.is_current(node)));
        let chosen = self
            .demoted_master(current)
            .or(current)
            .or_else(|| self.last_resort())
            .or_else(|| self.best(fit().filter(|_| self.mutated(Mutant::PromoteHalfSynced))));
        chosen.map(|node| self.heir(node).address)
    }

    /// Whoever takes writes already, and has all that the chosen node has: a leader that came to nothing made it
    /// master, and what it took since would be lost. A master has all of its own history, whatever a replica of it
    /// said a moment later.
    fn heir<'a>(&'a self, chosen: &'a Node) -> &'a Node {
        let history = &chosen.info.lineage;
        let follows = |node: &Node| {
            let same = history.is_known() && node.info.lineage.now == history.now;
            same && !chosen.is_master()
        };
        let takes_over = |node: &&Node| {
            self.is_able(node) && node.is_master() && (follows(node) || holds_all_of(node, chosen))
        };
        let heirs = self.nodes.values().filter(takes_over);
        heirs.max_by_key(|node| node.info.offset).unwrap_or(chosen)
    }

    fn best<'a>(&self, nodes: impl Iterator<Item = &'a Node>) -> Option<&'a Node> {
        let claim = |node: &&Node| Claim::of(&node.info, self.present_part(node));
        if self.mutated(Mutant::PromoteLowest) {
            nodes.min_by_key(claim)
        } else {
            nodes.max_by_key(claim)
        }
    }

    /// Whom to promote when nobody else holds a part of the present history: the master itself, once it is
    /// back. If it is back without a single key, somebody who has some takes its place, but only once everybody
    /// was heard: whoever is away may have more.
    fn last_resort(&self) -> Option<&Node> {
        let master = self.returned_master()?;
        if master.info.keys > 0 {
            return Some(self.newest_of_its_history(master));
        }
        let others = || {
            let all = self.nodes.values();
            all.filter(|node| node.address != master.address)
        };
        if others().any(|node| !node.is_known() || node.info.loading) {
            return None;
        }
        let holders = || others().filter(|node| node.info.keys > 0);
        if holders().next().is_none() {
            // Nobody has anything: then it may as well go on.
            return Some(master);
        }
        // Who provably has all that the others have; between histories that have nothing to do with each other, or
        // went apart, people choose.
        let has_all = |node: &&Node| {
            self.is_able(node)
                && holders().all(|other| other.address == node.address || holds_all_of(node, other))
        };
        self.best(holders().filter(has_all))
    }

    /// The master, back with data, or whoever read more of the very same history from its disk: of what was
    /// restarted as a whole the newest snapshot goes on.
    fn newest_of_its_history<'a>(&'a self, master: &'a Node) -> &'a Node {
        let history = &master.info.lineage;
        let same = |node: &&Node| {
            self.is_able(node) && history.is_known() && node.info.lineage.now == history.now
        };
        let ahead = self.nodes.values().filter(same);
        let ahead = ahead.filter(|node| node.info.offset > master.info.offset);
        ahead.max_by_key(|node| node.info.offset).unwrap_or(master)
    }

    /// The master itself, if it made way for a leader that came to nothing, and nobody holds as much as it does.
    fn demoted_master(&self, current: Option<&Node>) -> Option<&Node> {
        let master = self.nodes.get(&self.durable.master?)?;
        let part = |node: &Node| self.present_part(node).unwrap_or(0);
        let ahead = current.is_none_or(|other| part(master) > part(other));
        let back = master.is_known() && master.demoted.is_some() && !master.info.loading;
        (back && ahead).then_some(master)
    }

    /// Whether a node could be promoted at all.
    fn is_fit(&self, node: &Node) -> bool {
        self.is_able(node) && !node.info.role.is_blank()
    }

    /// Whether a node is in a state to take another's place as master.
    fn is_able(&self, node: &Node) -> bool {
        node.is_known()
            && node.down.is_none()
            && !node.info.loading
            && node.info.priority > 0
            && node.unfit_until.is_none_or(|until| until <= self.now)
            && self.durable.master != Some(node.address)
    }

    /// Why a node does not take the master's place, in words for people; nothing, if it could.
    pub(crate) fn obstacle(&self, node: &Node) -> Option<&'static str> {
        let former = self.formers.contains(&node.address) && !self.has_followed(node);
        let unfit = node.unfit_until.is_some_and(|until| until > self.now);
        let anew = node.info.role.is_blank() || node.holding == Holding::Stale;
        let obstacles = [
            (node.wire.refusal.is_some(), "does not let this Duke in"),
            (!node.is_known() || node.down.is_some(), "is out of reach"),
            (node.info.loading, "is loading its data"),
            (node.info.priority == 0, "has the priority 0"),
            (unfit, "did not become master when it was told to"),
            (anew, "was started anew and has not been in sync since"),
            (
                !Self::is_whole(node),
                "has not got its first copy of the data",
            ),
            (former, "was master before and has not been in sync since"),
            (!self.is_current(node), "has data of another history"),
        ];
        let first = obstacles.into_iter().find(|(is, _)| *is);
        first.map(|(_, words)| words)
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
        let meets = |lineage: &Lineage| lineage.meets(&node.info.lineage);
        let ours = self.present_part(node).is_some() || self.lineage.as_ref().is_some_and(meets);
        // Who restarted may have what it once had, and a former master writes of its own, until it has
        // taken over the present one's history.
        let former = self.formers.contains(&node.address);
        ours && Self::is_whole(node)
            && (self.has_followed(node) || !(node.holding == Holding::Stale || former))
    }

    /// Whether it has a whole data set: it is, or was, in touch with the master it follows, or this process of it
    /// was seen in touch with the one before. A copy that was broken off may have left it nothing, and one that
    /// has begun leaves it no offset but the first.
    fn is_whole(node: &Node) -> bool {
        let keeps = node.info.keys > 0 && node.info.offset > 1;
        !node.info.unsynced || (node.holding == Holding::Whole && keeps)
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

    /// The master itself, if it is back from a restart and nobody else may hold as much of its history.
    fn returned_master(&self) -> Option<&Node> {
        let master = self.nodes.get(&self.durable.master?)?;
        // Somebody who is out of reach just now, or still reads its data, may hold more than a master that restarted.
        let patience = self.master_settings().failover_timeout;
        let long =
            |since: Option<Time>| since.is_some_and(|since| self.now.since(since) > patience);
        let alone = self.nodes.values().all(|node| {
            let outdated = node.info.role.is_blank() || !self.is_current(node);
            let heard = node.is_known() && (!node.info.loading || long(self.master_down()));
            let gone = !node.is_known() && long(node.wire.silent_since());
            node.address == master.address || (heard && outdated) || gone
        });
        let back = master.is_known() && master.restarted && !master.info.loading;
        (alone && back).then_some(master)
    }
}

/// Whether one node's history contains the other's as far as that goes.
fn holds_all_of(one: &Node, other: &Node) -> bool {
    let (ours, theirs) = (&one.info, &other.info);
    let part = ours.lineage.part_of(&theirs.lineage.now, ours.offset);
    theirs.lineage.is_known() && part.is_some_and(|part| part >= theirs.offset)
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

//! Which epochs and generations are believed.
//!
//! Both only rise, and what was believed once is believed for ever: one near the highest number there is would
//! leave no room for another election, or for the operator's next seeding. So one Duke alone, be it a member,
//! moves this one by a bounded step; further it takes a majority that says so.

use crate::{
    closed::{
        Closed,
        member::{Hello, Recollection},
    },
    mutation::Mutant,
};

/// How far ahead of ours an epoch or generation may be that one Duke alone tells of.
const JUMP_MAX: u64 = 1 << 20;
/// No epoch or generation is higher, whoever tells of it: there is always room for the next, and Sentinel's
/// replies hold numbers of 63 bits.
pub(crate) const HIGHEST: u64 = 1 << 62;

impl Closed {
    /// Whether an epoch that one Duke tells of can be true.
    pub(crate) fn is_reasonable(&self, epoch: u64) -> bool {
        self.is_in_reach(epoch, self.durable.current_epoch, |(_, told)| told)
    }

    /// Whether a hello's epochs and generation can be true.
    pub(crate) fn is_believable(&self, hello: &Hello) -> bool {
        let known = self.durable.generation;
        self.is_reasonable(hello.current_epoch)
            && self.is_in_reach(hello.generation, known, |(told, _)| told)
            && (hello.config_epoch <= hello.current_epoch
                || self.mutated(Mutant::BelieveAbsurdEpochs))
    }

    /// Whether a number is not far ahead of the one that is known, or a majority tells of about the same.
    fn is_in_reach(&self, number: u64, known: u64, told: impl Fn((u64, u64)) -> u64) -> bool {
        let fresh = self.peers.values().filter(|peer| self.is_fresh(peer));
        let all = fresh.filter_map(|peer| peer.tells);
        let agreeing = all.filter(|both| told(*both).abs_diff(number) <= JUMP_MAX);
        let agreed = agreeing.count() >= self.durable.majority();
        (number <= HIGHEST && (number <= known.saturating_add(JUMP_MAX) || agreed))
            || self.mutated(Mutant::BelieveAbsurdEpochs)
    }

    /// Takes an epoch another member told of; false if it is beyond reason.
    pub(crate) fn hear_epoch(&mut self, epoch: u64) -> bool {
        if !self.is_reasonable(epoch) {
            tracing::warn!(
                epoch,
                current = self.durable.current_epoch,
                "refused an epoch beyond reason"
            );
            return false;
        }
        if epoch > self.durable.current_epoch {
            self.durable.current_epoch = epoch;
            self.publish("+new-epoch", &epoch.to_string());
            self.persist();
            // Somebody else has been elected since, or is about to be.
            self.yield_to_another();
        }
        true
    }
}

/// Those of a majority of `needed` whose numbers are not far ahead of what as many tell.
pub(crate) fn reasonable(told: Vec<Recollection>, needed: usize) -> Vec<Recollection> {
    let limit = |of: fn(&Recollection) -> u64| {
        let mut all: Vec<u64> = told.iter().map(of).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        let agreed = all.get(needed.saturating_sub(1));
        agreed.map_or(0, |agreed| agreed.saturating_add(JUMP_MAX).min(HIGHEST))
    };
    let epochs = limit(|past| past.current_epoch);
    let generations = limit(|past| past.generation);
    told.into_iter()
        .filter(|past| past.current_epoch <= epochs && past.generation <= generations)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(generation: u64, current_epoch: u64) -> Recollection {
        Recollection {
            generation,
            current_epoch,
            config_epoch: 1,
            leader_epoch: 1,
            master: None,
        }
    }

    fn epochs(told: &[(u64, u64)], needed: usize) -> Vec<u64> {
        let told = told
            .iter()
            .map(|(generation, epoch)| past(*generation, *epoch));
        let left = reasonable(told.collect(), needed);
        left.iter().map(|past| past.current_epoch).collect()
    }

    #[test]
    fn one_duke_alone_tells_no_newcomer_of_absurd_numbers() {
        assert_eq!(epochs(&[(1, 10), (1, 12)], 2), [10, 12]);
        assert_eq!(epochs(&[(1, 10), (1, u64::MAX)], 2), [10]);
        assert_eq!(epochs(&[(1, 10), (u64::MAX, 12)], 2), [10]);
        assert_eq!(epochs(&[(1, u64::MAX), (1, 11), (1, 10)], 2), [11, 10]);
        let far = 1 << 40;
        assert_eq!(
            epochs(&[(1, far), (1, far + 1), (1, 10)], 2),
            [far, far + 1, 10],
            "a majority says so"
        );
        assert_eq!(
            epochs(&[(1, u64::MAX), (1, u64::MAX)], 2),
            [] as [u64; 0],
            "not that"
        );
    }
}

//! Deliberate faults. The simulator breaks one rule at a time and must notice it: a rule whose loss
//! nobody notices is not tested.
//!
//! Without the feature `mutation` no fault can be chosen and every hook is the constant false; with
//! it, hooks are inert until [`Engine::mutate`](crate::Engine::mutate) names one. A rule that only one kind
//! of group has is broken there only.

use crate::{closed::Closed, open::Open};

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mutant {
    /// Any epoch or generation is believed, however far ahead.
    BelieveAbsurdEpochs,
    /// Whoever asks is voted for, member or not.
    CountStrangers,
    /// The old master makes way although its clients' writes may not be held any more.
    DemoteLate,
    /// Who stands for election goes on when the master is back.
    GoOnWithoutReason,
    /// A hello of an older generation is believed.
    HearOlderGenerations,
    /// Every hello is believed, whatever its master's epoch.
    HearOlderMasters,
    /// Offsets of different histories are compared.
    IgnoreLineage,
    /// A refused login is taken for an accepted one.
    IgnoreRefusals,
    /// A master that made way for nothing does not get its role back.
    KeepRole,
    /// Who leads counts its own vote before that is on disk.
    LeadBeforeOwnVote,
    /// One vote makes a leader.
    LeadWithoutMajority,
    /// A former master that takes writes is left alone.
    LeaveFormerMasters,
    /// A new master is named to clients before it is on disk.
    NameEarly,
    /// A living master is replaced without waiting for its last writes.
    PromoteAtOnce,
    /// A replica is promoted before the old master made way.
    PromoteFirst,
    /// A node is promoted although it is in its first copy, empty or of another history, once the master has been
    /// away for long.
    PromoteHalfSynced,
    /// The replica with the least data is promoted.
    PromoteLowest,
    /// One other Duke's past is enough to recover from.
    RecoverFromOne,
    /// Whose disk takes nothing stands for election and votes all the same.
    RelyOnFailingDisk,
    /// A candidacy does not begin an epoch of its own.
    StandAgainInEpoch,
    /// Orders are given whether or not a majority believes in the master.
    SteerInMinority,
    /// A vote is said before it is on disk.
    VoteEarly,
    /// A vote does not exclude another one in the same epoch.
    VoteTwice,
    /// A Duke without memory votes.
    VoteWithoutMemory,
}

impl Closed {
    /// Breaks a rule from now on.
    #[cfg(feature = "mutation")]
    pub(crate) fn mutate(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }

    /// Whether this rule is broken.
    #[cfg(feature = "mutation")]
    pub(crate) fn mutated(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether this rule is broken: never.
    #[cfg(not(feature = "mutation"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn mutated(&self, _mutant: Mutant) -> bool {
        false
    }
}

impl Open {
    /// Breaks a rule from now on.
    #[cfg(feature = "mutation")]
    pub(crate) fn mutate(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }

    /// Whether this rule is broken.
    #[cfg(feature = "mutation")]
    pub(crate) fn mutated(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether this rule is broken: never.
    #[cfg(not(feature = "mutation"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn mutated(&self, _mutant: Mutant) -> bool {
        false
    }
}

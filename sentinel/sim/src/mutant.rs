//! Rules that can be broken on purpose: those of the engine, and those its driver has to keep.

use std::{collections::BTreeSet, fmt, str::FromStr};

use duke_core::Mutant;

use crate::options::Group;

/// A broken rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mutation {
    /// One of the engine's.
    Engine(Mutant),
    /// The driver says that a state is durable as soon as it is asked to write it.
    AcknowledgeEarly,
    /// The driver gives a Duke that starts its state back without epochs and votes.
    ForgetEpochs,
}

impl Mutation {
    /// Those of a closed group.
    pub const CLOSED: [Self; 23] = [
        Self::AcknowledgeEarly,
        Self::ForgetEpochs,
        Self::Engine(Mutant::BelieveAbsurdEpochs),
        Self::Engine(Mutant::CountStrangers),
        Self::Engine(Mutant::GoOnWithoutReason),
        Self::Engine(Mutant::HearOlderGenerations),
        Self::Engine(Mutant::HearOlderMasters),
        Self::Engine(Mutant::IgnoreLineage),
        Self::Engine(Mutant::IgnoreRefusals),
        Self::Engine(Mutant::KeepRole),
        Self::Engine(Mutant::LeadBeforeOwnVote),
        Self::Engine(Mutant::LeadWithoutMajority),
        Self::Engine(Mutant::LeaveFormerMasters),
        Self::Engine(Mutant::PromoteAtOnce),
        Self::Engine(Mutant::PromoteFirst),
        Self::Engine(Mutant::PromoteHalfSynced),
        Self::Engine(Mutant::PromoteLowest),
        Self::Engine(Mutant::RecoverFromOne),
        Self::Engine(Mutant::RelyOnFailingDisk),
        Self::Engine(Mutant::StandAgainInEpoch),
        Self::Engine(Mutant::SteerInMinority),
        Self::Engine(Mutant::VoteTwice),
        Self::Engine(Mutant::VoteWithoutMemory),
    ];

    /// Those that take a pause at one certain moment to be noticed: enumeration finds it, chance seldom does.
    pub const TIMED: [Self; 1] = [Self::Engine(Mutant::DemoteLate)];

    /// Those of an open group.
    pub const OPEN: [Self; 12] = [
        Self::AcknowledgeEarly,
        Self::ForgetEpochs,
        Self::Engine(Mutant::HearOlderMasters),
        Self::Engine(Mutant::LeadWithoutMajority),
        Self::Engine(Mutant::LeaveFormerMasters),
        Self::Engine(Mutant::NameEarly),
        Self::Engine(Mutant::PromoteAtOnce),
        Self::Engine(Mutant::PromoteFirst),
        Self::Engine(Mutant::PromoteLowest),
        Self::Engine(Mutant::StandAgainInEpoch),
        Self::Engine(Mutant::VoteEarly),
        Self::Engine(Mutant::VoteTwice),
    ];

    /// Those of such a group.
    #[must_use]
    pub const fn of(group: Group) -> &'static [Self] {
        match group {
            Group::Closed => &Self::CLOSED,
            Group::Open => &Self::OPEN,
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(mutant) => write!(f, "{mutant:?}"),
            Self::AcknowledgeEarly | Self::ForgetEpochs => write!(f, "{self:?}"),
        }
    }
}

impl FromStr for Mutation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = || {
            Self::CLOSED
                .into_iter()
                .chain(Self::OPEN)
                .chain(Self::TIMED)
        };
        all()
            .find(|mutation| mutation.to_string() == name)
            .ok_or_else(|| {
                let names: BTreeSet<String> = all().map(|mutation| mutation.to_string()).collect();
                let names: Vec<String> = names.into_iter().collect();
                format!("there is no '{name}'; there are {}", names.join(", "))
            })
    }
}

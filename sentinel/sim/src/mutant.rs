//! Rules that can be broken on purpose: those of the engine, and those its driver has to keep.

use std::{fmt, str::FromStr};

use duke_core::Mutant;

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
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::AcknowledgeEarly,
        Self::ForgetEpochs,
        Self::Engine(Mutant::BelieveAbsurdEpochs),
        Self::Engine(Mutant::CountStrangers),
        Self::Engine(Mutant::HearOlderGenerations),
        Self::Engine(Mutant::HearOlderMasters),
        Self::Engine(Mutant::IgnoreLineage),
        Self::Engine(Mutant::LeadWithoutMajority),
        Self::Engine(Mutant::LeaveFormerMasters),
        Self::Engine(Mutant::PromoteLowest),
        Self::Engine(Mutant::RecoverFromOne),
        Self::Engine(Mutant::StandAgainInEpoch),
        Self::Engine(Mutant::SteerInMinority),
        Self::Engine(Mutant::VoteTwice),
        Self::Engine(Mutant::VoteWithoutMemory),
    ];
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
        Self::ALL
            .into_iter()
            .find(|mutation| mutation.to_string() == name)
            .ok_or_else(|| {
                let names: Vec<String> = Self::ALL.iter().map(ToString::to_string).collect();
                format!("there is no '{name}'; there are {}", names.join(", "))
            })
    }
}

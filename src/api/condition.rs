//! Conditions of a Pipeline: their types, their reasons, and how they are set.
//!
//! A condition's transition time changes only when its status does, so writing the same state
//! again yields an equal status and no request.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// What a condition is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConditionType {
    /// The spec could be followed.
    SpecAccepted,
    /// Every object that the Pipeline has is as it is wanted.
    ObjectsApplied,
    /// Everybody knows the passwords that the Secret has.
    CredentialsApplied,
    /// There is a master, and it takes writes.
    MasterAvailable,
    /// A majority of the Dukes is alive, has memory, and agrees.
    DukesAgree,
    /// Every wanted replica follows the master.
    ReplicasInSync,
    /// The custom configuration is in force everywhere.
    ConfigApplied,
    /// Every pod is of the present revision and number.
    Updated,
    /// No node holds more Dukes than the group can lose; `Ready` does not depend on it.
    Spread,
    /// All of the above.
    Ready,
    /// The group goes on with less than it had, and nobody has accepted that yet. It is no part of
    /// the above: it appears when data was lost, and says what and when.
    DataLost,
}

impl ConditionType {
    /// All of them, in the order in which they build upon each other.
    pub const ALL: [Self; 10] = [
        Self::SpecAccepted,
        Self::ObjectsApplied,
        Self::CredentialsApplied,
        Self::MasterAvailable,
        Self::DukesAgree,
        Self::ReplicasInSync,
        Self::ConfigApplied,
        Self::Updated,
        Self::Spread,
        Self::Ready,
    ];

    /// The word in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpecAccepted => "SpecAccepted",
            Self::ObjectsApplied => "ObjectsApplied",
            Self::CredentialsApplied => "CredentialsApplied",
            Self::MasterAvailable => "MasterAvailable",
            Self::DukesAgree => "DukesAgree",
            Self::ReplicasInSync => "ReplicasInSync",
            Self::ConfigApplied => "ConfigApplied",
            Self::Updated => "Updated",
            Self::Spread => "Spread",
            Self::Ready => "Ready",
            Self::DataLost => "DataLost",
        }
    }
}

/// Why a condition has its status: one word for programs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// It is as it should be.
    AsWanted,
    /// The spec has errors; the message lists them with their remedies.
    InvalidSpec,
    /// Pods are being made, scheduled or started.
    PodsStarting,
    /// A pod cannot be scheduled or started.
    PodsStuck,
    /// There are fewer or more pods than wanted.
    Scaling,
    /// Pods are being replaced one by one.
    RollingUpdate,
    /// One node holds a majority of the Dukes while another is free.
    NodeCrowded,
    /// Pods would be made otherwise by this version of the operator, which waits for the next change.
    UpdateAvailable,
    /// The group has no master yet and is being given one.
    Seeding,
    /// The Dukes are replacing the master.
    FailingOver,
    /// Nobody is master, and nobody may be made master; the message says why.
    NoMaster,
    /// What servers hold cannot be compared, or may be less than what the group had: a human chooses.
    NeedsDecision,
    /// The group was given a master that has less than the group had.
    SeededWithLess,
    /// A human has accepted the loss of data.
    Accepted,
    /// The master's pod does not answer.
    MasterUnreachable,
    /// Too few Dukes answer.
    NoMajority,
    /// Too few Dukes remember the group.
    NoMemory,
    /// Dukes disagree on the master or on the membership.
    Disagreement,
    /// A replica is copying its data or its link is down.
    Syncing,
    /// A server refused a directive.
    DirectiveRefused,
    /// A directive waits for pods to restart.
    RestartPending,
    /// The API server refused an object, or something outside keeps us from going on.
    Blocked,
    /// An object of a name that the Pipeline needs is somebody else's.
    ForeignObject,
    /// Somebody changes an object whenever it is put back.
    Contested,
    /// Somebody changed a password in the Secret.
    SecretChanged,
    /// The Secret is gone, and nobody knows what stood in it.
    SecretLost,
    /// What somebody had changed was put back.
    PutBack,
    /// A server refuses the operator's password.
    CredentialsRefused,
    /// Another condition is not as it should be.
    NotYet,
    /// Nothing could be observed.
    Unobserved,
}

impl Reason {
    /// The word in the status, in events and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsWanted => "AsWanted",
            Self::InvalidSpec => "InvalidSpec",
            Self::PodsStarting => "PodsStarting",
            Self::PodsStuck => "PodsStuck",
            Self::Scaling => "Scaling",
            Self::RollingUpdate => "RollingUpdate",
            Self::NodeCrowded => "NodeCrowded",
            Self::UpdateAvailable => "UpdateAvailable",
            Self::Seeding => "Seeding",
            Self::FailingOver => "FailingOver",
            Self::NoMaster => "NoMaster",
            Self::NeedsDecision => "NeedsDecision",
            Self::SeededWithLess => "SeededWithLess",
            Self::Accepted => "Accepted",
            Self::MasterUnreachable => "MasterUnreachable",
            Self::NoMajority => "NoMajority",
            Self::NoMemory => "NoMemory",
            Self::Disagreement => "Disagreement",
            Self::Syncing => "Syncing",
            Self::DirectiveRefused => "DirectiveRefused",
            Self::RestartPending => "RestartPending",
            Self::Blocked => "Blocked",
            Self::ForeignObject => "ForeignObject",
            Self::Contested => "Contested",
            Self::SecretChanged => "SecretChanged",
            Self::SecretLost => "SecretLost",
            Self::PutBack => "PutBack",
            Self::CredentialsRefused => "CredentialsRefused",
            Self::NotYet => "NotYet",
            Self::Unobserved => "Unobserved",
        }
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// It could not be found out.
    Unknown,
}

impl Truth {
    /// The word in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One verdict, before it is merged into a status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub truth: Truth,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for humans: a sentence, with the remedy if there is one.
    pub message: String,
}

/// Merges verdicts into the conditions of a status.
///
/// `generation` is the object's, `now` the time of a transition. Conditions that no verdict speaks
/// of stay, those of a type we do not know, too: somebody else may have put them there.
pub fn merge(
    conditions: &mut Vec<Condition>,
    verdicts: &[Verdict],
    generation: Option<i64>,
    now: Timestamp,
) {
    for verdict in verdicts {
        let found = conditions
            .iter_mut()
            .find(|known| known.type_ == verdict.kind.as_str());
        let since = found
            .as_ref()
            .filter(|known| known.status == verdict.truth.as_str())
            .map_or(Time(now), |known| known.last_transition_time.clone());
        let condition = Condition {
            last_transition_time: since,
            message: verdict.message.clone(),
            observed_generation: generation,
            reason: verdict.reason.as_str().to_owned(),
            status: verdict.truth.as_str().to_owned(),
            type_: verdict.kind.as_str().to_owned(),
        };
        match found {
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    }
    conditions.sort_by(|left, right| left.type_.cmp(&right.type_));
}

/// Whether a condition holds in a status; `None` when it is not there.
#[must_use]
pub fn holds(conditions: &[Condition], kind: ConditionType) -> Option<bool> {
    conditions
        .iter()
        .find(|known| known.type_ == kind.as_str())
        .map(|known| known.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: ConditionType, truth: Truth, message: &str) -> Verdict {
        Verdict {
            kind,
            truth,
            reason: Reason::AsWanted,
            message: message.to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_a_change_of_status_moves_the_transition_time() {
        let mut conditions = Vec::new();
        let ready = ConditionType::Ready;
        merge(
            &mut conditions,
            &[verdict(ready, Truth::False, "one")],
            Some(1),
            at(10),
        );
        merge(
            &mut conditions,
            &[verdict(ready, Truth::False, "two")],
            Some(2),
            at(20),
        );
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].message, "two");
        assert_eq!(conditions[0].observed_generation, Some(2));
        merge(
            &mut conditions,
            &[verdict(ready, Truth::True, "two")],
            Some(2),
            at(30),
        );
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn the_same_verdicts_in_another_order_make_the_same_status() {
        let verdicts: Vec<Verdict> = ConditionType::ALL
            .iter()
            .map(|kind| verdict(*kind, Truth::True, "so"))
            .collect();
        let mut forward = Vec::new();
        merge(&mut forward, &verdicts, None, at(1));
        let mut backward = Vec::new();
        let reversed: Vec<Verdict> = verdicts.into_iter().rev().collect();
        merge(&mut backward, &reversed, None, at(1));
        assert_eq!(forward, backward);
        assert_eq!(holds(&forward, ConditionType::Ready), Some(true));
    }

    #[test]
    fn conditions_of_others_are_left_alone() {
        let foreign = Condition {
            last_transition_time: Time(at(5)),
            message: String::new(),
            observed_generation: None,
            reason: "Theirs".to_owned(),
            status: "True".to_owned(),
            type_: "example.com/Blessed".to_owned(),
        };
        let mut conditions = vec![foreign.clone()];
        merge(
            &mut conditions,
            &[verdict(ConditionType::Ready, Truth::True, "")],
            None,
            at(9),
        );
        assert!(conditions.contains(&foreign));
    }
}

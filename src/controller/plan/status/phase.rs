//! The one word of a status, and the sentence that goes with it: what a person has to know first.

use crate::api::{
    Phase, PipelineStatus,
    condition::{ConditionType, Reason, Truth, Verdict},
};

/// The verdict on everything, from all others, and from whether data was lost.
pub(super) fn readiness(verdicts: &[Verdict], lost: Option<&str>) -> Verdict {
    let of = |truth, reason, message| Verdict {
        kind: ConditionType::Ready,
        truth,
        reason,
        message,
    };
    if let Some(lost) = lost {
        return of(Truth::False, Reason::NotYet, format!("DataLost: {lost}"));
    }
    let missing = verdicts
        .iter()
        .filter(|verdict| verdict.truth != Truth::True);
    match missing.min_by_key(|verdict| rank(verdict)) {
        None => of(
            Truth::True,
            Reason::AsWanted,
            "everything is as wanted".to_owned(),
        ),
        Some(first) => {
            let message = format!("{}: {}", first.kind.as_str(), first.message);
            of(Truth::False, Reason::NotYet, message)
        }
    }
}

/// Which of several verdicts is told first: what the others may follow from.
fn rank(verdict: &Verdict) -> u8 {
    match verdict.kind {
        ConditionType::SpecAccepted => 0,
        ConditionType::ObjectsApplied => 1,
        ConditionType::CredentialsApplied => 2,
        ConditionType::MasterAvailable => 3,
        ConditionType::ConfigApplied if is_for_a_person(verdict.reason) => 4,
        ConditionType::Updated if is_for_a_person(verdict.reason) => 5,
        ConditionType::DukesAgree => 6,
        ConditionType::ReplicasInSync => 7,
        ConditionType::ConfigApplied => 8,
        ConditionType::Updated => 9,
        ConditionType::Spread | ConditionType::Ready | ConditionType::DataLost => 10,
    }
}

/// What lasts until a person does something, rather than being under way.
pub const FOR_A_PERSON: [Reason; 10] = [
    Reason::Blocked,
    Reason::Contested,
    Reason::CredentialsRefused,
    Reason::DirectiveRefused,
    Reason::ForeignObject,
    Reason::InvalidSpec,
    Reason::NeedsDecision,
    Reason::PodsStuck,
    Reason::SecretChanged,
    Reason::SecretLost,
];

fn is_for_a_person(reason: Reason) -> bool {
    FOR_A_PERSON.contains(&reason)
}

/// The one word: the worst of what does not hold.
pub(super) fn phase(before: &PipelineStatus, verdicts: &[Verdict], lost: bool) -> Phase {
    let missing: Vec<&Verdict> = verdicts
        .iter()
        .filter(|verdict| verdict.truth != Truth::True)
        .collect();
    if missing.is_empty() && !lost {
        return Phase::Ready;
    }
    let is_undecided = |verdict: &&Verdict| verdict.reason == Reason::NeedsDecision;
    if missing.iter().any(is_undecided) {
        return Phase::Degraded;
    }
    let was_never_ready = matches!(before.phase, None | Some(Phase::Pending));
    if was_never_ready || before.last_master.is_none() {
        return Phase::Pending;
    }
    if missing
        .iter()
        .any(|verdict| verdict.reason == Reason::FailingOver)
    {
        return Phase::FailingOver;
    }
    let is_under_way = |verdict: &&Verdict| match verdict.kind {
        ConditionType::Updated | ConditionType::ConfigApplied => !is_for_a_person(verdict.reason),
        // Whoever is replaced is out of sync for a while.
        ConditionType::ReplicasInSync => true,
        ConditionType::SpecAccepted
        | ConditionType::ObjectsApplied
        | ConditionType::CredentialsApplied
        | ConditionType::MasterAvailable
        | ConditionType::DukesAgree
        | ConditionType::Spread
        | ConditionType::DataLost
        | ConditionType::Ready => false,
    };
    let is_changing = missing.iter().any(|verdict| {
        let kinds = [ConditionType::Updated, ConditionType::ConfigApplied];
        kinds.contains(&verdict.kind)
    });
    if !lost && is_changing && missing.iter().all(is_under_way) {
        Phase::Updating
    } else {
        Phase::Degraded
    }
}

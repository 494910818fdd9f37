//! Which changes of a status and which steps are worth an event, and with what words. Pure.
//!
//! One event for each decision, and one for each state that a person must know of when it begins or
//! changes its cause. What merely takes its time makes none.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::{
    api::{
        Phase, PipelineStatus,
        condition::{self, ConditionType, Reason},
    },
    controller::plan::{
        seeding::{IS_LOST, order::Answer},
        status::phase::FOR_A_PERSON,
        step::{Action, Step},
    },
    render::hash,
};

/// The longest note that the API server takes.
const NOTE_MAX: usize = 1_000;

/// The event of a step that was taken, if it is one that a person would want to know of.
#[must_use]
pub fn of_step(step: &Step) -> Option<Event> {
    let reason = match &step.action {
        Action::Adopt { .. } => "Adopted",
        Action::Apply(_) if step.why.contains("was changed by somebody") => "PutBack",
        Action::DeletePod { .. } => "ReplacedPod",
        // What came of it is told when it is so: the master has changed.
        Action::FailOver { .. } => "MovingMaster",
        Action::RecordSeed { .. } if step.why.contains(IS_LOST) => {
            return Some(event(EventType::Warning, "DataLost", &step.why));
        }
        Action::RecordSeed { .. } => "ChoseMaster",
        Action::Apply(_)
        | Action::Create(_)
        | Action::DeleteObject { .. }
        | Action::LabelPod { .. }
        | Action::Promote { .. }
        | Action::SeedDuke { .. }
        | Action::SetDuke { .. }
        | Action::SetNode { .. }
        | Action::TellMembers { .. }
        | Action::TellNodes { .. } => return None,
    };
    Some(event(EventType::Normal, reason, &step.why))
}

/// The event of an answer to what a human ordered.
#[must_use]
pub fn of_answer(answer: &Answer) -> Event {
    let (type_, reason) = if answer.granted {
        (EventType::Normal, "AcceptedDataLoss")
    } else {
        (EventType::Warning, "RefusedOrder")
    };
    event(type_, reason, &answer.note)
}

/// Whether a status tells of another master than the one before.
#[must_use]
pub fn has_new_master(before: &PipelineStatus, after: &PipelineStatus) -> bool {
    let address = |status: &PipelineStatus| Some(status.last_master.as_ref()?.address.clone());
    address(after).is_some() && address(before) != address(after)
}

/// The pod that was master last, empty if there was none.
#[must_use]
pub fn last_pod(status: &PipelineStatus) -> &str {
    status.last_master.as_ref().map_or("", |last| &last.pod)
}

/// The events that a change of status is worth.
#[must_use]
pub fn of_change(before: &PipelineStatus, after: &PipelineStatus) -> Vec<Event> {
    let mut events = Vec::new();
    if let (Some(lost), None, false) =
        (&before.master, &after.master, has_new_master(before, after))
    {
        let kind = ConditionType::MasterAvailable;
        let why = find(after, kind).map_or("", |known| &known.message);
        let note = format!("{lost} is not master any more, and nobody else is yet: {why}");
        events.push(event(EventType::Warning, "MasterLost", &note));
    }
    if has_new_master(before, after) {
        let to = last_pod(after);
        let address = after.last_master.as_ref().map_or("", |last| &last.address);
        let epoch = after.epoch.unwrap_or(0);
        let note = match last_pod(before) {
            "" => format!("{to} ({address}) in epoch {epoch}"),
            from => format!("{from} -> {to} ({address}) in epoch {epoch}"),
        };
        events.push(event(EventType::Normal, "MasterChanged", &note));
    }
    for known in &after.conditions {
        events.extend(of_condition(before, after, known));
    }
    let was = |status: &PipelineStatus, phase| status.phase == Some(phase);
    let why = after.phase_reason.as_deref().unwrap_or_default();
    if was(after, Phase::Degraded) && !was(before, Phase::Degraded) {
        events.push(event(EventType::Warning, "Degraded", why));
    }
    if was(after, Phase::Ready) && !was(before, Phase::Ready) {
        let note = "everything is as wanted";
        events.push(event(EventType::Normal, "Ready", note));
    }
    events
}

/// The event of a condition that has turned into something a person must know of, or has another
/// cause than before.
fn of_condition(
    before: &PipelineStatus,
    after: &PipelineStatus,
    known: &Condition,
) -> Option<Event> {
    let is_same = before.conditions.iter().any(|former| {
        let told = |one: &Condition| (one.type_.clone(), one.status.clone(), one.reason.clone());
        told(former) == told(known) && former.message == known.message
    });
    if is_same || known.type_ == ConditionType::Ready.as_str() {
        return None;
    }
    if known.type_ == ConditionType::DataLost.as_str() {
        let is_lost = known.status == "True";
        return is_lost.then(|| event(EventType::Warning, "DataLost", &known.message));
    }
    if known.reason == Reason::InvalidSpec.as_str() {
        return Some(event(EventType::Warning, "SpecRefused", &known.message));
    }
    if known.reason == Reason::PutBack.as_str() {
        return Some(event(EventType::Warning, "SecretChanged", &known.message));
    }
    let is_any = |reasons: &[Reason]| reasons.iter().any(|one| one.as_str() == known.reason);
    // A new group has no master for a while, and that is no news.
    let has_past = after.last_master.is_some();
    let lacks_master = has_past
        && known.type_ == ConditionType::MasterAvailable.as_str()
        && !is_any(&[Reason::FailingOver, Reason::Seeding]);
    let is_news = known.status == "False" && (is_any(&FOR_A_PERSON) || lacks_master);
    is_news.then(|| event(EventType::Warning, &known.reason, &known.message))
}

fn find(status: &PipelineStatus, kind: ConditionType) -> Option<&Condition> {
    let mut all = status.conditions.iter();
    all.find(|known| known.type_ == kind.as_str())
}

/// Whether a Pipeline is ready.
#[must_use]
pub fn is_ready(status: &PipelineStatus) -> bool {
    condition::holds(&status.conditions, ConditionType::Ready) == Some(true)
}

/// An event.
///
/// Events are counted instead of published again when they are alike in everything but their note.
/// So the note is part of the action: what is said anew is a new event.
#[must_use]
pub fn event(type_: EventType, reason: &str, note: &str) -> Event {
    let note: String = note.chars().take(NOTE_MAX).collect();
    Event {
        type_,
        reason: reason.to_owned(),
        action: format!("Reconcile-{}", hash::digest(note.as_bytes())),
        note: Some(note),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        api::{
            LastMaster,
            condition::{Truth, Verdict},
        },
        controller::plan::step::Step,
    };

    fn status(master: Option<&str>, last: &str, epoch: i64) -> PipelineStatus {
        PipelineStatus {
            master: master.map(str::to_owned),
            last_master: Some(LastMaster {
                pod: last.to_owned(),
                address: format!("{last}:6379"),
            }),
            epoch: Some(epoch),
            phase: Some(Phase::Ready),
            ..PipelineStatus::default()
        }
    }

    fn with(
        mut status: PipelineStatus,
        kind: ConditionType,
        reason: Reason,
        why: &str,
    ) -> PipelineStatus {
        let verdict = Verdict {
            kind,
            truth: if kind == ConditionType::DataLost {
                Truth::True
            } else {
                Truth::False
            },
            reason,
            message: why.to_owned(),
        };
        condition::merge(
            &mut status.conditions,
            &[verdict],
            Some(1),
            Timestamp::UNIX_EPOCH,
        );
        status
    }

    /// The events as reason and note.
    fn told(before: &PipelineStatus, after: &PipelineStatus) -> Vec<String> {
        of_change(before, after)
            .into_iter()
            .map(|event| format!("{}: {}", event.reason, event.note.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn each_change_of_master_is_an_event_of_its_own() {
        let (one, two) = (status(Some("p-0"), "p-0", 2), status(Some("p-1"), "p-1", 3));
        let back = status(Some("p-0"), "p-0", 4);
        let first = of_change(&one, &two).remove(0);
        let second = of_change(&two, &back).remove(0);
        assert_eq!(
            first.note.as_deref(),
            Some("p-0 -> p-1 (p-1:6379) in epoch 3")
        );
        assert_eq!(
            second.note.as_deref(),
            Some("p-1 -> p-0 (p-0:6379) in epoch 4")
        );
        assert_ne!(
            first.action, second.action,
            "or the second is counted as the first"
        );
        assert_eq!(told(&two, &two), [""; 0]);
    }

    #[test]
    fn what_a_person_must_know_is_told_once_for_each_cause() {
        let well = status(Some("p-0"), "p-0", 2);
        for (kind, reason, word) in [
            (
                ConditionType::ObjectsApplied,
                Reason::ForeignObject,
                "ForeignObject",
            ),
            (
                ConditionType::ObjectsApplied,
                Reason::Contested,
                "Contested",
            ),
            (
                ConditionType::CredentialsApplied,
                Reason::SecretLost,
                "SecretLost",
            ),
            (
                ConditionType::ConfigApplied,
                Reason::DirectiveRefused,
                "DirectiveRefused",
            ),
            (ConditionType::Updated, Reason::PodsStuck, "PodsStuck"),
            (ConditionType::MasterAvailable, Reason::NoMaster, "NoMaster"),
            (
                ConditionType::SpecAccepted,
                Reason::InvalidSpec,
                "SpecRefused",
            ),
            (ConditionType::DataLost, Reason::NotYet, "DataLost"),
        ] {
            let first = with(well.clone(), kind, reason, "one");
            assert_eq!(told(&well, &first), [format!("{word}: one")]);
            assert_eq!(told(&first, &first), [""; 0]);
            let second = with(well.clone(), kind, reason, "two");
            assert_eq!(told(&first, &second), [format!("{word}: two")]);
        }
        let rolls = with(
            well.clone(),
            ConditionType::Updated,
            Reason::RollingUpdate,
            "p-2",
        );
        assert_eq!(
            told(&well, &rolls),
            [""; 0],
            "what takes its time is no news"
        );
    }

    #[test]
    fn a_lost_master_and_a_degraded_group_are_told() {
        let well = status(Some("p-0"), "p-0", 2);
        let lost = with(
            status(None, "p-0", 2),
            ConditionType::MasterAvailable,
            Reason::FailingOver,
            "its pod is gone",
        );
        assert_eq!(
            told(&well, &lost),
            ["MasterLost: p-0 is not master any more, and nobody else is yet: its pod is gone"]
        );
        let degraded = PipelineStatus {
            phase: Some(Phase::Degraded),
            phase_reason: Some("Updated: p-2 is stuck".to_owned()),
            ..well.clone()
        };
        assert_eq!(told(&well, &degraded), ["Degraded: Updated: p-2 is stuck"]);
        assert_eq!(told(&degraded, &well), ["Ready: everything is as wanted"]);
    }

    #[test]
    fn an_order_to_move_the_master_is_not_told_as_done() {
        let duke = "10.0.1.1:26379".parse().unwrap();
        let from = "10.0.0.1:6379".parse().unwrap();
        let step = Step::new(Action::FailOver { duke, from }, "p-0 has to go");
        assert_eq!(of_step(&step).unwrap().reason, "MovingMaster");
    }
}

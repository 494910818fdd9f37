//! Tells the world what came of a plan: status, events, metrics, logs.
//!
//! The status is written only when it differs from what is there, and over the version it was
//! computed from: of two operators, the one that looked at something older is refused.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use tracing::{debug, info, warn};

use super::{
    apply::{Error, Hands},
    plan::{
        Plan,
        step::{Action, Step},
    },
};
use crate::api::{
    Phase, PipelineStatus,
    condition::{self, ConditionType},
};

/// Where events go.
pub struct Voice<'a> {
    /// Shared by all passes: repeats are counted only by one and the same recorder.
    pub recorder: &'a Recorder,
    /// The Pipeline.
    pub subject: &'a ObjectReference,
}

impl std::fmt::Debug for Voice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Writes the status and says what has changed.
///
/// # Errors
/// When the API server refuses the status.
pub async fn report(
    hands: &Hands<'_>,
    voice: &Voice<'_>,
    before: &PipelineStatus,
    resource_version: &str,
    plan: &Plan,
) -> Result<(), Error> {
    let after = &plan.status;
    if !plan.report.is_empty() {
        debug!(waiting = plan.report.join("; "), "left something for later");
    }
    if after != before {
        hands
            .write_status("WriteStatus", after, resource_version)
            .await?;
    }
    let is_ready = condition::holds(&after.conditions, ConditionType::Ready) == Some(true);
    let epoch = u64::try_from(after.epoch.unwrap_or(0)).unwrap_or(0);
    hands
        .metrics
        .show(hands.namespace, hands.name, is_ready, epoch);
    for event in changes(before, after) {
        publish(voice, &event).await;
    }
    if has_new_master(before, after) {
        hands.metrics.master_changed(hands.namespace, hands.name);
        info!(
            from = before.master.as_deref().unwrap_or_default(),
            to = after.master.as_deref().unwrap_or_default(),
            address = after.master_address.as_deref().unwrap_or_default(),
            epoch,
            "recorded a new master"
        );
    }
    Ok(())
}

/// Says which steps were taken that a human would want to know of.
pub async fn tell_steps(voice: &Voice<'_>, steps: &[Step]) {
    for step in steps {
        let reason = match &step.action {
            Action::DeletePod { .. } => "ReplacedPod",
            Action::FailOver { .. } => "MovedMaster",
            Action::RecordSeed { .. } => "ChoseMaster",
            Action::Apply(_)
            | Action::CreateSecret(_)
            | Action::DeleteObject { .. }
            | Action::LabelPod { .. }
            | Action::Promote { .. }
            | Action::SeedDuke { .. }
            | Action::SetDuke { .. }
            | Action::SetNode { .. }
            | Action::TellMembers { .. }
            | Action::TellNodes { .. } => continue,
        };
        publish(voice, &event(EventType::Normal, reason, &step.why)).await;
    }
}

fn has_new_master(before: &PipelineStatus, after: &PipelineStatus) -> bool {
    after.master_address.is_some() && before.master_address != after.master_address
}

/// The events that a change of status is worth.
fn changes(before: &PipelineStatus, after: &PipelineStatus) -> Vec<Event> {
    let mut events = Vec::new();
    if has_new_master(before, after) {
        let to = after.master.as_deref().unwrap_or_default();
        let address = after.master_address.as_deref().unwrap_or_default();
        let epoch = after.epoch.unwrap_or(0);
        let note = match before.master.as_deref() {
            Some(from) => format!("{from} -> {to} ({address}) in epoch {epoch}"),
            None => format!("{to} ({address}) in epoch {epoch}"),
        };
        events.push(event(EventType::Normal, "MasterChanged", &note));
    }
    let was_refused = before.phase == Some(Phase::Invalid);
    if after.phase == Some(Phase::Invalid) && !was_refused {
        let accepted = ConditionType::SpecAccepted.as_str();
        let why = after
            .conditions
            .iter()
            .find(|known| known.type_ == accepted);
        let note = why
            .map(|condition| condition.message.clone())
            .unwrap_or_default();
        events.push(event(EventType::Warning, "SpecRefused", &note));
    }
    events
}

fn event(type_: EventType, reason: &str, note: &str) -> Event {
    // The API server refuses longer notes.
    let note = note.chars().take(1_000).collect();
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

/// An event that could not be published is lost; the status says the same.
async fn publish(voice: &Voice<'_>, event: &Event) {
    if let Err(error) = voice.recorder.publish(event, voice.subject).await {
        warn!(reason = event.reason, %error, "failed to publish an event");
    }
}

//! Tells the world what came of a plan: status, events, metrics, logs.
//!
//! The status is written only when it differs from what is there, and over the version it was
//! computed from: of two operators, the one that looked at something older is refused.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, Recorder};
use tracing::{debug, info, warn};

use super::{
    apply::{Error, Hands},
    plan::{Plan, seeding::order::Answer, step::Step},
};
use crate::api::PipelineStatus;

pub mod event;

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
    let is_ready = event::is_ready(after);
    let epoch = u64::try_from(after.epoch.unwrap_or(0)).unwrap_or(0);
    hands
        .metrics
        .show(hands.namespace, hands.name, is_ready, epoch);
    for event in event::of_change(before, after) {
        publish(voice, &event).await;
    }
    if event::has_new_master(before, after) {
        hands.metrics.master_changed(hands.namespace, hands.name);
        info!(
            from = event::last_pod(before),
            to = event::last_pod(after),
            address = after.last_master.as_ref().map_or("", |last| &last.address),
            epoch,
            "recorded a new master"
        );
    }
    Ok(())
}

/// Says which of the steps that were taken a human would want to know of.
pub async fn tell_steps(voice: &Voice<'_>, steps: &[&Step]) {
    for event in steps.iter().filter_map(|step| event::of_step(step)) {
        publish(voice, &event).await;
    }
}

/// Says how a human's order was answered.
pub async fn tell_answer(voice: &Voice<'_>, answer: &Answer) {
    publish(voice, &event::of_answer(answer)).await;
}

/// An event that could not be published is lost; the status says the same.
async fn publish(voice: &Voice<'_>, event: &Event) {
    if let Err(error) = voice.recorder.publish(event, voice.subject).await {
        warn!(reason = event.reason, %error, "failed to publish an event");
    }
}

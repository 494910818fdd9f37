//! Replaces data pods of an old revision, one at a time, and moves the master away from a pod that
//! has to go. Pure.
//!
//! Never more than one data pod is down by our hand: the next one is touched only when all others
//! are there, ready, and in sync. Pods that are no use anyway, because they never became ready in
//! a revision that is no longer wanted, are replaced at once; without that a bad change could not
//! be taken back.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;

use super::{
    situation::Situation,
    step::{Action, Step},
};
use crate::controller::{
    memory::Memory,
    observe::{DataPod, Phase},
};

/// How long a Duke that was asked to move the master is given before it is asked again.
pub const FAILOVER_PAUSE: Duration = Duration::from_secs(5);

/// What is to be done about pods that have to go.
#[derive(Clone, Debug, PartialEq)]
pub enum Roll {
    /// All pods are of the wanted revision and number.
    Done,
    /// One request, and what it is part of.
    Step(Step),
    /// Something has to happen first; a sentence for the status.
    Waiting(String),
}

/// Decides on the next pod to replace, if any.
#[must_use]
pub fn roll(now: &Situation<'_>, stateful_set: Option<&StatefulSet>, memory: &Memory) -> Roll {
    if let Some(leave) = leave(now, memory) {
        return leave;
    }
    let Some(revision) = stateful_set.and_then(current_revision) else {
        return Roll::Waiting("the StatefulSet is being updated".to_owned());
    };
    let stale: Vec<&DataPod> = now
        .seen
        .data
        .iter()
        .filter(|pod| pod.facts.revision != revision && !pod.facts.terminating)
        .filter(|pod| pod.ordinal < now.wanted.data)
        .collect();
    if stale.is_empty() {
        return unfinished(now);
    }
    // A pod that is stuck in a revision nobody wants any more holds up everything else.
    if let Some(stuck) = stale.iter().rev().find(|pod| is_stuck(pod)) {
        return delete(
            stuck,
            "it never became ready, and its revision is no longer wanted",
        );
    }
    if let Some(waiting) = someone_is_down(now) {
        return Roll::Waiting(waiting);
    }
    let master = now.master.map(|pod| pod.facts.uid.as_str());
    if let Some(next) = stale
        .iter()
        .rev()
        .find(|pod| Some(pod.facts.uid.as_str()) != master)
    {
        return delete(next, "it is a replica of an old revision");
    }
    let Some(master) = now.master else {
        return Roll::Waiting("there is no master to hand over from".to_owned());
    };
    if now.wanted.data == 1 {
        return delete(
            master,
            "it is of an old revision, and there is nobody to hand over to",
        );
    }
    hand_over(
        now,
        master,
        memory,
        "only the master's pod is of an old revision",
    )
}

/// The revision that new pods get, once the controller manager has seen the present template.
fn current_revision(live: &StatefulSet) -> Option<&str> {
    let status = live.status.as_ref()?;
    let is_seen = status.observed_generation >= live.metadata.generation;
    status.update_revision.as_deref().filter(|_| is_seen)
}

/// Moves the master away from a pod that is being deleted or scaled away.
fn leave(now: &Situation<'_>, memory: &Memory) -> Option<Roll> {
    let master = now.master?;
    if !now.has_brain() || !now.master_answers() {
        return None;
    }
    let why = if master.facts.terminating {
        "the master's pod is being deleted"
    } else if master.ordinal >= now.wanted.data {
        "the master's pod is to be scaled away"
    } else {
        return None;
    };
    let has_successor = now
        .others()
        .any(|pod| pod.ordinal < now.wanted.data && now.is_in_sync(pod));
    if !has_successor {
        return Some(Roll::Waiting(format!(
            "{why}, but no replica that stays is in sync"
        )));
    }
    Some(hand_over(now, master, memory, why))
}

/// Asks a Duke to move the master, unless that is already under way.
fn hand_over(now: &Situation<'_>, master: &DataPod, memory: &Memory, why: &str) -> Roll {
    let asked = Memory::lasted(memory.failover_asked, now.seen.at);
    if now.is_failing_over() || (memory.failover_asked.is_some() && asked < FAILOVER_PAUSE) {
        return Roll::Waiting(format!("{} hands over", master.facts.name));
    }
    let duke = now
        .remembering()
        .filter(|(pod, report)| {
            !pod.facts.terminating && now.agreed.map(|agreed| agreed.address) == report.master
        })
        .find_map(|(pod, _)| Some((pod, pod.address()?)));
    let Some((pod, duke)) = duke.filter(|_| now.has_brain()) else {
        return Roll::Waiting("too few Dukes remember the group to hand over".to_owned());
    };
    let why = format!(
        "{why}; {} moves it from {}",
        pod.facts.name, master.facts.name
    );
    Roll::Step(Step::new(Action::FailOver { duke }, why))
}

fn delete(pod: &DataPod, why: &str) -> Roll {
    let facts = &pod.facts;
    let action = Action::DeletePod {
        name: facts.name.clone(),
        uid: facts.uid.clone(),
        resource_version: facts.resource_version.clone(),
    };
    Roll::Step(Step::new(action, format!("{}: {why}", facts.name)))
}

/// Never ready and not serving anybody: deleting it takes nothing down.
fn is_stuck(pod: &DataPod) -> bool {
    let serves = pod.answer.given().is_some();
    !pod.facts.ready
        && !serves
        && (pod.facts.phase == Phase::Pending || pod.facts.trouble.is_some())
}

/// Why no pod may be taken down now, if so.
fn someone_is_down(now: &Situation<'_>) -> Option<String> {
    let wanted = usize::from(now.wanted.data);
    let there = now
        .seen
        .data
        .iter()
        .filter(|pod| pod.ordinal < now.wanted.data)
        .count();
    if there < wanted {
        return Some(format!("{there} of {wanted} data pods exist"));
    }
    if let Some(pod) = now.seen.data.iter().find(|pod| pod.facts.terminating) {
        return Some(format!("{} is being deleted", pod.facts.name));
    }
    if let Some(pod) = now.seen.data.iter().find(|pod| !pod.facts.ready) {
        let trouble = pod.facts.trouble.as_deref().unwrap_or("it is starting");
        return Some(format!("{} is not ready: {trouble}", pod.facts.name));
    }
    if !now.has_brain() {
        return Some("too few Dukes remember the group".to_owned());
    }
    if now.is_failing_over() || now.master_is_down() {
        return Some("the Dukes are replacing the master".to_owned());
    }
    if !now.master_answers() {
        return Some("the master does not answer".to_owned());
    }
    now.others()
        .find(|pod| !now.is_in_sync(pod))
        .map(|pod| format!("{} is not in sync with the master", pod.facts.name))
}

/// Pods that should not be there, or are on their way out.
fn unfinished(now: &Situation<'_>) -> Roll {
    let extra = now
        .seen
        .data
        .iter()
        .find(|pod| pod.ordinal >= now.wanted.data);
    match extra {
        Some(pod) => Roll::Waiting(format!("{} is being scaled away", pod.facts.name)),
        None => Roll::Done,
    }
}

/// How many data pods the StatefulSet may have for the moment: a pod that is still master is not
/// scaled away, and neither is anybody before it.
#[must_use]
pub fn data_now(now: &Situation<'_>, live: Option<&StatefulSet>) -> u16 {
    let wanted = now.wanted.data;
    let Some(present) = live
        .and_then(|live| live.spec.replicas)
        .and_then(|replicas| u16::try_from(replicas).ok())
    else {
        return wanted;
    };
    if wanted >= present {
        return wanted;
    }
    // On the way down it has to be known who is master.
    match now.master {
        Some(master) => wanted.max(master.ordinal.saturating_add(1).min(present)),
        None => present,
    }
}

//! Replaces data pods of an old revision, one at a time, and moves the master away from a pod that
//! has to go. Pure.
//!
//! Replicas first, then the master is handed over, then the old master's pod; every pod passes the
//! gate of [`super::may_lose`]. Pods that are down come first: where the gate lets one of them go,
//! a bad change is taken back by that, also in a group that never had a master.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use k8s_openapi::api::apps::v1::StatefulSet;

use super::{
    may_lose::{may_hand_over, may_lose, rests_on_its_volume},
    scale,
    situation::Situation,
    step::{Action, Step},
};
use crate::controller::{memory::Memory, observe::DataPod};

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

impl Roll {
    /// The pod that is about to be replaced.
    #[must_use]
    pub fn next<'a>(&self, now: &Situation<'a>) -> Option<&'a DataPod> {
        let Self::Step(step) = self else {
            return None;
        };
        let Action::DeletePod { uid, .. } = &step.action else {
            return None;
        };
        now.seen.data.iter().find(|pod| pod.facts.uid == *uid)
    }
}

/// Decides on the next pod to replace, if any. Those in `restarts`, by uid, have to start anew
/// although they are of the wanted revision.
#[must_use]
pub fn roll(
    now: &Situation<'_>,
    stateful_set: Option<&StatefulSet>,
    restarts: &BTreeSet<String>,
    memory: &Memory,
) -> Roll {
    if let Some(leave) = leave(now, memory) {
        return leave;
    }
    let Some(revision) = stateful_set.and_then(current_revision) else {
        return Roll::Waiting("the StatefulSet is being updated".to_owned());
    };
    let mut stale: Vec<&DataPod> = now
        .seen
        .data
        .iter()
        .filter(|pod| pod.facts.revision != revision || restarts.contains(&pod.facts.uid))
        .filter(|pod| !pod.facts.terminating)
        .filter(|pod| pod.ordinal < now.wanted.data)
        .collect();
    let master = now.master.map(|master| master.facts.uid.as_str());
    let is_master = |pod: &DataPod| Some(pod.facts.uid.as_str()) == master;
    stale.sort_by_key(|pod| (is_master(pod), pod.facts.ready, Reverse(pod.ordinal)));
    let mut refusal = None;
    for pod in &stale {
        match may_replace(now, pod, revision) {
            Ok(()) if pod.facts.revision == revision => {
                return delete(pod, "it has to start with the present configuration");
            }
            Ok(()) => return delete(pod, "it is of an old revision"),
            Err(why) => refusal = refusal.or(Some((*pod, why))),
        }
    }
    let Some((pod, why)) = refusal else {
        return unfinished(now);
    };
    match (stale.as_slice(), now.master) {
        ([last], Some(master)) if is_master(last) && now.wanted.data > 1 => {
            let why = "only the master's pod is of an old revision";
            hand_over_if_allowed(now, master, memory, why)
        }
        _ => Roll::Waiting(format!("{} is not replaced yet: {why}", pod.facts.name)),
    }
}

/// Whether a pod may be replaced by one of the wanted revision.
///
/// A pod that is down without anybody who has its data shows first whether the revision can start
/// at all, before the next one is tried.
fn may_replace(now: &Situation<'_>, pod: &DataPod, revision: &str) -> Result<(), String> {
    may_lose(now, pod)?;
    let is_on_trial =
        |other: &&DataPod| other.facts.revision == revision && other.answer.given().is_none();
    match now.seen.data.iter().find(is_on_trial) {
        Some(other) if rests_on_its_volume(pod) => Err(format!(
            "{} has to show first that the new revision can start",
            other.facts.name
        )),
        Some(_) | None => Ok(()),
    }
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
    if !master.facts.terminating {
        let why = "the master's pod is to be scaled away";
        let is_extra = master.ordinal >= now.wanted.data;
        return is_extra.then(|| hand_over_if_allowed(now, master, memory, why));
    }
    // This pod goes in any case: any replica that has everything will do.
    let why = "the master's pod is being deleted";
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

fn hand_over_if_allowed(now: &Situation<'_>, master: &DataPod, memory: &Memory, why: &str) -> Roll {
    match may_hand_over(now, master) {
        Ok(()) => hand_over(now, master, memory, why),
        Err(refusal) => Roll::Waiting(format!("{why}, but {refusal}")),
    }
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
    let (Some((pod, duke)), Some(from)) = (duke.filter(|_| now.has_brain()), master.address())
    else {
        return Roll::Waiting("too few Dukes remember the group to hand over".to_owned());
    };
    let why = format!(
        "{why}; {} moves it from {}",
        pod.facts.name, master.facts.name
    );
    Roll::Step(Step::new(Action::FailOver { duke, from }, why))
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

/// Pods that should not be there, or are on their way out.
fn unfinished(now: &Situation<'_>) -> Roll {
    let extra = now
        .seen
        .data
        .iter()
        .find(|pod| pod.ordinal >= now.wanted.data);
    let Some(pod) = extra else {
        return Roll::Done;
    };
    let name = &pod.facts.name;
    Roll::Waiting(match scale::waits(now) {
        Some(why) => format!("{name} is not scaled away yet: {why}"),
        None => format!("{name} is being scaled away"),
    })
}

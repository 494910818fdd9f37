//! Whether a data pod may be taken away now: the one gate for everything that does so. Pure.
//!
//! A roll, the replacement of a stuck pod, scaling in and the disruption budget all ask here. A
//! pod may go when the data is safe without it: everybody who stays is there, known to the Dukes,
//! past its first copy and in sync; the master answers, and a majority of the Dukes names it; no
//! failover runs; and nobody else is down or leaving, so that one pod is away at a time. All of it
//! is what pods and Dukes answer now, nothing is remembered.
//!
//! A pod whose server never ran has nothing to lose. A pod whose server ran once may hold data, in
//! memory or in its directory, whatever has become of it since.

use super::situation::Situation;
use crate::controller::observe::{DataPod, MainContainer};

/// Why the only pod of a group is not evicted when nothing of its data stays.
const ONLY_COPY: &str = "the only pod has the only copy of the data and keeps nothing of it when it \
    goes; set spec.pipeline.replicas to 2, which makes it movable, or delete the pod to give its \
    data up";
/// Why no pod of a group is evicted for the moment.
const INCOMPLETE: &str = "the group is not complete; the Pipeline's status says what is missing";

/// Whether a data pod may be replaced now; if it has a volume of its own, its successor gets it.
///
/// # Errors
/// Why it has to stay, as a sentence for the status.
pub fn may_lose(now: &Situation<'_>, pod: &DataPod) -> Result<(), String> {
    if has_nothing(now, pod) {
        return Ok(());
    }
    nobody_else_leaves(now, Some(pod))?;
    if rests_on_its_volume(pod) {
        return Ok(());
    }
    if now.wanted.data == 1 && now.seen.data.len() == 1 {
        return the_only_one_may_go(now, pod);
    }
    if is_master(now, pod) {
        return Err(format!("{} is master", pod.facts.name));
    }
    everybody_else_holds(now, Some(pod))
}

/// Whether the pod of an ordinal may leave for good now, and its volume with it.
///
/// # Errors
/// Why it has to stay, as a sentence for the status.
pub fn may_leave(now: &Situation<'_>, ordinal: u16) -> Result<(), String> {
    let pod = now.seen.data.iter().find(|pod| pod.ordinal == ordinal);
    // Its volume may have data even if its server never ran.
    if pod.is_some_and(|pod| has_nothing(now, pod) && pod.facts.claim.is_none()) {
        return Ok(());
    }
    nobody_else_leaves(now, pod)?;
    if let Some(master) = pod.filter(|pod| is_master(now, pod)) {
        return Err(format!("{} is master", master.facts.name));
    }
    everybody_else_holds(now, pod)
}

/// Whether the master may be moved away from its pod, so that the pod can go afterwards.
///
/// # Errors
/// Why it has to stay where it is, as a sentence for the status.
pub fn may_hand_over(now: &Situation<'_>, master: &DataPod) -> Result<(), String> {
    nobody_else_leaves(now, Some(master))?;
    everybody_else_holds(now, Some(master))
}

/// Whether somebody else than us, who drains a node, may take one data pod away now.
///
/// The kubelet's readiness, which says "in sync", is what the disruption controller counts. This
/// adds what no pod knows of itself. A pod that is not ready closes nothing: the rest may be fine
/// without it, and it is the one that has to be evictable.
///
/// # Errors
/// Why nobody may: a sentence for the budget's annotation, the same for as long as it is closed.
pub fn may_be_evicted(now: &Situation<'_>) -> Result<(), &'static str> {
    if now.wanted.data == 1 && !now.wanted.persists {
        return Err(ONLY_COPY);
    }
    let is_unsynced = |pod: &DataPod| {
        let counts = pod.facts.ready && !pod.facts.terminating;
        counts && !is_master(now, pod) && !now.is_in_sync(pod)
    };
    if the_dukes_hold(now).is_err() || now.seen.data.iter().any(is_unsynced) {
        return Err(INCOMPLETE);
    }
    Ok(())
}

/// Whether everybody who stays when fewer are wanted has all data, the master among them or not.
///
/// # Errors
/// Why not, as a sentence for the status.
pub fn those_who_stay_hold(now: &Situation<'_>) -> Result<(), String> {
    everybody_else_holds(now, None)
}

/// Whether a pod's server is down, so that all it has is on a volume that stays.
#[must_use]
pub fn rests_on_its_volume(pod: &DataPod) -> bool {
    let is_down = pod.facts.main == MainContainer::Stopped && pod.answer.given().is_none();
    is_down && !pod.facts.ready && pod.facts.claim.is_some()
}

/// Whether there is nothing in a pod that could be lost with it.
///
/// Before a group's first master there is no data: servers start as replicas of nothing, and take
/// no writes.
fn has_nothing(now: &Situation<'_>, pod: &DataPod) -> bool {
    if pod.facts.role.is_some() || is_master(now, pod) {
        return false;
    }
    if pod.facts.main == MainContainer::NeverRan {
        return !pod.facts.ready;
    }
    now.is_fresh()
        && pod
            .answer
            .given()
            .is_none_or(|report| report.is_blank() && report.keys == 0 && !report.loading)
}

/// The only pod of a group goes with all that it does not keep on its volume.
fn the_only_one_may_go(now: &Situation<'_>, pod: &DataPod) -> Result<(), String> {
    the_dukes_hold(now)?;
    let is_empty = |pod: &DataPod| {
        let report = pod.answer.given();
        report.is_some_and(|report| report.keys == 0 && !report.loading)
    };
    if now.wanted.persists || is_empty(pod) {
        return Ok(());
    }
    Err(format!(
        "{} has the only copy of the data and keeps nothing of it when it goes; set \
         spec.pipeline.replicas to 2 for the time of the change, or delete the pod to give its \
         data up",
        pod.facts.name
    ))
}

fn is_master(now: &Situation<'_>, pod: &DataPod) -> bool {
    now.master
        .is_some_and(|master| master.facts.uid == pod.facts.uid)
}

/// Whether no pod but this one is on its way out.
fn nobody_else_leaves(now: &Situation<'_>, pod: Option<&DataPod>) -> Result<(), String> {
    let uid = pod.map(|pod| pod.facts.uid.as_str());
    let kept = now.live_data().unwrap_or(u16::MAX);
    let others = now.seen.data.iter().filter(|other| {
        let is_leaving = other.facts.terminating || other.ordinal >= kept;
        is_leaving && !other.facts.is_over() && Some(other.facts.uid.as_str()) != uid
    });
    match others.into_iter().next() {
        Some(other) => Err(format!("{} is being deleted", other.facts.name)),
        None => Ok(()),
    }
}

/// Whether a majority of the Dukes has a master that answers, and no other plans.
fn the_dukes_hold(now: &Situation<'_>) -> Result<(), String> {
    if !now.has_brain() {
        return Err("too few Dukes remember the group".to_owned());
    }
    if now.is_failing_over() || now.master_is_down() {
        return Err("the Dukes are replacing the master".to_owned());
    }
    if now.agreeing() < now.majority() {
        return Err("too few Dukes name the same master".to_owned());
    }
    if !now.master_answers() {
        return Err("the master does not answer".to_owned());
    }
    Ok(())
}

/// Whether everybody but `pod` who is to stay has all the data.
fn everybody_else_holds(now: &Situation<'_>, pod: Option<&DataPod>) -> Result<(), String> {
    the_dukes_hold(now)?;
    let gone = pod.map(|pod| pod.ordinal);
    for ordinal in (0..now.wanted.data).filter(|ordinal| Some(*ordinal) != gone) {
        let stays = now.seen.data.iter().find(|pod| pod.ordinal == ordinal);
        let Some(pod) = stays else {
            return Err(format!("{} does not exist", now.wanted.names.pod(ordinal)));
        };
        holds(now, pod)?;
    }
    Ok(())
}

/// Whether one pod has all the data.
fn holds(now: &Situation<'_>, pod: &DataPod) -> Result<(), String> {
    let name = &pod.facts.name;
    if pod.facts.terminating {
        return Err(format!("{name} is being deleted"));
    }
    if !pod.facts.ready {
        let trouble = pod.facts.trouble.as_deref().unwrap_or("it is starting");
        return Err(format!("{name} is not ready: {trouble}"));
    }
    if !is_admitted(now, pod) {
        return Err(format!("too few Dukes know {name} yet"));
    }
    if !is_master(now, pod) && !now.is_in_sync(pod) {
        return Err(is_not_in_sync(pod));
    }
    Ok(())
}

fn is_not_in_sync(pod: &DataPod) -> String {
    format!("{} is not in sync with the master", pod.facts.name)
}

/// Whether a majority of the Dukes knows a pod as a data node, and could promote it.
fn is_admitted(now: &Situation<'_>, pod: &DataPod) -> bool {
    let Some(address) = pod.address() else {
        return false;
    };
    let knowing = now
        .remembering()
        .filter(|(_, report)| report.nodes.iter().any(|node| node.address == address));
    knowing.count() >= now.majority()
}

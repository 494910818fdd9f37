//! Writes down who is master, for those that ask Kubernetes: the role labels of the pods, by which
//! Services select the master and the replicas, and who is in our EndpointSlices. Pure.
//!
//! A pod whose processes are gone is out of the slices before anything else happens, since its
//! address may soon be someone else's. While no Duke can be asked, what is on record stays.

use super::{
    situation::Situation,
    step::{Action, Step},
};
use crate::{
    api::label::{ROLE_MASTER, ROLE_REPLICA},
    controller::{
        object::{Kind, ObjectId},
        observe::{DataPod, PodFacts},
    },
    redis::node::Role,
    render::Endpoint,
};

/// Where our slices of the Service `pipeline-<NAME>` lead.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endpoints {
    /// Whether a slice of ours leads to the master: one that was made when the Service had no
    /// selector is kept right until those that Kubernetes makes from the selector have taken over.
    pub leads_to_master: bool,
    /// The master, if there is one.
    pub master: Option<Endpoint>,
    /// The Dukes.
    pub dukes: Vec<Endpoint>,
    /// The data pods, for their exporters.
    pub exporters: Vec<Endpoint>,
}

/// The pod that takes writes, as far as anybody knows.
#[must_use]
pub fn master_pod<'a>(now: &Situation<'a>) -> Option<&'a DataPod> {
    if now.agreed.is_some() {
        return now.master;
    }
    let last = now.seen.status.last_master.as_ref()?;
    now.seen
        .data
        .iter()
        .filter(|pod| pod.facts.name == last.pod)
        .filter(|pod| {
            pod.address()
                .is_some_and(|known| known.to_string() == last.address)
        })
        .find(|pod| !pod.facts.is_over() && !says_otherwise(pod))
}

/// The pod that is master at this moment, for people and programs that read the status; nobody
/// while it is gone, held for dead or being replaced.
#[must_use]
pub fn present_master<'a>(now: &Situation<'a>) -> Option<&'a DataPod> {
    let pod = master_pod(now).filter(|pod| !pod.facts.is_over())?;
    let holds = if now.has_brain() {
        !now.is_failing_over() && !now.master_is_down() && !says_otherwise(pod)
    } else {
        // No majority of Dukes can be asked: only the server itself can say so.
        pod.answer
            .given()
            .is_some_and(|report| report.role == Role::Master)
    };
    holds.then_some(pod)
}

/// Whether a pod's server answers that it is no master.
fn says_otherwise(pod: &DataPod) -> bool {
    pod.answer
        .given()
        .is_some_and(|report| report.role != Role::Master)
}

/// Who is behind the Service `pipeline-<NAME>`.
#[must_use]
pub fn endpoints(now: &Situation<'_>) -> Endpoints {
    // A server that was started anew at the master's address takes no writes and has no data yet.
    let master = master_pod(now)
        .filter(|pod| !says_otherwise(pod))
        .and_then(|pod| endpoint(&pod.facts));
    let dukes = now
        .seen
        .dukes
        .iter()
        .filter(|pod| !pod.facts.is_over())
        .filter_map(|pod| endpoint(&pod.facts))
        .collect();
    let exporters = now
        .seen
        .data
        .iter()
        .filter(|pod| !pod.facts.is_over())
        .filter_map(|pod| endpoint(&pod.facts))
        .collect();
    let slice = ObjectId {
        kind: Kind::EndpointSlice,
        name: now.wanted.names.redis_slice(),
    };
    Endpoints {
        leads_to_master: now.seen.live.contains_key(&slice) && !now.seen.selector_leads,
        master,
        dukes,
        exporters,
    }
}

fn endpoint(facts: &PodFacts) -> Option<Endpoint> {
    Some(Endpoint {
        pod: facts.name.clone(),
        uid: facts.uid.clone(),
        node: facts.node.clone(),
        address: facts.ip?,
        ready: facts.ready,
        terminating: facts.terminating,
    })
}

/// The steps that make every pod's label say its role; the old master's first, so that the Service
/// of the master never leads to two.
#[must_use]
pub fn label(now: &Situation<'_>) -> Vec<Step> {
    let Some(master) = master_pod(now) else {
        return Vec::new();
    };
    let name = &master.facts.name;
    let mut steps: Vec<Step> = now
        .seen
        .data
        .iter()
        .filter(|pod| !pod.facts.is_over() && pod.facts.uid != master.facts.uid)
        .filter(|pod| pod.facts.role.as_deref() != Some(ROLE_REPLICA))
        // The first label is given when the first copy is complete; until then a pod has no role.
        .filter(|pod| pod.facts.role.is_some() || now.is_in_sync(pod))
        .map(|pod| {
            let why = format!("{name} is master, so {} is {ROLE_REPLICA}", pod.facts.name);
            step(&pod.facts, Some(ROLE_REPLICA), why)
        })
        .collect();
    // Nothing that may fail stands between the two labels that clients wait for.
    steps.sort_by_key(|step| !step.action.is_foundation());
    let is_labelled = master.facts.role.as_deref() == Some(ROLE_MASTER);
    if says_otherwise(master) {
        // A server that was started anew takes no writes and may have no data until it has its role
        // back, or another one has it.
        let why = format!("{name} was restarted and is not master yet");
        steps.extend(is_labelled.then(|| step(&master.facts, None, why)));
    } else if !is_labelled {
        let why = format!("{name} is master");
        steps.push(step(&master.facts, Some(ROLE_MASTER), why));
    }
    steps
}

fn step(facts: &PodFacts, role: Option<&'static str>, why: String) -> Step {
    let action = Action::LabelPod {
        name: facts.name.clone(),
        uid: facts.uid.clone(),
        role,
        deposes: facts.role.as_deref() == Some(ROLE_MASTER),
    };
    Step::new(action, why)
}

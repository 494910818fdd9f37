//! The verdict on pods: whether all are there, ready and as wanted, and if not, what keeps them.
//!
//! What a person can mend comes before what merely takes its time: an image that is not there
//! before a roll that waits for it.

use k8s_openapi::api::apps::v1::Deployment;

use super::{Decided, verdict};
use crate::{
    api::{
        condition::{ConditionType, Reason, Verdict},
        label,
    },
    controller::{
        object::Kind,
        observe::PodFacts,
        plan::{membership, roll::Roll, situation::Situation},
    },
};

/// The verdict.
pub(super) fn updated(now: &Situation<'_>, decided: &Decided<'_>) -> Verdict {
    let trouble = trouble(now, decided.deployment);
    match unfinished(now, decided) {
        None => as_wanted(decided.behind),
        Some((reason, why)) => {
            let (reason, why) = match trouble {
                None => (reason, why),
                Some(trouble) if why.contains(&trouble) => (Reason::PodsStuck, why),
                Some(trouble) => (Reason::PodsStuck, format!("{trouble}; {why}")),
            };
            verdict(ConditionType::Updated, false, reason, why)
        }
    }
}

/// What is not as wanted yet.
fn unfinished(now: &Situation<'_>, decided: &Decided<'_>) -> Option<(Reason, String)> {
    match decided.roll {
        Roll::Step(step) => return Some((Reason::RollingUpdate, step.why.clone())),
        Roll::Waiting(why) => return Some((Reason::RollingUpdate, why.clone())),
        Roll::Done => {}
    }
    let wanted = now.wanted;
    let living = now.seen.data.iter().filter(|pod| !pod.facts.terminating);
    let living = living.count();
    if living != usize::from(wanted.data) {
        let why = format!("{living} of {} data pods exist", wanted.data);
        return Some((Reason::Scaling, why));
    }
    if !membership::dukes_are_updated(now, decided.deployment) {
        let why = "the Dukes are being updated".to_owned();
        return Some((Reason::RollingUpdate, why));
    }
    let told: Vec<u32> = now.remembering().map(|(_, report)| report.size).collect();
    if told.iter().any(|size| *size != wanted.dukes) {
        let why = "the number of Dukes is being changed".to_owned();
        return Some((Reason::Scaling, why));
    }
    let waiting = pods(now).find(|facts| !facts.ready)?;
    let why = waiting.trouble.as_deref().unwrap_or("it is starting");
    let why = format!("{} is not ready: {why}", waiting.name);
    Some((Reason::PodsStarting, why))
}

fn pods<'a>(now: &Situation<'a>) -> impl Iterator<Item = &'a PodFacts> {
    let data = now.seen.data.iter().map(|pod| &pod.facts);
    let dukes = now.seen.dukes.iter().map(|pod| &pod.facts);
    data.chain(dukes)
}

/// What keeps a pod from being made, from starting or from running on, if anything is known to.
pub(super) fn trouble(now: &Situation<'_>, deployment: Option<&Deployment>) -> Option<String> {
    let of_pod = |facts: &PodFacts| {
        let trouble = facts.trouble.as_ref().filter(|_| !facts.ready)?;
        Some(format!("{} is not ready: {trouble}", facts.name))
    };
    now.seen
        .complaints
        .first()
        .cloned()
        .or_else(|| pods(now).find_map(of_pod))
        .or_else(|| {
            let failure = replica_failure(deployment?)?;
            Some(format!("Deployment/{}: {failure}", now.wanted.names.duke()))
        })
}

/// Why the Dukes' pods are not made, in the words of their controller.
fn replica_failure(deployment: &Deployment) -> Option<&str> {
    let conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    let mut failures = conditions.filter(|condition| {
        // A failure that is over may stand there with the status False.
        let (kind, status) = (&condition.type_, &condition.status);
        kind.as_deref() == Some("ReplicaFailure") && status.as_deref() == Some("True")
    });
    failures.next()?.message.as_deref()
}

/// All pods are as wanted, even if this version of the operator would make new ones otherwise.
fn as_wanted(behind: &[Kind]) -> Verdict {
    let kind = ConditionType::Updated;
    let message = "all pods are ready, of the wanted revision and number";
    if behind.is_empty() {
        return verdict(kind, true, Reason::AsWanted, message);
    }
    let of = |kind: &Kind| {
        if *kind == Kind::Deployment {
            "the Dukes"
        } else {
            "the data pods"
        }
    };
    let pods: Vec<&str> = behind.iter().map(of).collect();
    let message = format!(
        "{message}; this version of the operator would make {} otherwise, and does so with the next \
         change of what the spec says of them, or when the Pipeline's annotation {} is set to the \
         present time",
        pods.join(" and "),
        label::RESTARTED_AT,
    );
    verdict(kind, true, Reason::UpdateAvailable, message)
}

//! Gives a group a master that has none and cannot get one by itself. Pure.
//!
//! Two cases. Either no majority of Dukes remembers the group, and none may exist behind a cut
//! cable: they are given memory. Or the Dukes remember, but every data node was started anew at a
//! new address, so that none of them is the node they know: they are told which one it is now.
//! In all other cases the Dukes decide and nothing here happens.
//!
//! The choice goes by the data, in this order: a node that is master already and is followed; the
//! best of those that still follow a lost master; the recorded master's pod, whose volume has the
//! newest data; the node with the most keys. A node that is still loading is waited for, an absent
//! recorded master for [`PATIENCE`].

use std::{cmp::Reverse, net::SocketAddr, time::Duration};

use super::{
    membership::Membership,
    situation::{Situation, positive},
    step::{Action, Step},
};
use crate::{
    api::{
        LastMaster,
        condition::{self, ConditionType, Reason, Truth, Verdict},
    },
    controller::{memory::Memory, observe::DataPod},
    redis::{
        duke::{KnownNode, Seed},
        node::{NodeReport, Role},
    },
};

/// How long the recorded master's pod is waited for before a node with less recent data is taken.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// What is to be done about a missing master.
#[derive(Clone, Debug, PartialEq)]
pub enum Seeding {
    /// Nothing: the Dukes decide.
    NotNeeded,
    /// Something has to happen first; a sentence for the status.
    Waiting(String),
    /// These steps, in this order.
    Steps(Vec<Step>),
}

/// Decides whether the group needs a master from us, and takes the steps.
#[must_use]
pub fn seed(now: &Situation<'_>, memory: &Memory) -> Seeding {
    if !is_needed(now) {
        return Seeding::NotNeeded;
    }
    let answering = now
        .answering()
        .filter(|(pod, _)| !pod.facts.terminating)
        .count();
    if answering < now.majority() {
        let majority = now.majority();
        return Seeding::Waiting(format!("{answering} of at least {majority} Dukes answer"));
    }
    let Some(membership) = Membership::of(now) else {
        return Seeding::Waiting("too few Dukes have an address".to_owned());
    };
    match choose(now, memory) {
        Choice::Wait(why) => Seeding::Waiting(why),
        Choice::Take(node, why) => Seeding::Steps(steps(now, &membership, node, &why)),
    }
}

/// Whether the group is without anybody who could make a master.
#[must_use]
pub fn is_needed(now: &Situation<'_>) -> bool {
    if now.has_brain() {
        return is_orphaned(now);
    }
    !now.may_have_brain()
}

/// Whether the Dukes know a master that no longer exists, and nobody who could follow it.
///
/// Where the master they know is at its old address they promote it again by themselves, as they
/// do with any replica that still has a role.
fn is_orphaned(now: &Situation<'_>) -> bool {
    let blank = |pod: &DataPod| pod.answer.given().is_none_or(NodeReport::is_blank);
    let anyone_lives = now
        .remembering()
        .any(|(_, report)| report.nodes.iter().any(KnownNode::has_lineage));
    !now.seen.data.is_empty()
        && now.master.is_none()
        && now
            .seen
            .data
            .iter()
            .filter(|pod| !pod.facts.is_over())
            .all(blank)
        && now.seen.data.iter().any(|pod| pod.answer.given().is_some())
        && !anyone_lives
}

enum Choice<'a> {
    Take(&'a DataPod, String),
    Wait(String),
}

fn choose<'a>(now: &Situation<'a>, memory: &Memory) -> Choice<'a> {
    let candidates: Vec<(&DataPod, &NodeReport)> = now
        .seen
        .data
        .iter()
        .filter(|pod| pod.facts.is_living())
        .filter_map(|pod| Some((pod, pod.answer.given()?)))
        .collect();
    if candidates.is_empty() {
        return Choice::Wait("no data pod answers yet".to_owned());
    }
    if let Some(master) = serving_master(now, &candidates) {
        return Choice::Take(master, "it is master already".to_owned());
    }
    if let Some(best) = best_follower(&candidates) {
        return Choice::Take(best, "it has most of the lost master's data".to_owned());
    }
    let has_lasted = Memory::lasted(memory.leaderless_since, now.seen.at);
    let loading = candidates.iter().find(|(_, report)| report.loading);
    if let Some((pod, _)) = loading {
        return Choice::Wait(format!("{} is still loading its data", pod.facts.name));
    }
    match recorded_master(now, &candidates, has_lasted) {
        Some(choice) => choice,
        None => most_data(now, &candidates, has_lasted),
    }
}

/// The one that others follow; without followers, the only master there is.
fn serving_master<'a>(
    now: &Situation<'_>,
    candidates: &[(&'a DataPod, &NodeReport)],
) -> Option<&'a DataPod> {
    let followers = |pod: &DataPod| {
        let ip = pod.facts.ip;
        candidates
            .iter()
            .filter(|(_, report)| ip.is_some_and(|ip| report.follows(ip)))
            .count()
    };
    let recorded = now.seen.status.last_master.as_ref();
    candidates
        .iter()
        .filter(|(_, report)| report.role == Role::Master)
        .max_by_key(|(pod, report)| {
            let is_recorded = recorded.is_some_and(|last| last.pod == pod.facts.name);
            (
                followers(pod),
                is_recorded,
                report.offset,
                Reverse(pod.ordinal),
            )
        })
        .map(|(pod, _)| *pod)
}

/// Of those that still follow a lost master, the one that has most of its stream.
fn best_follower<'a>(candidates: &[(&'a DataPod, &NodeReport)]) -> Option<&'a DataPod> {
    candidates
        .iter()
        .filter(|(_, report)| is_usable_follower(report))
        .max_by_key(|(pod, report)| (report.offset, report.keys, Reverse(pod.ordinal)))
        .map(|(pod, _)| *pod)
}

fn is_usable_follower(report: &NodeReport) -> bool {
    let syncing = match report.role {
        Role::Master => false,
        Role::Replica { syncing, .. } => syncing,
    };
    report.role != Role::Master
        && !report.is_blank()
        && !report.loading
        && !syncing
        && report.offset > 0
}

/// The pod that was master last, if its data is still there; waits for it for a while.
fn recorded_master<'a>(
    now: &Situation<'_>,
    candidates: &[(&'a DataPod, &NodeReport)],
    has_lasted: Duration,
) -> Option<Choice<'a>> {
    let recorded = now.seen.status.last_master.as_ref()?.pod.as_str();
    let Some((pod, report)) = candidates
        .iter()
        .find(|(pod, _)| pod.facts.name == recorded)
    else {
        let ordinal = now.wanted.names.ordinal(recorded);
        let may_return = ordinal.is_some_and(|ordinal| ordinal < now.wanted.data);
        return (may_return && has_lasted < PATIENCE).then(|| {
            let patience = PATIENCE.as_secs();
            Choice::Wait(format!(
                "{recorded} was master last; it is given {patience} s to be back"
            ))
        });
    };
    // An empty recorded master has lost its volume; any other data is better than none.
    let lost_its_data = report.keys == 0 && candidates.iter().any(|(_, other)| other.keys > 0);
    (!lost_its_data).then(|| Choice::Take(pod, "it was master last".to_owned()))
}

/// The node with the most keys.
///
/// A group with a past is given some time for all its pods. A fresh one waits, as long as it takes,
/// for every volume that is older than the Pipeline: seeded without it, its data would be lost.
fn most_data<'a>(
    now: &Situation<'_>,
    candidates: &[(&'a DataPod, &NodeReport)],
    has_lasted: Duration,
) -> Choice<'a> {
    let wanted = usize::from(now.wanted.data);
    if !now.is_fresh() && candidates.len() < wanted && has_lasted < PATIENCE {
        return Choice::Wait(format!("{} of {wanted} data pods answer", candidates.len()));
    }
    let answers = |ordinal: u16| candidates.iter().any(|(pod, _)| pod.ordinal == ordinal);
    let missing = now
        .seen
        .inherited
        .iter()
        .find(|ordinal| **ordinal < now.wanted.data && !answers(**ordinal));
    if let Some(ordinal) = missing.filter(|_| now.is_fresh()) {
        let pod = now.wanted.names.pod(*ordinal);
        return Choice::Wait(format!(
            "{pod} does not answer, and its volume is of an earlier life and may have data; \
             delete its claim if it does not"
        ));
    }
    let best = candidates
        .iter()
        .max_by_key(|(pod, report)| (report.keys, report.offset, Reverse(pod.ordinal)));
    match best {
        Some((pod, report)) if report.keys > 0 => {
            Choice::Take(pod, format!("it has the most data ({} keys)", report.keys))
        }
        Some((pod, _)) => Choice::Take(pod, "no data pod has any data".to_owned()),
        None => Choice::Wait("no data pod answers yet".to_owned()),
    }
}

/// Record, promote, tell, seed: in this order, so that a crash anywhere leaves something that the
/// next pass can go on from.
fn steps(now: &Situation<'_>, membership: &Membership, chosen: &DataPod, why: &str) -> Vec<Step> {
    let (Some(node), Some(resource_version)) =
        (chosen.address(), now.seen.resource_version.clone())
    else {
        return Vec::new();
    };
    let name = &chosen.facts.name;
    let mut steps = Vec::new();
    let seed = begun(now, chosen, node).unwrap_or_else(|| {
        let generation = now.generation().saturating_add(1);
        let epoch = now.epoch().saturating_add(1);
        let seed = Seed {
            generation,
            master: node,
            epoch,
        };
        let status = Box::new(recorded(now, name, &seed));
        let action = Action::RecordSeed {
            status,
            resource_version,
        };
        steps.push(Step::new(
            action,
            format!("nobody can elect; {name} is chosen: {why}"),
        ));
        seed
    });
    if !chosen
        .answer
        .given()
        .is_some_and(|report| report.role == Role::Master)
    {
        steps.push(Step::new(
            Action::Promote { node },
            format!("{name} is chosen: {why}"),
        ));
    }
    let mut told = membership.clone();
    told.nodes.insert(node);
    steps.extend(told.feed(now));
    for (pod, _) in now.answering().filter(|(pod, _)| !pod.facts.terminating) {
        if let Some(duke) = pod.address() {
            let why = format!("{} has to know that {name} is master", pod.facts.name);
            steps.push(Step::new(Action::SeedDuke { duke, seed }, why));
        }
    }
    steps
}

/// A seeding of this very node that was recorded and then interrupted before anyone else's.
fn begun(now: &Situation<'_>, chosen: &DataPod, node: SocketAddr) -> Option<Seed> {
    let status = &now.seen.status;
    let marked = status.conditions.iter().any(|known| {
        known.type_ == ConditionType::MasterAvailable.as_str()
            && known.reason == Reason::Seeding.as_str()
    });
    let generation = positive(status.generation);
    let epoch = positive(status.epoch);
    let same = status
        .last_master
        .as_ref()
        .is_some_and(|last| last.pod == chosen.facts.name && last.address == node.to_string());
    let superseded = now.answering().any(|(_, report)| {
        let known = (report.generation, report.current_epoch);
        report.generation > generation
            || (report.memory && known == (generation, epoch) && report.master != Some(node))
            || report.current_epoch > epoch
    });
    (marked && same && generation > 0 && epoch > 0 && !superseded).then_some(Seed {
        generation,
        master: node,
        epoch,
    })
}

fn recorded(now: &Situation<'_>, name: &str, seed: &Seed) -> crate::api::PipelineStatus {
    let mut status = now.seen.status.clone();
    status.generation = i64::try_from(seed.generation).ok();
    status.epoch = i64::try_from(seed.epoch).ok();
    status.last_master = Some(LastMaster {
        pod: name.to_owned(),
        address: seed.master.to_string(),
    });
    let verdict = Verdict {
        kind: ConditionType::MasterAvailable,
        truth: Truth::False,
        reason: Reason::Seeding,
        message: format!("{name} is being made master"),
    };
    condition::merge(
        &mut status.conditions,
        &[verdict],
        now.seen.spec_generation,
        now.seen.time,
    );
    status
}

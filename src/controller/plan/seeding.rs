//! Gives a group a master that has none and cannot get one by itself. Pure.
//!
//! Three cases. Either no majority of Dukes remembers the group, and none may exist behind a cut
//! cable: they are given memory. Or the Dukes remember, but every data node was started anew at a
//! new address, so that none of them is the node they know: they are told which one it is now. Or a
//! human has chosen. In all other cases the Dukes decide and nothing here happens.
//!
//! `choice` says who becomes master and what is waited for; `absence` who may still be master out of
//! sight; `evidence` whose data is newer; `order` what a human may decide instead; `record` what the
//! status keeps for all that.

use std::net::SocketAddr;

use self::choice::Choice;
use super::{
    membership::Membership,
    situation::{Situation, positive},
    step::{Action, Step},
};
use crate::{
    api::{
        LastMaster, PipelineStatus,
        condition::{self, ConditionType, Reason, Truth, Verdict},
    },
    controller::{
        memory::Memory,
        observe::{DataPod, Observation},
    },
    redis::{
        duke::{KnownNode, Seed},
        node::{Expected, NodeReport, Role},
    },
};

pub use choice::PATIENCE;
pub use order::Order;

mod absence;
mod choice;
mod evidence;
pub mod order;
pub(super) mod record;

/// In the reason of a seeding: what follows is lost by it.
pub const IS_LOST: &str = "; data is lost: ";

/// What is to be done about a missing master.
#[derive(Clone, Debug, PartialEq)]
pub enum Seeding {
    /// Nothing: the Dukes decide.
    NotNeeded,
    /// Something has to happen first; a sentence for the status.
    Waiting(String),
    /// A human has to choose; a sentence with the choices.
    Undecided(String),
    /// These steps, in this order.
    Steps(Vec<Step>),
}

/// Decides whether the group needs a master from us, and takes the steps.
#[must_use]
pub fn seed(now: &Situation<'_>, memory: &mut Memory, order: &Order<'_>) -> Seeding {
    memory.leaderless_since =
        is_needed(now).then(|| memory.leaderless_since.unwrap_or(now.seen.at));
    absence::note(now, memory);
    let ordered = match order {
        Order::Seed(pod) => Some(*pod),
        Order::None | Order::Waiting(_) | Order::Answered(_) => None,
    };
    let refusal = refusal(now);
    memory.unfit_since = refusal.map(|_| memory.unfit_since.unwrap_or(now.seen.at));
    if ordered.is_none() && !is_needed(now) {
        let has_lasted = Memory::lasted(memory.unfit_since, now.seen.at);
        return match refusal.filter(|_| has_lasted >= PATIENCE) {
            Some(why) => Seeding::Undecided(with_order(choice::offer(now, why), order)),
            None => Seeding::NotNeeded,
        };
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
    // Where the evidence is enough a human need not choose, and is told so when the group has its master.
    let choice = if is_needed(now) {
        choice::choose(now, memory)
    } else {
        Choice::Wait(String::new())
    };
    match (choice, ordered) {
        (Choice::Take { pod, why, lost }, _) => {
            let chosen = Chosen {
                pod,
                why: &why,
                lost: lost.as_deref(),
                by_order: false,
            };
            Seeding::Steps(steps(now, &membership, &chosen))
        }
        (_, Some(pod)) => {
            let chosen = Chosen {
                pod,
                why: "a human has chosen it and accepted that data is lost",
                lost: None,
                by_order: true,
            };
            Seeding::Steps(steps(now, &membership, &chosen))
        }
        (Choice::Wait(why), None) => Seeding::Waiting(with_order(why, order)),
        (Choice::Undecided(why), None) => Seeding::Undecided(with_order(why, order)),
    }
}

/// A sentence that says what an order waits for, too.
fn with_order(why: String, order: &Order<'_>) -> String {
    match order {
        Order::Waiting(waits) => format!("{waits}; {why}"),
        Order::None | Order::Seed(_) | Order::Answered(_) => why,
    }
}

/// The nodes whose kubelets have to be asked before it can be decided: those from which data nodes of
/// record have vanished, when a master is missing.
#[must_use]
pub fn nodes_to_ask(wanted: &super::Wanted, seen: &Observation) -> Vec<String> {
    let now = Situation::of(wanted, seen);
    if is_needed(&now) {
        absence::silent_nodes(&now)
    } else {
        Vec::new()
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

/// Why a majority of Dukes that holds the master for lost makes nobody master, in their words: whoever
/// is left may have less than a master that can come back.
fn refusal<'s>(now: &Situation<'s>) -> Option<&'s str> {
    let is_stuck = now.has_brain() && now.master_is_down() && !now.is_failing_over();
    now.remembering()
        .map(|(_, report)| report.reason.as_str())
        .find(|reason| is_stuck && !reason.is_empty())
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

/// Who was chosen, and how.
struct Chosen<'a> {
    pod: &'a DataPod,
    why: &'a str,
    /// What the group loses by it.
    lost: Option<&'a str>,
    by_order: bool,
}

impl Chosen<'_> {
    /// The order to become master, unless it is one. It holds only for what was chosen.
    fn promotion(&self, node: SocketAddr) -> Option<Action> {
        let report = self.pod.answer.given()?;
        if report.role == Role::Master {
            return None;
        }
        let expected = Expected {
            run_id: report.run_id.clone(),
            history: report.history.id.clone(),
            offset: report.offset,
            may_be_linked: self.by_order,
        };
        Some(Action::Promote { node, expected })
    }
}

/// Record, promote, tell, seed: in this order, so that a crash anywhere leaves something that the
/// next pass can go on from.
fn steps(now: &Situation<'_>, membership: &Membership, chosen: &Chosen<'_>) -> Vec<Step> {
    let (Some(node), Some(resource_version)) =
        (chosen.pod.address(), now.seen.resource_version.clone())
    else {
        return Vec::new();
    };
    let (name, why) = (&chosen.pod.facts.name, chosen.why);
    let mut steps = Vec::new();
    let seed = begun(now, chosen.pod, node).unwrap_or_else(|| {
        let generation = now.generation().saturating_add(1);
        let epoch = now.epoch().saturating_add(1);
        let seed = Seed {
            generation,
            master: node,
            epoch,
        };
        let status = Box::new(recorded(now, chosen, &seed));
        let action = Action::RecordSeed {
            status,
            resource_version,
        };
        let lost = chosen.lost.map(|lost| format!("{IS_LOST}{lost}"));
        let lost = lost.unwrap_or_default();
        steps.push(Step::new(
            action,
            format!("nobody can elect; {name} is chosen: {why}{lost}"),
        ));
        seed
    });
    if let Some(promotion) = chosen.promotion(node) {
        steps.push(Step::new(promotion, format!("{name} is chosen: {why}")));
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
    let is_begun = is_marked(now) && same && generation > 0 && epoch > 0 && !superseded;
    is_begun.then_some(Seed {
        generation,
        master: node,
        epoch,
    })
}

/// Whether the status says that a seeding has begun and is not over.
fn is_marked(now: &Situation<'_>) -> bool {
    now.seen.status.conditions.iter().any(|known| {
        known.type_ == ConditionType::MasterAvailable.as_str()
            && known.reason == Reason::Seeding.as_str()
    })
}

/// The status that begins a seeding. Who was chosen is of record from now on: it may be master the
/// moment after.
fn recorded(now: &Situation<'_>, chosen: &Chosen<'_>, seed: &Seed) -> PipelineStatus {
    let name = &chosen.pod.facts.name;
    let mut status = now.seen.status.clone();
    status.generation = i64::try_from(seed.generation).ok();
    status.epoch = i64::try_from(seed.epoch).ok();
    status.last_master = Some(LastMaster {
        pod: name.clone(),
        address: seed.master.to_string(),
    });
    if let Some(node) = record::node(now, chosen.pod, true) {
        status.data_nodes.retain(|known| known.pod != node.pod);
        status.data_nodes.push(node);
        status
            .data_nodes
            .sort_by(|one, other| one.pod.cmp(&other.pod));
    }
    let is_empty = chosen
        .pod
        .answer
        .given()
        .is_some_and(|report| report.keys == 0);
    if is_empty && status.had_data.is_some() {
        status.had_data = Some(false);
    }
    let mut verdicts = vec![Verdict {
        kind: ConditionType::MasterAvailable,
        truth: Truth::False,
        reason: Reason::Seeding,
        message: format!("{name} is being made master"),
    }];
    if let Some(lost) = chosen.lost {
        verdicts.push(Verdict {
            kind: ConditionType::DataLost,
            truth: Truth::True,
            reason: Reason::SeededWithLess,
            message: format!(
                "{lost}. Once that is accepted, annotate the Pipeline with \
                 kubernetes.lol/accept-data-loss={name}"
            ),
        });
    }
    condition::merge(
        &mut status.conditions,
        &verdicts,
        now.seen.spec_generation,
        now.seen.time,
    );
    status
}

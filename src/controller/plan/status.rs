//! What the status says after a plan: a pure function of what was seen and what was decided.
//!
//! Nothing in it changes while nothing happens: no offsets, no counters, no remaining times. The
//! recorded master is never cleared, because after a loss of everything it is the only evidence of
//! where the newest data lies.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Time};

use super::{roll::Roll, seeding::Seeding, situation::Situation, spread};
use crate::{
    api::{
        LastFailover, Phase, PipelineStatus,
        condition::{self, ConditionType, Reason, Truth, Verdict},
        label::{self, Component},
    },
    controller::{object::Kind, observe::PodFacts},
    redis::node::Role,
};

/// What was decided, as far as the status speaks of it.
#[derive(Debug)]
pub struct Decided<'a> {
    /// About a missing master.
    pub seeding: &'a Seeding,
    /// About pods that have to go.
    pub roll: &'a Roll,
    /// Directives that servers refused.
    pub refused: &'a [String],
    /// Whether directives are still being sent.
    pub is_settling: bool,
    /// The errors of the last pass.
    pub failures: &'a [String],
    /// The live Deployment of the Dukes.
    pub deployment: Option<&'a Deployment>,
    /// The kinds of objects whose pods this version of the operator would make otherwise.
    pub behind: &'a [Kind],
}

/// The whole status.
#[must_use]
pub fn status(now: &Situation<'_>, decided: &Decided<'_>) -> PipelineStatus {
    let seen = now.seen;
    let mut status = follow(now);
    let ready = |facts: &PodFacts| facts.ready && !facts.terminating;
    let data = seen.data.iter().filter(|pod| ready(&pod.facts)).count();
    let dukes = seen.dukes.iter().filter(|pod| ready(&pod.facts)).count();
    status.observed_generation = seen.spec_generation;
    status.replicas = Some(format!("{data}/{}", now.wanted.data));
    status.dukes = Some(format!("{dukes}/{}", now.wanted.dukes));
    status.ready_replicas = i32::try_from(data).ok();
    status.total_replicas = i32::try_from(seen.data.len()).ok();
    status.ready_dukes = i32::try_from(dukes).ok();
    status.total_dukes = i32::try_from(seen.dukes.len()).ok();
    let selector = label::selector(now.wanted.names.pipeline(), Component::Data);
    status.selector = Some(label::query(&selector));

    let mut verdicts = vec![
        accepted(decided),
        master(now, decided),
        agreement(now),
        replicas(now),
        configuration(decided),
        updated(now, decided),
    ];
    let missing = verdicts.iter().find(|verdict| verdict.truth != Truth::True);
    let all = match missing {
        None => verdict(
            ConditionType::Ready,
            true,
            Reason::AsWanted,
            "everything is as wanted",
        ),
        Some(first) => {
            let message = format!("{}: {}", first.kind.as_str(), first.message);
            verdict(ConditionType::Ready, false, Reason::NotYet, message)
        }
    };
    verdicts.push(all);
    verdicts.push(spread::verdict(now));
    status.phase = Some(phase(&seen.status, &verdicts));
    condition::merge(
        &mut status.conditions,
        &verdicts,
        seen.spec_generation,
        seen.time,
    );
    status
}

/// The status with the master that the Dukes agreed on, and everything else as it was.
#[must_use]
pub fn follow(now: &Situation<'_>) -> PipelineStatus {
    let mut status = now.seen.status.clone();
    let (Some(agreed), Some(master)) = (now.agreed, now.master) else {
        return status;
    };
    let address = agreed.address.to_string();
    let name = &master.facts.name;
    let epoch = i64::try_from(agreed.epoch).unwrap_or(i64::MAX);
    let is_change = status
        .master_address
        .as_ref()
        .is_some_and(|known| *known != address)
        && status.epoch.is_some_and(|known| known < epoch);
    if is_change {
        status.last_failover = Some(LastFailover {
            from: status.master.clone().unwrap_or_default(),
            to: name.clone(),
            epoch,
            time: Time(now.seen.time),
        });
    }
    status.generation = i64::try_from(agreed.generation).ok();
    status.epoch = Some(epoch);
    status.master = Some(name.clone());
    status.master_address = Some(address);
    status
}

/// The status right after a switch, before anybody but the Dukes was asked.
#[must_use]
pub fn announced(now: &Situation<'_>) -> PipelineStatus {
    let mut status = follow(now);
    if let (Some(master), false) = (now.master, now.is_failing_over()) {
        let message = format!("{} takes writes", master.facts.name);
        let verdict = verdict(
            ConditionType::MasterAvailable,
            true,
            Reason::AsWanted,
            message,
        );
        let generation = now.seen.spec_generation;
        condition::merge(
            &mut status.conditions,
            &[verdict],
            generation,
            now.seen.time,
        );
    }
    status
}

/// The status of a Pipeline whose spec cannot be followed.
#[must_use]
pub fn refused(now: &Situation<'_>, errors: &str) -> PipelineStatus {
    let mut status = follow(now);
    status.observed_generation = now.seen.spec_generation;
    status.phase = Some(Phase::Invalid);
    let verdicts = [
        verdict(
            ConditionType::SpecAccepted,
            false,
            Reason::InvalidSpec,
            errors,
        ),
        verdict(
            ConditionType::Ready,
            false,
            Reason::InvalidSpec,
            format!("SpecAccepted: {errors}"),
        ),
    ];
    condition::merge(
        &mut status.conditions,
        &verdicts,
        now.seen.spec_generation,
        now.seen.time,
    );
    status
}

fn verdict(
    kind: ConditionType,
    holds: bool,
    reason: Reason,
    message: impl Into<String>,
) -> Verdict {
    Verdict {
        kind,
        truth: Truth::from(holds),
        reason,
        message: message.into(),
    }
}

fn accepted(decided: &Decided<'_>) -> Verdict {
    let kind = ConditionType::SpecAccepted;
    match decided.failures {
        [] => verdict(kind, true, Reason::AsWanted, "the spec is followed"),
        failures => verdict(kind, false, Reason::Blocked, failures.join("; ")),
    }
}

fn master(now: &Situation<'_>, decided: &Decided<'_>) -> Verdict {
    let no =
        |reason, message: String| verdict(ConditionType::MasterAvailable, false, reason, message);
    match decided.seeding {
        Seeding::Waiting(why) => return no(Reason::NoMaster, why.clone()),
        Seeding::Steps(_) => return no(Reason::Seeding, "a master is being chosen".to_owned()),
        Seeding::NotNeeded => {}
    }
    if !now.has_brain() {
        return no(
            Reason::NoMajority,
            "too few Dukes can be asked who is master".to_owned(),
        );
    }
    if now.is_failing_over() || now.master_is_down() {
        return no(
            Reason::FailingOver,
            "the Dukes are replacing the master".to_owned(),
        );
    }
    let Some(pod) = now.master else {
        return no(Reason::FailingOver, "the master's pod is gone".to_owned());
    };
    let name = &pod.facts.name;
    if pod
        .answer
        .given()
        .is_some_and(|report| report.role != Role::Master)
    {
        return no(
            Reason::FailingOver,
            format!("{name} has been restarted and is not master yet"),
        );
    }
    let kind = ConditionType::MasterAvailable;
    verdict(kind, true, Reason::AsWanted, format!("{name} takes writes"))
}

fn agreement(now: &Situation<'_>) -> Verdict {
    let kind = ConditionType::DukesAgree;
    let (answering, remembering) = (now.answering().count(), now.remembering().count());
    let (majority, size) = (now.majority(), now.size);
    if answering < majority {
        let message = format!("fewer than {majority} of {size} Dukes answer");
        return verdict(kind, false, Reason::NoMajority, message);
    }
    if remembering < majority {
        let message = format!("fewer than {majority} of {size} Dukes remember the group");
        return verdict(kind, false, Reason::NoMemory, message);
    }
    if now.agreeing() < majority {
        let message = format!("fewer than {majority} of {size} Dukes name the same master");
        return verdict(kind, false, Reason::Disagreement, message);
    }
    verdict(
        kind,
        true,
        Reason::AsWanted,
        "a majority of the Dukes names the same master",
    )
}

fn replicas(now: &Situation<'_>) -> Verdict {
    let kind = ConditionType::ReplicasInSync;
    let wanted = usize::from(now.wanted.data.saturating_sub(1));
    let in_sync = now.others().filter(|pod| now.is_in_sync(pod)).count();
    if in_sync >= wanted {
        return verdict(
            kind,
            true,
            Reason::AsWanted,
            format!("{wanted} replicas follow the master"),
        );
    }
    let lagging: Vec<&str> = now
        .others()
        .filter(|pod| !now.is_in_sync(pod))
        .map(|pod| pod.facts.name.as_str())
        .collect();
    let message = match lagging.as_slice() {
        [] => format!("fewer than {wanted} replicas exist"),
        names => format!("{} not in sync with the master", names.join(", ")),
    };
    let reason = if lagging.is_empty() {
        Reason::PodsStarting
    } else {
        Reason::Syncing
    };
    verdict(kind, false, reason, message)
}

fn configuration(decided: &Decided<'_>) -> Verdict {
    let kind = ConditionType::ConfigApplied;
    if !decided.refused.is_empty() {
        return verdict(
            kind,
            false,
            Reason::DirectiveRefused,
            decided.refused.join("; "),
        );
    }
    if decided.is_settling {
        return verdict(kind, false, Reason::NotYet, "directives are being sent");
    }
    verdict(
        kind,
        true,
        Reason::AsWanted,
        "every server has the wanted configuration",
    )
}

fn updated(now: &Situation<'_>, decided: &Decided<'_>) -> Verdict {
    let kind = ConditionType::Updated;
    let no = |reason, message: String| verdict(kind, false, reason, message);
    match decided.roll {
        Roll::Step(step) => return no(Reason::RollingUpdate, step.why.clone()),
        Roll::Waiting(why) => return no(waiting_reason(now), why.clone()),
        Roll::Done => {}
    }
    let wanted = now.wanted;
    let living = now
        .seen
        .data
        .iter()
        .filter(|pod| !pod.facts.terminating)
        .count();
    if living != usize::from(wanted.data) {
        return no(
            Reason::Scaling,
            format!("{living} of {} data pods exist", wanted.data),
        );
    }
    let is_rolled = decided.deployment.is_some_and(|live| {
        let Some(status) = &live.status else {
            return false;
        };
        let count = i32::try_from(wanted.dukes).ok();
        status.observed_generation >= live.metadata.generation
            && status.updated_replicas == count
            && status.replicas == count
    });
    if !is_rolled {
        return no(
            Reason::RollingUpdate,
            "the Dukes are being updated".to_owned(),
        );
    }
    let told: Vec<u32> = now.remembering().map(|(_, report)| report.size).collect();
    if told.iter().any(|size| *size != wanted.dukes) {
        return no(
            Reason::Scaling,
            "the number of Dukes is being changed".to_owned(),
        );
    }
    let data = now.seen.data.iter().map(|pod| &pod.facts);
    let dukes = now.seen.dukes.iter().map(|pod| &pod.facts);
    if let Some(facts) = data.chain(dukes).find(|facts| !facts.ready) {
        let trouble = facts.trouble.as_deref().unwrap_or("it is starting");
        return no(
            Reason::PodsStarting,
            format!("{} is not ready: {trouble}", facts.name),
        );
    }
    as_wanted(decided.behind)
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

fn waiting_reason(now: &Situation<'_>) -> Reason {
    let stuck = now.seen.data.iter().any(|pod| pod.facts.trouble.is_some());
    if stuck {
        Reason::PodsStuck
    } else {
        Reason::RollingUpdate
    }
}

/// The one word: the worst of what does not hold.
fn phase(before: &PipelineStatus, verdicts: &[Verdict]) -> Phase {
    let holds = |kind: ConditionType| {
        verdicts
            .iter()
            .any(|verdict| verdict.kind == kind && verdict.truth == Truth::True)
    };
    if holds(ConditionType::Ready) {
        return Phase::Ready;
    }
    if matches!(before.phase, None | Some(Phase::Pending)) {
        return Phase::Pending;
    }
    let is_failing_over = verdicts
        .iter()
        .any(|verdict| verdict.reason == Reason::FailingOver);
    if is_failing_over {
        Phase::FailingOver
    } else if !holds(ConditionType::MasterAvailable) || !holds(ConditionType::SpecAccepted) {
        Phase::Degraded
    } else if !holds(ConditionType::Updated) || !holds(ConditionType::ConfigApplied) {
        Phase::Updating
    } else {
        Phase::Degraded
    }
}

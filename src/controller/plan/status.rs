//! What the status says after a plan: a pure function of what was seen and what was decided.
//!
//! Nothing in it changes while nothing happens: no offsets, no counters, no remaining times. The
//! field `master` names nobody while nobody is master; the last one is kept beside it for ever,
//! because after a loss of everything it is evidence of where the newest data lies.

use k8s_openapi::{
    api::apps::v1::Deployment,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};

use super::{
    config_file, credentials,
    objects::Troubles,
    roles,
    roll::Roll,
    seeding::{Order, Seeding, order, record},
    settings::Settings,
    situation::Situation,
    spread,
};
use crate::{
    api::{
        LastFailover, LastMaster, Phase, PipelineStatus,
        condition::{self, ConditionType, Reason, Truth, Verdict},
        label::{self, Component},
    },
    controller::{
        object::Kind,
        observe::{DataPod, PodFacts},
    },
    redis::node::Role,
};

pub mod phase;
mod pods;

/// What was decided, as far as the status speaks of it.
#[derive(Debug)]
pub struct Decided<'a> {
    /// About a missing master.
    pub seeding: &'a Seeding,
    /// About what a human ordered.
    pub order: &'a Order<'a>,
    /// About pods that have to go.
    pub roll: &'a Roll,
    /// About directives that running servers take.
    pub settings: &'a Settings,
    /// What keeps objects from being as they are wanted.
    pub troubles: &'a Troubles,
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
    show_master(&mut status, roles::present_master(now));
    record::keep(&mut status, now);
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

    let verdicts = [
        accepted(),
        objects(decided.troubles),
        credentials::verdict(now),
        master(now, decided),
        agreement(now),
        replicas(now),
        configuration(now, decided.settings),
        pods::updated(now, decided),
    ];
    let (generation, time) = (seen.spec_generation, seen.time);
    condition::merge(&mut status.conditions, &verdicts, generation, time);
    let told = order::loss(now, decided.order);
    condition::merge(&mut status.conditions, told.as_slice(), generation, time);
    let lost = data_lost(&status.conditions);
    let ready = phase::readiness(&verdicts, lost.as_deref());
    status.phase = Some(phase::phase(&seen.status, &verdicts, lost.is_some()));
    status.phase_reason = (ready.truth != Truth::True).then(|| ready.message.clone());
    condition::merge(
        &mut status.conditions,
        &[ready, spread::verdict(now)],
        generation,
        time,
    );
    status
}

/// What was lost, until somebody has accepted it.
fn data_lost(conditions: &[Condition]) -> Option<String> {
    let kind = ConditionType::DataLost.as_str();
    let mut found = conditions.iter().filter(|known| known.type_ == kind);
    let lost = found.next().filter(|known| known.status == "True")?;
    Some(lost.message.clone())
}

/// The status with the master that the Dukes agreed on as the last one, and everything else as it
/// was.
#[must_use]
pub fn follow(now: &Situation<'_>) -> PipelineStatus {
    let mut status = now.seen.status.clone();
    let (Some(agreed), Some(master)) = (now.agreed, now.master) else {
        return status;
    };
    let address = agreed.address.to_string();
    let name = &master.facts.name;
    let epoch = i64::try_from(agreed.epoch).unwrap_or(i64::MAX);
    let is_later = status.epoch.is_some_and(|known| known < epoch);
    if let Some(former) = status.last_master.as_ref()
        && former.address != address
        && is_later
    {
        status.last_failover = Some(LastFailover {
            from: former.pod.clone(),
            to: name.clone(),
            epoch,
            time: Time(now.seen.time),
        });
    }
    status.generation = i64::try_from(agreed.generation).ok();
    status.epoch = Some(epoch);
    status.last_master = Some(LastMaster {
        pod: name.clone(),
        address,
    });
    status
}

/// Names the master that is there, or nobody.
fn show_master(status: &mut PipelineStatus, master: Option<&DataPod>) {
    status.master = master.map(|pod| pod.facts.name.clone());
    status.master_address = master
        .and_then(DataPod::address)
        .map(|address| address.to_string());
}

/// The status right after a switch, before anybody but the Dukes was asked.
#[must_use]
pub fn announced(now: &Situation<'_>) -> PipelineStatus {
    let mut status = follow(now);
    if let (Some(master), false) = (now.master, now.is_failing_over()) {
        show_master(&mut status, Some(master));
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
    show_master(&mut status, roles::present_master(now));
    status.observed_generation = now.seen.spec_generation;
    status.phase = Some(Phase::Invalid);
    status.phase_reason = Some(errors.to_owned());
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

fn accepted() -> Verdict {
    let kind = ConditionType::SpecAccepted;
    verdict(kind, true, Reason::AsWanted, "the spec is followed")
}

fn objects(troubles: &Troubles) -> Verdict {
    let kind = ConditionType::ObjectsApplied;
    let Troubles {
        foreign,
        refused,
        contested,
    } = troubles;
    for (reason, sentences) in [
        (Reason::ForeignObject, foreign),
        (Reason::Blocked, refused),
        (Reason::Contested, contested),
    ] {
        if !sentences.is_empty() {
            return verdict(kind, false, reason, sentences.join("; "));
        }
    }
    verdict(kind, true, Reason::AsWanted, "all objects are as wanted")
}

fn master(now: &Situation<'_>, decided: &Decided<'_>) -> Verdict {
    let no =
        |reason, message: String| verdict(ConditionType::MasterAvailable, false, reason, message);
    match decided.seeding {
        Seeding::Waiting(why) => {
            let why = match pods::trouble(now, decided.deployment) {
                Some(trouble) => format!("{why}; {trouble}"),
                None => why.clone(),
            };
            return no(Reason::NoMaster, why);
        }
        Seeding::Undecided(why) => return no(Reason::NeedsDecision, why.clone()),
        Seeding::Steps(_) => return no(Reason::Seeding, "a master is being chosen".to_owned()),
        Seeding::NotNeeded => {}
    }
    if !now.has_brain() {
        return no(
            Reason::NoMajority,
            "too few Dukes can be asked who is master".to_owned(),
        );
    }
    // The Dukes say why a promotion has to wait.
    let said = now.answering().map(|(_, report)| report.reason.as_str());
    let said = said.into_iter().find(|reason| !reason.is_empty());
    let with = |what: &str| match said {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    };
    if now.is_failing_over() || now.master_is_down() {
        let what = with("the Dukes are replacing the master");
        return no(Reason::FailingOver, what);
    }
    let Some(pod) = now.master else {
        return no(Reason::FailingOver, with("the master's pod is gone"));
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
    let lagging: Vec<String> = now
        .others()
        .filter(|pod| !now.is_in_sync(pod))
        .map(|pod| format!("{} {}", pod.facts.name, lag(pod)))
        .collect();
    if lagging.is_empty() {
        let message = format!("fewer than {wanted} replicas run");
        return verdict(kind, false, Reason::PodsStarting, message);
    }
    let message = format!("not in sync with the master: {}", lagging.join(", "));
    verdict(kind, false, Reason::Syncing, message)
}

/// What keeps a replica from being in sync, a clause.
fn lag(pod: &DataPod) -> &'static str {
    let Some(report) = pod.answer.given() else {
        return "does not answer the operator";
    };
    match &report.role {
        _ if report.loading => "loads its data",
        _ if report.is_blank() => "has not been told yet whom to follow",
        Role::Master => "takes itself for a master",
        Role::Replica { syncing: true, .. } => "is copying the data",
        Role::Replica { link_up: false, .. } => "has no link to its master",
        Role::Replica { .. } => "follows another one",
    }
}

fn configuration(now: &Situation<'_>, settings: &Settings) -> Verdict {
    let kind = ConditionType::ConfigApplied;
    if !settings.refused.is_empty() {
        let refused = settings.refused.join("; ");
        return verdict(kind, false, Reason::DirectiveRefused, refused);
    }
    if !settings.steps.is_empty() {
        return verdict(kind, false, Reason::NotYet, "directives are being sent");
    }
    if let Some((reason, message)) = config_file::progress(now, settings) {
        return verdict(kind, false, reason, message);
    }
    verdict(
        kind,
        true,
        Reason::AsWanted,
        "every server has the wanted configuration",
    )
}

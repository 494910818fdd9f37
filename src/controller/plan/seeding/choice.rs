//! Which data node becomes master of a group without one. Pure.
//!
//! The rows are tried in this order; the first that applies decides.
//!
//! | what is seen | what is done |
//! |---|---|
//! | a replica is in touch with a master that cannot be asked | wait: that master lives |
//! | a data node of record may live out of sight ([`super::absence`]) | wait |
//! | somebody is master already | it stays, unless another has newer data |
//! | a replica was in sync until the master was lost, nobody has more | it; others of its kind that do not answer are given [`PATIENCE`] |
//! | a pod that may hold data is loading it, or can still come | wait |
//! | one node has more than each of the others ([`super::evidence`]) | it |
//! | nobody has anything | the last master's pod, or the first |
//! | nodes cannot be compared | a human chooses |
//!
//! What was waited for longer than [`PATIENCE`] is put before a human, too, with the choices: the
//! group goes on by itself as soon as what it waits for is there.

use std::{cmp::Ordering, cmp::Reverse, net::IpAddr, time::Duration};

use super::{
    super::situation::Situation,
    absence,
    evidence::{self, Candidate, Standing},
};
use crate::{
    controller::{
        memory::Memory,
        observe::{DataPod, MainContainer},
    },
    redis::node::{NodeReport, Role},
};

/// How long something that may come by itself is waited for before a human is asked, or before a
/// replica that was in sync is taken although another one does not answer.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// Who becomes master.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    /// This one.
    Take {
        pod: &'a DataPod,
        why: String,
        /// What is lost by it, if the group may have had more.
        lost: Option<String>,
    },
    /// Nobody yet; a sentence.
    Wait(String),
    /// Nobody, before a human has chosen; a sentence with the choices.
    Undecided(String),
}

/// A pod that may hold data and cannot be compared yet.
struct Pending {
    why: String,
    /// It is on its way, and says so.
    is_loading: bool,
}

/// Chooses.
pub(super) fn choose<'a>(now: &Situation<'a>, memory: &Memory) -> Choice<'a> {
    let candidates = candidates(now);
    let wait = |why: String| wait(now, memory, &candidates, why);
    if let Some(why) = living_master(now).or_else(|| absence::doubt(now, memory)) {
        return wait(why);
    }
    if candidates
        .iter()
        .any(|candidate| candidate.report.role == Role::Master)
    {
        return serving(now, &candidates);
    }
    let best = best(now, &candidates);
    if let Ok(Some(best)) = best
        && best.standing == Standing::InTouch
    {
        let has_lasted = Memory::lasted(memory.leaderless_since, now.seen.at);
        return match silent_equal(now).filter(|_| has_lasted < PATIENCE) {
            Some(name) => Choice::Wait(format!("{name} may have more, and does not answer")),
            None => take(now, best),
        };
    }
    let pending = pending(now);
    if let Some(loading) = pending.iter().find(|pending| pending.is_loading) {
        return Choice::Wait(loading.why.clone());
    }
    if let Some(pending) = pending.first() {
        return wait(pending.why.clone());
    }
    match best {
        Ok(Some(best)) => take(now, best),
        Ok(None) => Choice::Wait("no data pod answers yet".to_owned()),
        Err(why) => Choice::Undecided(with_choices(why, &candidates)),
    }
}

/// Why nobody is chosen, with the choices that a human has.
pub(super) fn offer(now: &Situation<'_>, why: &str) -> String {
    with_choices(why, &candidates(now))
}

fn candidates<'a>(now: &Situation<'a>) -> Vec<Candidate<'a>> {
    let pods = now.seen.data.iter().filter(|pod| !pod.facts.is_over());
    pods.filter_map(|pod| Candidate::of(now, pod)).collect()
}

/// Waiting goes on for as long as it takes; a human is asked as well when it takes long.
fn wait<'a>(
    now: &Situation<'_>,
    memory: &Memory,
    candidates: &[Candidate<'_>],
    why: String,
) -> Choice<'a> {
    let has_lasted = Memory::lasted(memory.leaderless_since, now.seen.at);
    if has_lasted < PATIENCE || candidates.is_empty() {
        return Choice::Wait(why);
    }
    Choice::Undecided(with_choices(&why, candidates))
}

fn with_choices(why: &str, candidates: &[Candidate<'_>]) -> String {
    let choices: Vec<String> = candidates.iter().map(Candidate::describe).collect();
    format!(
        "{why}. To go on without it, annotate the Pipeline with kubernetes.lol/accept-data-loss=<pod>: \
         {}",
        choices.join("; ")
    )
}

/// A master that lives, because a replica is in touch with it or copies from it, and that does not
/// answer us.
fn living_master(now: &Situation<'_>) -> Option<String> {
    now.seen.data.iter().find_map(|pod| {
        let report = pod.answer.given()?;
        let Role::Replica {
            host,
            port,
            link_up,
            syncing,
        } = &report.role
        else {
            return None;
        };
        let answers = |ip: IpAddr| {
            let followed = now.seen.data_at(ip);
            followed.is_some_and(|followed| followed.answer.given().is_some())
        };
        let is_known = host.parse().is_ok_and(answers);
        ((*link_up || *syncing) && !report.is_blank() && !is_known).then(|| {
            let name = &pod.facts.name;
            format!(
                "{name} is in touch with a master at {host}:{port}, which lives and does not answer"
            )
        })
    })
}

/// Of those that are master already the one that stays.
fn serving<'a>(now: &Situation<'a>, candidates: &[Candidate<'a>]) -> Choice<'a> {
    let masters: Vec<&Candidate<'a>> = candidates
        .iter()
        .filter(|candidate| candidate.report.role == Role::Master)
        .collect();
    let followers = |pod: &DataPod| {
        let follows =
            |report: &NodeReport| pod.facts.ip.is_some_and(|ip| report.is_in_sync_with(ip));
        let reports = now.seen.data.iter().filter_map(|pod| pod.answer.given());
        reports.filter(|report| follows(report)).count()
    };
    let most = masters
        .iter()
        .map(|master| followers(master.pod))
        .max()
        .unwrap_or(0);
    let followed: Vec<&&Candidate<'a>> = masters
        .iter()
        .filter(|master| followers(master.pod) == most)
        .collect();
    let recorded = |candidate: &Candidate<'_>| is_last_master(now, candidate.pod);
    let chosen = match followed.as_slice() {
        [only] => Some(**only),
        several => several
            .iter()
            .find(|one| {
                several
                    .iter()
                    .all(|other| one.compare(other).is_some_and(Ordering::is_ge))
            })
            .or_else(|| several.iter().find(|one| recorded(one)))
            .map(|one| **one),
    };
    let Some(chosen) = chosen else {
        let why = "several servers are master, and nothing tells whose data is the newest";
        return Choice::Undecided(with_choices(why, candidates));
    };
    // A follower that was asked a moment later names the same stream, and more of it.
    let newer = candidates
        .iter()
        .filter(|other| other.report.role != Role::Master)
        .filter(|other| other.report.history.id != chosen.report.history.id)
        .find(|other| other.compare(chosen) == Some(Ordering::Greater));
    if let Some(newer) = newer.filter(|_| !is_being_seeded(now, chosen)) {
        let (name, master) = (&newer.pod.facts.name, &chosen.pod.facts.name);
        let why = format!("{master} is master, but {name} has newer data");
        return Choice::Undecided(with_choices(&why, candidates));
    }
    Choice::Take {
        pod: chosen.pod,
        why: "it is master already".to_owned(),
        lost: None,
    }
}

/// A master that an interrupted seeding made was chosen by the evidence of then.
fn is_being_seeded(now: &Situation<'_>, chosen: &Candidate<'_>) -> bool {
    super::is_marked(now) && is_last_master(now, chosen.pod)
}

fn is_last_master(now: &Situation<'_>, pod: &DataPod) -> bool {
    let last = now.seen.status.last_master.as_ref();
    last.is_some_and(|last| last.pod == pod.facts.name)
}

/// The one that has at least as much as each of the others; nobody if nobody answers.
fn best<'c, 'a>(
    now: &Situation<'_>,
    candidates: &'c [Candidate<'a>],
) -> Result<Option<&'c Candidate<'a>>, &'static str> {
    let has_most = |one: &&Candidate<'_>| {
        candidates
            .iter()
            .all(|other| one.compare(other).is_some_and(Ordering::is_ge))
    };
    let best = candidates.iter().filter(has_most).max_by_key(|candidate| {
        let is_last = is_last_master(now, candidate.pod);
        (
            is_last,
            candidate.report.keys,
            Reverse(candidate.pod.ordinal),
        )
    });
    if best.is_none() && !candidates.is_empty() {
        return Err("the data of the servers cannot be compared: they name different histories");
    }
    Ok(best)
}

/// A pod that was in sync as well, lives, and does not answer: it may have received more.
fn silent_equal<'s>(now: &Situation<'s>) -> Option<&'s str> {
    let was_in_sync = |pod: &&DataPod| {
        let recorded = &now.seen.status.data_nodes;
        recorded
            .iter()
            .any(|node| node.uid == pod.facts.uid && node.in_sync)
    };
    now.seen
        .data
        .iter()
        .filter(|pod| {
            pod.facts.is_living()
                && pod.facts.main == MainContainer::Running
                && pod.answer.given().is_none()
        })
        .find(was_in_sync)
        .map(|pod| pod.facts.name.as_str())
}

/// Pods that may hold data, cannot be compared yet, and can still come.
fn pending(now: &Situation<'_>) -> Vec<Pending> {
    let mut pending: Vec<Pending> = now
        .seen
        .data
        .iter()
        .filter(|pod| !pod.facts.is_over() && pod.ordinal < now.wanted.data)
        .filter_map(|pod| pending_pod(now, pod))
        .collect();
    let exists = |ordinal: u16| now.seen.data.iter().any(|pod| pod.ordinal == ordinal);
    let unborn = now
        .seen
        .claims
        .keys()
        .filter(|ordinal| **ordinal < now.wanted.data && !exists(**ordinal))
        .filter(|ordinal| claim_may_hold_data(now, **ordinal));
    pending.extend(unborn.map(|ordinal| Pending {
        why: format!(
            "{} does not exist yet, and its volume may hold data",
            now.wanted.names.pod(*ordinal)
        ),
        is_loading: false,
    }));
    pending
}

fn pending_pod(now: &Situation<'_>, pod: &DataPod) -> Option<Pending> {
    let name = &pod.facts.name;
    if let Some(report) = pod.answer.given() {
        let why = if report.loading {
            format!("{name} is still loading its data")
        } else if evidence::is_syncing(report) {
            format!("{name} is copying a master's data")
        } else if pod.facts.terminating && claim_may_hold_data(now, pod.ordinal) {
            format!("{name} is being deleted, and its successor has its volume")
        } else {
            return None;
        };
        let is_loading = report.loading;
        return Some(Pending { why, is_loading });
    }
    let is_of_record = |uid: &str| {
        let recorded = &now.seen.status.data_nodes;
        recorded.iter().any(|node| node.uid == uid)
    };
    let is_claimed = pod.facts.claim.is_some();
    let may_hold_data = if is_claimed {
        claim_may_hold_data(now, pod.ordinal)
    } else {
        let ran = pod.facts.main != MainContainer::NeverRan;
        is_of_record(&pod.facts.uid) || (ran && is_unrecorded(now))
    };
    let returns = is_claimed || !pod.facts.terminating;
    (may_hold_data && returns).then(|| {
        let trouble = pod.facts.trouble.as_deref();
        let trouble = trouble.unwrap_or("it does not answer");
        Pending {
            why: format!("{name} may hold data, and does not answer yet: {trouble}"),
            is_loading: false,
        }
    })
}

/// Whether a pod's volume may hold data of the group: it is of record, or older than the Pipeline, or
/// was put there by somebody.
fn claim_may_hold_data(now: &Situation<'_>, ordinal: u16) -> bool {
    let Some(claim) = now.seen.claims.get(&ordinal) else {
        return false;
    };
    let recorded = &now.seen.status.data_nodes;
    let is_of_record = recorded
        .iter()
        .any(|node| node.claim.as_ref() == Some(&claim.uid));
    claim.inherited || is_of_record || is_unrecorded(now)
}

/// A group with a past of which nobody wrote down who has its data.
fn is_unrecorded(now: &Situation<'_>) -> bool {
    now.seen.status.data_nodes.is_empty() && !now.is_fresh()
}

fn take<'a>(now: &Situation<'a>, best: &Candidate<'a>) -> Choice<'a> {
    let (keys, name) = (best.report.keys, &best.pod.facts.name);
    let had_data = now.seen.status.had_data == Some(true);
    let former = now.seen.status.last_master.as_ref();
    let former = former.map_or("the last master", |last| last.pod.as_str());
    let is_last = evidence::is_last_masters_storage(now, best.pod);
    let last_has_data = now.seen.data.iter().any(|pod| {
        evidence::is_last_masters_storage(now, pod)
            && Candidate::of(now, pod).is_some_and(|one| one.has_data())
    });
    let (why, lost) = match best.standing {
        Standing::Empty => (
            "no data pod has any data".to_owned(),
            Some("every server is empty, and no volume that may hold its data is left".to_owned()),
        ),
        Standing::InTouch => ("it has most of the lost master's data".to_owned(), None),
        Standing::LastMaster => ("it was master last".to_owned(), None),
        Standing::Master => ("it is master already".to_owned(), None),
        Standing::Kept => (
            format!("of the data that is left it has the newest ({keys} keys)"),
            (!is_last && !last_has_data).then(|| {
                format!(
                    "{former} is gone with its data; {name} goes on with what its own disk had, {keys} \
                     keys, and lacks what came after that"
                )
            }),
        ),
    };
    Choice::Take {
        pod: best.pod,
        why,
        lost: lost.filter(|_| had_data),
    }
}

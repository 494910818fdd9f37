//! Feeds the Dukes: who the Dukes are, and which data nodes are of record. Pure.
//!
//! The size of which a majority is taken changes by one at a time, and only when every Duke that
//! answers holds the present one: majorities of n and n + 1 share a Duke, so no two can elect apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use k8s_openapi::api::apps::v1::Deployment;

use super::{
    scale,
    situation::Situation,
    step::{Action, Step},
};
use crate::redis::duke::{DukeReport, Member};

/// The lists as they should be at every Duke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Membership {
    /// The number of which a majority is taken.
    pub size: u32,
    /// How many Dukes must agree that the master is down.
    pub quorum: u32,
    /// The Dukes.
    pub members: Vec<Member>,
    /// The data nodes.
    pub nodes: BTreeSet<SocketAddr>,
}

impl Membership {
    /// The lists for this moment, or nothing while too few Dukes are known to begin.
    #[must_use]
    pub fn of(now: &Situation<'_>) -> Option<Self> {
        let candidates = candidates(now);
        let size = size(now, candidates.len())?;
        let mut members = candidates;
        // Never more voters than are counted: who was a member before stays first.
        members.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        members.sort();
        let quorum = now.wanted.quorum_of(size);
        Some(Self {
            size,
            quorum,
            members,
            nodes: nodes_of_record(now),
        })
    }

    /// The steps that bring every answering Duke's lists up to date.
    #[must_use]
    pub fn feed(&self, now: &Situation<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        for (pod, report) in now.answering().filter(|(pod, _)| !pod.facts.terminating) {
            let (Some(duke), name) = (pod.address(), &pod.facts.name) else {
                continue;
            };
            if !self.is_held_by(report) {
                let Self {
                    size,
                    quorum,
                    members,
                    nodes: _,
                } = self.clone();
                let why = format!("{name} does not know the {} dukes there are", members.len());
                steps.push(Step::new(
                    Action::TellMembers {
                        duke,
                        size,
                        quorum,
                        members,
                    },
                    why,
                ));
            }
            let known: BTreeSet<_> = report.nodes.iter().map(|node| node.address).collect();
            if known != self.nodes && !self.nodes.is_empty() {
                let nodes: Vec<_> = self.nodes.iter().copied().collect();
                let why = format!(
                    "{name} does not know the {} data nodes there are",
                    nodes.len()
                );
                steps.push(Step::new(Action::TellNodes { duke, nodes }, why));
            }
        }
        steps
    }

    /// Whether a Duke was told these Dukes.
    #[must_use]
    pub fn is_held_by(&self, report: &DukeReport) -> bool {
        let known: BTreeSet<&Member> = report.members.iter().collect();
        report.size == self.size
            && report.quorum == self.quorum
            && known == self.members.iter().collect()
    }
}

/// Whether all Dukes are of the present template and number.
#[must_use]
pub fn dukes_are_updated(now: &Situation<'_>, deployment: Option<&Deployment>) -> bool {
    deployment.is_some_and(|live| {
        let Some(status) = &live.status else {
            return false;
        };
        let count = i32::try_from(now.wanted.dukes).ok();
        status.observed_generation >= live.metadata.generation
            && status.updated_replicas == count
            && status.replicas == count
    })
}

/// How many Dukes there should be for the moment: on the way down one less at a time, so that the
/// ones that stay are always a majority of what counts.
#[must_use]
pub fn dukes_now(now: &Situation<'_>) -> u32 {
    let wanted = now.wanted.dukes;
    let told = now
        .answering()
        .map(|(_, report)| report.size)
        .max()
        .unwrap_or(0);
    if told == 0 || wanted >= told {
        return wanted;
    }
    let next = told.saturating_sub(1);
    let settled = now.answering().all(|(_, report)| report.size == told) && now.has_brain();
    if settled { next } else { told }
}

/// Every Duke whose id is known: from itself, or from what others were told of its address.
///
/// A Duke that does not answer stays a member as long as its pod is there.
fn candidates(now: &Situation<'_>) -> Vec<Member> {
    let told: BTreeMap<SocketAddr, &Member> = now
        .answering()
        .flat_map(|(_, report)| &report.members)
        .map(|member| (member.address, member))
        .collect();
    let mut members: Vec<Member> = now
        .seen
        .dukes
        .iter()
        .filter(|pod| !pod.facts.terminating)
        .filter_map(|pod| {
            let address = pod.address()?;
            let id = match pod.answer.given() {
                Some(report) => report.id.clone(),
                None => told.get(&address)?.id.clone(),
            };
            Some(Member { id, address })
        })
        .collect();
    members.sort_by_key(|member| (!told.values().any(|known| *known == member), member.clone()));
    members
}

/// The size to tell, or nothing while too few Dukes are known to begin.
fn size(now: &Situation<'_>, known: usize) -> Option<u32> {
    let wanted = now.wanted.dukes;
    let told: BTreeSet<u32> = now
        .remembering()
        .map(|(_, report)| report.size)
        .filter(|size| *size > 0)
        .collect();
    let Some(largest) = told.last().copied() else {
        // Nobody remembers anything, so nobody can vote by another size.
        return (known >= super::situation::majority(wanted)).then_some(wanted);
    };
    let known = u32::try_from(known).unwrap_or(u32::MAX);
    if told.len() > 1 {
        // A change of size was interrupted: finish it in the direction of what is wanted.
        return told.into_iter().min_by_key(|size| size.abs_diff(wanted));
    }
    let may_grow = wanted > largest && known > largest;
    let may_shrink = wanted < largest && known < largest;
    let step = if may_grow {
        largest.saturating_add(1)
    } else if may_shrink && now.has_brain() {
        largest.saturating_sub(1)
    } else {
        largest
    };
    Some(step)
}

/// The data nodes that may be promoted or followed: all living ones that are to stay, those that are
/// to leave as long as they may be needed, and the master for as long as the Dukes call it so.
fn nodes_of_record(now: &Situation<'_>) -> BTreeSet<SocketAddr> {
    let master = now.agreed.map(|agreed| agreed.address);
    let end = scale::of_record(now);
    now.seen
        .data
        .iter()
        .filter(|pod| pod.facts.is_living() && pod.ordinal < end)
        .filter_map(crate::controller::observe::DataPod::address)
        .chain(master)
        .collect()
}

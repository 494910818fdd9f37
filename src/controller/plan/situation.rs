//! What the observation means, before anything is decided: who is master in the Dukes' eyes, and
//! whether a majority of them can speak. Pure.

use std::net::SocketAddr;

use super::Wanted;
use crate::{
    controller::observe::{Answer, DataPod, DukePod, Observation, Phase},
    redis::{duke::DukeReport, node::Role},
};

/// A master as the Dukes know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Agreed {
    /// Its address.
    pub address: SocketAddr,
    /// The generation of the group.
    pub generation: u64,
    /// The epoch in which it was made master.
    pub epoch: u64,
}

/// The meaning of one observation.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// What was seen.
    pub seen: &'a Observation,
    /// The number of Dukes of which a majority counts: what they were told, or what is wanted.
    pub size: u32,
    /// The master of the highest generation and epoch that may be believed.
    pub agreed: Option<Agreed>,
    /// The data pod at the agreed address.
    pub master: Option<&'a DataPod>,
}

impl<'a> Situation<'a> {
    /// Reads an observation.
    #[must_use]
    pub fn of(wanted: &'a Wanted, seen: &'a Observation) -> Self {
        let size = reports(seen)
            .map(|report| report.size)
            .max()
            .filter(|size| *size > 0);
        let size = size.unwrap_or(wanted.dukes);
        let agreed = agreed(seen, size);
        let master = agreed.and_then(|agreed| seen.data_at(agreed.address.ip()));
        Self {
            wanted,
            seen,
            size,
            agreed,
            master,
        }
    }

    /// How many Dukes make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        majority(self.size)
    }

    /// The Dukes that answered, with their answers.
    pub fn answering(&self) -> impl Iterator<Item = (&'a DukePod, &'a DukeReport)> + use<'a> {
        self.seen
            .dukes
            .iter()
            .filter_map(|duke| Some((duke, duke.answer.given()?)))
    }

    /// The Dukes that answered and remember the group.
    pub fn remembering(&self) -> impl Iterator<Item = (&'a DukePod, &'a DukeReport)> + use<'a> {
        self.answering().filter(|(_, report)| report.memory)
    }

    /// Whether a majority of the Dukes answers and remembers: only they decide then.
    #[must_use]
    pub fn has_brain(&self) -> bool {
        self.remembering().count() >= self.majority()
    }

    /// Whether a majority with memory may exist: Dukes that run but do not answer count as if they
    /// remembered, because they may be voting behind a cut cable.
    #[must_use]
    pub fn may_have_brain(&self) -> bool {
        let silent = self
            .seen
            .dukes
            .iter()
            .filter(|duke| is_silent(duke))
            .count();
        self.remembering().count() + silent >= self.majority()
    }

    /// Whether the group was ever seeded.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.generation() == 0 && self.remembering().next().is_none()
    }

    /// The highest generation known to anyone.
    #[must_use]
    pub fn generation(&self) -> u64 {
        let recorded = positive(self.seen.status.generation);
        self.answering()
            .map(|(_, report)| report.generation)
            .max()
            .unwrap_or(0)
            .max(recorded)
    }

    /// The highest epoch known to anyone.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let recorded = positive(self.seen.status.epoch);
        self.answering()
            .map(|(_, report)| report.current_epoch)
            .max()
            .unwrap_or(0)
            .max(recorded)
    }

    /// Whether a failover is under way at any Duke.
    #[must_use]
    pub fn is_failing_over(&self) -> bool {
        self.remembering()
            .any(|(_, report)| report.is_failing_over())
    }

    /// Whether a majority of the Dukes holds the master for dead.
    #[must_use]
    pub fn master_is_down(&self) -> bool {
        self.remembering()
            .filter(|(_, report)| report.holds_master_down())
            .count()
            >= self.majority()
    }

    /// How many of the Dukes that remember the group name the agreed master.
    #[must_use]
    pub fn agreeing(&self) -> usize {
        let agreed = self.agreed.map(|agreed| agreed.address);
        self.remembering()
            .filter(|(_, report)| report.master == agreed)
            .count()
    }

    /// How many data pods the live StatefulSet is to have.
    #[must_use]
    pub fn live_data(&self) -> Option<u16> {
        let live = self.seen.stateful_set(&self.wanted.names)?;
        u16::try_from(live.spec.replicas?).ok()
    }

    /// Whether the agreed master's server says that it is master.
    #[must_use]
    pub fn master_answers(&self) -> bool {
        self.master
            .and_then(|pod| pod.answer.given())
            .is_some_and(|report| report.role == Role::Master)
    }

    /// The living data pods other than the master's.
    pub fn others(&self) -> impl Iterator<Item = &'a DataPod> + use<'a> {
        let master = self.master.map(|pod| pod.facts.uid.as_str());
        self.seen
            .data
            .iter()
            .filter(move |pod| pod.facts.is_living() && Some(pod.facts.uid.as_str()) != master)
    }

    /// Whether a data pod follows the agreed master with nothing left to copy.
    #[must_use]
    pub fn is_in_sync(&self, pod: &DataPod) -> bool {
        let Some(agreed) = self.agreed else {
            return false;
        };
        pod.answer
            .given()
            .is_some_and(|report| report.is_in_sync_with(agreed.address.ip()))
    }
}

/// More than half.
#[must_use]
pub fn majority(size: u32) -> usize {
    usize::try_from(size / 2 + 1).unwrap_or(usize::MAX)
}

/// A count from the API, where nothing and nonsense are nothing.
#[must_use]
pub fn positive(number: Option<i64>) -> u64 {
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

fn reports(seen: &Observation) -> impl Iterator<Item = &DukeReport> {
    seen.dukes.iter().filter_map(|duke| duke.answer.given())
}

/// Running with an address, and yet without an answer.
fn is_silent(duke: &DukePod) -> bool {
    duke.facts.phase != Phase::Pending && duke.facts.ip.is_some() && {
        match duke.answer {
            Answer::Given(_) => false,
            Answer::Missing(_) | Answer::NotAsked => true,
        }
    }
}

/// The newest claim, unless it is older than what is on record and only a minority makes it: such
/// a Duke has slept through a failover.
fn agreed(seen: &Observation, size: u32) -> Option<Agreed> {
    let claims: Vec<Agreed> = reports(seen)
        .filter(|report| report.memory)
        .filter_map(|report| {
            let (generation, epoch) = (report.generation, report.config_epoch);
            Some(Agreed {
                address: report.master?,
                generation,
                epoch,
            })
        })
        .collect();
    let newest = claims
        .iter()
        .max_by_key(|claim| (claim.generation, claim.epoch))
        .copied()?;
    let recorded = (
        positive(seen.status.generation),
        positive(seen.status.epoch),
    );
    let is_current = (newest.generation, newest.epoch) >= recorded;
    (is_current || claims.len() >= majority(size)).then_some(newest)
}

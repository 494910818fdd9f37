//! What each data node has to offer a group without a master, and which of two has more. Pure.
//!
//! | of two nodes | more has |
//! |---|---|
//! | both name the same stream of writes | the one with the greater offset |
//! | one's stream goes on from the other's | the one that goes on: it was promoted over the other |
//! | both name streams of the group's record | the one whose stream is newer |
//! | one was in sync with the master until that was lost | that one, unless the other names the same stream |
//! | one names the group's newest stream, the other an unknown one | the first, unless the other is the last master itself |
//! | one is the last master's own storage, read back; the other's stream is unknown or older | the last master |
//! | one is empty | the other |
//! | neither | they cannot be compared |
//!
//! A server that reads an RDB file back names the stream that it was written under, and how far it
//! went. One that reads an append-only file back begins a new stream: of such only the last
//! master's is known to be the newest.

use std::cmp::Ordering;

use super::super::situation::Situation;
use crate::{
    api::DataNode,
    controller::observe::DataPod,
    redis::node::{NodeReport, Role},
};

/// What a node's data is, apart from its stream and offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// Neither a key nor a place in any history of the group.
    Empty,
    /// What it read from its disk, or kept while it was out of touch with the master.
    Kept,
    /// The last master's own storage, with data in it, read back by a new process.
    LastMaster,
    /// Everything the lost master had sent: it followed it, in sync, until its end.
    InTouch,
    /// It takes writes.
    Master,
}

/// A data node that answered and has all of the data that it will have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) pod: &'a DataPod,
    pub(super) report: &'a NodeReport,
    pub(super) standing: Standing,
    /// Its place in the group's history: 0 is the newest stream on record, less goes on from it.
    place: Option<i64>,
}

impl<'a> Candidate<'a> {
    /// Reads a node's evidence; nothing for one whose data is not complete, or on its way out.
    pub(super) fn of(now: &Situation<'a>, pod: &'a DataPod) -> Option<Self> {
        let report = pod.answer.given().filter(|report| !report.loading)?;
        let is_master = report.role == Role::Master;
        let stays = pod.facts.is_living() && pod.ordinal < now.wanted.data;
        if !(stays || is_master) || is_syncing(report) {
            return None;
        }
        let place = place(now, report);
        Some(Self {
            pod,
            report,
            standing: standing(now, pod, report, place),
            place,
        })
    }

    /// Whether there is anything to lose.
    pub(super) fn has_data(&self) -> bool {
        self.standing != Standing::Empty
    }

    /// Which of two has more, if that can be said.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        let (ours, theirs) = (&self.report.history, &other.report.history);
        match (self.has_data(), other.has_data()) {
            (true, true) => {}
            (one, two) => return Some(one.cmp(&two)),
        }
        if ours.id == theirs.id {
            return Some(self.report.offset.cmp(&other.report.offset));
        }
        if ours.succeeds(theirs) {
            return Some(Ordering::Greater);
        }
        if theirs.succeeds(ours) {
            return Some(Ordering::Less);
        }
        match (self.place, other.place) {
            (Some(ours), Some(theirs)) if ours != theirs => Some(theirs.cmp(&ours)),
            (Some(_), Some(_)) => None,
            (_, _) if self.outranks(other) => Some(Ordering::Greater),
            (_, _) if other.outranks(self) => Some(Ordering::Less),
            (_, _) => None,
        }
    }

    /// Whether this one's standing is enough where streams and offsets say nothing.
    fn outranks(&self, other: &Self) -> bool {
        let is_newest = self.place.is_some_and(|place| place <= 0);
        match (self.standing, other.standing) {
            (Standing::InTouch, Standing::Kept | Standing::LastMaster) => true,
            (Standing::LastMaster, Standing::Kept) => other.place.is_none_or(|place| place > 0),
            (_, Standing::Kept) => is_newest,
            (_, _) => false,
        }
    }

    /// The one line about it for whoever has to choose.
    pub(super) fn describe(&self) -> String {
        let NodeReport {
            keys,
            offset,
            history,
            ..
        } = self.report;
        let name = &self.pod.facts.name;
        let part = format!(
            "{keys} keys, offset {offset} of history {}",
            history.short()
        );
        match self.standing {
            Standing::Empty => format!("{name}: empty"),
            Standing::Kept => format!("{name}: {part}"),
            Standing::LastMaster => format!("{name}: {part}, it was master last"),
            Standing::InTouch => format!("{name}: {part}, in sync until the master was lost"),
            // What a living master has changes all the time.
            Standing::Master => format!("{name}: a master, history {}", history.short()),
        }
    }
}

/// Whether a node is in the middle of copying a master's data.
pub(super) fn is_syncing(report: &NodeReport) -> bool {
    match report.role {
        Role::Master => false,
        Role::Replica { syncing, .. } => syncing,
    }
}

fn standing(
    now: &Situation<'_>,
    pod: &DataPod,
    report: &NodeReport,
    place: Option<i64>,
) -> Standing {
    if report.role == Role::Master {
        let is_nothing = report.keys == 0 && place.is_none();
        return if is_nothing {
            Standing::Empty
        } else {
            Standing::Master
        };
    }
    if follows_somebody(report) && was_in_sync(now, pod) {
        return Standing::InTouch;
    }
    if report.keys == 0 && place.is_none() {
        return Standing::Empty;
    }
    if report.keys > 0 && place.is_none() && is_last_masters_storage(now, pod) {
        return Standing::LastMaster;
    }
    Standing::Kept
}

/// Whether its process has followed a real master with its link up, and was not started anew since.
fn follows_somebody(report: &NodeReport) -> bool {
    !report.is_blank() && report.was_in_touch && report.offset > 1
}

/// Whether it was in sync when it and the master were seen last. Of a group without a record a
/// process that was in touch with its master is believed.
fn was_in_sync(now: &Situation<'_>, pod: &DataPod) -> bool {
    let recorded = &now.seen.status.data_nodes;
    recorded.is_empty()
        || recorded
            .iter()
            .any(|node| node.uid == pod.facts.uid && node.in_sync)
}

/// Whether a pod has the storage of the group's last master: it is the same pod, or has its claim.
pub(super) fn is_last_masters_storage(now: &Situation<'_>, pod: &DataPod) -> bool {
    let status = &now.seen.status;
    let Some(last) = &status.last_master else {
        return false;
    };
    if last.pod != pod.facts.name {
        return false;
    }
    let Some(known) = status.data_nodes.iter().find(|node| node.pod == last.pod) else {
        // Nobody wrote down which pod it was: a pod of its name with data must be it.
        return true;
    };
    known.uid == pod.facts.uid || has_claim_of(now, pod, known)
}

/// Whether a pod has the claim of a node of record.
pub(super) fn has_claim_of(now: &Situation<'_>, pod: &DataPod, node: &DataNode) -> bool {
    let claim = now.seen.claims.get(&pod.ordinal);
    node.claim
        .as_ref()
        .is_some_and(|uid| claim.is_some_and(|claim| claim.uid == *uid))
}

/// Where a node's stream stands in the group's history: twice the number of newer streams on record;
/// one less for a stream that goes on from one on record. A replica that has thrown its offset away
/// to copy a master, and never got to the end, has no place: nobody knows what it holds.
fn place(now: &Situation<'_>, report: &NodeReport) -> Option<i64> {
    if report.role != Role::Master && report.offset <= 1 {
        return None;
    }
    let position = |id: &str| {
        let found = now.seen.status.histories.iter().position(|one| one == id);
        found.and_then(|at| i64::try_from(at).ok())
    };
    let history = &report.history;
    if let Some(at) = position(&history.id) {
        return Some(at.saturating_mul(2));
    }
    position(&history.before).map(|at| at.saturating_mul(2).saturating_sub(1))
}

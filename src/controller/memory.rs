//! What the operator remembers of one Pipeline between two passes.
//!
//! Only what saves requests or measures how long something has lasted. All of it may be lost at
//! any time, by a restart or a takeover, without a wrong decision: at worst a pass waits again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    backoff::{Refusal, doubled},
    object::ObjectId,
    observe::{Kubelet, complaint::Complaint},
};

/// How often an object that somebody else keeps changing is put back before it is left alone.
const REPAIRS_MAX: u32 = 3;

/// How long an object that somebody else keeps changing is left alone at first; twice as long when
/// it was changed again after that.
const TRUCE: Duration = Duration::from_mins(1);

/// How long it is left alone at most. What lies further apart has nothing to do with each other.
const LONGEST_TRUCE: Duration = Duration::from_mins(10);

/// A directive of one process of a data node.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Setting {
    /// The process.
    pub run_id: String,
    /// The directive.
    pub directive: String,
}

/// What came of setting a directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tried {
    /// The value that was sent.
    pub value: String,
    /// The server's words if it refused.
    pub refusal: Option<String>,
}

/// An object that was not as wanted although it was written so, and what we did about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Drift {
    /// The field that differs now; nothing when it was as wanted at the last look.
    pub field: Option<String>,
    /// How often it was put back without a long time of peace between.
    pub repairs: u32,
    /// When it was put back last.
    pub repaired: Instant,
}

impl Drift {
    /// Whether somebody changes it whenever we do.
    #[must_use]
    pub fn is_contested(&self) -> bool {
        self.repairs >= REPAIRS_MAX
    }

    /// How long it is left alone after it was put back last.
    fn truce(&self) -> Duration {
        let again = self.repairs.saturating_sub(REPAIRS_MAX);
        doubled(TRUCE, again, LONGEST_TRUCE)
    }
}

/// What a node had said when a data node of record was first missed there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Missed {
    /// When its kubelet had renewed its Lease, if it was asked.
    pub renewed: Option<String>,
    /// The uids of the group's pods that ran there.
    pub running: BTreeSet<String>,
}

/// The memory of one Pipeline.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when the group has nobody who could be master without a seeding.
    pub leaderless_since: Option<Instant>,
    /// Since when a majority of Dukes holds the master for lost and makes nobody master in its place.
    pub unfit_since: Option<Instant>,
    /// When a Duke was last asked to move the master.
    pub failover_asked: Option<Instant>,
    /// Live objects that were compared with what was wanted: version and hash.
    pub verified: BTreeMap<ObjectId, (String, String)>,
    /// Directives that were set or refused.
    pub tried: BTreeMap<Setting, Tried>,
    /// What the cluster's controllers complain of, by the uid of the object.
    pub complaints: BTreeMap<String, Complaint>,
    /// Objects that somebody else changed.
    pub drifts: BTreeMap<ObjectId, Drift>,
    /// Requests to the API server that were not accepted, by what they are about.
    pub refusals: BTreeMap<String, Refusal>,
    /// How many passes in a row have failed.
    pub failed_passes: u32,
    /// When the kubelets of vanished data nodes were asked about last, and what was found.
    pub kubelets: Option<(Instant, BTreeMap<String, Kubelet>)>,
    /// What was known of the kubelets of vanished data nodes when these were first missed, by the
    /// pod's uid: whatever is new was said after the pod was gone.
    pub missed: BTreeMap<String, Missed>,
}

impl Memory {
    /// How long something has lasted at `now`.
    #[must_use]
    pub fn lasted(since: Option<Instant>, now: Instant) -> Duration {
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Notes that a field of an object is not as it was written; says whether to write it again.
    ///
    /// Somebody who changes it whenever we do is not fought: after a few attempts the object is
    /// left alone for a while.
    pub fn may_repair(&mut self, id: &ObjectId, field: String, now: Instant) -> bool {
        let drift = self.drifts.entry(id.clone()).or_insert(Drift {
            field: None,
            repairs: 0,
            repaired: now,
        });
        drift.field = Some(field);
        let passed = now.saturating_duration_since(drift.repaired);
        if drift.is_contested() && passed < drift.truce() {
            return false;
        }
        drift.repairs = if passed >= LONGEST_TRUCE && !drift.is_contested() {
            1
        } else {
            drift.repairs.saturating_add(1)
        };
        drift.repaired = now;
        true
    }

    /// Notes that an object is as it was written.
    pub fn is_as_written(&mut self, id: &ObjectId, now: Instant) {
        if let Some(drift) = self.drifts.get_mut(id) {
            drift.field = None;
            if now.saturating_duration_since(drift.repaired) >= LONGEST_TRUCE {
                self.drifts.remove(id);
            }
        }
    }

    /// Whether an object of this Pipeline's names belongs to somebody else.
    #[must_use]
    pub fn is_foreign(&self, id: &ObjectId) -> bool {
        self.refusals
            .get(&id.to_string())
            .is_some_and(|refusal| refusal.is_foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::object::Kind;

    #[test]
    fn what_is_changed_again_and_again_is_put_back_ever_more_seldom() {
        let id = ObjectId {
            kind: Kind::Service,
            name: "duke-oolong".to_owned(),
        };
        let begun = Instant::now();
        let mut memory = Memory::default();
        let repaired: Vec<u64> = (0..4000)
            .filter(|second| {
                let now = begun + Duration::from_secs(*second);
                memory.may_repair(&id, "spec.type".to_owned(), now)
            })
            .collect();
        assert_eq!(
            repaired,
            [0, 1, 2, 62, 182, 422, 902, 1502, 2102, 2702, 3302, 3902]
        );
    }
}

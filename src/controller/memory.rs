//! What the operator remembers of one Pipeline between two passes.
//!
//! Only what saves requests or measures how long something has lasted. All of it may be lost at
//! any time, by a restart or a takeover, without a wrong decision: at worst a pass waits again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::object::ObjectId;

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

/// The memory of one Pipeline.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when the group has nobody who could be master without a seeding.
    pub leaderless_since: Option<Instant>,
    /// When a Duke was last asked to move the master.
    pub failover_asked: Option<Instant>,
    /// Live objects that were compared with what was wanted: version and hash.
    pub verified: BTreeMap<ObjectId, (String, String)>,
    /// Directives that were set or refused.
    pub tried: BTreeMap<Setting, Tried>,
    /// The errors of the last pass, by step.
    pub failures: BTreeMap<String, String>,
    /// How many passes in a row have failed.
    pub failed_passes: u32,
}

impl Memory {
    /// How long something has lasted at `now`.
    #[must_use]
    pub fn lasted(since: Option<Instant>, now: Instant) -> Duration {
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

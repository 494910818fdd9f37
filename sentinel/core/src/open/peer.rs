//! Other sentinels: one connection to each, however many masters it watches with us, and what it
//! said of each of these.

use std::{collections::BTreeSet, time::Duration};

use super::{address::Address, hello::repeat::Heard, server::Purpose};
use crate::{link::Wire, time::Time};

/// Another sentinel as a process with one connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) address: Address,
    pub(crate) wire: Wire<Purpose>,
    pub(crate) replied: Time,
    /// How long it may be silent until the first of its masters finds it down.
    pub(crate) patience: Duration,
    /// The masters it watches with us.
    pub(crate) masters: BTreeSet<String>,
}

impl Peer {
    pub(crate) fn new(now: Time, id: &str, address: Address) -> Self {
        let mut wire = Wire::new(now);
        wire.owed(now);
        Self {
            id: id.to_owned(),
            address,
            wire,
            replied: now,
            patience: Duration::ZERO,
            masters: BTreeSet::new(),
        }
    }

    /// Whether it answers as ever: one more PONG tells nothing.
    pub(crate) fn is_calm(&self, now: Time) -> bool {
        let owes = self.wire.silent_since();
        self.wire.may_ping() && owes.is_none_or(|since| now.since(since) <= self.patience)
    }
}

/// What another sentinel thinks of one master.
#[derive(Debug)]
pub(crate) struct Witness {
    /// Its connection.
    pub(crate) peer: u64,
    pub(crate) down: Option<Time>,
    /// It said that the master is down, then.
    pub(crate) master_down: Option<Time>,
    /// It said that the master is not down, then.
    pub(crate) master_up: Option<Time>,
    pub(crate) next_opinion: Time,
    /// The last vote it told us of, `(leader, epoch)`.
    pub(crate) vote: Option<(String, u64)>,
    pub(crate) last_hello: Time,
    /// Its last hello, if it may be said again without being read.
    pub(crate) heard: Option<Heard>,
    pub(crate) next_hello: Time,
    /// The config epoch it believes in, by its last hello, if it named the same master as we do.
    pub(crate) believes: Option<u64>,
    /// The config epoch and the master it named in its last hello, if that is another one than ours.
    pub(crate) differs: Option<(u64, Address)>,
}

impl Witness {
    pub(crate) fn new(now: Time, peer: u64) -> Self {
        Self {
            peer,
            down: None,
            master_down: None,
            master_up: None,
            next_opinion: now,
            vote: None,
            last_hello: now,
            heard: None,
            next_hello: now,
            believes: None,
            differs: None,
        }
    }
}

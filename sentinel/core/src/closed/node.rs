//! What is known of one data node.

use std::net::SocketAddr;

use crate::{
    info::{Info, Role},
    link::Wire,
    time::Time,
};

/// Who named the history of the group's data, from the least to the most believed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Told {
    /// The master before the present one.
    Former,
    /// A replica in touch with the present one.
    Replica,
    /// The present master.
    Master,
}

/// What was seen of a node's data set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Holding {
    /// Neither its start nor that it was in touch with the group's master.
    Unseen,
    /// Its process was started anew, and was not in touch since: it has what its disk had, which may be older.
    Stale,
    /// This process of it was in touch with the group's master: it has had a whole copy.
    Whole,
}

/// A data node of record.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) wire: Wire,
    pub(crate) info: Info,
    /// When INFO was last answered.
    pub(crate) informed: Option<Time>,
    pub(crate) next_info: Time,
    /// When its present role was first reported.
    pub(crate) role_since: Time,
    /// Whether this Duke finds it down.
    pub(crate) down: Option<Time>,
    /// It restarted while it was master: whatever it has now is not what it had.
    pub(crate) restarted: bool,
    /// Since when it follows nothing although it is the master, and the same process as before: a leader had it make
    /// way.
    pub(crate) demoted: Option<Time>,
    /// What this Duke saw of its data set.
    pub(crate) holding: Holding,
    /// It was seen apart from the present master since that became master: if it has been in touch with the master it
    /// follows, that was in this reign.
    pub(crate) apart: bool,
    /// Since when it follows the wrong master.
    pub(crate) stray: Option<Time>,
    /// It was told to follow the master, and has not said since whom it follows.
    pub(crate) pointing: bool,
    /// It failed to become master and is not asked again before then.
    pub(crate) unfit_until: Option<Time>,
}

impl Node {
    pub(crate) fn new(now: Time, address: SocketAddr) -> Self {
        Self {
            address,
            wire: Wire::new(now),
            info: Info::default(),
            informed: None,
            next_info: now,
            role_since: now,
            down: None,
            restarted: false,
            demoted: None,
            holding: Holding::Unseen,
            apart: false,
            stray: None,
            pointing: false,
            unfit_until: None,
        }
    }

    /// Whether it can be talked to and has said what it is.
    pub(crate) fn is_known(&self) -> bool {
        self.wire.up().is_some() && self.informed.is_some()
    }

    /// Whether it takes writes, as far as it said.
    pub(crate) fn is_master(&self) -> bool {
        self.info.role == Role::Master
    }

    /// Whether it is in touch with `master`, or was in this reign, as far as was seen.
    pub(crate) fn has_touched(&self, master: SocketAddr) -> bool {
        let has = self.apart && self.info.role.follows(master) && !self.info.unsynced;
        has || self.replicates(master)
    }

    /// Seconds since it last heard its master.
    pub(crate) fn unheard_seconds(&self) -> u64 {
        let up = matches!(self.info.role, Role::Replica { link_up: true, .. });
        if up {
            self.info.heard_seconds
        } else {
            self.info.link_down_seconds
        }
    }

    /// Notes whether it makes way for another master: nobody but a leader has the very process of the master follow
    /// nothing. It has all it had.
    pub(crate) fn makes_way(&mut self, now: Time, is_same_master: bool) -> bool {
        let makes_way = is_same_master && self.info.role.is_blank();
        let since = self.demoted.unwrap_or(now);
        self.demoted = (makes_way && !self.restarted).then_some(since);
        makes_way
    }

    /// Whether it is in touch with `master`.
    pub(crate) fn replicates(&self, master: SocketAddr) -> bool {
        self.info.role.follows(master)
            && matches!(self.info.role, Role::Replica { link_up: true, .. })
    }
}

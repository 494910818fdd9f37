//! No needless failover: a master that is well is replaced only when somebody ordered it.
//!
//! Two bounds are checked when a leader tells a node to become master. The leader itself must find the master down at
//! that moment, whatever it found when it stood. And if the master was in truth well, and a majority had it in reach,
//! for longer than any Duke may need to notice, nobody had a reason. The world knows the latter.

use std::net::SocketAddr;

use super::{Belief, Oracle};

impl Oracle {
    /// A Duke was ordered to replace the master, and agreed.
    pub(crate) fn ordered_failover(&mut self, duke: usize) {
        self.watches[duke].ordered = true;
    }

    /// A leader chose whom to promote.
    pub(super) fn check_need(&mut self, duke: usize, belief: &Belief, target: SocketAddr) {
        if self.watches[duke].ordered || belief.master == Some(target) {
            return;
        }
        self.watches[duke].replaced = belief.master;
        if !belief.master_down {
            self.needless(duke, "it finds it well itself");
        }
    }

    /// The master a Duke has just begun to replace.
    pub(crate) fn take_replaced(&mut self, duke: usize) -> Option<SocketAddr> {
        self.watches[duke].replaced.take()
    }

    /// A master was replaced without need.
    pub(crate) fn needless(&mut self, duke: usize, why: &str) {
        self.fail(format!("d{} replaces its master although {why}", duke + 1));
    }
}

//! Who has been well, and in reach of whom, for how long: what it takes to say that a failover was needless.
//!
//! Looked at whenever a fault begins or ends, or a server changes its role: nothing else changes it.

use std::net::SocketAddr;

use super::World;
use crate::{
    options::Group,
    queue::{MILLI, Micros, SECOND},
    server::{Door, Role},
};

/// Since when each Duke and each node have been well together, as master and watcher; never, while they are not.
#[derive(Debug)]
pub(super) struct Health(Vec<Vec<Option<Micros>>>);

impl Health {
    pub(super) fn new(dukes: usize, nodes: usize) -> Self {
        Self(vec![vec![None; nodes]; dukes])
    }
}

impl World {
    /// Looks who is well with whom. `shaken` if connections were cut for a moment, `jumped` the Duke whose clock was
    /// put ahead.
    pub(super) fn examine(&mut self, shaken: bool, jumped: Option<usize>) {
        if self.options.group == Group::Open {
            return;
        }
        for duke in 0..self.options.dukes {
            for node in 0..self.options.nodes {
                let well = self.are_well(duke, node);
                let anew = shaken || jumped == Some(duke);
                let now = self.now;
                let since = &mut self.health.0[duke][node];
                let kept = since.filter(|_| !anew).unwrap_or(now);
                *since = well.then_some(kept);
            }
        }
    }

    fn are_well(&self, duke: usize, node: usize) -> bool {
        let server = &self.nodes[node];
        let host = server.host;
        let leads = server.alive
            && !server.loading
            && server.role == Role::Master
            && server.door == Door::Ours;
        let near = self.network.lag[duke] == 0 && self.network.lag[host] == 0;
        let watches = self.dukes[duke].engine.is_some();
        leads && near && watches && self.is_conversation_possible(duke, host)
    }

    /// Whether a majority has had this master well and in reach for so long that none of its Dukes can have a
    /// reason left to replace it. Only where it takes a majority to find a master down.
    pub(super) fn is_surely_well(&self, master: SocketAddr) -> bool {
        let majority = self.options.majority();
        let long = 5 * SECOND + 3 * self.options.down_after * MILLI;
        let Some(node) = self.node_at(master) else {
            return false;
        };
        let well = |since: &Option<Micros>| since.is_some_and(|since| self.now - since > long);
        let count = self
            .health
            .0
            .iter()
            .filter(|nodes| well(&nodes[node]))
            .count();
        self.options.quorum >= majority && self.options.loss == 0 && count >= majority
    }
}

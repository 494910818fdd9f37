//! Why there is no master now, or nobody takes its place: in words for people.
//!
//! Looks only, and at what the decisions themselves go by.

use crate::closed::{Closed, failover::Failover};

/// So many nodes are spoken of one by one.
const TOLD_MAX: usize = 8;

impl Closed {
    /// Why there is no master or no promotion now, or what keeps this Duke from taking part in one; nothing, if
    /// all is well or a promotion is under way.
    pub(crate) fn reason(&self) -> String {
        let durable = &self.durable;
        if durable.size == 0 {
            return "this Duke was not told who belongs to its group".to_owned();
        }
        if self.disk_fails {
            return "this Duke's disk takes nothing: it neither stands nor votes until it does"
                .to_owned();
        }
        if !durable.memory {
            return "this Duke knows nothing of its group's past: it waits for a majority of Dukes that do, or for \
                    the group to be seeded"
                .to_owned();
        }
        if let Some(rival) = self.rival() {
            return format!(
                "Duke {} names another master of the same epoch, {}",
                rival.id,
                rival
                    .names
                    .map_or_else(String::new, |master| master.to_string())
            );
        }
        let is_settled = self.master_down().is_none() && durable.master.is_some();
        if is_settled || self.failover != Failover::Idle {
            return String::new();
        }
        if !self.agreed_down {
            let (found, quorum) = (self.finding_down(), durable.quorum.max(1));
            return format!("{found} Dukes find the master down, and {quorum} must");
        }
        if durable.nodes.is_empty() {
            return "this Duke was not told the data nodes of its group".to_owned();
        }
        if self.candidate().is_none() {
            return self.nobody_fit();
        }
        String::new()
    }

    /// Why nobody takes the place of a master that is down.
    pub(crate) fn nobody_fit(&self) -> String {
        let mut told = Vec::new();
        for node in self.nodes.values() {
            let (address, is_master) = (node.address, self.durable.master == Some(node.address));
            let why = if !is_master {
                self.obstacle(node).unwrap_or("would be fit")
            } else if node.wire.refusal.is_some() {
                "the master, does not let this Duke in"
            } else if !node.is_known() {
                "the master, is out of reach"
            } else if node.info.loading {
                "the master, is loading its data"
            } else if node.info.keys == 0 {
                "the master, is back without a key"
            } else {
                "the master, is back, but others may have more"
            };
            told.push(format!("{address} {why}"));
        }
        let more = told.len().saturating_sub(TOLD_MAX);
        told.truncate(TOLD_MAX);
        if more > 0 {
            told.push(format!("and so on for {more} more"));
        }
        format!("nobody may become master: {}", told.join("; "))
    }
}

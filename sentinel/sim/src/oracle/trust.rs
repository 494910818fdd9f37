//! Who may be relied on: servers that accepted the group's password, and Dukes whose disk takes what they promise.

use super::{Belief, Oracle};
use crate::network::Host;

impl Oracle {
    /// A Duke gives an order on a connection on which its login was not accepted.
    pub(crate) fn gave_orders_to_stranger(&mut self, duke: usize, node: Host) {
        let name = duke + 1;
        self.fail(format!(
            "d{name} orders host {node} about, which never accepted its login"
        ));
    }

    /// A Duke was told that its disk takes nothing, or that it wrote.
    pub(crate) fn disk_fails(&mut self, duke: usize, fails: bool) {
        self.watches[duke].disk_fails = fails;
    }

    /// A Duke's belief changed: whose disk takes nothing votes for nobody, itself included.
    pub(super) fn check_disk(&mut self, duke: usize, known: Option<&Belief>, next: &Belief) {
        let voted =
            known.is_some_and(|known| known.memory && known.leader_epoch < next.leader_epoch);
        if self.watches[duke].disk_fails && voted {
            let (name, epoch) = (duke + 1, next.leader_epoch);
            self.fail(format!(
                "d{name} votes in epoch {epoch} although its disk takes nothing"
            ));
        }
    }
}

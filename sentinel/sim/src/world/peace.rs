//! Whether the group has settled: one master, whom all follow and all Dukes name, and who serves.

use super::World;
use crate::{queue::SECOND, server::Role};

impl World {
    /// Why the group has not settled; nothing if it has.
    #[must_use]
    pub fn unsettled(&self) -> Option<String> {
        let dukes = self.options.dukes;
        let mut masters = (0..self.nodes.len()).filter(|node| {
            let server = &self.nodes[*node];
            server.alive && !self.lost[server.host] && server.role == Role::Master
        });
        let Some(master) = masters.next() else {
            return Some("nobody is master".to_owned());
        };
        if let Some(other) = masters.next() {
            return Some(format!("n{} and n{} are masters", master + 1, other + 1));
        }
        let address = self.nodes[master].address;
        for (node, server) in self.nodes.iter().enumerate() {
            let follows = node == master || server.in_touch() == Some(address);
            if !follows && !self.lost[server.host] {
                let name = node + 1;
                return Some(format!("n{name} does not follow n{}", master + 1));
            }
        }
        let mut epochs = Vec::new();
        for duke in (0..dukes).filter(|duke| !self.lost[*duke]) {
            let name = duke + 1;
            let Some(view) = self.dukes[duke].view() else {
                return Some(format!("d{name} is dead"));
            };
            if !view.memory {
                return Some(format!("d{name} has no memory"));
            }
            if view.master != Some(address) || view.master_down || view.leads.is_some() {
                return Some(format!("d{name} does not believe in n{}", master + 1));
            }
            if let Some(why) = self.unacquainted(duke).filter(|_| self.is_open()) {
                return Some(why);
            }
            epochs.push((view.generation, view.config_epoch));
        }
        epochs.dedup();
        if epochs.len() > 1 {
            return Some(format!("Dukes believe in {epochs:?}"));
        }
        self.unserved(master)
    }

    /// Why clients are not served, if they should be.
    fn unserved(&self, master: usize) -> Option<String> {
        let host = self.nodes[master].host;
        let followers = self.nodes[master].followers.len();
        let served = |client: usize| {
            let recent = self.options.write_pause + 2 * SECOND;
            self.lost[host] || self.now - self.clients[client].served < recent
        };
        let client = (0..self.clients.len()).find(|client| !served(*client))?;
        (followers >= self.options.min_replicas.0)
            .then(|| format!("client c{} is not served", client + 1))
    }

    /// An acknowledged write that the master lacks without a reason.
    #[must_use]
    pub fn check_writes(&self) -> Option<String> {
        let master = self.nodes.iter().find(|server| {
            server.alive && !self.lost[server.host] && server.role == Role::Master
        })?;
        let write = self.history.missing(master.place)?;
        Some(format!(
            "{}, which ends at {:?}, lacks the acknowledged write {write:?}, and nobody had to lose it",
            master.address, master.place
        ))
    }
}

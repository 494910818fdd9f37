//! What a Duke holds true, for whoever watches it: the simulator's invariants, metrics. Read only.

use std::net::SocketAddr;

use crate::closed::{Closed, failover::Failover};

/// A Duke's beliefs and intentions at one moment; what it remembers may not be durable yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct View<'a> {
    /// Its name.
    pub id: &'a str,
    /// Whether it knows its group's past.
    pub memory: bool,
    /// How often the group was seeded.
    pub generation: u64,
    /// The highest epoch it has heard of.
    pub current_epoch: u64,
    /// The epoch in which the master was chosen.
    pub config_epoch: u64,
    /// The last epoch it voted in.
    pub leader_epoch: u64,
    /// For whom; empty if that is not known.
    pub leader: &'a str,
    /// The master.
    pub master: Option<SocketAddr>,
    /// Whether this Duke finds the master down.
    pub master_down: bool,
    /// The epoch in which it was elected and is replacing the master.
    pub leads: Option<u64>,
    /// The node it chose to become master, until that is confirmed or given up.
    pub target: Option<SocketAddr>,
    /// Whether it finds nobody fit to take the place of a master that is down.
    pub nobody_fit: bool,
}

impl Closed {
    /// What this Duke holds true now.
    pub(crate) fn view(&self) -> View<'_> {
        let durable = &self.durable;
        let (leads, target) = match &self.failover {
            Failover::Idle | Failover::Candidate { .. } => (None, None),
            Failover::Selecting { epoch, .. } => (Some(*epoch), None),
            Failover::HandingOver { epoch, target, .. }
            | Failover::Promoting { epoch, target, .. } => (Some(*epoch), Some(*target)),
        };
        View {
            id: &durable.id,
            memory: durable.memory,
            generation: durable.generation,
            current_epoch: durable.current_epoch,
            config_epoch: durable.config_epoch,
            leader_epoch: durable.leader_epoch,
            leader: &durable.leader,
            master: durable.master,
            master_down: self.master_down().is_some(),
            leads,
            target,
            nobody_fit: self.agreed_down && self.candidacy.told,
        }
    }
}

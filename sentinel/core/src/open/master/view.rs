//! What a Duke of open groups holds true of one master, for whoever watches it: the simulator's
//! invariants. Read only.

use super::Master;
use crate::{
    closed::view::View,
    open::{Open, failover::Failover},
    switchover::Cause,
};

/// A Duke's beliefs and intentions about one master at one moment; what it remembers may not be
/// durable yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenView<'a> {
    /// What every Duke believes of a group. An open one always has memory, its file; and its group is
    /// never seeded.
    pub belief: View<'a>,
    /// How many sentinels it knows, itself included.
    pub sentinels: usize,
    /// How many replicas it knows.
    pub replicas: usize,
    /// How many votes it needs to lead.
    pub majority: usize,
    /// It replaces the master, or wants to, or sees to it that all follow the new one.
    pub replaces: bool,
    /// It leads because it was told to, without votes.
    pub ordered: bool,
}

impl Open {
    /// What this Duke holds true of the master of this name now.
    pub(crate) fn view(&self, name: &str) -> Option<OpenView<'_>> {
        let master = self.masters.get(name)?;
        let leads = leads(master);
        let target = match &master.failover {
            Failover::Promoting { target, .. } | Failover::HandingOver { target, .. } => {
                master.server_of(*target)
            }
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::Following { .. } => None,
        };
        let belief = View {
            id: &self.conf.sentinel.id,
            memory: true,
            generation: 0,
            current_epoch: self.conf.sentinel.current_epoch,
            config_epoch: master.config_epoch,
            leader_epoch: master.leader_epoch,
            leader: master.leader.as_deref().unwrap_or_default(),
            master: master.server.address.socket(),
            master_down: master.server.down.is_some(),
            leads,
            target: target.and_then(|server| server.address.socket()),
            nobody_fit: false,
        };
        Some(OpenView {
            belief,
            sentinels: master.sentinels.len().saturating_add(1),
            replicas: master.replicas.len(),
            majority: master.majority().max(master.quorum()),
            replaces: master.failover.is_on(),
            ordered: leads.is_some() && master.cause == Cause::Order,
        })
    }
}

/// The epoch in which this Duke was elected, or told, to replace the master, and does so.
fn leads(master: &Master) -> Option<u64> {
    match &master.failover {
        Failover::Idle | Failover::Candidate { .. } | Failover::Following { .. } => None,
        Failover::Selecting { epoch, .. }
        | Failover::HandingOver { epoch, .. }
        | Failover::Promoting { epoch, .. } => Some(*epoch),
    }
}

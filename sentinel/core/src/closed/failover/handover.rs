//! A living master is moved to a replica, as somebody ordered.
//!
//! Carries out what [`crate::switchover`] decides; says here which servers that is about, and what others are told.

use std::{net::SocketAddr, time::Duration};

use duke_resp::Frame;

use super::Failover;
use crate::{
    closed::{Closed, node::Node},
    link::Purpose,
    mutation::Mutant,
    switchover::{
        Next, ORDER_PATIENCE, Old, POLL, Sight, Switchover, Why,
        transaction::{Besides, NOWHERE, ended_a_reign},
    },
    time::millis,
};

/// How long clients' writes wait at a time, at most. Duke's own questions do not wait with them.
const HOLD: Duration = Duration::from_millis(500);

impl Closed {
    /// Begins to move the master to `target`, if it is still the master and answers.
    pub(super) fn hand_over(&mut self, epoch: u64, target: SocketAddr) {
        let known = |address| self.nodes.get(&address).filter(|node| node.is_known());
        let old = self.durable.master.and_then(known);
        let old = old.filter(|old| old.is_master() && old.down.is_none());
        let (Some(old), Some(new)) = (old, known(target)) else {
            self.publish_master("-failover-abort-master-timeout", "");
            return self.retry_later();
        };
        let patience = ORDER_PATIENCE.min(self.master_settings().failover_timeout);
        let plan = Switchover::begin(
            self.now,
            self.cause,
            Some(HOLD),
            patience,
            [&old.info, &new.info],
        );
        let master = old.address;
        self.failover = Failover::HandingOver {
            epoch,
            target,
            plan,
        };
        self.ask_anew(master);
        self.inform(target, POLL);
    }

    /// Goes on with it as far as it can go now.
    pub(super) fn go_on_handing_over(&mut self) {
        let Some(master) = self.durable.master else {
            return;
        };
        let careless = self.mutated(Mutant::DemoteLate);
        while let Failover::HandingOver {
            epoch,
            target,
            plan,
        } = &mut self.failover
        {
            let said = |address| self.nodes.get(&address).filter(|node| node.is_known());
            let sight = Sight {
                master: said(master).map(|node| &node.info),
                master_down: self.nodes.get(&master).is_none_or(is_down),
                target: said(*target).map(|node| &node.info),
                careless,
            };
            let (epoch, target) = (*epoch, *target);
            let next = plan.advance(self.now, sight);
            if next == Next::Wait {
                return;
            }
            self.take_step(epoch, [master, target], &next);
        }
    }

    fn take_step(&mut self, epoch: u64, [master, target]: [SocketAddr; 2], next: &Next) {
        match next {
            Next::Wait => {}
            Next::AskMaster => self.ask_anew(master),
            Next::Hold(span) => {
                let span = millis(*span).to_string();
                let words = ["CLIENT", "PAUSE", &span, "WRITE"];
                self.ask_node(master, Purpose::Holding(epoch), &words);
                self.ask_anew(master);
                self.inform(target, POLL);
            }
            Next::Release => self.unpause(master),
            Next::Demote { .. } if self.mutated(Mutant::PromoteFirst) => {
                self.promote(epoch, target, None);
            }
            Next::Demote { held, unpause } => {
                let besides = Besides {
                    cut: !held,
                    unpause: *unpause,
                    ..Besides::default()
                };
                self.give_role(master, NOWHERE, besides, Purpose::Demotion(epoch));
                self.ask_anew(master);
            }
            Next::Promote => self.promote(epoch, target, self.made_way(master)),
            Next::GiveBack => {
                self.publish_node("-failover-abort-slave-timeout", target);
                self.spare(target);
                match self.made_way(master) {
                    Some(old) => self.give_back(epoch, &old),
                    None => self.retry_soon(),
                }
            }
            Next::Abandon(why) => self.abandon_handover(*why),
        }
    }

    /// Only what the master answers from now on counts.
    fn ask_anew(&mut self, master: SocketAddr) {
        self.doubt(master);
        self.inform(master, HOLD);
    }

    /// The old master, if it made way.
    fn made_way(&self, master: SocketAddr) -> Option<Old<SocketAddr>> {
        let Failover::HandingOver { plan, .. } = &self.failover else {
            return None;
        };
        plan.made_way(master)
    }

    /// Makes the old master a master again, in the epoch in which it made way; its clients notice nothing.
    ///
    /// Only the process that made way is sure to have all that it had: if that one cannot be reached, the group has no
    /// master, and a new election finds one.
    pub(super) fn give_back(&mut self, epoch: u64, old: &Old<SocketAddr>) {
        let same = |node: &Node| node.is_known() && node.info.run_id == old.process;
        if !self.nodes.get(&old.at).is_some_and(same) {
            return self.retry_soon();
        }
        tracing::warn!(address = %old.at, "gave the old master its role back");
        let besides = Besides {
            unpause: old.held,
            ..Besides::default()
        };
        self.await_promotion(epoch, old.at, besides, None);
    }

    /// Calls it off.
    pub(crate) fn abandon_handover(&mut self, why: Why) {
        let Failover::HandingOver { target, plan, .. } = &self.failover else {
            return;
        };
        let (target, demoted) = (*target, plan.has_demoted());
        match why {
            Why::Master => self.publish_master("-failover-abort-master-timeout", ""),
            Why::Target => {
                self.publish_node("-failover-abort-slave-timeout", target);
                self.spare(target);
            }
            Why::Lapse => self.publish_master("-failover-abort-not-elected", ""),
        }
        self.release();
        self.retry_later();
        // An order that was not answered is not to come late.
        if let Some(master) = self.durable.master.filter(|_| demoted) {
            self.withdraw(master);
        }
    }

    /// The master holds writes no longer, if it was asked to.
    pub(super) fn release(&mut self) {
        let Failover::HandingOver { plan, .. } = &self.failover else {
            return;
        };
        if let Some(master) = self.durable.master.filter(|_| plan.may_hold()) {
            self.unpause(master);
        }
    }

    fn unpause(&mut self, master: SocketAddr) {
        self.ask_node(master, Purpose::Part, &["CLIENT", "UNPAUSE"]);
    }

    /// The master answered whether it holds writes.
    pub(crate) fn hold_answered(&mut self, in_epoch: u64, reply: &Frame) {
        let Some(master) = self.durable.master else {
            return;
        };
        let Failover::HandingOver {
            epoch,
            target,
            plan,
        } = &mut self.failover
        else {
            return;
        };
        if *epoch != in_epoch || reply.as_error().is_none() {
            return;
        }
        tracing::warn!(
            ?reply,
            "the master does not hold its clients' writes: grant +client|pause +client|unpause"
        );
        let (epoch, target) = (*epoch, *target);
        let known = self.nodes.get(&target).filter(|node| node.is_known());
        let next = plan.refused_to_hold(self.now, known.map(|node| &node.info));
        self.take_step(epoch, [master, target], &next);
    }

    /// The master answered the order to follow nowhere; what it says of itself behind that counts, unless it refused.
    pub(crate) fn demotion_answered(&mut self, in_epoch: u64, reply: &Frame) {
        let ours =
            matches!(self.failover, Failover::HandingOver { epoch, .. } if epoch == in_epoch);
        if ours && !ended_a_reign(reply) {
            let refusal = reply.as_error();
            tracing::warn!(
                ?refusal,
                "the master did not make way, or had done so for another leader"
            );
            self.abandon_handover(Why::Master);
        }
    }

    /// The connection to a node was lost.
    pub(super) fn handover_lost(&mut self, address: SocketAddr) {
        let Some(master) = self.durable.master else {
            return;
        };
        let Failover::HandingOver {
            epoch,
            target,
            plan,
        } = &self.failover
        else {
            return;
        };
        if *target == address {
            let (epoch, next) = (*epoch, plan.target_lost());
            self.take_step(epoch, [master, address], &next);
        }
    }
}

fn is_down(node: &Node) -> bool {
    node.down.is_some()
}

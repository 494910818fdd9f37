//! A living master is moved to a replica, as somebody ordered.
//!
//! Carries out what [`crate::switchover`] decides, for both kinds of `SENTINEL FAILOVER`; says here which servers that
//! is about, and what others are told. The plain kind promises a new master, with or without the old one's help: if
//! nothing else is left, the replica is promoted as in an outage. The coordinated kind promises that nothing is lost:
//! it is called off then.
//!
//! Valkey 9 has the master do this by its own command `FAILOVER`, which waits up to a second for a
//! replica to say how far it is, writes standing still meanwhile. Both servers are asked here instead.

use std::time::Duration;

use duke_resp::Frame;

use super::{Failover, UNFIT, steering::ORDER_PERIOD};
use crate::{
    mutation::Mutant,
    open::{
        Open,
        event::Level,
        link::Way,
        master::Master,
        server::{Purpose, Reconf, Server},
    },
    switchover::{
        Cause, Next, ORDER_PATIENCE, Old, Sight, Switchover, Why,
        transaction::{Besides, NO_ONE, NOWHERE, ended_a_reign},
    },
    time::millis,
};

/// The longest that clients' writes wait at a time for a plain `SENTINEL FAILOVER`.
const HOLD_MAX: Duration = Duration::from_secs(2);

impl Open {
    /// How long clients' writes may wait at a time.
    ///
    /// While the master holds them, it holds hellos too, and a sentinel that says one hears no PONG
    /// behind it: the pause must be over before anybody finds the master down for it.
    fn hold_span(master: &Master) -> Duration {
        let most = match master.cause {
            Cause::Order | Cause::Outage => HOLD_MAX,
            Cause::Coordination => master.conf.failover_timeout,
        };
        most.min(master.conf.down_after.checked_div(2).unwrap_or_default())
    }

    /// Begins to move the master to `target`.
    pub(super) fn hand_over(&mut self, master: &mut Master, epoch: u64, target: u64) {
        let Some(new) = master.server_of(target) else {
            return self.retry_later(master);
        };
        let all = master.conf.failover_timeout;
        let patience = match master.cause {
            Cause::Order => ORDER_PATIENCE.min(all),
            Cause::Coordination | Cause::Outage => all,
        };
        let hold = Some(Self::hold_span(master));
        let both = [&master.server.info, &new.info];
        let plan = Switchover::begin(self.now, master.cause, hold, patience, both).insist();
        master.failover = Failover::HandingOver {
            epoch,
            target,
            plan,
        };
        self.ask_anew(master);
        self.inform(master, target);
        self.touched.insert(master.name.clone());
    }

    /// Goes on with it as far as it can go now.
    pub(super) fn go_on_handing_over(&mut self, master: &mut Master) {
        let careless = self.mutated(Mutant::DemoteLate);
        while let Failover::HandingOver { target, .. } = master.failover {
            let said = |server: &Server| server.is_known().then(|| server.info.clone());
            let (old, new) = (
                said(&master.server),
                master.server_of(target).and_then(said),
            );
            let sight = Sight {
                master: old.as_ref(),
                master_down: master.server.down.is_some(),
                target: new.as_ref(),
                careless,
            };
            let Failover::HandingOver { plan, .. } = &mut master.failover else {
                return;
            };
            let next = plan.advance(self.now, sight);
            if next == Next::Wait {
                return;
            }
            self.take_step(master, &next);
        }
    }

    fn take_step(&mut self, master: &mut Master, next: &Next) {
        let Failover::HandingOver { epoch, target, .. } = master.failover else {
            return;
        };
        self.touched.insert(master.name.clone());
        match next {
            Next::Wait => {}
            Next::AskMaster => self.ask_anew(master),
            Next::Hold(span) => self.hold(master, epoch, *span),
            Next::Release => {
                let old = master.server.id;
                self.unpause(master, old);
            }
            Next::Demote { .. } if self.mutated(Mutant::PromoteFirst) => {
                self.promote(master, epoch, target, None);
            }
            Next::Demote { held, unpause } => {
                let besides = Besides {
                    cut: !held,
                    unpause: *unpause,
                    ..Besides::default()
                };
                let old = master.server.id;
                let purpose = Purpose::Demotion(epoch);
                self.order(Way::Behind, master, old, &purpose, (NOWHERE, besides));
                self.ask_anew(master);
            }
            Next::Promote => {
                let old = Self::made_way(master);
                self.promote(master, epoch, target, old);
            }
            Next::GiveBack => {
                self.master_event(master, Level::Warning, "-failover-abort-slave-timeout");
                self.spare(master, target);
                match Self::made_way(master) {
                    Some(old) => self.give_back(master, epoch, &old),
                    None => self.retry_later(master),
                }
            }
            Next::Abandon(why) => self.abandon_handover(master, *why),
        }
    }

    /// Only what the master answers from now on counts.
    fn ask_anew(&mut self, master: &mut Master) {
        let old = master.server.id;
        master.server.doubt(self.now);
        self.inform(master, old);
    }

    /// Has the master hold its clients' writes.
    fn hold(&mut self, master: &mut Master, epoch: u64, span: Duration) {
        let (now, old) = (self.now, master.server.id);
        let client = master.renamed("CLIENT").to_owned();
        let words = [&client, "PAUSE", &millis(span).to_string(), "WRITE"];
        self.ask(master, old, Purpose::Pause(epoch), &words);
        // What is published there would wait, and everything behind it: also what the disk still holds back.
        master.server.next_hello = now.after(span);
        let hellos = master
            .server
            .unanswered(|purpose| *purpose == Purpose::Hello);
        self.take_back(&mut master.server, &hellos);
        self.ask_anew(master);
        if let Failover::HandingOver { target, .. } = master.failover {
            self.inform(master, target);
        }
    }

    /// The old master, if it made way.
    fn made_way(master: &Master) -> Option<Old<u64>> {
        let Failover::HandingOver { plan, .. } = &master.failover else {
            return None;
        };
        plan.made_way(master.server.id)
    }

    /// Makes the old master a master again, in the epoch in which it made way; its clients notice nothing.
    ///
    /// Only the process that made way is sure to have all that it had: if that one cannot be reached, there is no
    /// master until the next election.
    pub(super) fn give_back(&mut self, master: &mut Master, epoch: u64, old: &Old<u64>) {
        let same = |server: &Server| server.is_known() && server.info.run_id == old.process;
        if !master.server_of(old.at).is_some_and(same) {
            return self.retry_later(master);
        }
        tracing::warn!(name = master.name, "gave the old master its role back");
        let besides = Besides {
            rewrite: true,
            cut: false,
            unpause: old.held,
        };
        self.await_promotion(master, epoch, old.at, (NO_ONE, besides), None);
        master.server.next_hello = self.now;
    }

    /// Calls it off.
    pub(super) fn abandon_handover(&mut self, master: &mut Master, why: Why) {
        let Failover::HandingOver { target, plan, .. } = &master.failover else {
            return;
        };
        let (target, demoted) = (*target, plan.has_demoted());
        let event = match why {
            Why::Master => "-failover-abort-master-timeout",
            Why::Target => "-failover-abort-slave-timeout",
            Why::Lapse => "-failover-abort-not-elected",
        };
        self.master_event(master, Level::Warning, event);
        if why == Why::Target {
            self.spare(master, target);
        }
        self.release(master);
        self.retry_later(master);
        // An order that was not answered is not to come late.
        if let Some(link) = master.server.command.up().filter(|_| demoted) {
            master.server.command.ended(self.now);
            master.server.doubt(self.now);
            self.forget(link);
        }
    }

    /// Leaves a server alone that did not become master when it was to.
    pub(super) fn spare(&mut self, master: &mut Master, target: u64) {
        let until = self.now.after(UNFIT);
        if let Some(server) = master.server_of_mut(target) {
            self.withdraw(server);
            server.unfit_until = Some(until);
        }
    }

    /// The master answered whether it holds writes.
    pub(crate) fn pause_answered(&mut self, master: &mut Master, in_epoch: u64, reply: &Frame) {
        let Failover::HandingOver { epoch, target, .. } = master.failover else {
            return;
        };
        if epoch != in_epoch || reply.as_error().is_none() {
            return;
        }
        tracing::warn!(?reply, "the master does not hold its clients' writes");
        master.server.next_hello = self.now;
        let known = master.server_of(target).map(|server| server.info.clone());
        if let Failover::HandingOver { plan, .. } = &mut master.failover {
            let next = plan.refused_to_hold(self.now, known.as_ref());
            self.take_step(master, &next);
        }
    }

    /// The master answered the order to follow nowhere; what it says of itself behind that counts, unless it refused.
    pub(crate) fn demotion_answered(&mut self, master: &mut Master, in_epoch: u64, reply: &Frame) {
        let ours =
            matches!(master.failover, Failover::HandingOver { epoch, .. } if epoch == in_epoch);
        if ours && !ended_a_reign(reply) {
            let refusal = reply.as_error();
            tracing::warn!(
                ?refusal,
                "the master did not make way, or had done so for another leader"
            );
            self.abandon_handover(master, Why::Master);
        }
    }

    /// The connection to the target was lost.
    pub(super) fn handover_target_lost(&mut self, master: &mut Master) {
        if let Failover::HandingOver { plan, .. } = &master.failover {
            let next = plan.target_lost();
            self.take_step(master, &next);
        }
    }

    /// The master holds writes no longer, if it was asked to.
    pub(super) fn release(&mut self, master: &mut Master) {
        match &master.failover {
            Failover::HandingOver { plan, .. } if plan.may_hold() => {
                let old = master.server.id;
                self.unpause(master, old);
            }
            Failover::Promoting { old: Some(old), .. } if old.held => {
                let old = old.at;
                self.unpause(master, old);
            }
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::HandingOver { .. }
            | Failover::Promoting { .. }
            | Failover::Following { .. } => {}
        }
    }

    /// Clients' writes go on, whatever the disk does.
    fn unpause(&mut self, master: &mut Master, id: u64) {
        let client = master.renamed("CLIENT").to_owned();
        let words = [client.as_str(), "UNPAUSE"];
        self.ask_by(Way::Behind, master, id, Purpose::Nothing, &words);
        if let Some(server) = master.server_of_mut(id) {
            server.next_hello = self.now;
        }
    }

    /// The clients of the master before are cut off once everybody in reach names the new one, and it is told to
    /// follow that one with the same words. The disk is not waited for, since their writes are held: if this Duke
    /// forgets the new master in a crash, all see that the old one is none any more.
    pub(super) fn cut_off(&mut self, master: &mut Master) {
        let Some(cut) = &master.cut else { return };
        let epoch = Some(master.config_epoch);
        let all_know = self.outbox.is_durable(master.switch_saved)
            && master.sentinels.values().all(|witness| {
                let peer = self.peers.get(&witness.peer);
                let reached = peer.is_some_and(|peer| peer.wire.up().is_some());
                witness.down.is_some() || !reached || witness.believes == epoch
            });
        if !cut.is_due(self.now, all_know) {
            return;
        }
        let (now, id, held) = (self.now, cut.old.at, cut.old.held);
        master.cut = None;
        self.point_by(Way::Behind, master, id, held);
        if let Some(server) = master.server_of_mut(id) {
            server.former = false;
            server.next_order = now.after(ORDER_PERIOD);
            server.reconf = Reconf::Sent(now);
            server.next_hello = now;
        }
        self.server_event(master, id, Level::Notice, "+slave-reconf-sent");
    }
}

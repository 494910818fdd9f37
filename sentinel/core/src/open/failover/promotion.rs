//! Telling one server to become the master, and finding out whether it did.

use std::collections::BTreeSet;

use duke_resp::Frame;

use super::{Failover, PROMOTION_PATIENCE, UNFIT, Word};
use crate::{
    id::RequestId,
    link::is_carried_out,
    open::{
        Open,
        event::Level,
        link::Way,
        master::Master,
        server::{Purpose, Reconf, Server},
    },
    switchover::Cause,
};

impl Open {
    /// Tells a replica to become master in `epoch`.
    pub(super) fn promote(&mut self, master: &mut Master, epoch: u64, target: u64) {
        // The vote or the epoch it goes by is on disk, and of other masters' news this order says nothing:
        // when many fail at once there is always something to write, and at a hand-over writes stand still.
        let purpose = Purpose::Promotion(epoch);
        self.order(Way::Behind, master, target, purpose, &["NO", "ONE"]);
        let mut run_id = String::new();
        if let Some(server) = master.server_of_mut(target) {
            server.doubt(self.now);
            server.info.run_id.clone_into(&mut run_id);
        }
        self.inform(master, target);
        let patience = PROMOTION_PATIENCE.min(master.conf.failover_timeout);
        master.failover = Failover::Promoting {
            epoch,
            target,
            run_id,
            word: Word::Awaited,
            until: self.now.after(patience),
        };
        self.touched.insert(master.name.clone());
    }

    /// Sends stock's transaction that gives a server another role.
    pub(crate) fn order(
        &mut self,
        way: Way,
        master: &mut Master,
        id: u64,
        purpose: Purpose,
        to: &[&str; 2],
    ) {
        let [host, port] = *to;
        let name = |command: &str| master.renamed(command).to_owned();
        let [multi, slaveof, config, client, exec] =
            ["MULTI", "SLAVEOF", "CONFIG", "CLIENT", "EXEC"].map(name);
        for words in [
            &[multi.as_str()][..],
            &[&slaveof, host, port],
            &[&config, "REWRITE"],
            &[&client, "KILL", "TYPE", "normal"],
            &[&client, "KILL", "TYPE", "pubsub"],
        ] {
            self.ask_by(way, master, id, Purpose::Order, words);
        }
        self.ask_by(way, master, id, purpose, &[&exec]);
    }

    /// An order that still waits for the disk must not leave once it is no longer meant. Says whether one did
    /// wait.
    pub(crate) fn withdraw(&mut self, server: &mut Server) -> bool {
        let orders = server.orders();
        self.take_back(server, &orders)
    }

    /// Takes back those of these requests that still wait for the disk. Says whether there were any.
    pub(super) fn take_back(
        &mut self,
        server: &mut Server,
        requests: &BTreeSet<RequestId>,
    ) -> bool {
        if requests.is_empty() {
            return false;
        }
        let withdrawn = self.outbox.withdraw(requests);
        let asked = &mut server.command.asked;
        asked.retain(|request, _| !withdrawn.contains(request));
        !withdrawn.is_empty()
    }

    /// This process did not run for a while: what it decided before and did not get done may no longer be
    /// right.
    pub(crate) fn withdraw_all(&mut self) {
        if self.outbox.held() == 0 {
            return;
        }
        let mut masters = std::mem::take(&mut self.masters);
        for master in masters.values_mut() {
            let target = master.failover.target();
            for server in master.servers_mut() {
                // A replica told to follow is told again by whoever looks at it next, a former master at
                // once.
                if self.withdraw(server) && matches!(server.reconf, Reconf::Sent(_)) {
                    server.reconf = Reconf::None;
                    server.former |= !server.reports_slave;
                }
            }
            let promoted = target.filter(|_| {
                matches!(
                    master.failover,
                    Failover::Promoting {
                        word: Word::Awaited,
                        ..
                    }
                )
            });
            let unsaid = promoted.and_then(|id| master.server_of(id));
            if unsaid.is_some_and(|server| server.orders().is_empty()) {
                self.master_event(master, Level::Warning, "-failover-abort-not-elected");
                self.release(master);
                self.retry_later(master);
            }
        }
        self.masters = masters;
    }

    /// The promotion's transaction was answered.
    pub(crate) fn promoted(&mut self, master: &mut Master, id: u64, in_epoch: u64, reply: &Frame) {
        let Failover::Promoting {
            epoch,
            target,
            word,
            ..
        } = &mut master.failover
        else {
            return;
        };
        if *target != id || *epoch != in_epoch {
            return;
        }
        if is_carried_out(reply) {
            *word = Word::Given;
            self.server_event(master, id, Level::Notice, "+failover-state-wait-promotion");
        } else {
            tracing::warn!(?reply, "a server refused to become master");
            self.abort_promotion(master, id);
        }
    }

    /// The server that was told to become master said what it is.
    pub(crate) fn promotion_seen(&mut self, master: &mut Master, id: u64) {
        let Some(server) = master.server_of(id) else {
            return;
        };
        let is_master = !server.reports_slave;
        let now_runs = server.info.run_id.clone();
        match master.failover.clone() {
            Failover::Promoting {
                epoch,
                target,
                run_id,
                word,
                ..
            } if target == id => match (word, is_master) {
                // It restarted meanwhile: what it holds now, if anything, is not what it was chosen for.
                _ if !run_id.is_empty() && now_runs != run_id => self.abort_promotion(master, id),
                (Word::Given | Word::Lost, true) => self.replace(master, id, epoch),
                // The order was lost with the connection.
                (Word::Lost, false) => self.promote(master, epoch, id),
                (Word::Awaited, _) | (Word::Given, false) => {}
            },
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::HandingOver { .. }
            | Failover::Resting { .. }
            | Failover::Promoting { .. }
            | Failover::Following { .. } => {}
        }
    }

    /// There is a new master: it takes the old one's place.
    fn replace(&mut self, master: &mut Master, id: u64, epoch: u64) {
        let Some(to) = master.server_of(id).map(|server| server.address.clone()) else {
            return;
        };
        let from = self.endpoint(&master.server.address);
        self.server_event(master, id, Level::Warning, "+promoted-slave");
        self.master_event(master, Level::Warning, "+failover-state-reconf-slaves");
        master.config_epoch = epoch;
        if self.crash_promoted {
            return self.emit(crate::output::Output::Crash(99));
        }
        let old = master.server.id;
        let waits =
            master.cause != Cause::Outage && master.server.command.up().is_some() && old != id;
        if waits {
            self.demote(master, &to);
        }
        self.switch(master, &to, true);
        if waits {
            self.follows_at_once(master, old);
        }
        let endpoint = self.endpoint(&to);
        if old != id {
            self.run_reconfig(master, "leader", &from, &endpoint);
        }
        let until = self.now.after(master.conf.failover_timeout);
        master.failover = Failover::Following { until };
        self.touched.insert(master.name.clone());
    }

    /// The connection to a server was lost, or never stood.
    pub(crate) fn failover_link_lost(&mut self, master: &mut Master, id: u64, stood: bool) {
        match &mut master.failover {
            Failover::Selecting { asked, .. } => {
                asked.remove(&id);
            }
            Failover::Promoting { target, word, .. } if *target == id && stood => {
                // It may have obeyed and died, obeyed and closed, or never have heard: it is asked.
                if *word == Word::Awaited {
                    *word = Word::Lost;
                }
            }
            Failover::Promoting { target, .. } if *target == id => self.abort_promotion(master, id),
            Failover::HandingOver { target, .. } if *target == id => {
                self.abort_promotion(master, id);
            }
            Failover::HandingOver { .. } if master.server.id == id => self.end_handover(master),
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::HandingOver { .. }
            | Failover::Resting { .. }
            | Failover::Promoting { .. }
            | Failover::Following { .. } => {}
        }
    }

    /// Another Duke made the present master anew, in an epoch as new as that in which this one was about to
    /// replace it: what this one would make now would be the older.
    pub(crate) fn outdone(&mut self, master: &mut Master) {
        let epoch = master.failover.epoch();
        if epoch.is_none_or(|epoch| epoch > master.config_epoch) {
            return;
        }
        for server in master.servers_mut() {
            self.withdraw(server);
        }
        self.master_event(master, Level::Warning, "-failover-abort-not-elected");
        self.release(master);
        self.retry_later(master);
    }

    pub(super) fn abort_promotion(&mut self, master: &mut Master, target: u64) {
        self.master_event(master, Level::Warning, "-failover-abort-slave-timeout");
        let until = self.now.after(UNFIT);
        if let Some(server) = master.server_of_mut(target) {
            self.withdraw(server);
            server.unfit_until = Some(until);
        }
        self.release(master);
        self.retry_later(master);
    }
}

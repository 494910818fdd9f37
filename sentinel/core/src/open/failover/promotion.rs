//! Telling one server to become the master, and finding out whether it did.

use std::collections::BTreeSet;

use duke_resp::Frame;

use super::{Failover, HANDOVER_PATIENCE, PROMOTION_PATIENCE, Word};
use crate::{
    id::RequestId,
    link::is_carried_out,
    mutation::Mutant,
    open::{
        Open,
        event::Level,
        link::Way,
        master::Master,
        server::{Purpose, Reconf, Server},
    },
    switchover::{
        Cut, Old,
        transaction::{self, Besides, NO_ONE},
    },
};

impl Open {
    /// Tells a replica to become master in `epoch`; `old` made way for it.
    pub(super) fn promote(
        &mut self,
        master: &mut Master,
        epoch: u64,
        target: u64,
        old: Option<Old<u64>>,
    ) {
        let word = "+failover-state-send-slaveof-noone";
        self.server_event(master, target, Level::Notice, word);
        let besides = Besides {
            rewrite: true,
            cut: true,
            unpause: false,
        };
        self.await_promotion(master, epoch, target, (NO_ONE, besides), old);
    }

    pub(super) fn await_promotion(
        &mut self,
        master: &mut Master,
        epoch: u64,
        target: u64,
        role: ([&str; 2], Besides),
        old: Option<Old<u64>>,
    ) {
        // The vote or the epoch it goes by is on disk, and of other masters' news this order says nothing:
        // when many fail at once there is always something to write, and at a hand-over writes stand still.
        let purpose = Purpose::Promotion(epoch);
        self.order(Way::Behind, master, target, &purpose, role);
        let mut run_id = String::new();
        if let Some(server) = master.server_of_mut(target) {
            server.doubt(self.now);
            server.info.run_id.clone_into(&mut run_id);
        }
        self.inform(master, target);
        let most = old
            .as_ref()
            .map_or(PROMOTION_PATIENCE, |_| HANDOVER_PATIENCE);
        let patience = most.min(master.conf.failover_timeout);
        master.failover = Failover::Promoting {
            epoch,
            target,
            run_id,
            word: Word::Awaited,
            until: self.now.after(patience),
            old,
        };
        self.touched.insert(master.name.clone());
    }

    /// Sends stock's transaction that gives a server another role.
    pub(crate) fn order(
        &mut self,
        way: Way,
        master: &mut Master,
        id: u64,
        purpose: &Purpose,
        (role, besides): ([&str; 2], Besides),
    ) {
        let mut all = transaction::commands("SLAVEOF", role, besides);
        all.push(vec!["EXEC"]);
        let last = all.len().saturating_sub(1);
        for (index, words) in all.into_iter().enumerate() {
            let name = words.first().copied().unwrap_or_default();
            let name = master.renamed(name).to_owned();
            let rest = words.iter().skip(1).copied();
            let words: Vec<&str> = std::iter::once(name.as_str()).chain(rest).collect();
            let part = if index == last {
                purpose.clone()
            } else {
                Purpose::Order
            };
            self.ask_by(way, master, id, part, &words);
        }
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
                old,
                ..
            } if target == id => match (word, is_master) {
                // It restarted meanwhile: what it holds now, if anything, is not what it was chosen for.
                _ if !run_id.is_empty() && now_runs != run_id => self.abort_promotion(master, id),
                (Word::Given | Word::Lost, true) => self.replace(master, id, epoch, old),
                // The order was lost with the connection.
                (Word::Lost, false) => self.promote(master, epoch, id, old),
                (Word::Awaited, _) | (Word::Given, false) => {}
            },
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::HandingOver { .. }
            | Failover::Promoting { .. }
            | Failover::Following { .. } => {}
        }
    }

    /// There is a new master: it takes the place of the old one, which made way for it or did not.
    fn replace(&mut self, master: &mut Master, id: u64, epoch: u64, made_way: Option<Old<u64>>) {
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
        self.switch(master, &to, true);
        if let Some(gone) = made_way {
            let at = gone.at;
            let cut = Cut::new(self.now, gone);
            if let Some(server) = master.server_of_mut(at) {
                // It would wait there with the writes, and the order behind it.
                server.next_hello = cut.until;
            }
            master.cut = Some(cut);
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
                self.handover_target_lost(master);
            }
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::HandingOver { .. }
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
        self.spare(master, target);
        let made_way = match &master.failover {
            Failover::Promoting { epoch, old, .. } => Some(*epoch).zip(old.clone()),
            Failover::Idle
            | Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::HandingOver { .. }
            | Failover::Following { .. } => None,
        };
        match made_way.filter(|_| !self.mutated(Mutant::KeepRole)) {
            Some((epoch, old)) => self.give_back(master, epoch, &old),
            None => self.retry_later(master),
        }
    }
}

//! Replacing the master: how far the replacement is, and what comes next.
//!
//! ```text
//!            agreed down, own turn          majority
//!   Idle ───────────────────────▶ Candidate ────────▶ Selecting ──────▶ Promoting ──────▶ Following ──▶ Idle
//!    ▲ ▲   SENTINEL FAILOVER ──────────│──────────────▶ │  │ nobody fit       │ no answer    (master switched,
//!    │ └────────────────────────────── no majority      │  │                  │               replicas follow)
//!    └──────────────────────────────────────────────────┴──┴──────────────────┘
//! ```

mod selection;
mod steering;
mod switch;

use std::{collections::BTreeSet, time::Duration};

use duke_resp::Frame;

use super::{
    Open,
    election::LAPSE,
    event::Level,
    master::Master,
    server::{Purpose, Reconf},
};
use crate::time::Time;

/// How long servers may take to say how much they have.
const SELECTION_PATIENCE: Duration = Duration::from_millis(200);
/// How long a server may take to become master before another one is told to.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(3);
/// A server that did not become master when it was told to is not told again for this long.
const UNFIT: Duration = Duration::from_secs(5);

/// How far a failover is on this Duke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Failover {
    /// There is none.
    Idle,
    /// Asking for votes; the own one is durable with sequence `own`.
    Candidate { epoch: u64, own: u64, until: Time },
    /// Elected; waiting for the servers to say how much they have.
    Selecting {
        epoch: u64,
        asked: BTreeSet<u64>,
        until: Time,
    },
    /// A server was told to become master.
    Promoting {
        epoch: u64,
        target: u64,
        obeyed: bool,
        until: Time,
    },
    /// The master changed; its replicas are told.
    Following { until: Time },
}

impl Failover {
    /// Sentinel's word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Idle => "none",
            Self::Candidate { .. } => "wait_start",
            Self::Selecting { .. } => "select_slave",
            Self::Promoting { obeyed: false, .. } => "send_slaveof_noone",
            Self::Promoting { obeyed: true, .. } => "wait_promotion",
            Self::Following { .. } => "reconf_slaves",
        }
    }

    /// Whether there is one.
    pub(crate) fn is_on(&self) -> bool {
        *self != Self::Idle
    }

    /// Who is being promoted.
    pub(crate) fn target(&self) -> Option<u64> {
        match self {
            Self::Promoting { target, .. } => Some(*target),
            Self::Idle
            | Self::Candidate { .. }
            | Self::Selecting { .. }
            | Self::Following { .. } => None,
        }
    }

    /// In which epoch votes are asked for.
    pub(crate) fn candidate_epoch(&self) -> Option<u64> {
        match self {
            Self::Candidate { epoch, .. } => Some(*epoch),
            Self::Idle
            | Self::Selecting { .. }
            | Self::Promoting { .. }
            | Self::Following { .. } => None,
        }
    }
}

impl Open {
    pub(super) fn failover_deadline(&self, master: &Master) -> Option<Time> {
        match &master.failover {
            Failover::Idle => None,
            Failover::Candidate { until, .. }
            | Failover::Selecting { until, .. }
            | Failover::Promoting { until, .. } => Some(*until),
            Failover::Following { until } => {
                let sent = master
                    .replicas
                    .values()
                    .filter_map(|server| match server.reconf {
                        Reconf::Sent(at) => Some(at.after(self.periods.slave_reconf)),
                        Reconf::None | Reconf::Following | Reconf::Done => None,
                    });
                sent.chain([*until]).min()
            }
        }
    }

    /// Goes on with a failover as far as it can go now.
    pub(super) fn fail_over(&mut self, master: &mut Master) {
        if let Failover::Candidate { epoch, own, until } = master.failover {
            self.count_votes(master, epoch, own, until);
        }
        if let Failover::Selecting {
            epoch,
            asked,
            until,
        } = &master.failover
            && (asked.is_empty() || self.now >= *until)
        {
            let epoch = *epoch;
            if self.now.since(*until) > LAPSE {
                self.master_event(master, Level::Warning, "-failover-abort-not-elected");
                self.retry_later(master);
            } else {
                self.select(master, epoch);
            }
        }
        if let Failover::Promoting { target, until, .. } = master.failover
            && self.now >= until
        {
            self.abort_promotion(master, target);
        }
        if let Failover::Following { until } = master.failover {
            self.reconfigure(master, until);
        }
    }

    /// Elected, or ordered: every replica is asked how much it has.
    pub(super) fn begin_selection(&mut self, master: &mut Master, epoch: u64) {
        self.master_event(master, Level::Warning, "+elected-leader");
        if self.crash_elected {
            return self.emit(crate::output::Output::Crash(99));
        }
        self.master_event(master, Level::Warning, "+failover-state-select-slave");
        let asked: BTreeSet<u64> = master
            .replicas
            .values()
            .filter(|server| server.command.up().is_some() && server.down.is_none())
            .map(|server| server.id)
            .collect();
        for id in &asked {
            if let Some(server) = master.server_of_mut(*id) {
                server.doubt(self.now);
            }
            self.inform(master, *id);
        }
        let until = self.now.after(SELECTION_PATIENCE);
        master.failover = Failover::Selecting {
            epoch,
            asked,
            until,
        };
        self.touched.insert(master.name.clone());
    }

    /// A server said how much it has, or will not.
    pub(super) fn selection_informed(master: &mut Master, id: u64) {
        if let Failover::Selecting { asked, .. } = &mut master.failover {
            asked.remove(&id);
        }
    }

    fn select(&mut self, master: &mut Master, epoch: u64) {
        let Some(target) = self.candidate(master) else {
            self.master_event(master, Level::Warning, "-failover-abort-no-good-slave");
            return self.retry_later(master);
        };
        self.server_event(master, target, Level::Warning, "+selected-slave");
        self.server_event(
            master,
            target,
            Level::Notice,
            "+failover-state-send-slaveof-noone",
        );
        self.order(master, target, Purpose::Promotion(epoch), "NO", "ONE");
        if let Some(server) = master.server_of_mut(target) {
            server.doubt(self.now);
        }
        self.inform(master, target);
        let patience = PROMOTION_PATIENCE.min(master.conf.failover_timeout);
        let until = self.now.after(patience);
        master.failover = Failover::Promoting {
            epoch,
            target,
            obeyed: false,
            until,
        };
    }

    /// Sends stock's transaction that gives a server another role.
    pub(super) fn order(
        &mut self,
        master: &mut Master,
        id: u64,
        purpose: Purpose,
        host: &str,
        port: &str,
    ) {
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
            self.ask(master, id, Purpose::Nothing, words);
        }
        self.ask(master, id, purpose, &[&exec]);
    }

    /// The promotion's transaction was answered.
    pub(super) fn promoted(&mut self, master: &mut Master, id: u64, in_epoch: u64, reply: &Frame) {
        let Failover::Promoting {
            epoch,
            target,
            obeyed,
            ..
        } = &mut master.failover
        else {
            return;
        };
        if *target != id || *epoch != in_epoch {
            return;
        }
        let done = reply
            .as_array()
            .and_then(<[Frame]>::first)
            .is_some_and(|first| !matches!(first, Frame::Error(_)));
        if done {
            *obeyed = true;
            self.server_event(master, id, Level::Notice, "+failover-state-wait-promotion");
        } else {
            tracing::warn!(?reply, "a server refused to become master");
            self.abort_promotion(master, id);
        }
    }

    /// The server that was told to become master may have said that it is.
    pub(super) fn promotion_seen(&mut self, master: &mut Master, id: u64) {
        let Failover::Promoting {
            epoch,
            target,
            obeyed: true,
            ..
        } = master.failover
        else {
            return;
        };
        let Some(server) = master.replicas.values().find(|server| server.id == id) else {
            return;
        };
        if target != id || server.reports_slave {
            return;
        }
        let to = server.address.clone();
        let from = self.endpoint(&master.server.address);
        self.server_event(master, id, Level::Warning, "+promoted-slave");
        self.master_event(master, Level::Warning, "+failover-state-reconf-slaves");
        master.config_epoch = epoch;
        if self.crash_promoted {
            return self.emit(crate::output::Output::Crash(99));
        }
        self.switch(master, &to, true);
        let endpoint = self.endpoint(&to);
        self.run_reconfig(master, "leader", &from, &endpoint);
        let until = self.now.after(master.conf.failover_timeout);
        master.failover = Failover::Following { until };
        self.touched.insert(master.name.clone());
    }

    /// The connection to a server was lost.
    pub(super) fn promotion_lost(&mut self, master: &mut Master, id: u64, stood: bool) {
        if let Failover::Promoting { target, obeyed, .. } = master.failover
            && target == id
            && !(obeyed && stood)
        {
            self.abort_promotion(master, id);
        }
        Self::selection_informed(master, id);
    }

    fn abort_promotion(&mut self, master: &mut Master, target: u64) {
        self.master_event(master, Level::Warning, "-failover-abort-slave-timeout");
        let until = self.now.after(UNFIT);
        if let Some(server) = master.server_of_mut(target) {
            server.unfit_until = Some(until);
        }
        self.retry_later(master);
    }

    /// Tells the replicas whom to follow, so many at a time, until all do or time is up.
    fn reconfigure(&mut self, master: &mut Master, until: Time) {
        let now = self.now;
        let late: Vec<u64> = master
            .replicas
            .values()
            .filter(|server| {
                matches!(server.reconf, Reconf::Sent(at) if now.since(at) >= self.periods.slave_reconf)
            })
            .map(|server| server.id)
            .collect();
        for id in late {
            self.server_event(master, id, Level::Notice, "-slave-reconf-sent-timeout");
            if let Some(server) = master.server_of_mut(id) {
                server.reconf = Reconf::Done;
            }
        }
        let busy = |master: &Master| {
            let on_its_way = |server: &&super::Server| {
                matches!(server.reconf, Reconf::Sent(_) | Reconf::Following)
            };
            master.replicas.values().filter(on_its_way).count()
        };
        let most = usize::try_from(master.conf.parallel_syncs.max(1)).unwrap_or(usize::MAX);
        let timed_out = now >= until;
        for id in master
            .replicas
            .values()
            .map(|server| server.id)
            .collect::<Vec<_>>()
        {
            let Some(server) = master.server_of(id) else {
                continue;
            };
            let open = server.reconf == Reconf::None && !server.former;
            if !open || server.command.up().is_none() || (busy(master) >= most && !timed_out) {
                continue;
            }
            let name = if timed_out {
                "+slave-reconf-sent-be"
            } else {
                "+slave-reconf-sent"
            };
            self.point(master, id);
            if let Some(server) = master.server_of_mut(id) {
                server.reconf = Reconf::Sent(now);
            }
            self.server_event(master, id, Level::Notice, name);
        }
        let waits = |server: &super::Server| {
            server.reconf != Reconf::Done && server.down.is_none() && !server.former
        };
        let finished = !master.replicas.values().any(waits);
        if finished || timed_out {
            if timed_out && !finished {
                self.master_event(master, Level::Warning, "+failover-end-for-timeout");
            }
            self.master_event(master, Level::Warning, "+failover-end");
            master.failover = Failover::Idle;
            for server in master.servers_mut() {
                server.reconf = Reconf::None;
            }
        }
    }
}

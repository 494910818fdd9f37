//! Replacing the master: how far the replacement is, and what comes next.
//!
//! ```text
//!            agreed down, own turn          majority
//!   Idle ───────────────────────▶ Candidate ────────▶ Selecting ──────▶ Promoting ──────▶ Following ──▶ Idle
//!    ▲ ▲   SENTINEL FAILOVER ──────────│──────────────▶ │  │ nobody fit    │ ▲ │ no answer  (master switched,
//!    │ └────────────────────────────── no majority      │  │               │ │ │             replicas follow)
//!    └──────────────────────────────────────────────────┴──│───────────────┘ │ │
//!    ▲                   ordered, and the master is alive  └▶ HandingOver ────┘ │ the old master gets its role back
//!    └────────────────────────────────────────────────────────────┴───────────┘
//! ```

mod following;
mod handover;
mod promotion;
mod selection;
mod steering;
mod switch;

use std::{collections::BTreeSet, time::Duration};

use super::{Open, election::LAPSE, event::Level, master::Master, server::Reconf};
use crate::{
    mutation::Mutant,
    switchover::{Cause, Old, Switchover},
    time::Time,
};

/// How long servers may take to say how much they have.
const SELECTION_PATIENCE: Duration = Duration::from_millis(200);
/// How long a server may take to become master before another one is told to.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(3);
/// The same while a living master waits for it without its role.
const HANDOVER_PATIENCE: Duration = Duration::from_millis(500);
/// A server that did not become master when it was told to is not told again for this long.
const UNFIT: Duration = Duration::from_secs(5);

/// What is known of an order's fate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// It is under way.
    Awaited,
    /// The server obeyed.
    Given,
    /// The connection was lost before it answered.
    Lost,
}

/// How far a failover is on this Duke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Failover {
    /// There is none.
    Idle,
    /// Asking for votes; the own one is durable with sequence `own`.
    Candidate { epoch: u64, own: u64, until: Time },
    /// Elected, or ordered to; waiting for the servers to say how much they have, and until the epoch is
    /// durable with sequence `own`: writes must not stand still while a disk is slow.
    Selecting {
        epoch: u64,
        own: u64,
        asked: BTreeSet<u64>,
        until: Time,
    },
    /// The master lives, and is moved to the target as somebody ordered.
    HandingOver {
        epoch: u64,
        target: u64,
        plan: Switchover,
    },
    /// A server, this process of it, was told to become master.
    Promoting {
        epoch: u64,
        target: u64,
        run_id: String,
        word: Word,
        until: Time,
        /// The old master that made way, and gets its role back if this comes to nothing.
        old: Option<Old<u64>>,
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
            Self::HandingOver { plan, .. } => plan.word(),
            Self::Promoting {
                word: Word::Given, ..
            } => "wait_promotion",
            Self::Promoting { .. } => "send_slaveof_noone",
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
            Self::HandingOver { target, .. } | Self::Promoting { target, .. } => Some(*target),
            Self::Idle
            | Self::Candidate { .. }
            | Self::Selecting { .. }
            | Self::Following { .. } => None,
        }
    }

    /// In which epoch the master is to be replaced, if that did not happen yet.
    pub(crate) fn epoch(&self) -> Option<u64> {
        match self {
            Self::Candidate { epoch, .. }
            | Self::Selecting { epoch, .. }
            | Self::HandingOver { epoch, .. }
            | Self::Promoting { epoch, .. } => Some(*epoch),
            Self::Idle | Self::Following { .. } => None,
        }
    }

    /// In which epoch votes are asked for.
    pub(crate) fn candidate_epoch(&self) -> Option<u64> {
        match self {
            Self::Candidate { epoch, .. } => Some(*epoch),
            Self::Idle
            | Self::Selecting { .. }
            | Self::HandingOver { .. }
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
            Failover::HandingOver { plan, .. } => Some(plan.deadline()),
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
            own,
            asked,
            until,
        } = &master.failover
        {
            let (epoch, own, until) = (*epoch, *own, *until);
            let durable = self.outbox.is_durable(own);
            let timed_out = self.now >= until;
            let fails = timed_out && !durable && self.save_fails;
            if self.now.since(until) > LAPSE || fails {
                self.master_event(master, Level::Warning, "-failover-abort-not-elected");
                self.retry_later(master);
            } else if durable && (asked.is_empty() || timed_out) {
                self.select(master, epoch);
            } else if timed_out {
                self.ask_for_offsets(master, epoch, own);
            }
        }
        self.go_on_handing_over(master);
        self.cut_off(master);
        if let Failover::Promoting { target, until, .. } = master.failover
            && self.now >= until
        {
            self.abort_promotion(master, target);
        }
        if let Failover::Following { until } = master.failover {
            self.reconfigure(master, until);
        }
    }

    /// Elected, or ordered, in an epoch that is durable with sequence `own`.
    pub(super) fn begin_selection(&mut self, master: &mut Master, epoch: u64, own: u64) {
        self.master_event(master, Level::Warning, "+elected-leader");
        if self.crash_elected {
            return self.emit(crate::output::Output::Crash(99));
        }
        self.master_event(master, Level::Warning, "+failover-state-select-slave");
        self.ask_for_offsets(master, epoch, own);
    }

    /// Every replica is asked how much it has.
    fn ask_for_offsets(&mut self, master: &mut Master, epoch: u64, own: u64) {
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
            own,
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

    /// Chooses a replica, and begins with it. A living master is asked to make way; the plain order goes on as in an
    /// outage without one, the coordinated is called off.
    fn select(&mut self, master: &mut Master, epoch: u64) {
        let Some(target) = self.candidate(master) else {
            self.master_event(master, Level::Warning, "-failover-abort-no-good-slave");
            return self.retry_later(master);
        };
        self.server_event(master, target, Level::Warning, "+selected-slave");
        let own = &master.server;
        // What it said before it became master is no news of it.
        let is_news = master
            .switched
            .is_none_or(|(since, _)| own.informed >= Some(since));
        let made_way = own.reports_slave && is_news;
        // A connection that was cut off with the clients' is back in a moment; who never answered is not waited for.
        let answers = own.command.up().is_some() || !own.info.run_id.is_empty();
        let alive = answers && own.down.is_none() && !made_way;
        let helps = alive && !self.mutated(Mutant::PromoteAtOnce);
        match master.cause {
            Cause::Coordination if !alive || !own.info.hands_over => {
                self.master_event(master, Level::Warning, "-failover-abort-master-timeout");
                self.retry_later(master);
            }
            Cause::Order | Cause::Coordination if helps => self.hand_over(master, epoch, target),
            Cause::Order | Cause::Coordination | Cause::Outage => {
                self.promote(master, epoch, target, None);
            }
        }
    }
}

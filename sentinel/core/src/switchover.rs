//! A planned move of the master, step by step, so that no acknowledged write is lost.
//!
//! ```text
//!                target keeps up      target has all      old master follows nowhere
//!   CatchingUp ────────────────▶ Holding ────────▶ Demoting ────────▶ Draining ──▶ promote the target
//!       ▲   │                     │   │ no help        │ refused         │ it lacks something
//!       │   │ not in time         │   │                ▼                 ▼
//!       │   └──▶ abandon ◀────────│───┴─────────── abandon          give the old master its role back
//!       └──── Resting ◀───────────┘ too slow
//! ```
//!
//! 1. Writes flow. The target must reach, within half a pause, what the master has now: whoever lags is waited for
//!    while writes flow.
//! 2. The master holds its clients' writes (`CLIENT PAUSE … WRITE`, since Redis 6.2) and says where its stream ends.
//!    The stream to the replicas is not held, so the target has the last write a moment later; only the master would
//!    learn of it late. The target itself is asked.
//! 3. The old master first: while the pause certainly still holds, it is told to follow nowhere. From then on it
//!    takes no write, whatever happens to its leader. It says where its stream ends now.
//! 4. If the target has that, too, it is promoted. If not, or if the promotion fails, the old master gets its role
//!    back in the same epoch, and its clients' writes go on where they waited. Before step 3 nothing has changed, and
//!    a pause ends by itself.
//!
//! A server that cannot hold writes is demoted while they flow, and cuts its clients off in the same transaction:
//! what it has answered by then is on its way to the target. That is the best there is, but no promise.
//!
//! Decides every step for both kinds of groups. It knows no addresses and sends nothing; whoever leads carries out
//! what [`Switchover::advance`] says, and tells it what the two servers say of themselves.

mod cut;
pub(crate) mod transaction;

use std::time::Duration;

pub(crate) use self::cut::{Cut, Old};
use crate::{
    info::{Info, Role},
    time::Time,
};

/// How soon the target is asked again how much it has.
pub(crate) const POLL: Duration = Duration::from_millis(3);
/// How long a target that lags is waited for after an order that need not be coordinated.
pub(crate) const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// How long writes flow between two attempts.
const REST: Duration = Duration::from_millis(500);
/// How long a master may take to say that it follows nowhere.
const DEMOTION_PATIENCE: Duration = Duration::from_millis(500);
/// How long the target may take to read what the old master sent before it was demoted.
const DRAIN_PATIENCE: Duration = Duration::from_millis(100);
/// How much later than planned a step may be taken. Who slept longer cannot know what others did meanwhile.
const LAPSE: Duration = Duration::from_millis(100);

/// On whose word a master is replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// Enough Dukes find it down.
    Outage,
    /// Somebody entitled asked for it.
    Order,
    /// The same, and only if the master holds its clients' writes meanwhile, so that nothing is lost.
    Coordination,
}

/// What is to be done next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// Nothing, until somebody says something or [`Switchover::deadline`] comes.
    Wait,
    /// Ask the master anew where its stream ends.
    AskMaster,
    /// Have the master hold its clients' writes for so long, and ask it behind that where its stream ends.
    Hold(Duration),
    /// Have it hold them no longer.
    Release,
    /// Tell the master to follow nowhere, and ask it behind that.
    Demote {
        /// Its clients' writes are held. If not, its clients are cut off in the same transaction.
        held: bool,
        /// Writes may be held since an attempt before: in the same transaction no longer.
        unpause: bool,
    },
    /// Promote the target.
    Promote,
    /// Make the old master a master again.
    GiveBack,
    /// Leave everything as it is, for this reason.
    Abandon(Why),
}

/// Why a move is abandoned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// The master does not answer, is not the master any more, or does not hold writes.
    Master,
    /// The target lags or is lost.
    Target,
    /// This Duke slept, or another one is elected.
    Lapse,
}

/// What the two servers say of themselves, as far as they said it since they were last asked anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) master: Option<&'a Info>,
    /// Whether it is found down.
    pub(crate) master_down: bool,
    pub(crate) target: Option<&'a Info>,
    /// A rule that is broken on purpose: whether the pause still holds is not minded.
    pub(crate) careless: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Writes flow. The master's stream ended at `mark` then, once that is known.
    CatchingUp { since: Time, mark: Option<u64> },
    /// The pause was asked for then; the stream ends at `end`, once that is known.
    Holding { sent: Time, end: Option<u64> },
    /// Writes flow again for a while.
    Resting { until: Time },
    /// The master was told to follow nowhere; the target had everything up to `end` before.
    Demoting { end: u64, held: bool, until: Time },
    /// It does, and its stream ends at `end` for good.
    Draining { end: u64, held: bool, until: Time },
}

/// A planned move as its leader goes through it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Switchover {
    /// How long writes may be held at a time; none if the master cannot hold them.
    hold: Option<Duration>,
    /// Whether writes must be held.
    strict: bool,
    /// Whether the target is promoted in the end, with or without the master's help.
    insists: bool,
    /// Until when the target may catch up.
    limit: Time,
    /// The master's and the target's process.
    processes: [String; 2],
    step: Step,
}

impl Switchover {
    /// Begins, and is to be told next where the master's stream ends: it is to be asked anew.
    pub(crate) fn begin(
        now: Time,
        cause: Cause,
        hold: Option<Duration>,
        patience: Duration,
        [master, target]: [&Info; 2],
    ) -> Self {
        Self {
            hold: hold.filter(|_| master.hands_over),
            strict: cause == Cause::Coordination,
            insists: false,
            limit: now.after(patience),
            processes: [master.run_id.clone(), target.run_id.clone()],
            step: Step::CatchingUp {
                since: now,
                mark: None,
            },
        }
    }

    /// The order promises a new master, whatever is lost. Stock: `SENTINEL FAILOVER`.
    pub(crate) fn insist(mut self) -> Self {
        self.insists = !self.strict;
        self
    }

    /// Whether the order to follow nowhere has left.
    pub(crate) fn has_demoted(&self) -> bool {
        matches!(self.step, Step::Demoting { .. } | Step::Draining { .. })
    }

    /// The old master, which is `at`, if it was told to make way.
    pub(crate) fn made_way<T>(&self, at: T) -> Option<Old<T>> {
        self.has_demoted().then(|| Old {
            at,
            process: self.processes[0].clone(),
            held: self.may_hold(),
        })
    }

    /// Whether the master may be holding writes.
    pub(crate) fn may_hold(&self) -> bool {
        match self.step {
            Step::Holding { .. } => true,
            Step::Demoting { held, .. } | Step::Draining { held, .. } => held,
            Step::CatchingUp { .. } | Step::Resting { .. } => false,
        }
    }

    /// Sentinel's word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self.step {
            Step::CatchingUp { .. } | Step::Resting { .. } => "select_slave",
            Step::Holding { .. } | Step::Demoting { .. } | Step::Draining { .. } => {
                "send_slaveof_noone"
            }
        }
    }

    /// When something is to be done, if nothing is heard before.
    pub(crate) fn deadline(&self) -> Time {
        match self.step {
            Step::CatchingUp { .. } => self.limit,
            Step::Holding { sent, .. } => sent.after(self.half()),
            Step::Resting { until }
            | Step::Demoting { until, .. }
            | Step::Draining { until, .. } => until,
        }
    }

    /// Half of a pause: for the target to have everything. The other half is for the order to follow nowhere, so
    /// that it arrives while the pause, whose end the master counts from its own beginning, still holds.
    fn half(&self) -> Duration {
        let hold = self.hold.unwrap_or_default();
        hold.checked_div(2).unwrap_or_default()
    }

    /// Goes on as far as it can go now, and says what is to be done for it; to be called again after that.
    pub(crate) fn advance(&mut self, now: Time, sight: Sight<'_>) -> Next {
        if now.since(self.deadline()) > LAPSE && !sight.careless {
            return Next::Abandon(Why::Lapse);
        }
        match self.step {
            Step::CatchingUp { since, mark } => self.catch_up(now, sight, since, mark),
            Step::Holding { sent, end } => self.wait_held(now, sight, sent, end),
            Step::Resting { .. } if sight.master_down => self.without_master(),
            Step::Resting { until } if now >= until => {
                self.step = Step::CatchingUp {
                    since: now,
                    mark: None,
                };
                Next::AskMaster
            }
            Step::Resting { .. } => Next::Wait,
            Step::Demoting { end, held, until } => {
                self.wait_demoted(now, sight, (end, held, until))
            }
            Step::Draining { end, held, until } => self.drain(now, sight, (end, held, until)),
        }
    }

    fn catch_up(&mut self, now: Time, sight: Sight<'_>, since: Time, mark: Option<u64>) -> Next {
        if sight.master_down {
            return self.without_master();
        }
        if now >= self.limit {
            let silent = mark.is_none() && sight.master.is_none();
            let why = if silent { Why::Master } else { Why::Target };
            return self.exhausted(now, why);
        }
        let mark = match (mark, sight.master) {
            (Some(mark), _) => mark,
            (None, Some(master)) if !self.is_master(master) => return Next::Abandon(Why::Master),
            (None, Some(master)) => {
                self.step = Step::CatchingUp {
                    since: now,
                    mark: Some(master.offset),
                };
                return self.catch_up(now, sight, now, Some(master.offset));
            }
            (None, None) => return Next::Wait,
        };
        if !self.keeps_up(sight, mark) {
            return Next::Wait;
        }
        match self.hold {
            None if self.strict => Next::Abandon(Why::Master),
            None => self.demote(now, mark, false),
            Some(span) if now.since(since) <= self.half() => {
                self.step = Step::Holding {
                    sent: now,
                    end: None,
                };
                Next::Hold(span)
            }
            Some(_) => {
                self.step = Step::CatchingUp {
                    since: now,
                    mark: None,
                };
                Next::AskMaster
            }
        }
    }

    fn wait_held(&mut self, now: Time, sight: Sight<'_>, sent: Time, end: Option<u64>) -> Next {
        if sight.master_down {
            return self.without_master();
        }
        if sight.master.is_some_and(|master| !self.is_master(master)) {
            return Next::Abandon(Why::Master);
        }
        let end = end.or_else(|| sight.master.map(|master| master.offset));
        self.step = Step::Holding { sent, end };
        let in_time = now <= sent.after(self.half()) || sight.careless;
        if let Some(end) = end.filter(|end| in_time && self.keeps_up(sight, *end)) {
            return self.demote(now, end, true);
        }
        if now < self.deadline() || sight.careless {
            return Next::Wait;
        }
        if end.is_none() || now.after(REST) >= self.limit {
            let why = if end.is_none() {
                Why::Master
            } else {
                Why::Target
            };
            return self.exhausted(now, why);
        }
        self.step = Step::Resting {
            until: now.after(REST),
        };
        Next::Release
    }

    fn wait_demoted(
        &mut self,
        now: Time,
        sight: Sight<'_>,
        (end, held, until): (u64, bool, Time),
    ) -> Next {
        match sight.master {
            // Asked behind the order: what it says now is what came of it.
            Some(master) if master.role.is_blank() && master.run_id == self.processes[0] => {
                let end = if sight.careless { end } else { master.offset };
                let until = now.after(DRAIN_PATIENCE);
                self.step = Step::Draining { end, held, until };
                self.drain(now, sight, (end, held, until))
            }
            None if sight.master_down && self.insists => Next::Promote,
            None if now < until => Next::Wait,
            None if self.insists => Next::Promote,
            Some(_) | None => Next::Abandon(Why::Master),
        }
    }

    fn drain(
        &mut self,
        now: Time,
        sight: Sight<'_>,
        (end, held, until): (u64, bool, Time),
    ) -> Next {
        let target = sight.target;
        let same = target.is_none_or(|target| target.run_id == self.processes[1]);
        if !same {
            return Next::GiveBack;
        }
        if target.is_some_and(|target| has(target, sight.master, end)) {
            return Next::Promote;
        }
        // Whose connection ended has read everything there was.
        let drained = target.is_some_and(|target| !is_in_touch(target));
        match held {
            false if drained || now >= until => {
                let lacks = end.saturating_sub(target.map_or(0, |target| target.offset));
                tracing::warn!(
                    lacks,
                    "the master could not hold writes: its last bytes may be lost"
                );
                Next::Promote
            }
            true if now >= until => Next::GiveBack,
            true | false => Next::Wait,
        }
    }

    /// The master answered that it does not hold writes: nothing of it was done.
    pub(crate) fn refused_to_hold(&mut self, now: Time, target: Option<&Info>) -> Next {
        if !matches!(self.step, Step::Holding { .. }) {
            return Next::Wait;
        }
        self.hold = None;
        if self.strict {
            return Next::Abandon(Why::Master);
        }
        self.demote(now, target.map_or(0, |target| target.offset), false)
    }

    /// The connection to the target was lost, or it is another process.
    pub(crate) fn target_lost(&self) -> Next {
        match self.step {
            Step::Draining { .. } => Next::GiveBack,
            // Whether it follows nowhere by now is found out first.
            Step::Demoting { .. } => Next::Wait,
            Step::CatchingUp { .. } | Step::Holding { .. } | Step::Resting { .. } => {
                Next::Abandon(Why::Target)
            }
        }
    }

    fn demote(&mut self, now: Time, end: u64, held: bool) -> Next {
        let until = now.after(DEMOTION_PATIENCE);
        self.step = Step::Demoting { end, held, until };
        Next::Demote {
            held,
            unpause: !held && self.hold.is_some(),
        }
    }

    /// There is no time left.
    fn exhausted(&mut self, now: Time, why: Why) -> Next {
        if self.insists {
            self.demote(now, 0, false)
        } else {
            Next::Abandon(why)
        }
    }

    /// The master is found down before anything was changed.
    fn without_master(&self) -> Next {
        if self.insists {
            tracing::warn!("the master is down and cannot hand over: its last bytes may be lost");
            Next::Promote
        } else {
            Next::Abandon(Why::Master)
        }
    }

    fn is_master(&self, info: &Info) -> bool {
        info.role == Role::Master && info.run_id == self.processes[0]
    }

    /// Whether the target is in touch with the master and has everything up to `end`.
    fn keeps_up(&self, sight: Sight<'_>, end: u64) -> bool {
        sight.target.is_some_and(|target| {
            let same = target.run_id == self.processes[1];
            same && is_in_touch(target) && has(target, sight.master, end)
        })
    }
}

fn is_in_touch(target: &Info) -> bool {
    matches!(target.role, Role::Replica { link_up: true, .. })
}

/// Whether it has everything up to `end` of the master's history, as far as the two name theirs.
fn has(target: &Info, master: Option<&Info>, end: u64) -> bool {
    let same = master
        .is_none_or(|master| !master.lineage.is_known() || target.lineage.meets(&master.lineage));
    same && !target.unsynced && target.offset >= end
}

#[cfg(test)]
mod tests;

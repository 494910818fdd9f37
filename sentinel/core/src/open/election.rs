//! Who leads a failover: epochs and votes, on stock's wire.
//!
//! A vote is given once per epoch and master, and is durable before it is said. A candidate's own
//! vote counts once it is durable. Who cannot reach a majority does not stand: it would only burn
//! epochs.

use std::time::Duration;

use super::{Open, event::Level, failover::Failover, master::Master};
use crate::{mutation::Mutant, switchover::Cause, time::Time};

/// Dukes that see the same death begin one after the other, so that one of them usually wins.
const RANK_DELAY: Duration = Duration::from_millis(15);
/// The most that chance adds to it, in milliseconds.
const RANK_JITTER_MS: u64 = 10;
/// How long a candidate waits for votes in the first election after an outage. A stock voter writes its
/// file twice before it answers. Twice as long in every one after it, as long as stock in the end:
/// perhaps a vote takes longer than this to be durable.
const ELECTION_PATIENCE: Duration = Duration::from_secs(1);
/// How much later than planned a candidate or leader may go on. Whoever slept longer cannot know
/// whether the others have elected another meanwhile.
pub(super) const LAPSE: Duration = Duration::from_millis(100);
/// Between two looks for somebody to promote, or for a majority.
const NOBODY_FIT: Duration = Duration::from_millis(100);
/// How far ahead of ours an epoch may be that anybody may tell of.
const EPOCH_JUMP_MAX: u64 = 1 << 32;

impl Open {
    pub(super) fn election_deadline(master: &Master) -> Option<Time> {
        let waits = master.odown.is_some() && master.failover == Failover::Idle;
        master.candidacy.due.filter(|_| waits)
    }

    /// Stands for election when the master is down and it is this Duke's turn.
    pub(super) fn elect(&mut self, master: &mut Master) {
        if master.odown.is_none() {
            master.candidacy.due = None;
            master.candidacy.lost = 0;
            master.candidacy.told = None;
            return;
        }
        if master.failover != Failover::Idle {
            return;
        }
        let due = match master.candidacy.due {
            Some(due) => due,
            None => self.turn(master),
        };
        master.candidacy.due = Some(due);
        if due > self.now {
            return;
        }
        if self.save_fails {
            // Perhaps it can be written again.
            self.save();
        }
        // Who cannot write could promise nothing; the others are only kept waiting.
        let obstacle = if self.candidate(master).is_none() {
            Some("-failover-abort-no-good-slave")
        } else if self.reachable(master) < master.majority() {
            Some("-failover-abort-not-elected")
        } else {
            None
        };
        if obstacle.is_none() && !self.save_fails {
            return self.stand(master, Cause::Outage);
        }
        master.candidacy.due = Some(self.now.after(NOBODY_FIT));
        // Said once, not at every look.
        if let Some(event) = obstacle.filter(|_| master.candidacy.told != obstacle) {
            master.candidacy.told = obstacle;
            self.master_event(master, Level::Warning, event);
        }
    }

    /// When it is this Duke's turn: by rank among the ids, unless it voted for another just now. Nobody
    /// waits for one that said it finds the master well: it will not stand.
    fn turn(&mut self, master: &Master) -> Time {
        let own = &self.conf.sentinel.id;
        let stands = |up: Option<Time>| up < master.server.down;
        let before = master
            .sentinels
            .iter()
            .filter(|(id, witness)| *id < own && stands(witness.master_up))
            .count();
        let rank = u32::try_from(before).unwrap_or(u32::MAX);
        let jitter = Duration::from_millis(self.random_below(RANK_JITTER_MS));
        let turn = self
            .now
            .after(RANK_DELAY.saturating_mul(rank))
            .after(jitter.saturating_mul(rank.min(1)));
        master
            .candidacy
            .not_before
            .map_or(turn, |earliest| earliest.max(turn))
    }

    /// This Duke and the sentinels that could answer it.
    fn reachable(&self, master: &Master) -> usize {
        let answers = |peer: &u64| {
            self.peers
                .get(peer)
                .is_some_and(|peer| peer.wire.up().is_some())
        };
        let others = master
            .sentinels
            .values()
            .filter(|witness| witness.down.is_none() && answers(&witness.peer))
            .count();
        others.saturating_add(1)
    }

    /// A new epoch, and the failover that begins in it.
    pub(super) fn next_epoch(&mut self, master: &Master) -> u64 {
        let step = u64::from(!self.mutated(Mutant::StandAgainInEpoch));
        let epoch = self.conf.sentinel.current_epoch.saturating_add(step);
        self.conf.sentinel.current_epoch = epoch;
        self.event(
            Some(master),
            Level::Warning,
            "+new-epoch",
            &epoch.to_string(),
        );
        self.master_event(master, Level::Warning, "+try-failover");
        epoch
    }

    /// Begins an election in a new epoch. The others are asked while the own vote is written.
    pub(super) fn stand(&mut self, master: &mut Master, cause: Cause) {
        master.candidacy.due = None;
        master.cause = cause;
        let epoch = self.next_epoch(master);
        let id = self.conf.sentinel.id.clone();
        master.leader_epoch = epoch;
        master.leader = Some(id.clone());
        self.event(
            Some(master),
            Level::Warning,
            "+vote-for-leader",
            &format!("{id} {epoch}"),
        );
        for peer in master
            .sentinels
            .values()
            .map(|witness| witness.peer)
            .collect::<Vec<_>>()
        {
            self.ask_opinion(master, peer, Some(epoch));
        }
        let own = self.save();
        let patience = match cause {
            Cause::Outage => ELECTION_PATIENCE.saturating_mul(1 << master.candidacy.lost.min(4)),
            // Nobody is without a master meanwhile, and there is one election only.
            Cause::Order | Cause::Coordination => self.periods.election,
        };
        let most = self.periods.election.min(master.conf.failover_timeout);
        let until = self.now.after(patience.min(most));
        master.failover = Failover::Candidate { epoch, own, until };
        self.touched.insert(master.name.clone());
    }

    /// Counts the votes of an election in progress.
    pub(super) fn count_votes(&mut self, master: &mut Master, epoch: u64, own: u64, until: Time) {
        let id = &self.conf.sentinel.id;
        let at = |vote: &Option<(String, u64)>| vote.clone().filter(|(_, at)| *at >= epoch);
        let told = || {
            master
                .sentinels
                .values()
                .filter_map(|witness| at(&witness.vote))
        };
        let mine = told()
            .filter(|(leader, at)| leader == id && *at == epoch)
            .count();
        let durable = self.outbox.is_durable(own);
        let votes = mine.saturating_add(usize::from(durable));
        let lapsed = self.now.since(until) > LAPSE;
        let needed = if self.mutated(Mutant::LeadWithoutMajority) {
            1
        } else {
            master.majority().max(master.quorum())
        };
        if votes >= needed && durable && !lapsed {
            return self.begin_selection(master, epoch, own);
        }
        let all = told().count() >= self.reachable(master).saturating_sub(1);
        if self.now >= until || (all && durable && !master.sentinels.is_empty()) {
            self.master_event(master, Level::Warning, "-failover-abort-not-elected");
            self.retry_later(master);
        }
    }

    /// Gives a failover up; another attempt follows soon, at a time of this Duke's own.
    pub(super) fn retry_later(&mut self, master: &mut Master) {
        master.failover = Failover::Idle;
        master.candidacy.lost = master.candidacy.lost.saturating_add(1);
        let span = 200_u64
            .saturating_mul(u64::from(master.candidacy.lost))
            .min(4_950);
        let wait = 50_u64.saturating_add(self.random_below(span));
        master.candidacy.due = Some(self.now.after(Duration::from_millis(wait)));
        self.touched.insert(master.name.clone());
    }

    /// Takes an epoch somebody told of; false if it is beyond reason.
    pub(super) fn hear_epoch(&mut self, epoch: u64) -> bool {
        let current = self.conf.sentinel.current_epoch;
        if epoch > current.saturating_add(EPOCH_JUMP_MAX) {
            tracing::warn!(epoch, current, "refused an epoch beyond reason");
            return false;
        }
        if epoch > current {
            self.conf.sentinel.current_epoch = epoch;
            self.save();
            self.event(None, Level::Warning, "+new-epoch", &epoch.to_string());
        }
        true
    }

    /// Gives or refuses the vote in `epoch` that `candidate` asks for; answers whom this Duke voted
    /// for last, and when.
    pub(super) fn vote(
        &mut self,
        master: &mut Master,
        epoch: u64,
        candidate: &str,
    ) -> (String, u64) {
        let answer = |master: &Master| {
            let leader = master.leader.clone().unwrap_or_else(|| "*".to_owned());
            (leader, master.leader_epoch)
        };
        if !self.hear_epoch(epoch) {
            return answer(master);
        }
        // Whoever is about to promote refuses: two promotions at a time are never better than one.
        let free = !matches!(
            master.failover,
            Failover::Selecting { .. } | Failover::HandingOver { .. } | Failover::Promoting { .. }
        );
        // Stock refuses whatever is behind its newest epoch, even that of another master: of many that
        // fail at once only one is replaced at a time. What counts is what was voted on this one.
        let fresh = epoch > master.leader_epoch
            || (self.mutated(Mutant::VoteTwice) && epoch == master.leader_epoch);
        if free && fresh && epoch > master.config_epoch {
            master.leader_epoch = epoch;
            master.leader = Some(candidate.to_owned());
            self.save();
            let payload = format!("{candidate} {epoch}");
            self.event(Some(master), Level::Warning, "+vote-for-leader", &payload);
            if candidate != self.conf.sentinel.id {
                self.make_way(master);
            }
        }
        answer(master)
    }

    /// Whoever was voted for is given the time of an election and a promotion.
    fn make_way(&mut self, master: &mut Master) {
        if matches!(master.failover, Failover::Candidate { .. }) {
            master.failover = Failover::Idle;
        }
        let patience = self
            .periods
            .election
            .min(master.conf.failover_timeout.saturating_mul(2));
        let jitter = Duration::from_millis(self.random_below(1_000));
        let earliest = self.now.after(patience).after(jitter);
        master.candidacy.not_before = Some(earliest);
        master.candidacy.due = master.candidacy.due.map(|due| due.max(earliest));
    }
}

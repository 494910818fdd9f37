//! Who leads a failover: epochs and votes.
//!
//! A vote is given once per epoch and is durable before it is said. A Duke without memory gives
//! none. A candidate's own vote counts once it is durable. Whoever asks must belong to the group.

use std::time::Duration;

use crate::{
    closed::{Closed, failover::Failover, member::Peer},
    mutation::Mutant,
    switchover::{Cause, Why},
    time::Time,
};

/// Dukes that see the same death begin one after the other, so that one of them usually wins.
const RANK_DELAY: Duration = Duration::from_millis(15);
/// The most that chance adds to it, in milliseconds.
const RANK_JITTER_MS: u64 = 10;
/// How long a candidate waits for votes in the first election; twice as long in every one after it.
const ELECTION_PATIENCE: Duration = Duration::from_millis(500);
/// How long who voted for another waits for it to finish before standing itself, growing likewise:
/// longer than a leader may take from its candidacy to its order.
const VOTER_PATIENCE: Duration = Duration::from_secs(1);
/// How often a patience doubles: a group whose disks take eight seconds for a vote still elects.
const DOUBLINGS_MAX: u32 = 4;
/// How much later than planned a candidate or leader may go on. Whoever slept longer cannot know
/// whether the others have elected another meanwhile.
pub(crate) const LAPSE: Duration = Duration::from_millis(100);
/// Between two looks for somebody to promote.
const NOBODY_FIT: Duration = Duration::from_millis(100);

/// What this Duke has done about leading.
#[derive(Debug, Default)]
pub(crate) struct Candidacy {
    /// When it stands, if the master is still down then.
    pub(crate) due: Option<Time>,
    /// Not before.
    pub(crate) not_before: Option<Time>,
    /// It was said that nobody is fit to be promoted.
    pub(crate) told: bool,
    /// Elections lost in a row.
    pub(crate) lost: u32,
    /// Votes given to others in a row.
    given: u32,
}

/// How long to wait for an election after so many that came to nothing. They may have come to nothing because a
/// vote takes longer to be durable than anybody waited.
fn patience(first: Duration, before: u32) -> Duration {
    first.saturating_mul(1 << before.min(DOUBLINGS_MAX))
}

impl Closed {
    pub(crate) fn candidacy_deadline(&self) -> Option<Time> {
        if self.agreed_down && matches!(self.failover, Failover::Idle) {
            self.candidacy.due
        } else {
            None
        }
    }

    /// Stands for election when the master is down and it is this Duke's turn.
    pub(crate) fn elect(&mut self) {
        let able = self.durable.memory && self.is_writing();
        let wanted = able && self.agreed_down && self.failover == Failover::Idle;
        if !wanted {
            if !able {
                self.candidacy.due = None;
            }
            if !self.agreed_down {
                self.candidacy.told = false;
                self.candidacy.due = None;
                self.candidacy.lost = 0;
                self.candidacy.given = 0;
            }
            return;
        }
        let due = if let Some(due) = self.candidacy.due {
            due
        } else {
            let due = self.turn();
            self.candidacy.due = Some(due);
            due
        };
        if due > self.now {
            return;
        }
        // Without somebody to promote an election would only burn epochs.
        if self.candidate().is_none() {
            self.candidacy.due = Some(self.now.after(NOBODY_FIT));
            self.tell_nobody_fit();
        } else {
            self.stand(Cause::Outage);
        }
    }

    /// Whether another Duke that was voted for just now is given its time.
    pub(crate) fn waits_for_another(&self) -> bool {
        let earliest = self.candidacy.not_before;
        earliest.is_some_and(|earliest| earliest > self.now)
    }

    /// Says that nobody is fit to be promoted: once, not at every look.
    fn tell_nobody_fit(&mut self) {
        if std::mem::replace(&mut self.candidacy.told, true) {
            return;
        }
        tracing::warn!(reason = %self.nobody_fit(), "the group stays without a master");
        self.publish_master("-failover-abort-no-good-slave", "");
    }

    /// Whether what this Duke promises can be written down. Whose disk takes nothing neither stands nor votes: it
    /// would only keep the others waiting.
    pub(crate) fn is_writing(&self) -> bool {
        !self.disk_fails || self.mutated(Mutant::RelyOnFailingDisk)
    }

    /// The newest state could not be written: an election that waits for that is given up.
    pub(crate) fn persist_failed(&mut self) {
        if !std::mem::replace(&mut self.disk_fails, true) {
            tracing::warn!("could not write the state: neither stands nor votes until that works");
        }
        if !self.is_writing()
            && let Failover::Candidate { own, .. } = self.failover
            && !self.is_durable(own)
        {
            self.publish_master("-failover-abort-not-elected", "");
            self.failover = Failover::Idle;
        }
    }

    /// Gives an election up whose reason is gone: the master is back, or the others find it well. Once somebody
    /// was told to become master it is too late for that.
    pub(crate) fn call_off(&mut self) {
        let (Failover::Candidate { until, .. } | Failover::Selecting { until, .. }) = self.failover
        else {
            return;
        };
        // Who slept gives up for that reason.
        let is_open = self.now.since(until) <= LAPSE;
        let gone = self.cause == Cause::Outage && !self.agreed_down;
        if is_open && gone && !self.mutated(Mutant::GoOnWithoutReason) {
            self.publish_master("-failover-abort-master-is-back", "");
            self.failover = Failover::Idle;
        }
    }

    /// When it is this Duke's turn: by rank among the names, unless it voted for another just now. Nobody
    /// waits for one that said it finds the master well: it will not stand.
    fn turn(&mut self) -> Time {
        let down = self.master_down();
        let rank = self.rank_among(|peer| peer.master_up < down);
        let jitter = Duration::from_millis(self.random_below(RANK_JITTER_MS));
        let jitter = jitter.saturating_mul(rank.min(1));
        let turn = self
            .now
            .after(RANK_DELAY.saturating_mul(rank))
            .after(jitter);
        self.candidacy
            .not_before
            .filter(|_| !self.is_deserted())
            .map_or(turn, |earliest| earliest.max(turn))
    }

    /// How many Dukes go before this one, by their names.
    pub(crate) fn rank(&self) -> u32 {
        self.rank_among(|_| true)
    }

    fn rank_among(&self, counts: impl Fn(&Peer) -> bool) -> u32 {
        let before = self
            .peers
            .iter()
            .filter(|(id, peer)| **id < self.durable.id && counts(peer))
            .count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Begins an election in a new epoch. The others are asked while the own vote is written.
    pub(crate) fn stand(&mut self, cause: Cause) {
        self.cause = cause;
        self.candidacy.due = None;
        let step = u64::from(!self.mutated(Mutant::StandAgainInEpoch));
        let epoch = self.durable.current_epoch.saturating_add(step);
        self.durable.current_epoch = epoch;
        self.durable.leader_epoch = epoch;
        self.durable.leader = self.durable.id.clone();
        self.publish("+new-epoch", &epoch.to_string());
        self.publish_master("+try-failover", "");
        let id = self.durable.id.clone();
        self.publish("+vote-for-leader", &format!("{id} {epoch}"));
        let peers: Vec<String> = self.peers.keys().cloned().collect();
        for id in &peers {
            self.ask_opinion(id, Some(epoch));
        }
        let own = self.persist();
        let until = self
            .now
            .after(patience(ELECTION_PATIENCE, self.candidacy.lost));
        self.failover = Failover::Candidate { epoch, own, until };
    }

    /// Counts the votes of an election in progress.
    pub(crate) fn count_votes(&mut self, epoch: u64, own: u64, until: Time) {
        let mine = |peer: &&Peer| {
            peer.vote
                .as_ref()
                .is_some_and(|(leader, at)| *leader == self.durable.id && *at == epoch)
        };
        let durable = self.is_durable(own) || self.mutated(Mutant::LeadBeforeOwnVote);
        let votes = self.peers.values().filter(mine).count();
        let votes = votes.saturating_add(usize::from(durable));
        let quorum = usize::try_from(self.durable.quorum).unwrap_or(usize::MAX);
        let lapsed = self.now.since(until) > LAPSE;
        // Nobody acts on a vote of its own that a crash would take back, whoever else voted for it.
        let enough = (durable && votes >= self.durable.majority().max(quorum))
            || (votes > 0 && self.mutated(Mutant::LeadWithoutMajority));
        if enough && !lapsed {
            self.publish_master("+elected-leader", "");
            return self.begin_selection(epoch);
        }
        let undecided = self
            .peers
            .values()
            .filter(|peer| peer.wire.up().is_some())
            .any(|peer| peer.vote.as_ref().is_none_or(|(_, at)| *at < epoch));
        let settled = !undecided && durable && !self.peers.is_empty();
        if self.now >= until || settled {
            self.publish_master("-failover-abort-not-elected", "");
            self.retry_later();
        }
    }

    /// Gives a failover up; another attempt follows soon, at a time of this Duke's own.
    pub(crate) fn retry_later(&mut self) {
        self.failover = Failover::Idle;
        self.candidacy.lost = self.candidacy.lost.saturating_add(1);
        let span = 200_u64
            .saturating_mul(u64::from(self.candidacy.lost))
            .min(950);
        let wait = 50_u64.saturating_add(self.random_below(span));
        self.candidacy.due = Some(self.now.after(Duration::from_millis(wait)));
    }

    /// Whom this Duke chose cannot be promoted: it chooses anew at once, the second time after a pause.
    pub(crate) fn retry_soon(&mut self) {
        let first = self.candidacy.lost == 0;
        self.retry_later();
        if first {
            self.candidacy.due = Some(self.now);
        }
    }

    /// A peer answered with a vote: the count may have changed.
    pub(crate) fn voted(&mut self, id: &str, epoch: Option<u64>) {
        tracing::debug!(id, ?epoch, "heard a vote");
        self.count_if_candidate();
    }

    pub(crate) fn count_if_candidate(&mut self) {
        if let Failover::Candidate { epoch, own, until } = self.failover {
            self.count_votes(epoch, own, until);
        }
    }

    /// Gives up what has changed nothing yet.
    pub(crate) fn yield_to_another(&mut self) {
        match &self.failover {
            Failover::Candidate { .. } | Failover::Selecting { .. } => {
                self.publish_master("-failover-abort-not-elected", "");
                self.retry_later();
            }
            Failover::HandingOver { plan, .. } if !plan.has_demoted() => {
                self.abandon_handover(Why::Lapse);
            }
            Failover::Idle | Failover::HandingOver { .. } | Failover::Promoting { .. } => {}
        }
    }

    /// Gives or refuses the vote in `epoch` that `candidate` asks for; answers whom this Duke voted
    /// for last, and when.
    pub(crate) fn vote(&mut self, epoch: u64, candidate: &str) -> (String, u64) {
        let member = self.peers.contains_key(candidate) || self.mutated(Mutant::CountStrangers);
        let able = self.durable.memory && self.is_writing();
        let memory = able || self.mutated(Mutant::VoteWithoutMemory);
        let reasonable = self.is_reasonable(epoch);
        // Whoever has had the master make way, or is about to promote, refuses: two promotions at a time are never
        // better than one.
        let free = match &self.failover {
            Failover::Idle | Failover::Candidate { .. } => true,
            Failover::HandingOver { plan, .. } => !plan.has_demoted(),
            Failover::Selecting { .. } | Failover::Promoting { .. } => false,
        };
        let unused = epoch > self.durable.leader_epoch || self.mutated(Mutant::VoteTwice);
        let later = unused && epoch >= self.durable.current_epoch;
        if memory && member && reasonable && free && later {
            if epoch > self.durable.current_epoch {
                self.durable.current_epoch = epoch;
                self.publish("+new-epoch", &epoch.to_string());
            }
            self.durable.leader_epoch = epoch;
            candidate.clone_into(&mut self.durable.leader);
            self.publish("+vote-for-leader", &format!("{candidate} {epoch}"));
            self.persist();
            match self.failover {
                Failover::Candidate { .. } => self.failover = Failover::Idle,
                Failover::HandingOver { .. } => self.yield_to_another(),
                Failover::Idle | Failover::Selecting { .. } | Failover::Promoting { .. } => {}
            }
            let jitter = Duration::from_millis(self.random_below(200));
            let wait = patience(VOTER_PATIENCE, self.candidacy.given);
            let earliest = self.now.after(wait).after(jitter);
            self.candidacy.given = self.candidacy.given.saturating_add(1);
            self.candidacy.not_before = Some(earliest);
            self.candidacy.due = self.candidacy.due.map(|due| due.max(earliest));
        }
        if self.durable.leader.is_empty() {
            return ("*".to_owned(), self.durable.leader_epoch);
        }
        (self.durable.leader.clone(), self.durable.leader_epoch)
    }
}

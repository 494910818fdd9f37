//! Votes and leaders: one leader in an epoch, by a majority of votes each given once.

use duke_resp::Frame;

use super::{Belief, Oracle};
use crate::disk::Kept;

impl Oracle {
    /// A Duke was elected, it says.
    pub(super) fn check_election(
        &mut self,
        duke: usize,
        belief: &Belief,
        epoch: u64,
        kept: Option<&Kept>,
    ) {
        let named = (belief.generation, epoch);
        let id = &belief.id;
        if !belief.memory {
            self.fail(format!("d{} leads without memory", duke + 1));
        }
        if let Some(other) = self.leaders.insert(named, id.clone())
            && other != *id
        {
            self.fail(format!("{other} and {id} both lead epoch {named:?}"));
        }
        // Its own vote counts once it is durable.
        if kept.is_some_and(|kept| kept.leader_epoch == epoch && kept.has_voted(epoch, id)) {
            self.record_vote(id, named, id);
        }
        let votes = self
            .votes
            .iter()
            .filter(|((_, given), candidate)| *given == named && *candidate == id)
            .count();
        if votes < self.majority {
            let needed = self.majority;
            self.fail(format!(
                "d{} leads epoch {named:?} with {votes} votes of {needed}",
                duke + 1
            ));
        }
    }

    /// A Duke answered another's question for its vote; `kept` is what its disk has.
    pub(crate) fn voted(&mut self, duke: usize, asked: u64, reply: &Frame, kept: Option<&Kept>) {
        let Some((candidate, epoch)) = vote_in(reply) else {
            return;
        };
        let Some(belief) = self.watches[duke].belief.clone() else {
            return;
        };
        let on_disk = kept.is_some_and(|kept| kept.has_voted(epoch, &candidate));
        let name = duke + 1;
        if !on_disk {
            self.fail(format!(
                "d{name} says its vote in epoch {epoch} before it is on disk"
            ));
        }
        if !belief.memory && epoch >= asked {
            self.fail(format!("d{name} votes without memory in epoch {epoch}"));
        }
        if !self.members.contains(&candidate) {
            self.fail(format!("d{name} votes for {candidate}, who is no member"));
        }
        self.record_vote(&belief.id, (belief.generation, epoch), &candidate);
    }

    /// What a Duke answered somebody who is no member.
    pub(crate) fn answered_stranger(&mut self, duke: usize, reply: &Frame) {
        if let Some((candidate, _)) = vote_in(reply)
            && !self.members.contains(&candidate)
        {
            self.fail(format!("d{} votes for {candidate}, a stranger", duke + 1));
        }
    }

    pub(super) fn record_vote(&mut self, voter: &str, epoch: super::Epoch, candidate: &str) {
        let given = self
            .votes
            .entry((voter.to_owned(), epoch))
            .or_insert_with(|| candidate.to_owned());
        if given != candidate {
            let given = given.clone();
            self.fail(format!(
                "{voter} votes for {given} and for {candidate} in epoch {epoch:?}"
            ));
        }
    }
}

/// Whom a Duke says it voted for, and when; nobody if it does not say.
fn vote_in(reply: &Frame) -> Option<(String, u64)> {
    let [_, leader, epoch] = reply.as_array()?.first_chunk()?;
    let leader = String::from_utf8_lossy(leader.as_text()?).into_owned();
    let epoch = u64::try_from(epoch.as_integer()?).ok()?;
    (leader != "*").then_some((leader, epoch))
}

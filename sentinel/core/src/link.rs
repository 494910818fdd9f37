//! The book-keeping of one outgoing connection: whether it stands, what was asked on it, and since
//! when its peer owes us an answer.
//!
//! Silence counts from the oldest attempt to hear something (a connection attempt, a PING) that was
//! not answered, never from the last answer: time without an attempt is not silence.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use duke_resp::Frame;

use crate::{
    id::{LinkId, RequestId},
    time::Time,
};

/// The most PINGs that wait for an answer at a time.
const PINGS_MAX: usize = 64;
/// How long a connection stands at least before silence alone makes it worth a new one. After a cut
/// TCP itself would repeat what was lost only after many seconds. Sentinel: min-link-reconnect-period,
/// fifteen seconds.
const RENEWAL: Duration = Duration::from_secs(2);

/// What a request was for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Our name there, for whoever looks at its clients.
    Greeting,
    /// AUTH, the first thing said on a connection.
    Login,
    /// Which Duke answers.
    Identity,
    /// Its answer tells nothing.
    Nothing,
    /// A hello that need not wait for the disk; its answer tells nothing.
    News,
    /// PING.
    Ping,
    /// INFO.
    Info,
    /// Part of an order that need not wait for the disk; its answer tells nothing.
    Part,
    /// That the master holds its clients' writes, for a switchover in this epoch.
    Holding(u64),
    /// The EXEC that has the old master follow nowhere, in this epoch.
    Demotion(u64),
    /// The EXEC of a promotion, in this epoch.
    Promotion(u64),
    /// The EXEC that points a node at the master.
    Pointing,
    /// Whether the peer finds the master down, and its vote, asked for in this epoch or not at all.
    Opinion(Option<u64>),
    /// `DUKE RECOVER`.
    Recovery,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// There is none; the next attempt is due then.
    Idle(Time),
    /// On its way.
    Connecting(LinkId),
    /// It stands, and the login was said on it; nothing that comes over it counts before that is accepted.
    Greeting(LinkId),
    /// It stands, and we were let in.
    Up(LinkId),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire<P = Purpose> {
    pub(crate) state: State,
    pub(crate) asked: BTreeMap<RequestId, P>,
    pings: VecDeque<Time>,
    /// The oldest attempt of which no answer has come, from before the last reconnection.
    waiting: Option<Time>,
    /// When the connection came to stand.
    stood: Time,
    /// When it was last to be made anew at once.
    hurried: Option<Time>,
    /// The last acceptable answer.
    pub(crate) answered: Time,
    pub(crate) next_ping: Time,
    /// Why we are not let in there; nothing as long as we were, or nobody answered.
    pub(crate) refusal: Option<String>,
}

/// Whether a transaction was carried out: the answer to its EXEC begins with that of the order in it.
pub(crate) fn is_carried_out(reply: &Frame) -> bool {
    let first = reply.as_array().and_then(<[Frame]>::first);
    first.is_some_and(|first| first.as_error().is_none())
}

impl<P> Wire<P> {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            state: State::Idle(now),
            asked: BTreeMap::new(),
            pings: VecDeque::new(),
            waiting: None,
            stood: now,
            hurried: None,
            answered: now,
            next_ping: now,
            refusal: None,
        }
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Idle(_) => None,
            State::Connecting(link) | State::Greeting(link) | State::Up(link) => Some(link),
        }
    }

    pub(crate) fn up(&self) -> Option<LinkId> {
        match self.state {
            State::Up(link) => Some(link),
            State::Idle(_) | State::Connecting(_) | State::Greeting(_) => None,
        }
    }

    pub(crate) fn connecting(&mut self, now: Time, link: LinkId) {
        self.state = State::Connecting(link);
        self.waiting.get_or_insert(now);
    }

    /// The peer is to be heard of from now on, although nothing can be asked yet.
    pub(crate) fn owed(&mut self, now: Time) {
        self.waiting.get_or_insert(now);
    }

    /// The connection on which questions may be asked: their answers come behind that to the login.
    pub(crate) fn reached(&self) -> Option<LinkId> {
        match self.state {
            State::Greeting(link) | State::Up(link) => Some(link),
            State::Idle(_) | State::Connecting(_) => None,
        }
    }

    /// It stands; we have yet to be let in.
    pub(crate) fn greets(&mut self, now: Time, link: LinkId) {
        self.stands(now, link);
        self.state = State::Greeting(link);
    }

    /// We were let in.
    pub(crate) fn admitted(&mut self, link: LinkId) {
        self.state = State::Up(link);
    }

    /// Until when whoever is there may take to let us in or not.
    pub(crate) fn greeting_ends(&self) -> Time {
        self.stood.after(RENEWAL)
    }

    pub(crate) fn stands(&mut self, now: Time, link: LinkId) {
        self.state = State::Up(link);
        self.stood = now;
        self.next_ping = now;
    }

    /// The connection was lost, or never stood; says which. The next attempt is due after `pause`, or after
    /// `again` if this one stood: at once, since its peer may only have dropped it, but not twice within that
    /// time.
    pub(crate) fn lost(&mut self, now: Time, again: Duration, pause: Duration) -> bool {
        let stood = self.up().is_some();
        let hurries = self.hurried.is_none_or(|last| now.since(last) >= again);
        let due = match (stood, hurries) {
            (true, true) => {
                self.hurried = Some(now);
                now
            }
            (true, false) => now.after(again),
            (false, _) => now.after(pause),
        };
        self.ended(due);
        stood
    }

    /// How long it has stood.
    pub(crate) fn stood_for(&self, now: Time) -> Duration {
        now.since(self.stood)
    }

    /// Whether a new connection may hear what this one does not.
    pub(crate) fn is_stale(&self, now: Time, down_after: Duration) -> bool {
        if matches!(self.state, State::Greeting(_)) {
            return now >= self.greeting_ends();
        }
        self.up().is_some()
            && now.since(self.stood) >= RENEWAL
            && self
                .silent_since()
                .is_some_and(|since| now.since(since) > down_after)
    }

    /// Time in which this process did not run is nobody's silence but its own.
    pub(crate) fn forgive(&mut self, now: Time, lost: Duration) {
        for since in self.pings.iter_mut().chain(&mut self.waiting) {
            *since = since.after(lost).min(now);
        }
    }

    /// The connection is gone; whatever waited goes on waiting.
    pub(crate) fn ended(&mut self, retry: Time) {
        if let Some(oldest) = self.pings.front() {
            self.waiting = Some(self.waiting.map_or(*oldest, |since| since.min(*oldest)));
        }
        self.pings.clear();
        self.asked.clear();
        self.state = State::Idle(retry);
    }

    /// Whether a PING is due.
    pub(crate) fn wants_ping(&self, now: Time) -> bool {
        self.reached().is_some() && self.may_ping() && self.next_ping <= now
    }

    /// Whether one more PING may wait for its answer.
    pub(crate) fn may_ping(&self) -> bool {
        self.pings.len() < PINGS_MAX
    }

    pub(crate) fn pinged(&mut self, now: Time, period: Duration) {
        self.pinged_until(now, now.after(period));
    }

    /// A PING was sent, and the next one is due then.
    pub(crate) fn pinged_until(&mut self, now: Time, next: Time) {
        self.pings.push_back(now);
        self.next_ping = next;
    }

    /// The next PING is due `period` after the last one that was not answered, or from now.
    pub(crate) fn hurry(&mut self, now: Time, period: Duration) {
        let last = self.pings.back().copied().unwrap_or(now);
        self.next_ping = self.next_ping.min(last.after(period));
    }

    /// An acceptable answer to the oldest PING.
    pub(crate) fn ponged(&mut self, now: Time) {
        self.pings.pop_front();
        self.waiting = None;
        self.answered = now;
    }

    /// An answer to the oldest PING that says nothing good.
    pub(crate) fn refused(&mut self) {
        if let Some(sent) = self.pings.pop_front() {
            self.waiting.get_or_insert(sent);
        }
    }

    /// Since when the peer owes an answer.
    pub(crate) fn silent_since(&self) -> Option<Time> {
        match (self.waiting, self.pings.front()) {
            (Some(since), Some(ping)) => Some(since.min(*ping)),
            (Some(since), None) => Some(since),
            (None, ping) => ping.copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn silence_counts_from_the_oldest_attempt_and_survives_a_reconnection() {
        let mut wire = Wire::<Purpose>::new(at(0));
        assert_eq!(wire.silent_since(), None);
        wire.connecting(at(10), LinkId(1));
        wire.stands(at(11), LinkId(1));
        wire.pinged(at(11), Duration::from_millis(100));
        wire.ponged(at(12));
        assert_eq!(wire.silent_since(), None);
        wire.pinged(at(111), Duration::from_millis(100));
        wire.pinged(at(211), Duration::from_millis(100));
        wire.ended(at(300));
        assert_eq!(wire.silent_since(), Some(at(111)));
        wire.connecting(at(300), LinkId(2));
        wire.stands(at(301), LinkId(2));
        assert_eq!(wire.silent_since(), Some(at(111)));
        wire.pinged(at(301), Duration::from_millis(100));
        wire.ponged(at(302));
        assert_eq!(wire.silent_since(), None);
    }

    #[test]
    fn a_pause_of_our_own_is_not_silence() {
        let mut wire = Wire::<Purpose>::new(at(0));
        wire.stands(at(0), LinkId(1));
        wire.pinged(at(0), Duration::from_millis(100));
        wire.pinged(at(100), Duration::from_millis(100));
        wire.forgive(at(3200), Duration::from_secs(3));
        assert_eq!(wire.silent_since(), Some(at(3000)));
        wire.ponged(at(3200));
        assert_eq!(wire.silent_since(), Some(at(3100)));
    }

    #[test]
    fn whoever_does_not_let_us_in_is_silent_and_given_up_in_the_end() {
        let second = Duration::from_secs(1);
        let mut wire = Wire::<Purpose>::new(at(0));
        wire.connecting(at(10), LinkId(1));
        wire.greets(at(20), LinkId(1));
        assert_eq!((wire.up(), wire.link()), (None, Some(LinkId(1))));
        assert!(
            wire.wants_ping(at(20)),
            "questions may follow the login at once"
        );
        assert_eq!(wire.silent_since(), Some(at(10)));
        assert!(!wire.is_stale(at(2_019), second));
        assert!(wire.is_stale(at(2_020), second));
        wire.admitted(LinkId(1));
        assert_eq!(wire.up(), Some(LinkId(1)));
        assert_eq!(wire.silent_since(), Some(at(10)), "until it answers PING");
    }

    #[test]
    fn a_silent_connection_is_renewed_once_it_is_old() {
        let second = Duration::from_secs(1);
        let mut wire = Wire::<Purpose>::new(at(0));
        wire.stands(at(0), LinkId(1));
        wire.pinged(at(5_000), second);
        assert!(!wire.is_stale(at(6_000), second));
        assert!(wire.is_stale(at(6_001), second));
        wire.ended(at(6_001));
        wire.stands(at(6_001), LinkId(2));
        assert!(!wire.is_stale(at(8_000), second), "it is young");
        assert!(wire.is_stale(at(8_001), second));
    }
}

//! The book-keeping of one outgoing connection: whether it stands, what was asked on it, and since
//! when its peer owes us an answer.
//!
//! Silence counts from the oldest attempt to hear something (a connection attempt, a PING) that was
//! not answered, never from the last answer: time without an attempt is not silence.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    id::{LinkId, RequestId},
    time::Time,
};

/// The most PINGs that wait for an answer at a time.
const PINGS_MAX: usize = 64;

/// What a request was for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Its answer tells nothing.
    Nothing,
    /// PING.
    Ping,
    /// INFO.
    Info,
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
    /// It stands.
    Up(LinkId),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) state: State,
    pub(crate) asked: BTreeMap<RequestId, Purpose>,
    pings: VecDeque<Time>,
    /// The oldest attempt of which no answer has come, from before the last reconnection.
    waiting: Option<Time>,
    /// The last acceptable answer.
    pub(crate) answered: Time,
    pub(crate) next_ping: Time,
}

impl Wire {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            state: State::Idle(now),
            asked: BTreeMap::new(),
            pings: VecDeque::new(),
            waiting: None,
            answered: now,
            next_ping: now,
        }
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Idle(_) => None,
            State::Connecting(link) | State::Up(link) => Some(link),
        }
    }

    pub(crate) fn up(&self) -> Option<LinkId> {
        match self.state {
            State::Up(link) => Some(link),
            State::Idle(_) | State::Connecting(_) => None,
        }
    }

    pub(crate) fn connecting(&mut self, now: Time, link: LinkId) {
        self.state = State::Connecting(link);
        self.waiting.get_or_insert(now);
    }

    pub(crate) fn stands(&mut self, now: Time, link: LinkId) {
        self.state = State::Up(link);
        self.next_ping = now;
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

    pub(crate) fn pinged(&mut self, now: Time, period: Duration) {
        if self.pings.len() < PINGS_MAX {
            self.pings.push_back(now);
        }
        self.next_ping = now.after(period);
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

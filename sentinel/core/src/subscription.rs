//! What a client subscribed to, and the messages it gets for that.

use std::collections::BTreeSet;

use duke_resp::{Bytes, Frame};

use crate::pattern::matches;

/// Subscriptions a client may have.
const SUBSCRIPTIONS_MAX: usize = 1024;

/// Whether a command changes subscriptions.
pub(crate) fn is_command(name: &str) -> bool {
    matches!(
        name,
        "subscribe" | "psubscribe" | "unsubscribe" | "punsubscribe"
    )
}

/// One client's subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) channels: BTreeSet<Bytes>,
    pub(crate) patterns: BTreeSet<Bytes>,
}

impl Subscriptions {
    /// How many there are, as replies count them.
    pub(crate) fn count(&self) -> usize {
        self.channels.len().saturating_add(self.patterns.len())
    }

    /// `SUBSCRIBE`, `PSUBSCRIBE`, `UNSUBSCRIBE` or `PUNSUBSCRIBE`; the last two without names mean all. Answers
    /// with a push for every name.
    pub(crate) fn change(&mut self, command: &str, names: &[Bytes]) -> Vec<Frame> {
        let (kind, adds, by_pattern) = match command {
            "subscribe" => ("subscribe", true, false),
            "psubscribe" => ("psubscribe", true, true),
            "unsubscribe" => ("unsubscribe", false, false),
            _ => ("punsubscribe", false, true),
        };
        let mut names = names.to_vec();
        if names.is_empty() {
            names = self.of(by_pattern).iter().cloned().collect();
        }
        if names.is_empty() {
            return vec![changed(kind, Frame::Null, self.count())];
        }
        let mut replies = Vec::new();
        for name in names {
            if adds && self.count() >= SUBSCRIPTIONS_MAX {
                replies.push(Frame::error("ERR too many subscriptions on one connection"));
                break;
            }
            if adds {
                self.of(by_pattern).insert(name.clone());
            } else {
                self.of(by_pattern).remove(&name);
            }
            replies.push(changed(kind, Frame::Bulk(name), self.count()));
        }
        replies
    }

    fn of(&mut self, by_pattern: bool) -> &mut BTreeSet<Bytes> {
        if by_pattern {
            &mut self.patterns
        } else {
            &mut self.channels
        }
    }

    /// The messages that tell this client of an event: one for its channel, one for each pattern.
    pub(crate) fn messages(&self, event: &Event) -> impl Iterator<Item = Frame> {
        let Event { name, payload } = event;
        let by_name = self.channels.contains(name).then(|| {
            let words = [&Bytes::from_static(b"message"), name, payload];
            push(words)
        });
        let patterns = self.patterns.iter();
        let by_pattern = patterns
            .filter(|pattern| matches(pattern, name))
            .map(|pattern| push([&Bytes::from_static(b"pmessage"), pattern, name, payload]));
        by_name.into_iter().chain(by_pattern)
    }
}

/// What is published: every message shares these bytes.
#[derive(Debug)]
pub(crate) struct Event {
    name: Bytes,
    payload: Bytes,
}

impl Event {
    pub(crate) fn new(name: &str, payload: &str) -> Self {
        Self {
            name: Bytes::copy_from_slice(name.as_bytes()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }
}

fn push<const N: usize>(words: [&Bytes; N]) -> Frame {
    Frame::Push(words.map(|word| Frame::bulk(word.clone())).to_vec())
}

fn changed(kind: &'static str, name: Frame, count: usize) -> Frame {
    Frame::Push(vec![Frame::bulk(kind), name, Frame::number(count)])
}

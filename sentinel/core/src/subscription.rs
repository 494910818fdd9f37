//! What a client subscribed to, and the messages it gets for that.

use std::collections::{BTreeMap, BTreeSet};

use duke_resp::{Bytes, Frame};

use crate::{id::ClientId, output::Output, pattern::matches};

/// Subscriptions a client may have.
const SUBSCRIPTIONS_MAX: usize = 1024;
/// All names a client subscribed to, in bytes together. Events have names of a dozen bytes.
const NAMES_BYTES_MAX: usize = 64 * 1024;

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
            if adds && !self.has_room(&name) {
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

    /// Whether one more name may be added.
    fn has_room(&self, name: &Bytes) -> bool {
        let names = self.channels.iter().chain(&self.patterns);
        let held: usize = names.map(Bytes::len).sum();
        self.count() < SUBSCRIPTIONS_MAX && held.saturating_add(name.len()) <= NAMES_BYTES_MAX
    }

    fn of(&mut self, by_pattern: bool) -> &mut BTreeSet<Bytes> {
        if by_pattern {
            &mut self.patterns
        } else {
            &mut self.channels
        }
    }
}

/// Tells those of `all` who subscribed to an event: one output for those of its channel, one for those of
/// each pattern, so that each message is made once, however many hear it.
pub(crate) fn published(event: &Event, all: &[(ClientId, &Subscriptions)]) -> Vec<Output> {
    let Event { name, payload } = event;
    let mut by_name = Vec::new();
    let mut by_pattern = BTreeMap::<&Bytes, Vec<ClientId>>::new();
    for &(client, subscriptions) in all {
        if subscriptions.channels.contains(name) {
            by_name.push(client);
        }
        let patterns = subscriptions.patterns.iter();
        for pattern in patterns.filter(|pattern| matches(pattern, name)) {
            by_pattern.entry(pattern).or_default().push(client);
        }
    }
    let message = push([&Bytes::from_static(b"message"), name, payload]);
    let named = (!by_name.is_empty()).then_some((by_name, message));
    let matched = by_pattern.into_iter().map(|(pattern, clients)| {
        let message = push([&Bytes::from_static(b"pmessage"), pattern, name, payload]);
        (clients, message)
    });
    let output = |(clients, message)| Output::Publish { clients, message };
    named.into_iter().chain(matched).map(output).collect()
}

/// What is published.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_made_once_and_a_client_hears_its_channel_first() {
        let subscribed = |channel: &'static [u8], pattern: &'static [u8]| {
            let mut subscriptions = Subscriptions::default();
            subscriptions.change("subscribe", &[Bytes::from_static(channel)]);
            subscriptions.change("psubscribe", &[Bytes::from_static(pattern)]);
            subscriptions
        };
        let all = [
            subscribed(b"+sdown", b"+*"),
            subscribed(b"-sdown", b"*n"),
            subscribed(b"+sdown", b"x*"),
        ];
        let clients: Vec<_> = (1..).map(ClientId).zip(&all).collect();
        let outputs = published(&Event::new("+sdown", "master"), &clients);
        let heard = outputs.iter().map(|output| {
            let Output::Publish { clients, message } = output else {
                panic!("{output:?}");
            };
            let clients: Vec<_> = clients.iter().map(|client| client.0).collect();
            (clients, message.as_array().unwrap().len())
        });
        let heard: Vec<_> = heard.collect();
        assert_eq!(heard, [(vec![1, 3], 3), (vec![2], 4), (vec![1], 4)]);
    }

    fn subscribe(subscriptions: &mut Subscriptions, names: &[String]) -> bool {
        let names: Vec<Bytes> = names.iter().cloned().map(Bytes::from).collect();
        let replies = subscriptions.change("subscribe", &names);
        replies
            .iter()
            .all(|reply| !matches!(reply, Frame::Error(_)))
    }

    #[test]
    fn many_names_or_long_ones_are_refused() {
        let mut many = Subscriptions::default();
        let names: Vec<String> = (0..=SUBSCRIPTIONS_MAX).map(|n| n.to_string()).collect();
        assert!(subscribe(&mut many, &names[1..]));
        assert!(!subscribe(&mut many, &names[..1]));
        let mut long = Subscriptions::default();
        let names = ["a", "b"].map(|name| name.repeat(NAMES_BYTES_MAX / 2));
        assert!(subscribe(&mut long, &names));
        assert!(!subscribe(&mut long, &["+sdown".to_owned()]));
        long.change("unsubscribe", &[]);
        assert!(subscribe(&mut long, &["+sdown".to_owned()]));
    }
}

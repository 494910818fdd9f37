//! What the engine wants done, in the order in which it may leave.
//!
//! Decides which outputs wait for the disk. Whatever promises something (votes, events, orders to follow)
//! leaves only when everything remembered before it is durable; promotions are ordered only when nothing waits
//! (in closed groups), or leave at once because their own vote is on disk (in open ones). Whatever only looks (connections,
//! PING, INFO, questions, and answers to these) leaves at once: a slow disk must not make the others
//! look silent to this Duke, nor this Duke to them. On one connection only what depends on nothing
//! else there, as PING does, overtakes what waits; and news, on which nothing depends, are overtaken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    id::{ClientId, LinkId, RequestId},
    output::Output,
};

/// The outputs that were not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    free: VecDeque<Output>,
    held: VecDeque<Held>,
    /// How many of them keep their place on one connection; none of these is zero.
    behind: BTreeMap<Connection, usize>,
    /// The newest state, until it is taken: it replaces any older one.
    state: Option<String>,
    /// Of the newest state.
    sequence: u64,
    durable: u64,
    /// An earlier state is still being written: the newest one is not given yet.
    writing: bool,
}

/// What waits for the disk.
#[derive(Debug)]
struct Held {
    /// The sequence that must be durable first.
    needed: u64,
    output: Output,
    /// What comes later on the same connection stays behind it.
    keeps_place: bool,
}

impl Outbox {
    /// Adds what must wait for the disk, if anything is still to be written.
    pub(crate) fn hold(&mut self, output: Output) {
        if self.held.is_empty() && self.is_durable(self.sequence) {
            return self.overtake(output);
        }
        for connection in connections(&output) {
            let count = self.behind.entry(connection).or_default();
            *count = count.saturating_add(1);
        }
        self.push(output, true);
    }

    /// Adds what must wait for the disk, and nothing else for it.
    pub(crate) fn hold_apart(&mut self, output: Output) {
        self.push(output, false);
    }

    fn push(&mut self, output: Output, keeps_place: bool) {
        self.held.push_back(Held {
            needed: self.sequence,
            output,
            keeps_place,
        });
    }

    /// Adds what need not wait, behind what was said on the same connection before.
    pub(crate) fn free(&mut self, output: Output) {
        if connections(&output).any(|ours| self.behind.contains_key(&ours)) {
            self.hold(output);
        } else {
            self.overtake(output);
        }
    }

    /// Adds what may leave before anything that waits, also on the same connection. It cannot come
    /// between outputs that were added together: those leave together.
    pub(crate) fn overtake(&mut self, output: Output) {
        self.free.push_back(output);
    }

    /// Remembers `state` before anything held from now on leaves; says under which sequence.
    pub(crate) fn persist(&mut self, state: String) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.state = Some(state);
        self.sequence
    }

    /// Everything up to `sequence` is durable.
    pub(crate) fn acknowledge(&mut self, sequence: u64) {
        self.durable = self.durable.max(sequence.min(self.sequence));
    }

    /// Whether states wait because an earlier one is still being written.
    pub(crate) fn set_writing(&mut self, writing: bool) {
        self.writing = writing;
    }

    /// Whether the newest state has this number, and everything before it is durable.
    pub(crate) fn is_last(&self, sequence: u64) -> bool {
        self.sequence == sequence && self.is_durable(sequence.saturating_sub(1))
    }

    /// Takes back every request of these that waits for the disk; says which.
    pub(crate) fn withdraw(&mut self, requests: &BTreeSet<RequestId>) -> BTreeSet<RequestId> {
        let waiting = |output: &Output| {
            let Output::Request { request, .. } = output else {
                return None;
            };
            Some(*request).filter(|id| requests.contains(id))
        };
        let (withdrawn, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<VecDeque<_>, _>(|held| waiting(&held.output).is_some());
        self.held = held;
        for held in withdrawn.iter().filter(|held| held.keeps_place) {
            self.leave(&held.output);
        }
        withdrawn
            .iter()
            .filter_map(|held| waiting(&held.output))
            .collect()
    }

    /// How much waits for the disk.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether something said to a client waits for the disk.
    pub(crate) fn is_owed(&self, client: ClientId) -> bool {
        self.behind.contains_key(&Connection::Client(client))
    }

    pub(crate) fn is_durable(&self, sequence: u64) -> bool {
        self.durable >= sequence
    }

    /// Whether nothing is still to be written.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_durable(self.sequence)
    }

    pub(crate) fn next(&mut self) -> Option<Output> {
        if let Some(output) = self.free.pop_front() {
            return Some(output);
        }
        if !self.writing
            && let Some(text) = self.state.take()
        {
            let sequence = self.sequence;
            return Some(Output::Persist { sequence, text });
        }
        let first = self.held.front()?;
        if first.needed > self.durable {
            return None;
        }
        let Held {
            output,
            keeps_place,
            ..
        } = self.held.pop_front()?;
        if keeps_place {
            self.leave(&output);
        }
        Some(output)
    }

    /// What was held for a connection waits no longer.
    fn leave(&mut self, output: &Output) {
        for connection in connections(output) {
            if let Some(count) = self.behind.get_mut(&connection) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.behind.remove(&connection);
                }
            }
        }
    }
}

/// Where something is said, and must keep its place.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Connection {
    Client(ClientId),
    Link(LinkId),
}

fn connections(output: &Output) -> impl Iterator<Item = Connection> {
    let one = match output {
        Output::Answer { client, .. }
        | Output::Protocol { client, .. }
        | Output::Trust { client } => Some(Connection::Client(*client)),
        Output::Listen { link } | Output::Request { link, .. } => Some(Connection::Link(*link)),
        Output::Check { .. }
        | Output::Close { .. }
        | Output::Connect { .. }
        | Output::Crash(_)
        | Output::Directory { .. }
        | Output::Disconnect { .. }
        | Output::Distrust
        | Output::KillScript { .. }
        | Output::LogLevel(_)
        | Output::Measure
        | Output::Persist { .. }
        | Output::Publish { .. }
        | Output::Read { .. }
        | Output::Ready(_)
        | Output::Resolve { .. }
        | Output::RunScript { .. }
        | Output::Shutdown
        | Output::Write { .. } => None,
    };
    let many = if let Output::Publish { clients, .. } = output {
        clients.as_slice()
    } else {
        &[]
    };
    one.into_iter()
        .chain(many.iter().map(|client| Connection::Client(*client)))
}

#[cfg(test)]
mod tests {
    use duke_resp::Frame;

    use super::*;

    fn request(link: u64, request: u64) -> Output {
        Output::Request {
            link: LinkId(link),
            request: RequestId(request),
            words: Vec::new(),
        }
    }

    fn answer(client: u64) -> Output {
        Output::Answer {
            client: ClientId(client),
            reply: Frame::ok(),
        }
    }

    #[test]
    fn an_answer_waits_for_the_disk_and_a_question_does_not() {
        let mut outbox = Outbox::default();
        outbox.hold(answer(1));
        outbox.persist("state".into());
        outbox.hold(answer(2));
        outbox.free(request(7, 1));
        outbox.free(answer(3));
        assert_eq!(outbox.next(), Some(answer(1)), "it has nothing to wait for");
        assert_eq!(outbox.next(), Some(request(7, 1)));
        assert_eq!(outbox.next(), Some(answer(3)));
        assert!(matches!(
            outbox.next(),
            Some(Output::Persist { sequence: 1, .. })
        ));
        assert_eq!(outbox.next(), None);
        outbox.acknowledge(1);
        assert_eq!(outbox.next(), Some(answer(2)));
    }

    #[test]
    fn what_is_said_on_one_connection_keeps_its_order() {
        let mut outbox = Outbox::default();
        outbox.persist("state".into());
        outbox.hold(request(7, 1));
        outbox.free(request(7, 2));
        outbox.free(request(8, 3));
        assert_eq!(outbox.next(), Some(request(8, 3)));
        assert!(matches!(outbox.next(), Some(Output::Persist { .. })));
        assert_eq!(outbox.next(), None);
        outbox.acknowledge(1);
        assert_eq!(outbox.next(), Some(request(7, 1)));
        assert_eq!(outbox.next(), Some(request(7, 2)));
    }

    #[test]
    fn what_was_withdrawn_does_not_leave_and_nothing_waits_behind_it() {
        let mut outbox = Outbox::default();
        outbox.persist("state".into());
        outbox.hold(request(7, 1));
        outbox.hold(request(8, 2));
        let both = BTreeSet::from([RequestId(1), RequestId(9)]);
        assert_eq!(outbox.withdraw(&both), BTreeSet::from([RequestId(1)]));
        outbox.free(request(7, 3));
        assert_eq!(outbox.next(), Some(request(7, 3)));
        assert!(matches!(outbox.next(), Some(Output::Persist { .. })));
        outbox.acknowledge(1);
        assert_eq!(outbox.next(), Some(request(8, 2)));
        assert_eq!(outbox.next(), None);
    }

    #[test]
    fn nothing_waits_behind_news() {
        let mut outbox = Outbox::default();
        outbox.persist("state".into());
        outbox.hold_apart(request(7, 1));
        outbox.free(request(7, 2));
        assert_eq!(outbox.next(), Some(request(7, 2)));
        outbox.hold(request(7, 3));
        outbox.free(request(7, 4));
        assert!(matches!(outbox.next(), Some(Output::Persist { .. })));
        assert_eq!(outbox.next(), None);
        outbox.acknowledge(1);
        for number in [1, 3, 4] {
            assert_eq!(outbox.next(), Some(request(7, number)));
        }
    }

    #[test]
    fn what_is_said_to_many_keeps_its_place_with_each() {
        let mut outbox = Outbox::default();
        outbox.persist("state".into());
        let publish = Output::Publish {
            clients: vec![ClientId(1), ClientId(2)],
            message: Frame::ok(),
        };
        outbox.hold(publish.clone());
        outbox.free(answer(2));
        outbox.free(answer(3));
        assert!(outbox.is_owed(ClientId(1)));
        assert_eq!(outbox.next(), Some(answer(3)));
        assert!(matches!(outbox.next(), Some(Output::Persist { .. })));
        outbox.acknowledge(1);
        assert_eq!(outbox.next(), Some(publish));
        assert!(!outbox.is_owed(ClientId(1)));
        assert!(outbox.is_owed(ClientId(2)));
        assert_eq!(outbox.next(), Some(answer(2)));
    }

    #[test]
    fn a_newer_state_replaces_one_that_was_not_taken() {
        let mut outbox = Outbox::default();
        outbox.persist("old".into());
        outbox.hold(answer(1));
        outbox.persist("new".into());
        let persist = Output::Persist {
            sequence: 2,
            text: "new".into(),
        };
        assert_eq!(outbox.next(), Some(persist));
        assert_eq!(outbox.next(), None);
        // A newer state holds all that an older one did.
        outbox.acknowledge(2);
        assert_eq!(outbox.next(), Some(answer(1)));
    }
}

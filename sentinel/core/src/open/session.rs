//! Clients: who each is, what it subscribed to, and in which order its commands are answered.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
};

use duke_resp::{Bytes, Frame};

use super::{Open, command::Reply, master::Master};
use crate::{
    id::ClientId, mutation::Mutant, output::Output, subscription::Subscriptions, time::Time,
    words::Words,
};

/// Commands of one client that may wait for an earlier one of its own.
const BACKLOG_MAX: usize = 1024;

/// What a client wants to be answered, by `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replies {
    /// Everything.
    All,
    /// Nothing.
    None,
    /// Everything but its next command.
    NotTheNext,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) address: SocketAddr,
    pub(crate) joined: Time,
    /// Whom it logged in as, if it may do anything at all.
    pub(crate) user: Option<String>,
    pub(crate) name: String,
    pub(crate) lib_name: String,
    pub(crate) lib_ver: String,
    /// It speaks RESP3.
    pub(crate) typed: bool,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) last_command: String,
    pub(crate) last_at: Time,
    pub(crate) replies: Replies,
    /// Its last command is not answered yet.
    pub(crate) waiting: bool,
    /// And will not be.
    pub(crate) mute: bool,
    /// Commands behind that one.
    pub(crate) backlog: VecDeque<Vec<Bytes>>,
}

impl Session {
    pub(crate) fn new(address: SocketAddr, now: Time, user: Option<String>) -> Self {
        Self {
            address,
            joined: now,
            user,
            name: String::new(),
            lib_name: String::new(),
            lib_ver: String::new(),
            typed: false,
            subscriptions: Subscriptions::default(),
            last_command: String::new(),
            last_at: now,
            replies: Replies::All,
            waiting: false,
            mute: false,
            backlog: VecDeque::new(),
        }
    }

    /// Takes down its last command.
    pub(crate) fn note(&mut self, name: &str, at: Time) {
        self.last_at = at;
        if self.last_command != name {
            name.clone_into(&mut self.last_command);
        }
    }

    /// Whether it may only listen now: in RESP2 replies could not be told from messages.
    pub(crate) fn only_listens(&self) -> bool {
        self.subscriptions.count() > 0 && !self.typed
    }
}

/// What a stranger is told in protected mode. Redis: the first sentence.
const PROTECTED: &str = "DENIED Redis is running in protected mode because protected mode is enabled and no \
                         password is set for the default user. Only clients of this host are served. Set \
                         requirepass, or protected-mode no if the network keeps strangers away.";

impl Open {
    /// A client connected; in protected mode strangers are turned away.
    pub(super) fn welcome(&mut self, client: ClientId, address: SocketAddr) {
        self.joined = self.joined.saturating_add(1);
        let user = self.users.newcomer();
        let is_local = address.ip().to_canonical().is_loopback();
        if self.conf.server.protected && user.is_some() && !is_local {
            let reply = Frame::error(PROTECTED);
            self.tell(Output::Answer { client, reply });
            return self.close(client);
        }
        let session = Session::new(address, self.now, user);
        self.sessions.insert(client, session);
        self.trust(client);
    }

    /// A client sent a command.
    pub(super) fn asked(&mut self, client: ClientId, words: Vec<Bytes>) {
        if self.answer_quickly(client, &words) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        if session.waiting || !session.backlog.is_empty() {
            session.backlog.push_back(words);
            self.behind.insert(client);
            if session.backlog.len() > BACKLOG_MAX {
                self.close(client);
            }
            return;
        }
        self.answer(client, words);
        self.trust(client);
    }

    fn answer(&mut self, client: ClientId, words: Vec<Bytes>) {
        let words_only = Words(&words);
        let looks = (super::command::only_looks(words_only) && !self.tells_too_early(words_only))
            || (self.mutated(Mutant::VoteEarly) && words_only.lower(0) == "sentinel");
        let before = self.sessions.get(&client).map(|session| session.replies);
        for reply in self.replies(client, Words(&words)) {
            match reply {
                Reply::None => {}
                Reply::Now(_) if self.is_mute(client, before) => {}
                Reply::Now(reply) if looks => self.tell(Output::Answer { client, reply }),
                Reply::Now(reply) => self.emit(Output::Answer { client, reply }),
                Reply::WhenSaved(sequence) => {
                    self.wait(client, before);
                    self.saving.push_back((sequence, client));
                }
                Reply::Later => self.wait(client, before),
                Reply::AskAgain => {
                    if let Some(session) = self.sessions.get_mut(&client) {
                        session.waiting = true;
                        session.backlog.push_front(words);
                        self.behind.insert(client);
                    }
                    return;
                }
            }
        }
        for client in std::mem::take(&mut self.leaving) {
            self.close(client);
        }
    }

    /// The client's next command is not looked at before this one is answered.
    fn wait(&mut self, client: ClientId, before: Option<Replies>) {
        let mute = self.is_mute(client, before);
        if let Some(session) = self.sessions.get_mut(&client) {
            session.waiting = true;
            session.mute = mute;
        }
    }

    /// Whether the command just obeyed is to be answered at all; `before` is what held when it came.
    fn is_mute(&mut self, client: ClientId, before: Option<Replies>) -> bool {
        let Some(session) = self.sessions.get_mut(&client) else {
            return false;
        };
        let skipped = before == Some(Replies::NotTheNext);
        if skipped && session.replies == Replies::NotTheNext {
            session.replies = Replies::All;
            return true;
        }
        session.replies == Replies::None
    }

    /// Whether a command asks for a master that is not on disk yet. Who is told of it writes there: if
    /// this Duke forgot it in a crash, another might be promoted beside it.
    fn tells_too_early(&self, words: Words<'_>) -> bool {
        if words.lower(0) != "sentinel" {
            return false;
        }
        let early = |master: &Master| {
            !self.outbox.is_durable(master.switch_saved) && !self.mutated(Mutant::NameEarly)
        };
        match words.lower(1).as_str() {
            "masters" | "primaries" => self.masters.values().any(|master| early(master)),
            "master" | "primary" | "get-master-addr-by-name" | "get-primary-addr-by-name" => self
                .masters
                .get(words.text(2))
                .is_some_and(|master| early(master)),
            _ => false,
        }
    }

    /// Answers a command that was to be answered later, and goes on with those behind it.
    pub(super) fn answer_later(&mut self, client: ClientId, reply: Frame) {
        self.end_wait(client, reply);
        for client in std::mem::take(&mut self.leaving) {
            self.close(client);
        }
        self.resume();
    }

    /// Answers the command a client waits for, if it wants to be answered.
    pub(super) fn end_wait(&mut self, client: ClientId, reply: Frame) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.waiting = false;
            if !session.mute {
                self.tell(Output::Answer { client, reply });
            }
        }
    }

    /// Goes on with clients whose commands waited for something.
    pub(super) fn resume(&mut self) {
        let saving = self.saving.iter().map(|(_, client)| *client);
        let later = self.loading.iter().chain(&self.storing).copied();
        let waited_for: BTreeSet<ClientId> = saving.chain(later).collect();
        let waiting: Vec<ClientId> = self.behind.difference(&waited_for).copied().collect();
        for client in waiting {
            if let Some(session) = self.sessions.get_mut(&client) {
                session.waiting = false;
            }
            while let Some(session) = self.sessions.get_mut(&client) {
                if session.waiting {
                    break;
                }
                let Some(words) = session.backlog.pop_front() else {
                    self.behind.remove(&client);
                    break;
                };
                self.answer(client, words);
            }
        }
    }

    /// A client has said nothing for as long as it may. As stock: whoever listens to events, or waits for an
    /// answer, may say nothing.
    pub(super) fn quiet(&mut self, client: ClientId) {
        let idle = |session: &Session| {
            session.subscriptions.count() == 0 && !session.waiting && session.backlog.is_empty()
        };
        if self.sessions.get(&client).is_some_and(idle) {
            self.close(client);
        }
    }

    /// Ends a client's connection, after what was said to it is sent.
    pub(super) fn close(&mut self, client: ClientId) {
        self.left(client);
        self.emit(Output::Close { client });
    }

    /// A client is gone.
    pub(super) fn left(&mut self, client: ClientId) {
        self.sessions.remove(&client);
        self.subscribers.remove(&client);
        self.behind.remove(&client);
    }

    /// Takes down that a client gave a command.
    pub(super) fn note_command(&mut self, client: ClientId, name: &str) {
        self.commands = self.commands.saturating_add(1);
        if let Some(session) = self.sessions.get_mut(&client) {
            session.note(name, self.now);
        }
    }
}

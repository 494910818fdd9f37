//! One client's connection: who it is, what it may do, what it subscribed to.
//!
//! Four kinds of clients: anybody may discover the master; a data node's agent may ask that the master be
//! moved away from its node; another Duke may vote and say hello, too; the operator may do everything.

use std::net::SocketAddr;

use duke_resp::{Bytes, Frame};

use crate::{
    closed::Closed, id::ClientId, output::Output, subscription::Subscriptions, words::Words,
};

/// What a client has proved to be.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Right {
    /// Anybody.
    Discover,
    /// The agent beside a data node.
    Agent,
    /// Another Duke.
    Peer,
    /// The operator.
    Admin,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: ClientId,
    pub(crate) address: SocketAddr,
    pub(crate) right: Right,
    pub(crate) user: &'static str,
    pub(crate) name: String,
    /// Which other Duke it is, if it said so.
    pub(crate) peer: Option<String>,
    /// It speaks RESP3.
    pub(crate) typed: bool,
    pub(crate) subscriptions: Subscriptions,
}

impl Session {
    pub(crate) fn new(id: ClientId, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            right: Right::Discover,
            user: "default",
            name: String::new(),
            peer: None,
            typed: false,
            subscriptions: Subscriptions::default(),
        }
    }

    /// Whether it may only listen now: in RESP2 replies could not be told from messages.
    pub(crate) fn only_listens(&self) -> bool {
        self.subscriptions.count() > 0 && !self.typed
    }
}

impl Closed {
    /// A client sent a command; says whether everything is as it was before.
    pub(crate) fn asked(&mut self, client: ClientId, words: &[Bytes]) -> bool {
        if !self.sessions.contains_key(&client) || words.is_empty() {
            return true;
        }
        let words = Words(words);
        // Whose disk fails is asked what is the matter, and names no master meanwhile.
        let reports = self.disk_fails && super::command::is_report(words);
        let looks = super::command::only_looks(words) && (reports || !self.tells_too_early(words));
        let promises = !looks && self.promises(words);
        for reply in self.answers(client, words) {
            // A refusal promises nothing either.
            let free = !promises || matches!(reply, Frame::Error(_));
            let answer = Output::Answer { client, reply };
            if free {
                self.tell(answer);
            } else {
                self.emit(answer);
            }
        }
        self.trust(client);
        looks && !super::command::tells_opinion(words)
    }

    /// Whether the answer to a command that changes something may promise what must not be forgotten. That to a
    /// hello does not, nor that to whoever asks for a vote which is refused because the disk fails: what waits for
    /// the disk keeps back all that is said on the same connection, and others would take that for silence.
    fn promises(&self, words: Words<'_>) -> bool {
        let votes = super::command::tells_opinion(words) && self.is_writing();
        votes || !(super::command::tells_opinion(words) || super::command::is_hello(words))
    }

    /// Whether a command asks for a master that is not on disk yet. Who is told of it writes there: if
    /// this Duke forgot it in a crash, nobody would know that it was master.
    fn tells_too_early(&self, words: Words<'_>) -> bool {
        super::command::names_master(words) && !self.is_durable(self.switch_saved)
    }

    pub(crate) fn session(&mut self, client: ClientId) -> &mut Session {
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        self.sessions
            .entry(client)
            .or_insert_with(|| Session::new(client, address))
    }

    pub(crate) fn right(&self, client: ClientId) -> Right {
        self.sessions
            .get(&client)
            .map_or(Right::Discover, |session| session.right)
    }

    /// `AUTH [user] password`: another Duke as `duke`, the operator as `operator`, an agent as `agent`.
    pub(crate) fn authenticate(&mut self, client: ClientId, user: &str, password: &str) -> Frame {
        let secrets = &self.secrets;
        let (right, user, wanted) = match user {
            "duke" => (Right::Peer, "duke", &secrets.peer),
            "operator" => (Right::Admin, "operator", &secrets.admin),
            "agent" => (Right::Agent, "agent", &secrets.agent),
            // As in the server: a user without a password takes any.
            "default" => {
                let session = self.session(client);
                (session.right, session.user) = (Right::Discover, "default");
                return Frame::ok();
            }
            _ => return wrong_password(),
        };
        if wanted.is_empty() || !same(password.as_bytes(), wanted.as_bytes()) {
            return wrong_password();
        }
        let session = self.session(client);
        session.right = right;
        session.user = user;
        Frame::ok()
    }
}

fn wrong_password() -> Frame {
    Frame::error("WRONGPASS invalid username-password pair or user is disabled.")
}

/// Compares in a time that does not depend on where they differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |difference, (one, other)| difference | (one ^ other));
    left.len() == right.len() && difference == 0
}

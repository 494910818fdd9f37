//! What servers of an open group do besides: they keep whom they follow in a file, carry what sentinels
//! publish, name their replicas, and can hold their clients' writes.
//!
//! Pure as the rest of the server. As Redis does it: while writes are held, whatever may be replicated
//! waits (PUBLISH, too), and everything behind it on the same connection.

use std::{collections::VecDeque, fmt::Write as _, net::SocketAddr};

use duke_core::RequestId;
use duke_resp::{Bytes, Frame};

use super::{Consequence, Effect, Link, Persistence, Role, Server};
use crate::{
    history::History,
    network::ConnectionId,
    options::Group,
    queue::{MILLI, Micros},
};

/// A command of an open group's that waits.
#[derive(Clone, Debug)]
pub(crate) enum Postponed {
    /// A Duke's.
    Command(RequestId, Vec<Bytes>),
    /// A client's write.
    Write,
}

/// What is different in an open group.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// What kind of group the server belongs to.
    pub(crate) group: Group,
    /// Whether it can hold its clients' writes.
    pub(crate) hands_over: bool,
    /// Whom it follows by its file; nobody if it is a master.
    written: Option<SocketAddr>,
    /// Who listens to its channel.
    pub(crate) subscribers: Vec<ConnectionId>,
    /// Until when writes are held.
    pub(crate) paused_until: Micros,
    /// What waits for that, in order.
    pub(crate) postponed: VecDeque<(ConnectionId, Postponed)>,
}

impl Open {
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.subscribers.retain(|id| *id != connection);
        self.postponed.retain(|(id, _)| *id != connection);
    }
}

impl Server {
    /// Belongs to an open group from now on, whose first master is at `master`.
    pub(crate) fn open(&mut self, master: SocketAddr, hands_over: bool) {
        self.open.group = Group::Open;
        self.open.hands_over = hands_over;
        self.open.written = (self.address != master).then_some(master);
        self.role = match self.open.written {
            None => Role::Master,
            Some(master) => Role::Replica {
                master,
                link: Link::Down(0),
            },
        };
    }

    /// The role its file gives it when it starts. A master that knows the name of its history goes on in
    /// a branch of its own; its replicas would have to ask for what it lost.
    pub(super) fn take_written_role(
        &mut self,
        now: Micros,
        kept: Persistence,
        history: &mut History,
    ) {
        self.open.subscribers.clear();
        self.open.postponed.clear();
        self.open.paused_until = 0;
        if let Some(master) = self.open.written {
            self.role = Role::Replica {
                master,
                link: Link::Down(now),
            };
            return;
        }
        self.role = Role::Master;
        if kept == Persistence::Snapshot {
            self.before = Some(self.place);
            self.place.branch = history.branch(Some(self.place), self.place.offset);
        }
    }

    /// Takes a command that only Dukes of open groups send, or send otherwise.
    pub(super) fn take_open(
        &mut self,
        now: Micros,
        from: ConnectionId,
        words: &[Bytes],
        history: &mut History,
    ) -> Effect {
        let word = |index: usize| words.get(index).map_or(&b""[..], |word| word);
        match (word(0), word(1)) {
            (b"SLAVEOF", _) => self.replicate(now, words, history),
            (b"CONFIG", b"REWRITE") => {
                self.open.written = match self.role {
                    Role::Master => None,
                    Role::Replica { master, .. } => Some(master),
                };
                Effect::plain(Frame::ok())
            }
            (b"PUBLISH", _) => {
                let count = self.open.subscribers.len();
                Effect {
                    consequence: words.get(2).cloned().map(Consequence::Publish),
                    ..Effect::plain(Frame::number(count))
                }
            }
            (b"SUBSCRIBE", channel) => {
                self.open.subscribers.push(from);
                let reply = vec![
                    Frame::bulk("subscribe"),
                    Frame::Bulk(Bytes::copy_from_slice(channel)),
                    Frame::Integer(1),
                ];
                Effect::plain(Frame::Array(reply))
            }
            (b"CLIENT", b"KILL") => Effect {
                kills: true,
                ..Effect::plain(Frame::Integer(0))
            },
            (b"CLIENT", b"PAUSE") => {
                let millis = std::str::from_utf8(word(2)).ok();
                let millis: u64 = millis.and_then(|text| text.parse().ok()).unwrap_or(0);
                let until = (now + millis * MILLI).max(self.open.paused_until);
                self.open.paused_until = until;
                Effect {
                    consequence: Some(Consequence::Pause(until)),
                    ..Effect::plain(Frame::ok())
                }
            }
            (b"CLIENT", b"UNPAUSE") => {
                self.open.paused_until = 0;
                Effect {
                    consequence: Some(Consequence::Resume),
                    ..Effect::plain(Frame::ok())
                }
            }
            (b"AUTH", _) | (b"CLIENT", b"SETNAME") => Effect::plain(Frame::ok()),
            (other, _) => panic!(
                "a Duke sent {} to a data node",
                String::from_utf8_lossy(other)
            ),
        }
    }

    /// Whether writes are held.
    pub(crate) fn is_paused(&self, now: Micros) -> bool {
        self.open.paused_until > now
    }

    /// Has what came on a connection wait, if it must; says whether it does.
    pub(crate) fn postpone(
        &mut self,
        now: Micros,
        from: ConnectionId,
        what: impl FnOnce() -> Postponed,
        may_be_replicated: bool,
    ) -> bool {
        let behind = self.open.postponed.iter().any(|(id, _)| *id == from);
        let waits = behind || (may_be_replicated && self.is_paused(now));
        if waits {
            self.open.postponed.push_back((from, what()));
        }
        waits
    }

    /// What a master's INFO says of its replicas.
    pub(super) fn print_replicas(&self, text: &mut String) {
        for (number, follower) in self.followers.iter().enumerate() {
            let state = if follower.online {
                "online"
            } else {
                "wait_bgsave"
            };
            // Writing to a String cannot fail.
            let _ok = write!(
                text,
                "slave{number}:ip={},port={},state={state},offset={},lag=0\r\n",
                follower.address.ip(),
                follower.address.port(),
                self.place.offset,
            );
        }
        if self.open.hands_over {
            text.push_str("master_failover_state:no-failover\r\n");
        }
    }
}

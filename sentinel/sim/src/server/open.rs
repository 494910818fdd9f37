//! What servers of an open group do besides: they keep whom they follow in a file, carry what sentinels
//! publish, and name their replicas.
//!
//! Pure as the rest of the server.

use std::{fmt::Write as _, net::SocketAddr};

use duke_resp::{Bytes, Frame};

use super::{Consequence, Effect, Link, Persistence, Role, Server};
use crate::{history::History, network::ConnectionId, options::Group, queue::Micros};

/// What is different in an open group.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// What kind of group the server belongs to.
    pub(crate) group: Group,
    /// Whom it follows by its file; nobody if it is a master.
    written: Option<SocketAddr>,
    /// Who listens to its channel.
    pub(crate) subscribers: Vec<ConnectionId>,
}

impl Open {
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.subscribers.retain(|id| *id != connection);
    }
}

impl Server {
    /// Belongs to an open group from now on, whose first master is at `master`.
    pub(crate) fn open(&mut self, master: SocketAddr) {
        self.open.group = Group::Open;
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
            (other, _) => panic!(
                "a Duke sent {} to a data node",
                String::from_utf8_lossy(other)
            ),
        }
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
    }
}

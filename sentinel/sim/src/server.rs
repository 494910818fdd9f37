//! A data server as Dukes, replicas and clients see it: role, data, INFO, and the few commands
//! Dukes send.
//!
//! Pure: what a command or a segment brings about in the network is said, not done. Behaves as
//! Redis 7 does where it matters to a Duke: replication ids shift at a promotion, a restart without
//! a snapshot forgets them, a partial resynchronisation needs the right id and a backlog that goes
//! back far enough.

mod door;
mod hold;
mod info;
mod open;

use std::net::SocketAddr;

use duke_resp::{Bytes, Frame};

use crate::{
    history::{History, Place},
    network::{ConnectionId, Host},
    options::Group,
    queue::{Micros, SECOND},
};

pub(crate) use self::{
    door::{Door, PASSWORD, no_login, wrong_password},
    hold::{Hold, Postponed},
    open::Open,
};

/// Whom a server follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// It takes writes.
    Master,
    /// It follows another, at this address; nobody listens at the one every server starts with.
    Replica {
        /// Whom.
        master: SocketAddr,
        /// How far.
        link: Link,
    },
}

/// How far a replica is with its master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    /// Not connected since then.
    Down(Micros),
    /// On its way.
    Connecting(ConnectionId),
    /// Waits for a whole new data set.
    Copying(ConnectionId),
    /// In touch.
    Up(ConnectionId),
}

/// Somebody who follows this server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    /// Its connection.
    pub(crate) connection: ConnectionId,
    /// Where it listens itself.
    pub(crate) address: SocketAddr,
    /// Whether it is past its copy and gets the stream.
    pub(crate) online: bool,
    /// When it was last heard of.
    pub(crate) heard: Micros,
}

/// What a server keeps on its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Persistence {
    /// A file of commands, synced each second: most data, but no name of its history.
    Log,
    /// Snapshots: older data, with the name of its history.
    Snapshot,
    /// Nothing.
    Nothing,
}

/// What a server says it holds, with what it truly holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness {
    /// The server.
    pub(crate) node: Host,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Which of its processes.
    pub(crate) life: u32,
    /// Where its data ends.
    pub(crate) place: Place,
    /// Whom it follows, if anybody, and whether it is in touch.
    pub(crate) follows: Option<(SocketAddr, bool)>,
    /// Whether it has been in touch with the master it follows, and is not being given a copy.
    pub(crate) synced: bool,
    /// Whether it says that it has no whole data set.
    pub(crate) unsynced: bool,
    /// Since when it says that it has been out of touch, if it does.
    pub(crate) apart_since: Option<Micros>,
    /// Whether it reads its data in.
    pub(crate) loading: bool,
    /// Its priority.
    pub(crate) priority: u32,
}

/// What a command changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// It takes writes now.
    Leads,
    /// It follows another now.
    Follows,
}

/// What a command brought about.
#[derive(Debug)]
pub(crate) struct Effect {
    /// The answer.
    pub(crate) reply: Frame,
    /// Every other client's connection is closed.
    pub(crate) kills: bool,
    /// Its role changed.
    pub(crate) change: Option<Change>,
    /// What else comes of it.
    pub(crate) consequence: Option<Consequence>,
}

/// What a Duke's command brought about besides.
#[derive(Clone, Debug)]
pub(crate) enum Consequence {
    /// This is said on the channel of hellos.
    Publish(Bytes),
    /// Clients' writes wait until then.
    Pause(Micros),
    /// They wait no longer.
    Resume,
}

/// How a replica may be brought up to date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// With what it lacks.
    Continue,
    /// With everything.
    Copy,
    /// Not now.
    Refuse,
}

/// A data server.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a server's troubles are independent of each other"
)]
#[derive(Debug)]
pub(crate) struct Server {
    /// Its host.
    pub(crate) host: Host,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whether its process runs.
    pub(crate) alive: bool,
    /// Whether it reads its data in.
    pub(crate) loading: bool,
    /// Which of its processes this is, from 1.
    pub(crate) life: u32,
    /// Whom it follows.
    pub(crate) role: Role,
    /// It was in touch with the master it follows since it was told to, and has a whole data set.
    pub(crate) synced: bool,
    /// This process of it was given a whole data set of the group's, or was its master.
    pub(crate) whole: bool,
    /// Where its data ends.
    pub(crate) place: Place,
    /// Where the branch before this one ended, if its name is still known.
    pub(crate) before: Option<Place>,
    /// From which offset on it can give what others lack.
    pub(crate) backlog_from: u64,
    /// Its priority.
    pub(crate) priority: u32,
    /// How it keeps its data.
    pub(crate) persistence: Persistence,
    /// What a restart leaves of the data.
    pub(crate) stored: Place,
    /// Who follows it.
    pub(crate) followers: Vec<Follower>,
    /// Gives whole copies to nobody.
    pub(crate) withholds: bool,
    /// When it was last heard of its master.
    pub(crate) heard: Micros,
    /// Whom it lets in.
    pub(crate) door: Door,
    /// Somebody else's server is at its address; it is dead itself.
    pub(crate) squatter: Option<Door>,
    /// Connections whose login it accepted.
    pub(crate) admitted: Vec<ConnectionId>,
    /// Whether it holds its clients' writes.
    pub(crate) hold: Hold,
    /// What is different in an open group.
    pub(crate) open: Open,
    queued: Vec<(ConnectionId, Vec<Vec<Bytes>>)>,
    /// The last INFO, as long as it holds.
    info: Option<Bytes>,
}

/// Where every server starts: following nothing.
pub(crate) fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

impl Server {
    /// A server that starts for the first time.
    #[must_use]
    pub(crate) fn new(
        host: Host,
        address: SocketAddr,
        persistence: Persistence,
        history: &mut History,
    ) -> Self {
        let branch = history.branch(None, 0);
        let place = Place { branch, offset: 0 };
        Self {
            host,
            address,
            alive: true,
            loading: false,
            life: 1,
            role: Role::Replica {
                master: nowhere(),
                link: Link::Down(0),
            },
            synced: false,
            whole: false,
            place,
            before: None,
            backlog_from: 0,
            priority: 100,
            persistence,
            stored: place,
            followers: Vec::new(),
            withholds: false,
            heard: 0,
            door: Door::Ours,
            squatter: None,
            admitted: Vec::new(),
            hold: Hold::default(),
            open: Open::default(),
            queued: Vec::new(),
            info: None,
        }
    }

    /// Starts the process again; `emptied` if its data was lost meanwhile. Servers of a closed group always
    /// start following nothing; those of an open one as their configuration says.
    pub(crate) fn start(&mut self, now: Micros, emptied: bool, history: &mut History) {
        self.alive = true;
        self.life += 1;
        self.before = None;
        let kept = if emptied {
            Persistence::Nothing
        } else {
            self.persistence
        };
        self.place = match kept {
            Persistence::Snapshot => self.stored,
            Persistence::Log => Place {
                branch: history.branch(Some(self.stored), 0),
                offset: 0,
            },
            Persistence::Nothing => Place {
                branch: history.branch(None, 0),
                offset: 0,
            },
        };
        self.stored = self.place;
        self.backlog_from = self.place.offset;
        self.role = Role::Replica {
            master: nowhere(),
            link: Link::Down(now),
        };
        self.synced = false;
        self.whole = false;
        self.squatter = None;
        self.admitted.clear();
        self.queued.clear();
        self.hold.end();
        self.followers.clear();
        if self.open.group == Group::Open {
            self.take_written_role(now, kept, history);
        }
        self.changed();
    }

    /// Something that INFO tells has changed.
    pub(crate) fn changed(&mut self) {
        self.info = None;
    }

    /// Whether it is in touch with the master it follows.
    #[must_use]
    pub(crate) fn in_touch(&self) -> Option<SocketAddr> {
        match self.role {
            Role::Replica {
                master,
                link: Link::Up(_),
            } => Some(master),
            Role::Replica { .. } | Role::Master => None,
        }
    }

    /// What it holds, and says it does.
    #[must_use]
    pub(crate) fn witness(&self) -> Witness {
        let (follows, apart_since, unsynced) = match self.role {
            Role::Master => (None, None, false),
            Role::Replica { master, link } => {
                let up = matches!(link, Link::Up(_));
                let since = match link {
                    Link::Down(since) => Some(since),
                    Link::Connecting(_) | Link::Copying(_) | Link::Up(_) => None,
                };
                let copying = matches!(link, Link::Copying(_));
                let unsynced = copying || (!up && !self.synced);
                (Some((master, up)), since, unsynced)
            }
        };
        Witness {
            node: self.host,
            address: self.address,
            unsynced,
            apart_since,
            life: self.life,
            place: self.place,
            follows,
            synced: self.synced,
            loading: self.loading,
            priority: match self.role {
                // A master does not tell; whoever reads its INFO takes the usual one.
                Role::Master => 100,
                Role::Replica { .. } => self.priority,
            },
        }
    }

    /// Takes writes from now on, in a branch of its own.
    pub(crate) fn lead(&mut self, history: &mut History) -> bool {
        if self.role == Role::Master {
            return false;
        }
        self.role = Role::Master;
        self.whole = true;
        self.before = Some(self.place);
        self.place.branch = history.branch(Some(self.place), self.place.offset);
        self.changed();
        true
    }

    /// Follows `master` from now on.
    pub(crate) fn follow(&mut self, now: Micros, master: SocketAddr) -> bool {
        if matches!(self.role, Role::Replica { master: known, .. } if known == master) {
            return false;
        }
        self.role = Role::Replica {
            master,
            link: Link::Down(now),
        };
        self.synced = false;
        self.changed();
        true
    }

    /// How somebody whose data ends at `place`, as far as it knows, can be brought up to date.
    #[must_use]
    pub(crate) fn answer_to(&self, place: Place) -> Answer {
        if self.loading {
            return Answer::Refuse;
        }
        match self.role {
            Role::Replica { .. } if self.in_touch().is_none() => return Answer::Refuse,
            Role::Replica { .. } | Role::Master => {}
        }
        let named = place.branch == self.place.branch && place.offset <= self.place.offset;
        let before = self
            .before
            .is_some_and(|before| before.branch == place.branch && place.offset <= before.offset);
        if (named || before) && place.offset >= self.backlog_from {
            return Answer::Continue;
        }
        if self.withholds {
            Answer::Refuse
        } else {
            Answer::Copy
        }
    }

    /// Goes on in its master's branch, up to `place`.
    pub(crate) fn advance(&mut self, place: Place) {
        if self.place.branch != place.branch {
            self.before = Some(self.place);
        }
        self.place = place;
        self.changed();
    }

    /// Has a whole new data set.
    pub(crate) fn copy(&mut self, place: Place) {
        self.place = place;
        self.before = None;
        self.backlog_from = place.offset;
        self.synced = true;
        self.whole = true;
        self.stored = place;
        self.changed();
    }

    /// Whether a write is taken now, given how many replicas must be at most so late.
    ///
    /// # Errors
    /// The server's refusal.
    pub(crate) fn write(
        &mut self,
        now: Micros,
        bytes: u64,
        needed: (usize, u64),
    ) -> Result<Place, &'static str> {
        if self.loading {
            return Err("LOADING Redis is loading the dataset in memory");
        }
        if self.role != Role::Master {
            return Err("READONLY You can't write against a read only replica.");
        }
        let (count, seconds) = needed;
        let good = |follower: &&Follower| {
            follower.online && now.saturating_sub(follower.heard) / SECOND <= seconds
        };
        if self.followers.iter().filter(good).count() < count {
            return Err("NOREPLICAS Not enough good replicas to write.");
        }
        self.grow(bytes);
        Ok(self.place)
    }

    /// The stream grows.
    pub(crate) fn grow(&mut self, bytes: u64) {
        self.place.offset += bytes;
        self.changed();
    }

    /// Takes a command of a Duke's.
    pub(crate) fn take(
        &mut self,
        now: Micros,
        from: ConnectionId,
        words: &[Bytes],
        history: &mut History,
    ) -> Effect {
        if self.open.group == Group::Closed
            && let Some(reply) = self.log_in(from, words)
        {
            return Effect::plain(reply);
        }
        let first: &[u8] = words.first().map_or(b"", |word| word);
        let queue = self.queued.iter().position(|(id, _)| *id == from);
        if let Some(queue) = queue
            && first != b"EXEC"
        {
            self.queued[queue].1.push(words.to_vec());
            return Effect::plain(Frame::simple("QUEUED"));
        }
        match first {
            b"PING" if self.loading => {
                Effect::plain(Frame::error("LOADING the dataset is in memory soon"))
            }
            b"PING" => Effect::plain(Frame::simple("PONG")),
            b"INFO" => Effect::plain(Frame::Bulk(self.info(now, history))),
            b"MULTI" => {
                self.queued.push((from, Vec::new()));
                Effect::plain(Frame::ok())
            }
            b"EXEC" => match queue {
                Some(queue) => {
                    let (_, commands) = self.queued.remove(queue);
                    self.execute(now, from, &commands, history)
                }
                None => Effect::plain(Frame::error("ERR EXEC without MULTI")),
            },
            b"REPLICAOF" => self.replicate(now, words, history),
            b"CLIENT" => self.client(now, words),
            b"AUTH" => Effect::plain(Frame::ok()),
            _ if self.open.group == Group::Open => self.take_open(now, from, words, history),
            other => panic!(
                "a Duke sent {} to a data node",
                String::from_utf8_lossy(other)
            ),
        }
    }

    fn execute(
        &mut self,
        now: Micros,
        from: ConnectionId,
        commands: &[Vec<Bytes>],
        history: &mut History,
    ) -> Effect {
        if std::mem::take(&mut self.hold.refuses_next) {
            return Effect::plain(Frame::error("EXECABORT this user may not do that"));
        }
        let mut whole = Effect::plain(Frame::Null);
        let mut replies = Vec::with_capacity(commands.len());
        for words in commands {
            let effect = self.take(now, from, words, history);
            whole.kills |= effect.kills;
            whole.change = effect.change.or(whole.change);
            whole.consequence = effect.consequence.or(whole.consequence);
            replies.push(effect.reply);
        }
        whole.reply = Frame::Array(replies);
        whole
    }

    fn replicate(&mut self, now: Micros, words: &[Bytes], history: &mut History) -> Effect {
        let text = |index: usize| {
            words
                .get(index)
                .and_then(|word| std::str::from_utf8(word).ok())
                .unwrap_or_default()
        };
        if self.loading {
            return Effect::plain(Frame::error("LOADING the dataset is in memory soon"));
        }
        let change = if text(1) == "NO" {
            self.lead(history).then_some(Change::Leads)
        } else {
            let master = text(1).parse().ok().zip(text(2).parse().ok());
            let master = master.map(|(ip, port)| SocketAddr::new(ip, port));
            match master {
                Some(master) => self.follow(now, master).then_some(Change::Follows),
                None => return Effect::plain(Frame::error("ERR Invalid master port")),
            }
        };
        Effect {
            change,
            ..Effect::plain(Frame::ok())
        }
    }

    /// A connection is gone, and what was queued on it.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.queued.retain(|(id, _)| *id != connection);
        self.admitted.retain(|id| *id != connection);
        self.open.forget(connection);
        self.hold.postponed.retain(|(id, _)| *id != connection);
        self.followers
            .retain(|follower| follower.connection != connection);
    }
}

impl Effect {
    fn plain(reply: Frame) -> Self {
        Self {
            reply,
            kills: false,
            change: None,
            consequence: None,
        }
    }
}

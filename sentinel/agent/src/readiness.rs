//! Whether a server may be counted on, by what it last said and how long ago: pure.
//!
//! A pod is ready while its server is a master, or a replica whose copy follows a master. The two are
//! not treated alike when nothing new is heard. A replica whose state is not known is unready soon,
//! since whoever takes another pod away counts on its copy. A master stays ready through a stall: the
//! Service leads to it by its readiness, and taking it out would turn a stall of seconds into an
//! outage. Whether a silent master is to be replaced is for the Dukes to decide.

use std::time::Duration;

use duke_resp::Frame;
use tokio::time::Instant;

use crate::wire::shown;

/// How old an answer of a replica may be.
pub const REPLICA_PATIENCE: Duration = Duration::from_secs(2);
/// How long a master may say nothing. A script holds a server for five seconds before the server
/// says that it is busy (`busy-reply-threshold`); one second more is for the answer to come.
pub const MASTER_PATIENCE: Duration = Duration::from_secs(6);
/// Whom a server follows before it was given a role, and while it is to follow nobody.
const NOBODY: (&[u8], i64) = (b"127.0.0.1", 1);

/// Whom a server follows, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// It was told to follow nobody.
    Nobody,
    /// It has no connection to its master.
    Down,
    /// It is being given a copy.
    Copying,
    /// It has a copy and follows.
    InSync,
}

/// What a server says that it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// A master, and how many replicas follow it.
    Master {
        /// Those that have their copy.
        replicas: usize,
    },
    /// A replica.
    Replica(Link),
}

/// What a server's answers to PING and ROLE say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A script holds the server up; it cannot say who it is.
    Busy,
    /// It reads its data from its disk.
    Loading,
    /// It will not say, or says what no server does; with its words.
    Refused(String),
    /// Who it is.
    Role(Role),
}

impl Answer {
    /// Reads the replies to PING and ROLE.
    #[must_use]
    pub fn read(ping: &Frame, role: &Frame) -> Self {
        for reply in [ping, role] {
            let Some(text) = reply.as_error() else {
                continue;
            };
            match text.split(|byte| *byte == b' ').next() {
                Some(b"BUSY") => return Self::Busy,
                Some(b"LOADING") => return Self::Loading,
                // PING is refused by replicas that may not serve stale data; ROLE tells the rest.
                Some(b"MASTERDOWN") => {}
                _ => return Self::Refused(shown(text)),
            }
        }
        read_role(role).map_or_else(
            || Self::Refused("it answered ROLE as no server does".to_owned()),
            Self::Role,
        )
    }
}

fn read_role(reply: &Frame) -> Option<Role> {
    let fields = reply.as_array()?;
    match (fields.first()?.as_text()?.as_ref(), fields) {
        (b"master", [_, _, replicas, ..]) => Some(Role::Master {
            replicas: replicas.as_array()?.len(),
        }),
        (b"slave", [_, host, port, state, ..]) => {
            let follows = (host.as_text()?.as_ref(), port.as_integer()?);
            Some(Role::Replica(match state.as_text()?.as_ref() {
                _ if follows == NOBODY => Link::Nobody,
                b"connected" => Link::InSync,
                b"sync" => Link::Copying,
                _ => Link::Down,
            }))
        }
        _ => None,
    }
}

/// How the server can be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Contact {
    /// It lets the agent in, or nothing else is known yet.
    Open,
    /// Nobody listens on its port.
    Absent,
    /// It does not let the agent in, or does not answer its questions; with the reason.
    Refused(String),
    /// The connection failed in another way; with the reason.
    Lost(String),
}

/// Everything that is known of the server.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// The beginning of the last attempt to learn something that came to an end.
    pub checked: Option<Instant>,
    /// How it can be reached.
    pub contact: Contact,
    /// When it was asked who it is, and what it said to that.
    pub answered: Option<(Instant, Said)>,
    /// When it was asked and said anything: that it is busy, too.
    pub heard: Option<Instant>,
}

/// An answer that tells something of the server's data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// It reads its data from its disk.
    Loading,
    /// Who it is.
    Role(Role),
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            checked: None,
            contact: Contact::Open,
            answered: None,
            heard: None,
        }
    }
}

impl Knowledge {
    /// Takes in what was said to a question asked at `asked`.
    pub fn learn(&mut self, asked: Instant, answer: Answer) {
        self.checked = Some(asked);
        self.contact = Contact::Open;
        let said = match answer {
            Answer::Busy => {
                self.heard = Some(asked);
                return;
            }
            Answer::Refused(reason) => {
                self.contact = Contact::Refused(reason);
                return;
            }
            Answer::Loading => Said::Loading,
            Answer::Role(role) => Said::Role(role),
        };
        self.heard = Some(asked);
        self.answered = Some((asked, said));
    }

    /// Takes in that an attempt begun at `begun` told nothing of the data.
    pub fn fail(&mut self, begun: Instant, contact: Contact) {
        self.checked = self.checked.max(Some(begun));
        self.contact = contact;
    }

    /// Who the server is, as far as is known; nothing while it is not there.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match (&self.contact, self.answered) {
            (Contact::Absent, _) | (_, None | Some((_, Said::Loading))) => None,
            (_, Some((_, Said::Role(role)))) => Some(role),
        }
    }

    /// Whether the server may be counted on now, and as what.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn readiness(&self, now: Instant) -> Result<&'static str, String> {
        match &self.contact {
            Contact::Absent => return Err("nobody listens on the server's port".to_owned()),
            Contact::Refused(reason) => {
                return Err(format!("the server refuses the agent: {reason}"));
            }
            Contact::Open | Contact::Lost(_) => {}
        }
        let Some((asked, said)) = self.answered else {
            return Err(self.silence("the server has not answered yet"));
        };
        let Said::Role(role) = said else {
            return Err("the server is loading its data".to_owned());
        };
        let (since, patience, ready) = match role {
            // Busy is alive, and a busy server does not change its role.
            Role::Master { .. } => (self.heard.unwrap_or(asked), MASTER_PATIENCE, "master"),
            Role::Replica(Link::InSync) => (asked, REPLICA_PATIENCE, "replica in sync"),
            Role::Replica(Link::Copying) => {
                return Err("the replica is being given its copy".to_owned());
            }
            Role::Replica(Link::Down) => {
                return Err("the replica has no connection to its master".to_owned());
            }
            Role::Replica(Link::Nobody) => {
                return Err("no Duke has given the server a role yet".to_owned());
            }
        };
        let age = now.saturating_duration_since(since);
        if age > patience {
            let silence = format!("the server last answered {} ms ago", age.as_millis());
            return Err(self.silence(&silence));
        }
        Ok(ready)
    }

    fn silence(&self, text: &str) -> String {
        match &self.contact {
            Contact::Lost(reason) => format!("{text}: {reason}"),
            Contact::Absent | Contact::Open | Contact::Refused(_) => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn replica(host: &str, port: i64, state: &str) -> Frame {
        Frame::Array(vec![
            Frame::bulk("slave"),
            Frame::bulk(host.to_owned()),
            Frame::Integer(port),
            Frame::bulk(state.to_owned()),
            Frame::Integer(77),
        ])
    }

    fn master(replicas: usize) -> Frame {
        let row = Frame::Array(vec![Frame::bulk("10.0.0.2")]);
        Frame::Array(vec![
            Frame::bulk("master"),
            Frame::Integer(77),
            Frame::Array(vec![row; replicas]),
        ])
    }

    fn read(role: &Frame) -> Answer {
        Answer::read(&Frame::simple("PONG"), role)
    }

    #[test]
    fn a_role_is_read_as_servers_say_it() {
        let is = |link| Answer::Role(Role::Replica(link));
        for (reply, expected) in [
            (master(2), Answer::Role(Role::Master { replicas: 2 })),
            (replica("10.0.0.1", 6379, "connected"), is(Link::InSync)),
            (replica("10.0.0.1", 6379, "sync"), is(Link::Copying)),
            (replica("10.0.0.1", 6379, "connect"), is(Link::Down)),
            (replica("10.0.0.1", 6379, "connecting"), is(Link::Down)),
            (replica("10.0.0.1", 6379, "handshake"), is(Link::Down)),
            (replica("127.0.0.1", 1, "connected"), is(Link::Nobody)),
            (replica("127.0.0.1", 1, "connect"), is(Link::Nobody)),
            (replica("127.0.0.1", 6380, "connected"), is(Link::InSync)),
        ] {
            assert_eq!(read(&reply), expected, "{reply:?}");
        }
    }

    #[test]
    fn what_no_server_says_is_refused() {
        for reply in [
            Frame::Null,
            Frame::ok(),
            Frame::Array(Vec::new()),
            Frame::Array(vec![Frame::bulk("sentinel"), Frame::Array(Vec::new())]),
            Frame::Array(vec![Frame::bulk("master")]),
            Frame::Array(vec![Frame::bulk("slave"), Frame::bulk("10.0.0.1")]),
        ] {
            assert!(matches!(read(&reply), Answer::Refused(_)), "{reply:?}");
        }
    }

    #[test]
    fn errors_are_told_apart_by_their_first_word() {
        let role = replica("10.0.0.1", 6379, "connect");
        for (ping, expected) in [
            ("BUSY a script runs", Answer::Busy),
            ("LOADING the dataset", Answer::Loading),
            (
                "MASTERDOWN link is down",
                Answer::Role(Role::Replica(Link::Down)),
            ),
            (
                "NOPERM no\r\npermission",
                Answer::Refused("NOPERM nopermission".to_owned()),
            ),
        ] {
            assert_eq!(Answer::read(&Frame::error(ping), &role), expected);
        }
    }

    /// What is known after these answers, each so many seconds after the first.
    fn known(answers: &[(u64, Answer)]) -> (Instant, Knowledge) {
        let begin = Instant::now();
        let mut knowledge = Knowledge::default();
        for (at, answer) in answers {
            knowledge.learn(begin + seconds(*at), answer.clone());
        }
        (begin, knowledge)
    }

    const MASTER: Answer = Answer::Role(Role::Master { replicas: 1 });
    const IN_SYNC: Answer = Answer::Role(Role::Replica(Link::InSync));

    #[test]
    fn a_replica_is_ready_only_in_sync_and_only_while_that_is_known() {
        let (begin, knowledge) = known(&[(0, IN_SYNC)]);
        assert_eq!(
            knowledge.readiness(begin + seconds(2)),
            Ok("replica in sync")
        );
        assert!(knowledge.readiness(begin + seconds(3)).is_err());
        for link in [Link::Nobody, Link::Down, Link::Copying] {
            let (begin, knowledge) = known(&[(0, Answer::Role(Role::Replica(link)))]);
            assert!(knowledge.readiness(begin).is_err(), "{link:?}");
        }
    }

    #[test]
    fn a_master_stays_ready_through_a_stall() {
        let (begin, knowledge) = known(&[(0, MASTER)]);
        assert_eq!(knowledge.readiness(begin + seconds(6)), Ok("master"));
        let silence = knowledge.readiness(begin + seconds(7)).unwrap_err();
        assert_eq!(silence, "the server last answered 7000 ms ago");
    }

    #[test]
    fn a_busy_master_stays_ready_and_a_busy_replica_does_not() {
        let busy = [(0, MASTER), (5, Answer::Busy), (10, Answer::Busy)];
        let (begin, knowledge) = known(&busy);
        assert_eq!(knowledge.readiness(begin + seconds(12)), Ok("master"));
        let (begin, knowledge) = known(&[(0, IN_SYNC), (5, Answer::Busy)]);
        assert!(knowledge.readiness(begin + seconds(5)).is_err());
    }

    #[test]
    fn a_server_that_is_gone_or_refuses_is_unready_at_once() {
        let (begin, mut knowledge) = known(&[(0, MASTER)]);
        knowledge.fail(begin, Contact::Lost("the connection was closed".to_owned()));
        assert_eq!(
            knowledge.readiness(begin),
            Ok("master"),
            "connections are cut by every change of roles"
        );
        knowledge.fail(begin, Contact::Absent);
        assert!(knowledge.readiness(begin).is_err());
        assert_eq!(knowledge.role(), None);
        let (begin, knowledge) = known(&[(0, MASTER), (0, Answer::Refused("NOPERM".to_owned()))]);
        let refused = knowledge.readiness(begin).unwrap_err();
        assert_eq!(refused, "the server refuses the agent: NOPERM");
    }

    #[test]
    fn loading_is_not_ready_whatever_it_was_before() {
        let (begin, knowledge) = known(&[(0, MASTER), (1, Answer::Loading)]);
        assert!(knowledge.readiness(begin + seconds(1)).is_err());
        assert_eq!(knowledge.role(), None);
    }
}

//! A data server as far as a Duke can tell: its role, its data's length, INFO, and the few commands
//! Dukes send.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
};

use duke_resp::Frame;

/// Where every server starts: following nothing.
const NOWHERE: &str = "127.0.0.1:1";

/// One connection to a server, named by who opened it.
pub(crate) type Connection = (usize, u64);

/// Whom a server lets in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// Whoever knows the group's password.
    Ours,
    /// Whoever knows another one.
    Locked,
    /// Everybody; it knows no user of ours.
    Open,
}

/// A data server.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a server's troubles are independent of each other"
)]
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) alive: bool,
    pub(crate) frozen: bool,
    /// How often its process was started.
    pub(crate) life: u32,
    pub(crate) follows: Option<SocketAddr>,
    pub(crate) in_touch: bool,
    /// It was in touch with the master it follows since it was told to.
    synced: bool,
    pub(crate) offset: u64,
    /// The names of its history, now and before.
    pub(crate) lineage: (String, String),
    pub(crate) priority: u32,
    pub(crate) loading: bool,
    /// It gives its data to nobody.
    pub(crate) withholds: bool,
    /// Its data set on disk says which history it is from.
    pub(crate) snapshots: bool,
    /// It has a backlog. Whoever has none names its history anew when the first replica comes.
    pub(crate) backlog: bool,
    pub(crate) door: Door,
    /// Connections that logged in.
    admitted: BTreeSet<Connection>,
    /// It hears nothing more of its master's stream, and does not notice.
    pub(crate) stalled: bool,
    /// Dukes may not hold its clients' writes.
    pub(crate) forbids_pause: bool,
    /// Dukes may not give it another role.
    pub(crate) forbids_roles: bool,
    /// Until when it holds its clients' writes.
    pub(crate) paused_until: u64,
    /// Commands between MULTI and EXEC.
    queued: BTreeMap<Connection, Vec<Vec<String>>>,
    /// What connections said while the process was frozen.
    pub(crate) waiting: Vec<(Connection, u64, Vec<String>)>,
}

/// What a command brought about.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) reply: Frame,
    /// Every other connection is closed.
    pub(crate) kills: bool,
    /// Its replicas have to come anew.
    pub(crate) changes: bool,
    /// What the transcript tells of it.
    pub(crate) tells: Option<&'static str>,
}

impl Effect {
    fn of(reply: Frame) -> Self {
        Self {
            reply,
            kills: false,
            changes: false,
            tells: None,
        }
    }
}

impl Server {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            alive: true,
            frozen: false,
            life: 1,
            follows: Some(NOWHERE.parse().unwrap()),
            in_touch: false,
            synced: false,
            offset: 0,
            lineage: (format!("{address}-1"), "0".to_owned()),
            priority: 100,
            loading: false,
            withholds: false,
            snapshots: false,
            backlog: false,
            door: Door::Ours,
            admitted: BTreeSet::new(),
            stalled: false,
            forbids_pause: false,
            forbids_roles: false,
            paused_until: 0,
            queued: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Starts the process again, with the data it has. With an append-only file nobody knows any
    /// more which history it is from.
    pub(crate) fn start(&mut self) {
        self.alive = true;
        self.frozen = false;
        self.life += 1;
        if !self.snapshots {
            self.lineage = (format!("{}-{}", self.address, self.life), "0".to_owned());
        }
        self.follow(NOWHERE.parse().unwrap());
        self.backlog = self.snapshots;
        self.queued.clear();
        self.admitted.clear();
        self.waiting.clear();
        self.paused_until = 0;
        self.stalled = false;
    }

    /// Takes writes from now on, in a history of its own that continues the one it had.
    pub(crate) fn lead(&mut self) {
        if self.follows.take().is_some() {
            let next = format!("{}>{}", self.lineage.0, self.address);
            self.lineage.1 = std::mem::replace(&mut self.lineage.0, next);
        }
    }

    /// Somebody else's server is at its address from now on: without a password, empty, and a master.
    pub(crate) fn replace(&mut self) {
        self.snapshots = false;
        self.start();
        self.door = Door::Open;
        self.offset = 0;
        self.follows = None;
    }

    /// What a login is answered.
    fn log_in(&mut self, from: Connection, user: &str, password: &str) -> Frame {
        if self.door == Door::Ours && (user, password) == ("duke", "data") {
            self.admitted.insert(from);
            return Frame::ok();
        }
        Frame::error("WRONGPASS invalid username-password pair or user is disabled.")
    }

    pub(crate) fn follow(&mut self, master: SocketAddr) {
        self.follows = Some(master);
        self.in_touch = false;
        self.synced = false;
    }

    /// A replica comes.
    pub(crate) fn attach(&mut self) {
        if !std::mem::replace(&mut self.backlog, true) {
            self.lineage = (format!("{}*", self.lineage.0), "0".to_owned());
        }
    }

    /// Has what its master has.
    pub(crate) fn copy(&mut self, offset: u64, lineage: (String, String)) {
        self.stalled = false;
        self.in_touch = true;
        self.synced = true;
        self.backlog = true;
        self.offset = offset;
        self.lineage = lineage;
    }

    pub(crate) fn take(&mut self, now: u64, from: Connection, words: &[String]) -> Effect {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let ["AUTH", user, password] = words.as_slice() {
            let reply = self.log_in(from, user, password);
            return Effect::of(reply);
        }
        if self.door != Door::Open && !self.admitted.contains(&from) {
            let reply = Frame::error("NOAUTH Authentication required.");
            return Effect::of(reply);
        }
        if let Some(queue) = self.queued.get_mut(&from)
            && words != ["EXEC"]
        {
            queue.push(words.iter().map(|word| (*word).to_owned()).collect());
            return Effect::of(Frame::simple("QUEUED"));
        }
        match words.as_slice() {
            ["PING"] if self.loading => {
                Effect::of(Frame::error("LOADING the dataset is in memory soon"))
            }
            ["PING"] => Effect::of(Frame::simple("PONG")),
            ["INFO"] => Effect::of(Frame::bulk(self.info())),
            ["MULTI"] => {
                self.queued.insert(from, Vec::new());
                Effect::of(Frame::ok())
            }
            ["EXEC"] => self.execute(now, from),
            ["REPLICAOF", ip, port] => self.replicate(ip, port),
            ["CLIENT", "KILL", ..] => Effect {
                kills: true,
                ..Effect::of(Frame::Integer(0))
            },
            ["CLIENT", "PAUSE" | "UNPAUSE", ..] if self.forbids_pause => Effect::of(Frame::error(
                "NOPERM User duke has no permissions to run the 'client|pause' command",
            )),
            ["CLIENT", "PAUSE", millis, "WRITE"] => {
                self.paused_until = now + millis.parse::<u64>().unwrap();
                Effect {
                    tells: Some("holds its clients' writes"),
                    ..Effect::of(Frame::ok())
                }
            }
            ["CLIENT", "UNPAUSE"] => {
                self.paused_until = 0;
                Effect {
                    tells: Some("holds no writes any more"),
                    ..Effect::of(Frame::ok())
                }
            }
            ["CLIENT", ..] => Effect::of(Frame::ok()),
            other => panic!("a Duke sent {other:?} to a data node"),
        }
    }

    fn execute(&mut self, now: u64, from: Connection) -> Effect {
        let queue = self.queued.remove(&from).unwrap_or_default();
        if self.forbids_roles {
            return Effect::of(Frame::error(
                "EXECABORT Transaction discarded because of previous errors.",
            ));
        }
        let mut whole = Effect::of(Frame::Null);
        let mut replies = Vec::new();
        for words in queue {
            let effect = self.take(now, from, &words);
            whole.kills |= effect.kills;
            whole.changes |= effect.changes;
            whole.tells = whole.tells.or(effect.tells);
            replies.push(effect.reply);
        }
        whole.reply = Frame::Array(replies);
        whole
    }

    fn replicate(&mut self, ip: &str, port: &str) -> Effect {
        let before = self.follows;
        let master = (ip != "NO").then(|| format!("{ip}:{port}").parse::<SocketAddr>().unwrap());
        match master {
            None => self.lead(),
            // As the server: the same master again changes nothing.
            Some(master) if self.follows == Some(master) => {}
            Some(master) => self.follow(master),
        }
        let nowhere = Some(NOWHERE.parse().unwrap());
        Effect {
            changes: before != self.follows,
            tells: (before.is_none() && self.follows == nowhere)
                .then_some("makes way: it follows nothing"),
            ..Effect::of(Frame::ok())
        }
    }

    fn info(&self) -> String {
        let (now, before) = &self.lineage;
        let loading = u8::from(self.loading);
        let host = self.address.to_string();
        let host: String = host.chars().filter(char::is_ascii_digit).collect();
        let mut text = format!(
            "run_id:{host:0>32}{:08x}\r\nloading:{loading}\r\nmaster_failover_state:no-failover\r\n\
             master_replid:{now}\r\nmaster_replid2:{before}\r\n",
            self.life
        );
        let offset = self.offset;
        if offset > 0 && !self.loading {
            write!(text, "db0:keys={offset},expires=0\r\n").unwrap();
        }
        let Some(master) = self.follows else {
            write!(text, "role:master\r\nmaster_repl_offset:{offset}\r\n").unwrap();
            return text;
        };
        let (link, down) = match (self.in_touch, self.synced) {
            (true, _) => ("up", ""),
            (false, true) => ("down", "master_link_down_since_seconds:0\r\n"),
            (false, false) => ("down", "master_link_down_since_seconds:-1\r\n"),
        };
        write!(
            text,
            "role:slave\r\nmaster_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{link}\r\n{down}\
             slave_repl_offset:{offset}\r\nslave_priority:{}\r\n",
            master.ip(),
            master.port(),
            self.priority,
        )
        .unwrap();
        text
    }
}

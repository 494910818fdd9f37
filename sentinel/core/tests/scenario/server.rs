//! A data server as far as a Duke can tell: its role, its data's length, INFO, and the few commands
//! Dukes send.

use std::{collections::BTreeMap, net::SocketAddr};

use duke_resp::Frame;

/// Where every server starts: following nothing.
const NOWHERE: &str = "127.0.0.1:1";

/// One connection to a server, named by who opened it.
pub(crate) type Connection = (usize, u64);

/// A data server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) alive: bool,
    pub(crate) frozen: bool,
    /// How often its process was started.
    pub(crate) life: u32,
    pub(crate) follows: Option<SocketAddr>,
    pub(crate) in_touch: bool,
    pub(crate) offset: u64,
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
            offset: 0,
            queued: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Starts the process again, with the data it has.
    pub(crate) fn start(&mut self) {
        self.alive = true;
        self.frozen = false;
        self.life += 1;
        self.follows = Some(NOWHERE.parse().unwrap());
        self.in_touch = false;
        self.queued.clear();
        self.waiting.clear();
    }

    pub(crate) fn take(&mut self, from: Connection, words: &[String]) -> Effect {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(queue) = self.queued.get_mut(&from)
            && words != ["EXEC"]
        {
            queue.push(words.iter().map(|word| (*word).to_owned()).collect());
            return Effect {
                reply: Frame::simple("QUEUED"),
                kills: false,
            };
        }
        let mut kills = false;
        let reply = match words.as_slice() {
            ["PING"] => Frame::simple("PONG"),
            ["INFO"] => Frame::bulk(self.info()),
            ["MULTI"] => {
                self.queued.insert(from, Vec::new());
                Frame::ok()
            }
            ["EXEC"] => {
                let queue = self.queued.remove(&from).unwrap_or_default();
                let mut replies = Vec::new();
                for words in queue {
                    let effect = self.take(from, &words);
                    kills |= effect.kills;
                    replies.push(effect.reply);
                }
                Frame::Array(replies)
            }
            ["REPLICAOF", "NO", "ONE"] => {
                self.follows = None;
                Frame::ok()
            }
            ["REPLICAOF", ip, port] => {
                self.follows = Some(format!("{ip}:{port}").parse().unwrap());
                self.in_touch = false;
                Frame::ok()
            }
            ["CLIENT", "KILL", ..] => {
                kills = true;
                Frame::Integer(0)
            }
            ["AUTH" | "CLIENT", ..] => Frame::ok(),
            other => panic!("a Duke sent {other:?} to a data node"),
        };
        Effect { reply, kills }
    }

    fn info(&self) -> String {
        let mut text = format!("run_id:{}-{}\r\nloading:0\r\n", self.address, self.life);
        match self.follows {
            None => text += &format!("role:master\r\nmaster_repl_offset:{}\r\n", self.offset),
            Some(master) => {
                let link = if self.in_touch { "up" } else { "down" };
                text += &format!(
                    "role:slave\r\nmaster_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{link}\r\n\
                     slave_repl_offset:{}\r\nslave_priority:100\r\n",
                    master.ip(),
                    master.port(),
                    self.offset
                );
            }
        }
        text
    }
}

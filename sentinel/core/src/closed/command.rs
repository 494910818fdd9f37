//! The commands a Duke takes: the names, who may use them, and the short ones themselves.
//!
//! Error texts, reply shapes and the order of fields are Sentinel's, because clients and tools
//! depend on them.

mod duke;
mod order;
mod report;
mod sentinel;

pub(crate) use self::sentinel::address_reply;

use std::fmt::Write as _;

use duke_resp::{Frame, Protocol};

use crate::{
    closed::{Closed, member::Hello, session::Right},
    id::ClientId,
    output::Output,
    subscription,
    time::millis,
    words::{Words, no_permission, ping, shortened, unknown, wrong_arity},
};

/// Where Dukes tell each other of themselves.
pub(crate) const HELLO_CHANNEL: &str = "__sentinel__:hello";
/// The longest name a client may give itself, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Every command there is, for COMMAND.
const COMMANDS: &[&str] = &[
    "auth",
    "client",
    "command",
    "duke",
    "hello",
    "info",
    "ping",
    "psubscribe",
    "publish",
    "punsubscribe",
    "role",
    "sentinel",
    "shutdown",
    "subscribe",
    "unsubscribe",
];

/// Whether a command changes nothing that must be remembered, and its answer promises nothing: it
/// need not wait for the disk.
pub(crate) fn only_looks(words: Words<'_>) -> bool {
    match words.lower(0).as_str() {
        "auth" | "client" | "command" | "info" | "ping" | "role" => true,
        "duke" => is_report(words),
        "sentinel" => sentinel::only_looks(words),
        _ => false,
    }
}

/// Whether it is the operator's question for everything there is to know.
pub(crate) fn is_report(words: Words<'_>) -> bool {
    words.lower(0) == "duke" && words.lower(1) == "status"
}

/// Whether it may be another Duke's hello.
pub(crate) fn is_hello(words: Words<'_>) -> bool {
    words.lower(0) == "publish"
}

/// Whether whoever asks this says by it what it thinks of the master.
pub(crate) fn tells_opinion(words: Words<'_>) -> bool {
    words.lower(0) == "sentinel" && sentinel::asks_opinion(words)
}

/// Whether the answer to a command tells clients where to write, or the operator, who tells them.
pub(crate) fn names_master(words: Words<'_>) -> bool {
    match words.lower(0).as_str() {
        "duke" => is_report(words),
        "sentinel" => sentinel::names_master(words),
        _ => false,
    }
}

impl Closed {
    /// Everything there is to say to one command.
    pub(crate) fn answers(&mut self, client: ClientId, words: Words<'_>) -> Vec<Frame> {
        let name = words.lower(0);
        let session = self.session(client);
        let subscribed = session.only_listens();
        let subscribing = matches!(
            name.as_str(),
            "subscribe" | "psubscribe" | "unsubscribe" | "punsubscribe" | "ping" | "quit"
        );
        if subscribed && !subscribing {
            return vec![Frame::error(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
                 allowed in this context"
            ))];
        }
        if subscription::is_command(&name) {
            let names = words.0.get(1..).unwrap_or_default();
            if names.is_empty() && !name.contains("un") {
                return vec![wrong_arity(&name)];
            }
            return session.subscriptions.change(&name, names);
        }
        if name == "quit" {
            self.emit(Output::Answer {
                client,
                reply: Frame::ok(),
            });
            self.emit(Output::Close { client });
            return Vec::new();
        }
        vec![self.answer(client, &name, words, subscribed)]
    }

    fn answer(
        &mut self,
        client: ClientId,
        name: &str,
        words: Words<'_>,
        subscribed: bool,
    ) -> Frame {
        match (name, words.len()) {
            ("ping", 1 | 2) => ping(words, subscribed),
            ("auth", 2) => Frame::error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                 your configuration is correct?",
            ),
            ("auth", 3) => self.authenticate(client, words.text(1), words.text(2)),
            ("client", 2..) => self.client_command(client, words),
            ("command", _) => command_command(words),
            ("duke", 2..) => self.duke_command(client, words),
            ("hello", _) => self.hello_command(client, words),
            ("info", _) => self.info_command(words),
            ("publish", 3) => self.publish_command(client, words),
            ("role", 1) => Frame::Array(vec![
                Frame::bulk("sentinel"),
                Frame::Array(self.known_names().into_iter().map(Frame::bulk).collect()),
            ]),
            ("sentinel", 2..) => self.sentinel_command(client, words),
            ("shutdown", _) if self.right(client) < Right::Admin => no_permission("shutdown"),
            ("shutdown", _) => {
                self.emit(Output::Shutdown);
                Frame::ok()
            }
            (known, _) if COMMANDS.contains(&known) => wrong_arity(known),
            (_, _) => unknown(words),
        }
    }

    /// The master's name, if there is a master to speak of.
    pub(crate) fn known_names(&self) -> Vec<String> {
        self.durable
            .master
            .map(|_| self.settings.group.clone())
            .into_iter()
            .collect()
    }

    fn client_command(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        let sub = words.lower(1);
        let session = self.session(client);
        match (sub.as_str(), words.len()) {
            ("id", 2) => Frame::number(client.0),
            ("getname", 2) if session.name.is_empty() => Frame::Null,
            ("getname", 2) => Frame::bulk(session.name.clone()),
            ("setname", 3) => self
                .set_name(client, words.text(2))
                .unwrap_or_else(Frame::ok),
            ("setinfo", 4) => Frame::ok(),
            ("info", 2) => Frame::bulk(format!(
                "id={} addr={} name={} user={} resp={}\n",
                client.0,
                session.address,
                session.name,
                session.user,
                if session.typed { 3 } else { 2 },
            )),
            ("id" | "getname" | "setname" | "setinfo" | "info", _) => {
                wrong_arity(&format!("client|{sub}"))
            }
            (_, _) => Frame::error(format!(
                "ERR unknown subcommand '{}'. Try CLIENT HELP.",
                shortened(words.text(1))
            )),
        }
    }

    /// Gives a client the name it wants; the error to answer if it may not have it.
    fn set_name(&mut self, client: ClientId, name: &str) -> Option<Frame> {
        let is_printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_printable || name.len() > NAME_BYTES_MAX {
            return Some(Frame::error(
                "ERR Client names cannot contain spaces, newlines or special characters.",
            ));
        }
        name.clone_into(&mut self.session(client).name);
        None
    }

    fn hello_command(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        let mut at = 1;
        let mut protocol = None;
        if words.len() > 1 {
            protocol = match words.text(1).parse::<i64>() {
                Ok(2) => Some(Protocol::Resp2),
                Ok(3) => Some(Protocol::Resp3),
                Ok(_) => return Frame::error("NOPROTO unsupported protocol version"),
                Err(_) => {
                    return Frame::error("ERR Protocol version is not an integer or out of range");
                }
            };
            at = 2;
        }
        while at < words.len() {
            let left = words.len().saturating_sub(at);
            let (user, password) = (at.saturating_add(1), at.saturating_add(2));
            match words.lower(at).as_str() {
                "auth" if left >= 3 => {
                    let reply = self.authenticate(client, words.text(user), words.text(password));
                    if matches!(reply, Frame::Error(_)) {
                        return reply;
                    }
                    at = at.saturating_add(3);
                }
                "setname" if left >= 2 => {
                    if let Some(refusal) = self.set_name(client, words.text(user)) {
                        return refusal;
                    }
                    at = at.saturating_add(2);
                }
                _ => {
                    let word = shortened(words.text(at));
                    return Frame::error(format!("ERR Syntax error in HELLO option '{word}'"));
                }
            }
        }
        if let Some(protocol) = protocol {
            self.session(client).typed = protocol == Protocol::Resp3;
            self.emit(Output::Protocol { client, protocol });
        }
        let typed = self.session(client).typed;
        let pair = |key: &'static str, value: Frame| (Frame::bulk(key), value);
        Frame::Map(vec![
            pair("server", Frame::bulk("redis")),
            pair("version", Frame::bulk(VERSION)),
            pair("proto", Frame::Integer(if typed { 3 } else { 2 })),
            pair("id", Frame::number(client.0)),
            pair("mode", Frame::bulk("sentinel")),
            pair("modules", Frame::Array(Vec::new())),
        ])
    }

    fn publish_command(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        if words.text(1) != HELLO_CHANNEL {
            return Frame::error("ERR Only HELLO messages are accepted by Sentinel instances.");
        }
        if self.right(client) < Right::Peer {
            return no_permission("publish");
        }
        if let Some(hello) = Hello::read(words.text(2)) {
            if self.peers.contains_key(&hello.id) {
                self.session(client).peer = Some(hello.id.clone());
            }
            self.hear(&hello);
        }
        Frame::Integer(1)
    }

    fn info_command(&self, words: Words<'_>) -> Frame {
        let wanted: Vec<String> = (1..words.len()).map(|index| words.lower(index)).collect();
        let all = wanted.is_empty()
            || wanted
                .iter()
                .any(|name| matches!(name.as_str(), "all" | "default" | "everything"));
        let wants = |name: &str| all || wanted.iter().any(|wanted| wanted == name);
        let mut sections = Vec::new();
        if wants("server") {
            sections.push(format!(
                "# Server\r\nredis_version:{VERSION}\r\nredis_mode:sentinel\r\nrun_id:{}\r\ntcp_port:{}\r\n\
                 uptime_in_seconds:{}\r\nexecutable:/duke\r\nconfig_file:\r\n",
                self.durable.id,
                self.settings.port,
                self.uptime().as_secs(),
            ));
        }
        if wants("clients") {
            sections.push(format!(
                "# Clients\r\nconnected_clients:{}\r\nmaxclients:{}\r\n",
                self.sessions.len(),
                self.settings.clients_max,
            ));
        }
        if wants("sentinel") {
            sections.push(self.info_sentinel());
        }
        Frame::bulk(sections.join("\r\n"))
    }

    fn info_sentinel(&self) -> String {
        let mut text = String::from("# Sentinel\r\n");
        let names = self.known_names();
        // Writing to a String cannot fail.
        let _ok = write!(
            text,
            "sentinel_masters:{}\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n\
             sentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\n\
             sentinel_simulate_failure_flags:0\r\n",
            names.len(),
        );
        if let Some(master) = self.durable.master {
            let status = match (self.agreed_down, self.master_down()) {
                (true, _) => "odown",
                (false, Some(_)) => "sdown",
                (false, None) => "ok",
            };
            let _ok = write!(
                text,
                "master0:name={},status={status},address={master},slaves={},sentinels={}\r\n",
                self.settings.group,
                self.nodes.len().saturating_sub(1),
                self.peers.len().saturating_add(1),
            );
        }
        text
    }

    /// Whole milliseconds from then to now.
    pub(crate) fn age(&self, since: crate::time::Time) -> u64 {
        millis(self.now.since(since))
    }
}

/// The version of Sentinel whose behaviour is matched; clients switch features by it.
const VERSION: &str = "7.2.0";

fn command_command(words: Words<'_>) -> Frame {
    match (words.lower(1).as_str(), words.len()) {
        ("count", 2) => Frame::number(COMMANDS.len()),
        ("docs", _) => Frame::Map(Vec::new()),
        ("list", 2) => Frame::Array(COMMANDS.iter().map(|name| Frame::bulk(*name)).collect()),
        ("info", _) => Frame::Array((2..words.len()).map(|_| Frame::NullArray).collect()),
        (_, 1) => Frame::Array(Vec::new()),
        (_, _) => Frame::error(format!(
            "ERR unknown subcommand '{}'. Try COMMAND HELP.",
            shortened(words.text(1))
        )),
    }
}

//! `CLIENT`: what connections say of themselves and can do to each other.

use std::fmt::Write as _;

use duke_resp::{Bytes, Frame};

use super::{Reply, lines, unknown_sub};
use crate::{
    id::ClientId,
    open::{
        Open,
        session::{Replies, Session},
    },
    words::{Words, shortened},
};

/// The longest name a client may give itself, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Text for people, which RESP3 marks as such.
fn prose(text: String) -> Frame {
    Frame::Verbatim {
        format: *b"txt",
        text: Bytes::from(text),
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Open {
    pub(super) fn client_command(&mut self, client: ClientId, words: Words<'_>) -> Reply {
        let sub = words.lower(1);
        let Some(session) = self.sessions.get_mut(&client) else {
            return Reply::None;
        };
        let frame = match sub.as_str() {
            "id" => Frame::number(client.0),
            "getname" if session.name.is_empty() => Frame::Null,
            "getname" => Frame::bulk(session.name.clone()),
            "setname" => {
                let name = words.text(2).to_owned();
                self.set_name(client, &name).unwrap_or_else(Frame::ok)
            }
            "setinfo" => set_info(session, words),
            "info" => prose(self.describe(client)),
            "list" => self.list_clients(words),
            "kill" => self.kill_clients(client, words),
            "help" => lines(HELP),
            "getredir" => Frame::Integer(-1),
            "unblock" => Frame::Integer(0),
            // Nothing is paused, tracked or evicted here; who asks for it is not refused, as stock.
            "no-evict" if !matches!(words.lower(2).as_str(), "on" | "off") => {
                Frame::error("ERR syntax error")
            }
            "pause" => pause(words),
            "reply" => return self.set_replies(client, words),
            "caching" => Frame::error(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
                 OPTOUT mode enabled",
            ),
            "no-evict" | "unpause" | "tracking" => Frame::ok(),
            "trackinginfo" => Frame::Map(vec![
                (Frame::bulk("flags"), Frame::Set(vec![Frame::bulk("off")])),
                (Frame::bulk("redirect"), Frame::Integer(-1)),
                (Frame::bulk("prefixes"), Frame::Array(Vec::new())),
            ]),
            _ => unknown_sub(words),
        };
        Reply::Now(frame)
    }

    /// `CLIENT REPLY ON | OFF | SKIP`
    fn set_replies(&mut self, client: ClientId, words: Words<'_>) -> Reply {
        let replies = match words.lower(2).as_str() {
            "on" => Replies::All,
            "off" => Replies::None,
            "skip" => Replies::NotTheNext,
            _ => return Reply::Now(Frame::error("ERR syntax error")),
        };
        if let Some(session) = self.sessions.get_mut(&client) {
            session.replies = replies;
        }
        if replies == Replies::All {
            Reply::Now(Frame::ok())
        } else {
            Reply::None
        }
    }

    /// Names a connection; the refusal if that is no name.
    pub(super) fn set_name(&mut self, client: ClientId, name: &str) -> Option<Frame> {
        if !is_name(name) {
            return Some(Frame::error(
                "ERR Client names cannot contain spaces, newlines or special characters.",
            ));
        }
        if let Some(session) = self.sessions.get_mut(&client) {
            name.clone_into(&mut session.name);
        }
        None
    }

    /// One line of `CLIENT LIST`.
    pub(super) fn describe(&self, client: ClientId) -> String {
        let Some(session) = self.sessions.get(&client) else {
            return String::new();
        };
        let flags = if self.subscribers.contains(&client) {
            "P"
        } else {
            "N"
        };
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ok = writeln!(
            line,
            "id={} addr={} laddr=0.0.0.0:{} fd=-1 name={} age={} idle={} flags={flags} db=0 sub={} psub={} \
             ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 \
             omem=0 tot-mem=0 events=r cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            client.0,
            session.address,
            self.conf.server.port,
            session.name,
            self.now.since(session.joined).as_secs(),
            self.now.since(session.last_at).as_secs(),
            session.subscriptions.channels.len(),
            session.subscriptions.patterns.len(),
            session.last_command,
            session.user.as_deref().unwrap_or("default"),
            if session.typed { 3 } else { 2 },
            session.lib_name,
            session.lib_ver,
        );
        line
    }

    fn list_clients(&self, words: Words<'_>) -> Frame {
        let kind = words.lower(3);
        let kinds = ["normal", "pubsub", "master", "replica", "slave"];
        match (words.len(), words.lower(2).as_str()) {
            (4, "type") if !kinds.contains(&kind.as_str()) => {
                let word = shortened(words.text(3));
                return Frame::error(format!("ERR Unknown client type '{word}'"));
            }
            (2, _) | (4, "type") | (4.., "id") => {}
            _ => return Frame::error("ERR syntax error"),
        }
        let wanted = |client: &ClientId| match words.lower(2).as_str() {
            "type" => match words.lower(3).as_str() {
                "normal" => !self.is_subscriber(*client),
                "pubsub" => self.is_subscriber(*client),
                _ => false,
            },
            "id" => (3..words.len()).any(|index| words.text(index) == client.0.to_string()),
            _ => true,
        };
        let listed = self.sessions.keys().filter(|client| wanted(client));
        let lines: Vec<String> = listed.map(|client| self.describe(*client)).collect();
        prose(lines.concat())
    }

    fn is_subscriber(&self, client: ClientId) -> bool {
        self.subscribers.contains(&client)
    }

    /// `CLIENT KILL addr` or `CLIENT KILL [filter value …]`.
    fn kill_clients(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        if words.len() == 3 {
            let address = words.text(2);
            let found = self
                .sessions
                .iter()
                .find(|(_, session)| session.address.to_string() == address)
                .map(|(found, _)| *found);
            let Some(found) = found else {
                return Frame::error("ERR No such client");
            };
            self.close(found);
            return Frame::ok();
        }
        let mut skips_me = true;
        let mut filters = Vec::new();
        let mut at = 2;
        while at < words.len() {
            let (name, value) = (words.lower(at), words.text(at.saturating_add(1)).to_owned());
            let valid = match name.as_str() {
                "skipme" => matches!(value.to_ascii_lowercase().as_str(), "yes" | "no"),
                "id" | "maxage" => value.parse::<u64>().is_ok(),
                "addr" | "laddr" | "type" | "user" => !value.is_empty(),
                _ => false,
            };
            if !valid {
                return Frame::error("ERR syntax error");
            }
            if name == "user" && !self.users.0.contains_key(&value) {
                return Frame::error(format!("ERR No such user '{value}'"));
            }
            if name == "skipme" {
                skips_me = value.eq_ignore_ascii_case("yes");
            } else {
                filters.push((name, value));
            }
            at = at.saturating_add(2);
        }
        let doomed: Vec<ClientId> = self
            .sessions
            .iter()
            .filter(|(id, session)| {
                let meant = filters
                    .iter()
                    .all(|(name, value)| self.is_meant(**id, session, name, value));
                meant && !(skips_me && **id == client)
            })
            .map(|(id, _)| *id)
            .collect();
        let count = doomed.len();
        let mine = doomed.contains(&client);
        for doomed in doomed.into_iter().filter(|doomed| *doomed != client) {
            self.close(doomed);
        }
        if mine {
            self.leaving.push(client);
        }
        Frame::number(count)
    }

    fn is_meant(&self, id: ClientId, session: &Session, name: &str, value: &str) -> bool {
        match name {
            "id" => id.0.to_string() == value,
            "addr" => session.address.to_string() == value,
            "user" => session.user.as_deref() == Some(value),
            "maxage" => {
                let age = self.now.since(session.joined).as_secs();
                value.parse().is_ok_and(|least: u64| age >= least)
            }
            "type" => match value.to_ascii_lowercase().as_str() {
                "normal" => !self.is_subscriber(id),
                "pubsub" => self.is_subscriber(id),
                _ => false,
            },
            _ => false,
        }
    }
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
fn pause(words: Words<'_>) -> Frame {
    if words.len() > 4 {
        return Frame::error("ERR syntax error");
    }
    if words.len() == 4 && !matches!(words.lower(3).as_str(), "write" | "all") {
        return Frame::error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
    match words.text(2).parse::<i64>() {
        Err(_) => Frame::error("ERR timeout is not an integer or out of range"),
        Ok(..0) => Frame::error("ERR timeout is negative"),
        Ok(_) => Frame::ok(),
    }
}

fn set_info(session: &mut Session, words: Words<'_>) -> Frame {
    let value = words.text(3);
    if !is_name(value) {
        return Frame::error(format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            words.lower(2)
        ));
    }
    match words.lower(2).as_str() {
        "lib-name" => value.clone_into(&mut session.lib_name),
        "lib-ver" => value.clone_into(&mut session.lib_ver),
        _ => {
            let word = words.text(2);
            return Frame::error(format!("ERR Unrecognized option '{word}'"));
        }
    }
    Frame::ok()
}

const HELP: &str = "\
CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
GETNAME
    The name of this connection.
ID
    The number of this connection.
INFO
    Everything about this connection.
KILL <ip:port> | <option> <value> [...]
    Close connections.
LIST [options ...]
    Everything about all connections.
SETINFO <option> <value>
    Name the client's library.
SETNAME <name>
    Name this connection.
HELP
    Print this help.";

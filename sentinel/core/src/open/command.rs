//! The commands a Duke of open groups takes: names, who may use them, and the short ones themselves.
//!
//! Error texts, reply shapes and the order of fields are stock Sentinel's, because clients, tools
//! and its own test suite depend on them.

mod acl;
pub(crate) mod catalogue;
mod client;
mod config;
mod debug;
pub(crate) mod directory;
mod failover;
mod help;
mod monitor;
mod query;
mod report;
mod sentinel;
mod set;

use duke_resp::{Bytes, Frame, Protocol};

use super::{
    Open,
    acl::log::{Denial, Reason},
    hello::CHANNEL,
};
use crate::{
    id::ClientId,
    output::Output,
    subscription,
    words::{Words, ping, shortened, unknown, wrong_arity},
};

/// What a command is answered with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// This.
    Now(Frame),
    /// `+OK` or an error, once the file with this number is written or cannot be.
    WhenSaved(u64),
    /// The command is to be given again: something it needs was asked for.
    AskAgain,
    /// The answer comes when what was asked for is done.
    Later,
    /// Nothing.
    None,
}

/// Why a command is not obeyed.
enum Refusal {
    /// With this answer.
    Plain(Frame),
    /// For want of permission.
    Denied(Denial),
}

const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// The channels a command is about, which a user may be forbidden.
fn channels<'a>(name: &str, words: Words<'a>) -> &'a [Bytes] {
    let named = words.0.get(1..).unwrap_or_default();
    match name {
        "publish" => named.get(..1).unwrap_or_default(),
        "subscribe" | "psubscribe" => named,
        _ => &[],
    }
}

/// The version of Sentinel whose behaviour is matched; clients switch features by it.
pub(crate) const VERSION: &str = "7.2.0";

/// Whether a command changes nothing that must be remembered, and its answer promises nothing: it
/// need not wait for the disk.
pub(super) fn only_looks(words: Words<'_>) -> bool {
    match words.lower(0).as_str() {
        "auth" | "client" | "command" | "info" | "ping" | "role" | "hello" | "acl"
        | "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" => true,
        "sentinel" => sentinel::only_looks(words),
        _ => false,
    }
}

impl Open {
    /// Everything there is to say to one command.
    pub(super) fn replies(&mut self, client: ClientId, words: Words<'_>) -> Vec<Reply> {
        let name = words.lower(0);
        self.note_command(client, &name);
        let Some(session) = self.sessions.get(&client) else {
            return Vec::new();
        };
        let subscribed = session.only_listens();
        if let Some(refusal) = self.refusal(client, &name, words, subscribed) {
            return vec![Reply::Now(self.refuse(client, refusal))];
        }
        if subscription::is_command(&name) {
            let frames = self.change_subscriptions(client, &name, words);
            return frames.into_iter().map(Reply::Now).collect();
        }
        if name == "quit" {
            self.emit(Output::Answer {
                client,
                reply: Frame::ok(),
            });
            self.close(client);
            return Vec::new();
        }
        vec![self.reply(client, &name, words, subscribed)]
    }

    /// Why this client may not give this command now, if it may not.
    fn refusal(
        &self,
        client: ClientId,
        name: &str,
        words: Words<'_>,
        subscribed: bool,
    ) -> Option<Refusal> {
        if !catalogue::has(name) && name != "quit" {
            return Some(Refusal::Plain(unknown(words)));
        }
        let session = self.sessions.get(&client)?;
        if let Some(fault) = catalogue::fault(words) {
            return Some(Refusal::Plain(fault));
        }
        let opens = matches!(name, "auth" | "hello" | "quit");
        let Some(user) = &session.user else {
            let refused = Refusal::Plain(Frame::error("NOAUTH Authentication required."));
            return (!opens).then_some(refused);
        };
        let denied = |reason, object| {
            Some(Refusal::Denied(Denial {
                reason,
                object,
                user: user.clone(),
            }))
        };
        let sub = words.lower(1);
        let known = self.users.0.get(user);
        if !opens && !known.is_some_and(|user| user.may(name, &sub)) {
            let object = if catalogue::is_container(name) {
                format!("{name}|{sub}")
            } else {
                name.to_owned()
            };
            return denied(Reason::Command, object);
        }
        let channels = channels(name, words);
        let by_pattern = name == "psubscribe";
        let refused = known.and_then(|user| user.refused_channel(name, channels, by_pattern));
        if let Some(channel) = refused {
            let object = shortened(&String::from_utf8_lossy(channel));
            return denied(Reason::Channel, object);
        }
        let listens = name.ends_with("subscribe") || matches!(name, "ping" | "quit");
        (subscribed && !listens).then(|| {
            Refusal::Plain(Frame::error(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
                 are allowed in this context"
            )))
        })
    }

    /// Says no, and notes it if it was for want of permission.
    fn refuse(&mut self, client: ClientId, refusal: Refusal) -> Frame {
        let denial = match refusal {
            Refusal::Plain(frame) => return frame,
            Refusal::Denied(denial) => denial,
        };
        let text = match denial.reason {
            Reason::Channel => {
                "NOPERM No permissions to access a channel used as an argument".to_owned()
            }
            Reason::Auth => WRONGPASS.to_owned(),
            Reason::Command => format!(
                "NOPERM User {} has no permissions to run the '{}' command",
                denial.user, denial.object
            ),
        };
        let told = self.describe(client).trim_end().to_owned();
        self.denials.note(self.now, denial, told);
        Frame::error(text)
    }

    fn reply(&mut self, client: ClientId, name: &str, words: Words<'_>, subscribed: bool) -> Reply {
        let frame = match name {
            "acl" => return self.acl_command(client, words),
            "sentinel" => return self.sentinel_command(client, words),
            "ping" => ping(words, subscribed),
            "auth" if words.len() == 2 => self.log_in_default(client, words.text(1)),
            "auth" => self.log_in_client(client, words.text(1), words.text(2)),
            "client" => return self.client_command(client, words),
            "command" => catalogue::command(words),
            "hello" => self.hello_command(client, words),
            "info" => return self.info_command(words),
            "publish" => self.publish_command(words),
            "role" => {
                let names = self.masters.keys().cloned().map(Frame::bulk).collect();
                Frame::Array(vec![Frame::bulk("sentinel"), Frame::Array(names)])
            }
            "shutdown" => return self.shutdown(words),
            _ => unknown(words),
        };
        Reply::Now(frame)
    }

    fn shutdown(&mut self, words: Words<'_>) -> Reply {
        let known = |word: &str| matches!(word, "nosave" | "save" | "now" | "force" | "abort");
        if (1..words.len()).any(|index| !known(&words.lower(index))) {
            return Reply::Now(Frame::error("ERR syntax error"));
        }
        self.emit(Output::Shutdown);
        Reply::Now(Frame::ok())
    }

    fn log_in_default(&mut self, client: ClientId, password: &str) -> Frame {
        let open = self.users.0.get("default").is_some_and(|user| user.nopass);
        if open {
            return Frame::error(
                "ERR AUTH <password> called without any password configured for the default user. Are \
                 you sure your configuration is correct?",
            );
        }
        self.log_in_client(client, "default", password)
    }

    /// `AUTH [user] password`
    fn log_in_client(&mut self, client: ClientId, user: &str, password: &str) -> Frame {
        if !self.users.knows(user, password) {
            let command = self.sessions.get(&client);
            let object = command.map_or_else(String::new, |session| session.last_command.clone());
            let denial = Denial {
                reason: Reason::Auth,
                object,
                user: shortened(user),
            };
            return self.refuse(client, Refusal::Denied(denial));
        }
        if let Some(session) = self.sessions.get_mut(&client) {
            session.user = Some(user.to_owned());
        }
        Frame::ok()
    }

    fn change_subscriptions(
        &mut self,
        client: ClientId,
        name: &str,
        words: Words<'_>,
    ) -> Vec<Frame> {
        let Some(session) = self.sessions.get_mut(&client) else {
            return Vec::new();
        };
        let names = words.0.get(1..).unwrap_or_default();
        let replies = session.subscriptions.change(name, names);
        if session.subscriptions.count() > 0 {
            self.subscribers.insert(client);
        } else {
            self.subscribers.remove(&client);
        }
        replies
    }

    fn hello_command(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        let protocol = match words.0.get(1).map(|_| words.text(1).parse::<i64>()) {
            None => None,
            Some(Ok(2)) => Some(Protocol::Resp2),
            Some(Ok(3)) => Some(Protocol::Resp3),
            Some(Ok(_)) => return Frame::error("NOPROTO unsupported protocol version"),
            Some(Err(_)) => {
                return Frame::error("ERR Protocol version is not an integer or out of range");
            }
        };
        let mut at = 2;
        while at < words.len() {
            let left = words.len().saturating_sub(at);
            let (first, second) = (at.saturating_add(1), at.saturating_add(2));
            match words.lower(at).as_str() {
                "auth" if left >= 3 => {
                    let reply = self.log_in_client(client, words.text(first), words.text(second));
                    if matches!(reply, Frame::Error(_)) {
                        return reply;
                    }
                    at = at.saturating_add(3);
                }
                "setname" if left >= 2 => {
                    if let Some(refused) = self.set_name(client, words.text(first)) {
                        return refused;
                    }
                    at = at.saturating_add(2);
                }
                _ => {
                    let word = shortened(words.text(at));
                    return Frame::error(format!("ERR Syntax error in HELLO option '{word}'"));
                }
            }
        }
        let Some(session) = self.sessions.get_mut(&client) else {
            return Frame::Null;
        };
        if session.user.is_none() {
            return Frame::error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                 <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
                 RESP protocol version at the same time",
            );
        }
        if let Some(protocol) = protocol {
            session.typed = protocol == Protocol::Resp3;
            // How answers are written promises nothing: it waits for no disk, nor does what follows it.
            self.tell(Output::Protocol { client, protocol });
        }
        let typed = self
            .sessions
            .get(&client)
            .is_some_and(|session| session.typed);
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

    fn publish_command(&mut self, words: Words<'_>) -> Frame {
        if words.text(1) != CHANNEL {
            return Frame::error("ERR Only HELLO messages are accepted by Sentinel instances.");
        }
        if let Some(text) = words.0.get(2) {
            self.take_hello(text);
        }
        Frame::Integer(1)
    }
}

/// `-ERR unknown subcommand 'x'. Try SENTINEL HELP.`
fn unknown_sub(words: Words<'_>) -> Frame {
    Frame::error(format!(
        "ERR unknown subcommand '{}'. Try {} HELP.",
        shortened(words.text(1)),
        words.text(0).to_ascii_uppercase()
    ))
}

/// `-ERR wrong number of arguments for 'sentinel|master' command`
fn wrong_sub_arity(words: Words<'_>) -> Frame {
    wrong_arity(&format!("{}|{}", words.lower(0), words.lower(1)))
}

/// Lines of HELP.
fn lines(text: &'static str) -> Frame {
    Frame::Array(text.lines().map(Frame::simple).collect())
}

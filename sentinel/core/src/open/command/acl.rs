//! `ACL`: users at run time.

mod file;

use duke_resp::Frame;

use super::{
    Reply,
    catalogue::{self, CATEGORIES},
    lines, unknown_sub,
};
use crate::{
    id::ClientId,
    open::{
        Open,
        acl::{
            Selector, User,
            log::{ENTRIES_MAX, Entry},
            merged,
        },
    },
    output::Output,
    time::millis,
    words::Words,
};

/// How many entries `ACL LOG` tells of if it is not said.
const LOG_DEFAULT: usize = 10;

impl Open {
    pub(super) fn acl_command(&mut self, client: ClientId, words: Words<'_>) -> Reply {
        let frame = match words.lower(1).as_str() {
            "cat" => categories(words),
            "deluser" => self.delete_users(client, words),
            "dryrun" => self.dry_run(words),
            "genpass" => self.generate(words),
            "getuser" => {
                let user = self.users.0.get(words.text(2));
                user.map_or(Frame::Null, tell)
            }
            "help" => lines(HELP),
            "list" => {
                let users = self.users.listed();
                let line = |line: String| Frame::bulk(format!("user {line}"));
                Frame::Array(users.into_iter().map(line).collect())
            }
            "load" => return self.load_users(client),
            "save" => return self.save_users(client),
            "log" => self.tell_log(words),
            "setuser" => self.set_user(words),
            "users" => Frame::Array(self.users.0.keys().cloned().map(Frame::bulk).collect()),
            "whoami" => {
                let user = self
                    .sessions
                    .get(&client)
                    .and_then(|session| session.user.clone());
                user.map_or(Frame::Null, Frame::bulk)
            }
            _ => unknown_sub(words),
        };
        Reply::Now(frame)
    }

    fn set_user(&mut self, words: Words<'_>) -> Frame {
        let name = words.text(2).to_owned();
        let known = self.users.0.get(&name).cloned();
        let mut user = known.unwrap_or_else(User::nobody);
        if words
            .0
            .iter()
            .any(|word| word.iter().any(u8::is_ascii_control))
        {
            return Frame::error("ERR Error in ACL SETUSER: control characters are not allowed");
        }
        let rules: Vec<String> = (3..words.len())
            .map(|index| words.text(index).to_owned())
            .collect();
        let rules = match merged(&rules) {
            Ok(rules) => rules,
            Err(word) => {
                return Frame::error(format!(
                    "ERR Unmatched parenthesis in acl selector starting at '{word}'."
                ));
            }
        };
        for rule in rules {
            if let Err(reason) = user.apply(&rule) {
                return Frame::error(format!(
                    "ERR Error in ACL SETUSER modifier '{rule}': {reason}"
                ));
            }
        }
        self.users.0.insert(name, user);
        self.tell(Output::Distrust);
        Frame::ok()
    }

    /// Closes the connections of everybody a rule says; the one that asks is answered first.
    fn part_from(&mut self, client: ClientId, leaves: impl Fn(&str) -> bool) {
        let theirs: Vec<ClientId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.user.as_deref().is_some_and(&leaves))
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            if id == client {
                self.leaving.push(id);
            } else {
                self.close(id);
            }
        }
    }

    /// `ACL LOG [count | RESET]`
    fn tell_log(&mut self, words: Words<'_>) -> Frame {
        if words.len() > 3 {
            return super::wrong_sub_arity(words);
        }
        if words.lower(2) == "reset" {
            self.denials.clear();
            return Frame::ok();
        }
        let count = match words.0.get(2).map(|_| words.text(2).parse::<i64>()) {
            None => LOG_DEFAULT,
            Some(Ok(count)) => usize::try_from(count).unwrap_or(0).min(ENTRIES_MAX),
            Some(Err(_)) => {
                return Frame::error("ERR value is not an integer or out of range");
            }
        };
        let told = self.denials.entries().take(count);
        Frame::Array(told.map(|entry| self.tell_denial(entry)).collect())
    }

    fn tell_denial(&self, entry: &Entry) -> Frame {
        let wall = |at: crate::time::Time| {
            let since = millis(at.since(self.started));
            Frame::number(self.conf.started_unix_ms.saturating_add(since))
        };
        let age = self.now.since(entry.last).as_secs_f64();
        let pair = |key: &'static str, value: Frame| (Frame::bulk(key), value);
        Frame::Map(vec![
            pair("count", Frame::number(entry.count)),
            pair("reason", Frame::bulk(entry.denial.reason.word())),
            pair("context", Frame::bulk("toplevel")),
            pair("object", Frame::bulk(entry.denial.object.clone())),
            pair("username", Frame::bulk(entry.denial.user.clone())),
            pair("age-seconds", Frame::Double(age)),
            pair("client-info", Frame::bulk(entry.client.clone())),
            pair("entry-id", Frame::number(entry.id)),
            pair("timestamp-created", wall(entry.first)),
            pair("timestamp-last-updated", wall(entry.last)),
        ])
    }

    fn delete_users(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        let names: Vec<String> = (2..words.len())
            .map(|index| words.text(index).to_owned())
            .collect();
        if names.iter().any(|name| name == "default") {
            return Frame::error("ERR The 'default' user cannot be removed");
        }
        let mut count = 0_i64;
        for name in names {
            if self.users.0.remove(&name).is_none() {
                continue;
            }
            count = count.saturating_add(1);
            self.tell(Output::Distrust);
            self.part_from(client, |user| user == name);
        }
        Frame::Integer(count)
    }

    fn dry_run(&self, words: Words<'_>) -> Frame {
        let name = words.text(2);
        let Some(user) = self.users.0.get(name) else {
            return Frame::error(format!("ERR User '{name}' not found"));
        };
        let command = words.lower(3);
        if !catalogue::has(&command) {
            return Frame::error(format!("ERR Command '{}' not found", words.text(3)));
        }
        if user.may(&command, &words.lower(4)) {
            return Frame::ok();
        }
        Frame::bulk(format!(
            "User {name} has no permissions to run the '{command}' command"
        ))
    }

    fn generate(&mut self, words: Words<'_>) -> Frame {
        let bits = match words.0.get(2).map(|_| words.text(2).parse::<i64>()) {
            None => 256,
            Some(Ok(bits)) if (1..=4096).contains(&bits) => bits.unsigned_abs(),
            Some(Err(_)) => {
                return Frame::error("ERR value is not an integer or out of range");
            }
            Some(Ok(_)) => {
                return Frame::error(
                    "ERR ACL GENPASS argument must be the number of bits for the output password, a \
                     positive number up to 4096",
                );
            }
        };
        let digits = (0..bits.div_ceil(4)).map(|_| {
            let digit = u32::try_from(self.random_below(16)).unwrap_or(0);
            char::from_digit(digit, 16).unwrap_or('0')
        });
        Frame::bulk(digits.collect::<String>())
    }
}

fn categories(words: Words<'_>) -> Frame {
    if words.len() == 2 {
        return Frame::Array(CATEGORIES.iter().map(|name| Frame::bulk(*name)).collect());
    }
    let category = words.lower(2);
    if !CATEGORIES.contains(&category.as_str()) {
        return Frame::error(format!("ERR Unknown category '{}'", words.text(2)));
    }
    let within = catalogue::within(&category);
    Frame::Array(within.into_iter().map(Frame::bulk).collect())
}

fn tell(user: &User) -> Frame {
    let mut flags = vec![Frame::bulk(if user.enabled { "on" } else { "off" })];
    if user.nopass {
        flags.push(Frame::bulk("nopass"));
    }
    if user.sanitizes {
        flags.push(Frame::bulk("sanitize-payload"));
    }
    let passwords = user.passwords.iter().cloned().map(Frame::bulk).collect();
    let mut fields = vec![
        (Frame::bulk("flags"), Frame::Set(flags)),
        (Frame::bulk("passwords"), Frame::Array(passwords)),
    ];
    fields.extend(permissions(&user.own));
    let others = user.others.iter();
    let others = others.map(|selector| Frame::Map(permissions(selector).into()));
    fields.push((Frame::bulk("selectors"), Frame::Array(others.collect())));
    Frame::Map(fields)
}

fn permissions(selector: &Selector) -> [(Frame, Frame); 3] {
    [
        ("commands", &selector.commands),
        ("keys", &selector.keys),
        ("channels", &selector.channels),
    ]
    .map(|(name, rules)| (Frame::bulk(name), Frame::bulk(rules.join(" "))))
}

const HELP: &str = "\
ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CAT [<category>]
    Categories, or the commands of one.
DELUSER <username> [<username> ...]
    Delete users and close their connections.
DRYRUN <username> <command> [<arg> ...]
    Whether a user may use a command.
GENPASS [<bits>]
    A password made by chance.
GETUSER <username>
    Everything about a user.
LIST
    All users as lines of configuration.
LOAD
    Take the users of the ACL file.
LOG [<count> | RESET]
    What was refused last.
SAVE
    Write all users into the ACL file.
SETUSER <username> <attribute> [<attribute> ...]
    Create or change a user.
USERS
    The names of all users.
WHOAMI
    The name of this connection's user.
HELP
    Print this help.";

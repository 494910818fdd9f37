//! `ACL`: users at run time.

use duke_resp::Frame;

use super::{Reply, lines, unknown_sub};
use crate::{
    id::ClientId,
    open::{
        Open,
        acl::{CATEGORIES, COMMANDS, User},
    },
    words::Words,
};

impl Open {
    pub(super) fn acl_command(&mut self, client: ClientId, words: Words<'_>) -> Reply {
        let frame = match words.lower(1).as_str() {
            "cat" => categories(words),
            "deluser" => self.delete_users(client, words),
            "dryrun" => self.dry_run(words),
            "genpass" => self.generate(words),
            "getuser" => {
                let user = self.users().0.get(words.text(2));
                user.map_or(Frame::Null, tell)
            }
            "help" => lines(HELP),
            "list" => {
                let users = self.users().printed();
                let line = |line: String| Frame::bulk(format!("user {line}"));
                Frame::Array(users.into_iter().map(line).collect())
            }
            "load" | "save" if self.conf.server.aclfile.is_some() => Frame::error(
                "ERR Duke reads the ACL file only when it starts; change users with ACL SETUSER until \
                 then",
            ),
            "load" | "save" => Frame::error(
                "ERR This Redis instance is not configured to use an ACL file. You may want to specify \
                 users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
                 Redis configuration file set) in order to store users in the Redis configuration.",
            ),
            "log" if words.lower(2) == "reset" => Frame::ok(),
            "log" => Frame::Array(Vec::new()),
            "setuser" => self.set_user(words),
            "users" => Frame::Array(self.users().0.keys().cloned().map(Frame::bulk).collect()),
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
        let mut user = self.users.0.get(&name).cloned().unwrap_or_else(|| {
            let mut user = User::nobody();
            user.channels.clear();
            user
        });
        for index in 3..words.len() {
            if let Err(reason) = user.apply(words.text(index)) {
                return Frame::error(format!(
                    "ERR Error in ACL SETUSER modifier '{}': {reason}",
                    words.text(index)
                ));
            }
        }
        self.users.0.insert(name, user);
        Frame::ok()
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
            let theirs: Vec<ClientId> = self
                .sessions
                .iter()
                .filter(|(_, session)| session.user.as_ref() == Some(&name))
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
        Frame::Integer(count)
    }

    fn dry_run(&self, words: Words<'_>) -> Frame {
        let name = words.text(2);
        let Some(user) = self.users().0.get(name) else {
            return Frame::error(format!("ERR User '{name}' not found"));
        };
        let command = words.lower(3);
        if !COMMANDS.iter().any(|(known, _)| *known == command) {
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
        let bits = match words.0.get(2).map(|_| words.text(2).parse::<u32>()) {
            None => 256,
            Some(Ok(bits)) if (1..=4096).contains(&bits) => bits,
            Some(_) => {
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
    let within = COMMANDS
        .iter()
        .filter(|(_, all)| all.contains(&category.as_str()));
    Frame::Array(within.map(|(name, _)| Frame::bulk(*name)).collect())
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
    Frame::Map(vec![
        (Frame::bulk("flags"), Frame::Set(flags)),
        (Frame::bulk("passwords"), Frame::Array(passwords)),
        (
            Frame::bulk("commands"),
            Frame::bulk(user.commands.join(" ")),
        ),
        (Frame::bulk("keys"), Frame::bulk(user.keys.join(" "))),
        (
            Frame::bulk("channels"),
            Frame::bulk(user.channels.join(" ")),
        ),
        (Frame::bulk("selectors"), Frame::Array(Vec::new())),
    ])
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
SETUSER <username> <attribute> [<attribute> ...]
    Create or change a user.
USERS
    The names of all users.
WHOAMI
    The name of this connection's user.
HELP
    Print this help.";

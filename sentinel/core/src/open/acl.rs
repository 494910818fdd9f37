//! Users: who may log in, and which commands each may use. As in the server, with the commands a
//! sentinel has; keys mean nothing here, and rules about them are kept for what they are.

use std::{collections::BTreeMap, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use crate::{conf::ServerConf, pattern::matches};

/// The commands there are, with the categories the server puts them in.
pub(crate) const COMMANDS: &[(&str, &[&str])] = &[
    ("acl", &["admin", "slow", "dangerous"]),
    ("auth", &["fast", "connection"]),
    ("client", &["slow", "connection"]),
    ("command", &["slow", "connection"]),
    ("hello", &["fast", "connection"]),
    ("info", &["slow", "dangerous"]),
    ("ping", &["fast", "connection"]),
    ("psubscribe", &["pubsub", "slow"]),
    ("publish", &["pubsub", "fast"]),
    ("punsubscribe", &["pubsub", "slow"]),
    ("role", &["admin", "fast", "dangerous"]),
    ("sentinel", &["admin", "slow", "dangerous"]),
    ("shutdown", &["admin", "slow", "dangerous"]),
    ("subscribe", &["pubsub", "slow"]),
    ("unsubscribe", &["pubsub", "slow"]),
];

/// Every category the server has.
pub(crate) const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// One user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct User {
    pub(crate) enabled: bool,
    pub(crate) nopass: bool,
    pub(crate) sanitizes: bool,
    /// SHA-256, in hexadecimal digits.
    pub(crate) passwords: Vec<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) channels: Vec<String>,
    /// What was said of commands, the last word counts: `+@all`, `-client|kill`, …
    pub(crate) commands: Vec<String>,
}

impl User {
    /// One who may do nothing, as every user begins.
    pub(crate) fn nobody() -> Self {
        Self {
            enabled: false,
            nopass: false,
            sanitizes: true,
            passwords: Vec::new(),
            keys: Vec::new(),
            channels: Vec::new(),
            commands: vec!["-@all".to_owned()],
        }
    }

    /// A name and its rules, as a configuration's line has them.
    pub(crate) fn read(words: &[String]) -> Result<(String, Self), &'static str> {
        let (name, rules) = words.split_first().ok_or("Syntax error")?;
        let mut user = Self::nobody();
        for rule in rules {
            user.apply(rule)?;
        }
        Ok((name.clone(), user))
    }

    fn everything() -> Self {
        Self {
            enabled: true,
            nopass: true,
            keys: vec!["~*".to_owned()],
            channels: vec!["&*".to_owned()],
            commands: vec!["+@all".to_owned()],
            ..Self::nobody()
        }
    }

    /// Applies one rule of `ACL SETUSER`.
    pub(crate) fn apply(&mut self, rule: &str) -> Result<(), &'static str> {
        match rule.to_ascii_lowercase().as_str() {
            "on" => self.enabled = true,
            "off" => self.enabled = false,
            "nopass" => {
                self.nopass = true;
                self.passwords.clear();
            }
            "resetpass" => {
                self.nopass = false;
                self.passwords.clear();
            }
            "sanitize-payload" => self.sanitizes = true,
            "skip-sanitize-payload" => self.sanitizes = false,
            "allkeys" => self.keys = vec!["~*".to_owned()],
            "resetkeys" => self.keys.clear(),
            "allchannels" => self.channels = vec!["&*".to_owned()],
            "resetchannels" => self.channels.clear(),
            "allcommands" | "+@all" => self.commands = vec!["+@all".to_owned()],
            "nocommands" | "-@all" => self.commands = vec!["-@all".to_owned()],
            "reset" => *self = Self::nobody(),
            "clearselectors" => {}
            _ => return self.apply_marked(rule),
        }
        Ok(())
    }

    fn apply_marked(&mut self, rule: &str) -> Result<(), &'static str> {
        let (mark, rest) = rule.split_at_checked(1).unwrap_or_default();
        match mark {
            ">" | "#" => {
                let hash = if mark == ">" {
                    digest(rest)
                } else {
                    hashed(rest)?
                };
                self.nopass = false;
                if !self.passwords.contains(&hash) {
                    self.passwords.push(hash);
                }
            }
            "<" | "!" => {
                let hash = if mark == "<" {
                    digest(rest)
                } else {
                    hashed(rest)?
                };
                let known = self.passwords.iter().position(|password| *password == hash);
                let known = known
                    .ok_or("The password you are trying to remove from the user does not exist")?;
                self.passwords.remove(known);
            }
            "~" | "%" | "&"
                if rest
                    .bytes()
                    .any(|byte| byte.is_ascii_whitespace() || byte == 0) =>
            {
                return Err("Syntax error");
            }
            "~" | "%" => self.keys.push(rule.to_owned()),
            "&" => self.channels.push(rule.to_owned()),
            "+" | "-" => {
                let name = rest.to_ascii_lowercase();
                if !is_command(&name) {
                    return Err("Unknown command or category name in ACL");
                }
                let opposite = |known: &String| known.get(1..) == Some(name.as_str());
                self.commands.retain(|known| !opposite(known));
                self.commands.push(format!("{mark}{name}"));
            }
            _ => return Err("Syntax error"),
        }
        Ok(())
    }

    /// Whether it may use a command, with the subcommand if there is one.
    pub(crate) fn may(&self, command: &str, subcommand: &str) -> bool {
        let categories = COMMANDS
            .iter()
            .find(|(name, _)| *name == command)
            .map_or(&[][..], |(_, categories)| categories);
        let mut allowed = false;
        for rule in &self.commands {
            let (sign, name) = rule.split_at_checked(1).unwrap_or_default();
            let applies = match name.strip_prefix('@') {
                Some("all") => true,
                Some(category) => categories.contains(&category),
                None => match name.split_once('|') {
                    Some((container, own)) => container == command && own == subcommand,
                    None => name == command,
                },
            };
            if applies {
                allowed = sign == "+";
            }
        }
        allowed
    }

    /// Whether it may publish to or listen on a channel.
    pub(crate) fn may_hear(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.channels.iter().any(|rule| {
            let pattern = rule.get(1..).unwrap_or_default().as_bytes();
            pattern == b"*"
                || if is_pattern {
                    pattern == channel
                } else {
                    matches(pattern, channel)
                }
        })
    }

    /// The rules as `ACL LIST` shows them.
    pub(crate) fn printed(&self) -> String {
        let mut text = String::from(if self.enabled { "on" } else { "off" });
        let mut add = |word: &str| {
            // Writing to a String cannot fail.
            let _ok = write!(text, " {word}");
        };
        if self.nopass {
            add("nopass");
        }
        add(if self.sanitizes {
            "sanitize-payload"
        } else {
            "skip-sanitize-payload"
        });
        for password in &self.passwords {
            add(&format!("#{password}"));
        }
        for key in &self.keys {
            add(key);
        }
        if self.channels.is_empty() {
            add("resetchannels");
        }
        for channel in &self.channels {
            add(channel);
        }
        for command in &self.commands {
            add(command);
        }
        text
    }
}

fn is_command(name: &str) -> bool {
    if let Some(category) = name.strip_prefix('@') {
        return CATEGORIES.contains(&category);
    }
    // Rules about commands that only data servers have are common in shared files; they are kept.
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"|-_.".contains(&byte))
}

fn hashed(word: &str) -> Result<String, &'static str> {
    let digits = word
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if word.len() == 64 && digits {
        Ok(word.to_owned())
    } else {
        Err(
            "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
        )
    }
}

/// A password's SHA-256.
pub(crate) fn digest(password: &str) -> String {
    let digest = Sha256::digest(password.as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ok = write!(text, "{byte:02x}");
        text
    })
}

/// All users.
#[derive(Clone, Debug)]
pub(crate) struct Users(pub(crate) BTreeMap<String, User>);

impl Users {
    /// The users a configuration names.
    pub(crate) fn new(server: &ServerConf) -> Self {
        let mut users = Self(BTreeMap::from([("default".to_owned(), User::everything())]));
        if !server.requirepass.is_empty() {
            users.require(&server.requirepass);
        }
        for line in &server.users {
            // Rules were checked when they were read.
            if let Ok((name, user)) = User::read(line) {
                users.0.insert(name, user);
            }
        }
        users
    }

    /// `requirepass`: the user `default` has this password and no other.
    fn require(&mut self, password: &str) {
        if let Some(default) = self.0.get_mut("default") {
            default.nopass = false;
            default.passwords = vec![digest(password)];
        }
    }

    /// Who somebody is who has not logged in.
    pub(crate) fn newcomer(&self) -> Option<String> {
        let default = self.0.get("default")?;
        (default.enabled && default.nopass).then(|| "default".to_owned())
    }

    /// Whether a user has this password.
    pub(crate) fn knows(&self, name: &str, password: &str) -> bool {
        let wanted = digest(password);
        self.0
            .get(name)
            .is_some_and(|user| user.enabled && (user.nopass || user.passwords.contains(&wanted)))
    }

    /// The lines of a configuration, after the word `user`.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(name, user)| format!("{} {}", crate::conf::quote(name), user.printed()))
            .collect()
    }
}

/// What is wrong with a `user` line, given without that word, if anything.
pub(crate) fn fault(words: &[String]) -> Option<&'static str> {
    User::read(words).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_about_a_command_counts() {
        let mut user = User::nobody();
        for rule in [
            "on",
            ">pw",
            "+@all",
            "-@dangerous",
            "+sentinel|get-master-addr-by-name",
        ] {
            user.apply(rule).unwrap();
        }
        assert!(user.may("ping", ""));
        assert!(!user.may("sentinel", "set"));
        assert!(user.may("sentinel", "get-master-addr-by-name"));
        assert!(user.apply("+@nonsense").is_err());
        assert!(user.apply("nonsense").is_err());
    }

    #[test]
    fn a_password_is_kept_as_its_digest() {
        let mut users = Users::new(&ServerConf::default());
        assert_eq!(users.newcomer().as_deref(), Some("default"));
        users.require("pw");
        assert_eq!(users.newcomer(), None);
        assert!(users.knows("default", "pw"));
        assert!(!users.knows("default", "pv"));
        assert!(!users.printed().concat().contains("pw"));
    }
}

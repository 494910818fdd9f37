//! Users: who may log in, and which commands each may use. As in the server, with the commands a
//! sentinel has; keys mean nothing here, and rules about them are kept for what they are.

pub(crate) mod log;
mod selector;
mod user;

use std::collections::BTreeMap;

use self::user::digest;
pub(crate) use self::{
    selector::Selector,
    user::{User, merged},
};
use crate::conf::{ServerConf, quote};

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

    /// The lines of `ACL LIST`, after the word `user`.
    pub(crate) fn listed(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(name, user)| format!("{name} {}", user.rules().join(" ")))
            .collect()
    }

    /// The lines of a file, after the word `user`.
    pub(crate) fn printed(&self) -> Vec<String> {
        let words = |user: &User| {
            let rules = user.rules();
            rules.iter().map(|rule| word(rule)).collect::<Vec<_>>()
        };
        self.0
            .iter()
            .map(|(name, user)| format!("{} {}", quote(name), words(user).join(" ")))
            .collect()
    }
}

/// A rule as a file has it. Selectors and hashes stand there as they are, which others expect.
fn word(rule: &str) -> String {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\'' | b'\\');
    if rule.bytes().all(plain) {
        rule.to_owned()
    } else {
        quote(rule).into_owned()
    }
}

/// What is wrong with a `user` line, given without that word, if anything.
pub(crate) fn fault(words: &[String]) -> Option<&'static str> {
    User::read(words).err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Conf;

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

    #[test]
    fn what_is_printed_is_read_again() {
        let mut user = User::nobody();
        for rule in [
            "on",
            ">pw",
            "&a\"b",
            "+ping",
            "(~x'y +info)",
            "(&c +subscribe)",
        ] {
            user.apply(rule).unwrap();
        }
        let users = Users(BTreeMap::from([("o ps".to_owned(), user)]));
        let text = format!("user {}\n", users.printed().concat());
        let mut conf = Conf::default();
        conf.read_users(&text).unwrap();
        assert_eq!(Users::new(&conf.server).0.get("o ps"), users.0.get("o ps"));
    }
}

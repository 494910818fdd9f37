//! One user: its passwords and what it may do.

use std::fmt::Write as _;

use duke_resp::Bytes;
use sha2::{Digest as _, Sha256};

use super::selector::Selector;

/// One user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct User {
    pub(crate) enabled: bool,
    pub(crate) nopass: bool,
    pub(crate) sanitizes: bool,
    /// SHA-256, in hexadecimal digits.
    pub(crate) passwords: Vec<String>,
    /// What it may do.
    pub(crate) own: Selector,
    /// What it may do besides.
    pub(crate) others: Vec<Selector>,
}

impl User {
    /// One who may do nothing, as every user begins.
    pub(crate) fn nobody() -> Self {
        Self {
            enabled: false,
            nopass: false,
            sanitizes: true,
            passwords: Vec::new(),
            own: Selector::nothing(),
            others: Vec::new(),
        }
    }

    /// One who may do everything without a password.
    pub(crate) fn everything() -> Self {
        Self {
            enabled: true,
            nopass: true,
            own: Selector::everything(),
            ..Self::nobody()
        }
    }

    /// A name and its rules, as a configuration's line has them.
    pub(crate) fn read(words: &[String]) -> Result<(String, Self), &'static str> {
        let (name, rules) = words.split_first().ok_or("Syntax error")?;
        let mut user = Self::nobody();
        for rule in merged(rules).map_err(|_| "Unmatched parenthesis in selector definition.")? {
            user.apply(&rule)?;
        }
        Ok((name.clone(), user))
    }

    /// Applies one rule of `ACL SETUSER`.
    pub(crate) fn apply(&mut self, rule: &str) -> Result<(), &'static str> {
        if let Some(inside) = rule.strip_prefix('(') {
            let inside = inside.strip_suffix(')').ok_or("Syntax error")?;
            self.others.push(Selector::read(inside)?);
            return Ok(());
        }
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
            "reset" => *self = Self::nobody(),
            "clearselectors" => self.others.clear(),
            _ => match rule.split_at_checked(1).unwrap_or_default() {
                (mark @ (">" | "#" | "<" | "!"), rest) => return self.apply_password(mark, rest),
                _ => return self.own.apply(rule),
            },
        }
        Ok(())
    }

    fn apply_password(&mut self, mark: &str, rest: &str) -> Result<(), &'static str> {
        let hash = match mark {
            ">" | "<" => digest(rest),
            _ => hashed(rest)?,
        };
        let known = self.passwords.iter().position(|password| *password == hash);
        match (mark, known) {
            (">" | "#", known) => {
                self.nopass = false;
                if known.is_none() {
                    self.passwords.push(hash);
                }
            }
            (_, Some(known)) => {
                self.passwords.remove(known);
            }
            (_, None) => {
                return Err("The password you are trying to remove from the user does not exist");
            }
        }
        Ok(())
    }

    fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// Whether it may use a command, with the subcommand if there is one.
    pub(crate) fn may(&self, command: &str, subcommand: &str) -> bool {
        self.selectors()
            .any(|selector| selector.may(command, subcommand))
    }

    /// The channel that keeps this user from a command about `channels`, if one does: one selector must permit
    /// the command and all of them.
    pub(crate) fn refused_channel<'a>(
        &self,
        command: &str,
        channels: &'a [Bytes],
        are_patterns: bool,
    ) -> Option<&'a Bytes> {
        let refused_by = |selector: &Selector| {
            let mut channels = channels.iter();
            channels.find(|channel| !selector.may_hear(channel, are_patterns))
        };
        let able = self.selectors().filter(|it| it.may(command, ""));
        let refused: Option<Vec<&Bytes>> = able.map(refused_by).collect();
        refused.and_then(|refused| refused.first().copied())
    }

    /// The rules as `ACL LIST` shows them; a selector is one of them.
    pub(crate) fn rules(&self) -> Vec<String> {
        let mut rules = vec![if self.enabled { "on" } else { "off" }.to_owned()];
        if self.nopass {
            rules.push("nopass".to_owned());
        }
        let sanitizes = if self.sanitizes {
            "sanitize-payload"
        } else {
            "skip-sanitize-payload"
        };
        rules.push(sanitizes.to_owned());
        let passwords = self.passwords.iter();
        rules.extend(passwords.map(|password| format!("#{password}")));
        rules.extend(self.own.rules());
        let others = self.others.iter();
        rules.extend(others.map(|selector| format!("({})", selector.rules().join(" "))));
        rules
    }
}

/// Puts together what stands between parentheses, since it comes as several words. The error is the
/// word that opens a pair which is never closed.
pub(crate) fn merged(words: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    let mut open: Option<String> = None;
    for word in words {
        let text = match open.take() {
            Some(begun) => format!("{begun} {word}"),
            None => word.clone(),
        };
        if text.starts_with('(') && !text.ends_with(')') {
            open = Some(text);
        } else {
            all.push(text);
        }
    }
    match open {
        Some(begun) => Err(begun.split(' ').next().unwrap_or_default().to_owned()),
        None => Ok(all),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn user(rules: &str) -> User {
        let words: Vec<String> = format!("somebody {rules}")
            .split(' ')
            .map(str::to_owned)
            .collect();
        User::read(&words).unwrap().1
    }

    #[test]
    fn the_last_rule_about_a_command_counts() {
        let mut user = user("on >pw +@all -@dangerous +sentinel|get-master-addr-by-name");
        assert!(user.may("ping", ""));
        assert!(!user.may("sentinel", "set"));
        assert!(user.may("sentinel", "get-master-addr-by-name"));
        assert!(user.apply("+@nonsense").is_err());
        assert!(user.apply("nonsense").is_err());
    }

    #[test]
    fn what_any_selector_allows_is_allowed() {
        let mut user = user("on nopass -@all +ping (+subscribe &a* %RW~k) (+publish &b*)");
        let hears = |command: &str, channel: &'static [u8]| {
            let channels = [Bytes::from_static(channel)];
            user.refused_channel(command, &channels, false).is_none()
        };
        assert!(user.may("ping", "") && user.may("publish", "") && !user.may("info", ""));
        assert!(hears("subscribe", b"abc") && hears("publish", b"b"));
        assert!(
            !hears("publish", b"abc"),
            "another selector's channels are no help"
        );
        assert_eq!(
            user.rules().join(" "),
            "on nopass sanitize-payload resetchannels -@all +ping \
             (~k &a* -@all +subscribe) (&b* -@all +publish)"
        );
        user.apply("clearselectors").unwrap();
        assert!(!user.may("publish", ""));
    }

    #[test]
    fn a_parenthesis_that_is_never_closed_is_named() {
        let words = ["on", "(+ping", "~k"].map(str::to_owned);
        assert_eq!(merged(&words), Err("(+ping".to_owned()));
        assert!(User::nobody().apply("(on)").is_err(), "no rule of commands");
    }

    #[test]
    fn a_pattern_after_all_of_them_is_refused() {
        let mut user = user("on ~* &*");
        assert!(user.apply("~k").unwrap_err().contains("resetkeys"));
        assert!(user.apply("&c").unwrap_err().contains("resetchannels"));
        assert!(user.apply("~*").is_ok(), "said twice");
        assert!(user.apply("%X~k").is_err());
    }
}

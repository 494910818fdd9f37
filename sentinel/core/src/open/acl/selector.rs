//! One set of permissions: commands, channels, and keys, which a sentinel has none of. A user has one
//! of its own and may have more; what any of them allows is allowed.

use crate::{
    open::command::catalogue::{CATEGORIES, categories},
    pattern::matches,
};

/// What one set of rules allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Selector {
    /// Kept for what they are.
    pub(crate) keys: Vec<String>,
    pub(crate) channels: Vec<String>,
    /// What was said of commands, the last word counts: `+@all`, `-client|kill`, …
    pub(crate) commands: Vec<String>,
}

impl Selector {
    /// Allows nothing.
    pub(crate) fn nothing() -> Self {
        Self {
            commands: vec!["-@all".to_owned()],
            ..Self::default()
        }
    }

    /// Allows everything.
    pub(crate) fn everything() -> Self {
        Self {
            keys: vec!["~*".to_owned()],
            channels: vec!["&*".to_owned()],
            commands: vec!["+@all".to_owned()],
        }
    }

    /// Reads the inside of a rule in parentheses.
    pub(crate) fn read(rules: &str) -> Result<Self, &'static str> {
        let mut selector = Self::nothing();
        for rule in rules.split(' ').filter(|rule| !rule.is_empty()) {
            selector.apply(rule)?;
        }
        Ok(selector)
    }

    /// Applies one rule.
    pub(crate) fn apply(&mut self, rule: &str) -> Result<(), &'static str> {
        match rule.to_ascii_lowercase().as_str() {
            "allkeys" => self.keys = vec!["~*".to_owned()],
            "resetkeys" => self.keys.clear(),
            "allchannels" => self.channels = vec!["&*".to_owned()],
            "resetchannels" => self.channels.clear(),
            "allcommands" | "+@all" => self.commands = vec!["+@all".to_owned()],
            "nocommands" | "-@all" => self.commands = vec!["-@all".to_owned()],
            _ => return self.apply_marked(rule),
        }
        Ok(())
    }

    fn apply_marked(&mut self, rule: &str) -> Result<(), &'static str> {
        let (mark, rest) = rule.split_at_checked(1).unwrap_or_default();
        match mark {
            "~" | "%" | "&" if rest.bytes().any(is_gap) => Err("Syntax error"),
            "~" => add_pattern(&mut self.keys, rule.to_owned(), KEYS_FULL),
            "%" => add_pattern(&mut self.keys, key_pattern(rest)?, KEYS_FULL),
            "&" => add_pattern(&mut self.channels, rule.to_owned(), CHANNELS_FULL),
            "+" | "-" => self.apply_command(mark, &rest.to_ascii_lowercase()),
            _ => Err("Syntax error"),
        }
    }

    fn apply_command(&mut self, mark: &str, name: &str) -> Result<(), &'static str> {
        if !is_command(name) {
            return Err("Unknown command or category name in ACL");
        }
        self.commands.retain(|known| known.get(1..) != Some(name));
        self.commands.push(format!("{mark}{name}"));
        Ok(())
    }

    /// Whether it allows a command, with the subcommand if there is one.
    pub(crate) fn may(&self, command: &str, subcommand: &str) -> bool {
        let mut allowed = false;
        for rule in &self.commands {
            let (sign, name) = rule.split_at_checked(1).unwrap_or_default();
            let applies = match name.strip_prefix('@') {
                Some("all") => true,
                Some(category) => categories(command, subcommand).contains(&category),
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

    /// Whether it allows to publish to or listen on a channel.
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
    pub(crate) fn rules(&self) -> Vec<String> {
        let none = ["resetchannels".to_owned()];
        let channels = if self.channels.is_empty() {
            &none[..]
        } else {
            &self.channels
        };
        [&self.keys[..], channels, &self.commands].concat()
    }
}

const KEYS_FULL: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
     effect. Try 'resetkeys' to start with an empty list of patterns";
const CHANNELS_FULL: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have \
     any effect. Try 'resetchannels' to start with an empty list of channels";

/// Adds a pattern, unless all are allowed already.
fn add_pattern(
    patterns: &mut Vec<String>,
    pattern: String,
    full: &'static str,
) -> Result<(), &'static str> {
    let all = |known: &String| known == "~*" || known == "&*";
    if patterns.contains(&pattern) {
        return Ok(());
    }
    if patterns.iter().any(all) {
        return Err(full);
    }
    if all(&pattern) {
        patterns.clear();
    }
    patterns.push(pattern);
    Ok(())
}

/// Reads `RW~pattern`, as it stands behind a `%`.
fn key_pattern(rest: &str) -> Result<String, &'static str> {
    let (flags, pattern) = rest.split_once('~').ok_or("Syntax error")?;
    let flags = flags.to_ascii_uppercase();
    match flags.as_str() {
        "R" | "W" => Ok(format!("%{flags}~{pattern}")),
        "RW" | "WR" => Ok(format!("~{pattern}")),
        _ => Err("Syntax error"),
    }
}

fn is_gap(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0
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

//! The table of commands: names, subcommands, how many words each takes; and `COMMAND`, which tells
//! of it.

use duke_resp::Frame;

use super::{lines, unknown_sub, wrong_sub_arity};
use crate::words::{Words, wrong_arity};

/// One command, or one subcommand of a container.
#[derive(Debug)]
pub(crate) struct Command {
    name: &'static str,
    /// Empty for the command itself.
    sub: &'static str,
    /// Words with all names included: exactly so many, or at least so many if negative.
    arity: i64,
    /// Where the server puts it.
    categories: &'static [&'static str],
}

impl Command {
    const fn new(
        name: &'static str,
        sub: &'static str,
        arity: i64,
        categories: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            sub,
            arity,
            categories,
        }
    }

    /// `config`, or `client|kill`.
    fn full_name(&self) -> String {
        if self.sub.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}|{}", self.name, self.sub)
        }
    }

    fn subcommands(&self) -> impl Iterator<Item = &'static Self> {
        let own = self.sub.is_empty();
        let within = COMMANDS.iter().filter(|known| !known.sub.is_empty());
        within.filter(move |known| own && known.name == self.name)
    }
}

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

const ADMIN: &[&str] = &["admin", "slow", "dangerous"];
const ADMIN_CONNECTION: &[&str] = &["admin", "slow", "dangerous", "connection"];
const ADMIN_FAST: &[&str] = &["admin", "fast", "dangerous"];
const CONNECTION: &[&str] = &["slow", "connection"];
const DANGEROUS: &[&str] = &["slow", "dangerous"];
const FAST: &[&str] = &["fast", "connection"];
const PUBSUB: &[&str] = &["pubsub", "slow"];
const PUBSUB_FAST: &[&str] = &["pubsub", "fast"];
const SLOW: &[&str] = &["slow"];

/// All there are, in alphabetical order; subcommands behind their container.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    Command::new("acl", "", -2, SLOW),
    Command::new("acl", "cat", -2, SLOW),
    Command::new("acl", "deluser", -3, ADMIN),
    Command::new("acl", "dryrun", -4, ADMIN),
    Command::new("acl", "genpass", -2, SLOW),
    Command::new("acl", "getuser", 3, ADMIN),
    Command::new("acl", "help", 2, SLOW),
    Command::new("acl", "list", 2, ADMIN),
    Command::new("acl", "load", 2, ADMIN),
    Command::new("acl", "log", -2, ADMIN),
    Command::new("acl", "save", 2, ADMIN),
    Command::new("acl", "setuser", -3, ADMIN),
    Command::new("acl", "users", 2, ADMIN),
    Command::new("acl", "whoami", 2, SLOW),
    Command::new("auth", "", -2, FAST),
    Command::new("client", "", -2, SLOW),
    Command::new("client", "caching", 3, CONNECTION),
    Command::new("client", "getname", 2, CONNECTION),
    Command::new("client", "getredir", 2, CONNECTION),
    Command::new("client", "help", 2, CONNECTION),
    Command::new("client", "id", 2, CONNECTION),
    Command::new("client", "info", 2, CONNECTION),
    Command::new("client", "kill", -3, ADMIN_CONNECTION),
    Command::new("client", "list", -2, ADMIN_CONNECTION),
    Command::new("client", "no-evict", 3, ADMIN_CONNECTION),
    Command::new("client", "pause", -3, ADMIN_CONNECTION),
    Command::new("client", "reply", 3, CONNECTION),
    Command::new("client", "setinfo", 4, CONNECTION),
    Command::new("client", "setname", 3, CONNECTION),
    Command::new("client", "tracking", -3, CONNECTION),
    Command::new("client", "trackinginfo", 2, CONNECTION),
    Command::new("client", "unblock", -3, ADMIN_CONNECTION),
    Command::new("client", "unpause", 2, ADMIN_CONNECTION),
    Command::new("command", "", -1, CONNECTION),
    Command::new("command", "count", 2, CONNECTION),
    Command::new("command", "docs", -2, CONNECTION),
    Command::new("command", "getkeys", -3, CONNECTION),
    Command::new("command", "getkeysandflags", -3, CONNECTION),
    Command::new("command", "help", 2, CONNECTION),
    Command::new("command", "info", -2, CONNECTION),
    Command::new("command", "list", -2, CONNECTION),
    Command::new("hello", "", -1, FAST),
    Command::new("info", "", -1, DANGEROUS),
    Command::new("ping", "", -1, FAST),
    Command::new("psubscribe", "", -2, PUBSUB),
    Command::new("publish", "", 3, PUBSUB_FAST),
    Command::new("punsubscribe", "", -1, PUBSUB),
    Command::new("role", "", 1, ADMIN_FAST),
    Command::new("sentinel", "", -2, ADMIN),
    Command::new("sentinel", "ckquorum", 3, ADMIN),
    Command::new("sentinel", "config", -4, ADMIN),
    Command::new("sentinel", "debug", -2, ADMIN),
    Command::new("sentinel", "failover", -3, ADMIN),
    Command::new("sentinel", "flushconfig", 2, ADMIN),
    Command::new("sentinel", "get-master-addr-by-name", 3, ADMIN),
    Command::new("sentinel", "get-primary-addr-by-name", 3, ADMIN),
    Command::new("sentinel", "help", 2, SLOW),
    Command::new("sentinel", "info-cache", -3, ADMIN),
    Command::new("sentinel", "is-master-down-by-addr", 6, ADMIN),
    Command::new("sentinel", "is-primary-down-by-addr", 6, ADMIN),
    Command::new("sentinel", "master", 3, ADMIN),
    Command::new("sentinel", "masters", 2, ADMIN),
    Command::new("sentinel", "monitor", 6, ADMIN),
    Command::new("sentinel", "myid", 2, ADMIN),
    Command::new("sentinel", "pending-scripts", 2, ADMIN),
    Command::new("sentinel", "primaries", 2, ADMIN),
    Command::new("sentinel", "primary", 3, ADMIN),
    Command::new("sentinel", "remove", 3, ADMIN),
    Command::new("sentinel", "replicas", 3, ADMIN),
    Command::new("sentinel", "reset", 3, ADMIN),
    Command::new("sentinel", "sentinels", 3, ADMIN),
    Command::new("sentinel", "set", -5, ADMIN),
    Command::new("sentinel", "simulate-failure", -3, ADMIN),
    Command::new("sentinel", "slaves", 3, ADMIN),
    Command::new("shutdown", "", -1, ADMIN),
    Command::new("subscribe", "", -2, PUBSUB),
    Command::new("unsubscribe", "", -1, PUBSUB),
];

fn find(name: &str, sub: &str) -> Option<&'static Command> {
    let at = COMMANDS.binary_search_by(|known| (known.name, known.sub).cmp(&(name, sub)));
    at.ok().and_then(|at| COMMANDS.get(at))
}

/// By a name as `COMMAND LIST` has it.
fn by_full_name(name: &str) -> Option<&'static Command> {
    let (name, sub) = name.split_once('|').unwrap_or((name, ""));
    find(name, sub)
}

/// Where the server puts a command, or a subcommand if it has such.
pub(crate) fn categories(name: &str, sub: &str) -> &'static [&'static str] {
    let found = find(name, sub).or_else(|| find(name, ""));
    found.map_or(&[], |command| command.categories)
}

/// The names of everything in a category.
pub(crate) fn within(category: &str) -> Vec<String> {
    let there = COMMANDS
        .iter()
        .filter(|known| known.categories.contains(&category));
    there.map(Command::full_name).collect()
}

pub(crate) fn has(name: &str) -> bool {
    find(name, "").is_some()
}

pub(super) fn is_container(name: &str) -> bool {
    find(name, "").is_some_and(|command| command.subcommands().next().is_some())
}

fn fits(arity: i64, words: usize) -> bool {
    let words = i64::try_from(words).unwrap_or(i64::MAX);
    if arity < 0 {
        words >= arity.saturating_neg()
    } else {
        words == arity
    }
}

/// What is wrong with the number of words or the subcommand, if anything.
pub(super) fn fault(words: Words<'_>) -> Option<Frame> {
    let name = words.lower(0);
    let command = find(&name, "")?;
    if name == "auth" && words.len() > 3 {
        return Some(Frame::error("ERR syntax error"));
    }
    if name == "ping" && words.len() > 2 {
        return Some(wrong_arity(&name));
    }
    if is_container(&name) && words.len() >= 2 {
        let sub = words.lower(1);
        return match find(&name, &sub) {
            None => Some(unknown_sub(words)),
            Some(known) if !fits(known.arity, words.len()) => Some(wrong_sub_arity(words)),
            Some(_) => None,
        };
    }
    (!fits(command.arity, words.len())).then(|| wrong_arity(&name))
}

/// `COMMAND …`
pub(super) fn command(words: Words<'_>) -> Frame {
    let asked: Vec<String> = (2..words.len()).map(|index| words.lower(index)).collect();
    let all = || COMMANDS.iter().filter(|known| known.sub.is_empty());
    let info_of = |name: &String| by_full_name(name).map_or(Frame::Null, info);
    match words.lower(1).as_str() {
        "" => Frame::Array(all().map(info).collect()),
        "count" => Frame::number(all().count()),
        "docs" if asked.is_empty() => docs(all()),
        "docs" => docs(asked.iter().filter_map(|name| by_full_name(name))),
        "info" if asked.is_empty() => Frame::Array(all().map(info).collect()),
        "info" => Frame::Array(asked.iter().map(info_of).collect()),
        "list" => list(words),
        "help" => lines(HELP),
        "getkeys" | "getkeysandflags" => Frame::error("ERR The command has no key arguments"),
        _ => unknown_sub(words),
    }
}

fn list(words: Words<'_>) -> Frame {
    let mut names: Vec<String> = COMMANDS.iter().map(Command::full_name).collect();
    match (
        words.lower(2).as_str(),
        words.lower(3).as_str(),
        words.len(),
    ) {
        ("", "", 2) => {}
        ("filterby", "pattern", 5) => {
            let pattern = words.text(4).to_ascii_lowercase();
            names.retain(|name| crate::pattern::matches(pattern.as_bytes(), name.as_bytes()));
        }
        ("filterby", "aclcat", 5) => {
            names = within(&words.lower(4));
        }
        ("filterby", "module", 5) => names.clear(),
        _ => return Frame::error("ERR syntax error"),
    }
    Frame::Array(names.into_iter().map(Frame::bulk).collect())
}

/// When and how a command may be used, in the server's words.
fn flags(command: &Command) -> &'static [&'static str] {
    let admin = command.categories.contains(&"admin");
    match (command.name, command.sub) {
        ("acl" | "client", "") => &[],
        ("sentinel", sub) if sub != "help" => &["admin"],
        ("acl" | "client", sub) if sub != "help" && admin => {
            &["admin", "noscript", "loading", "stale"]
        }
        ("acl" | "client", sub) if sub != "help" => &["noscript", "loading", "stale"],
        ("auth" | "hello", _) => &[
            "noscript",
            "loading",
            "stale",
            "fast",
            "no_auth",
            "allow_busy",
        ],
        ("ping", _) => &["fast"],
        ("publish", _) => &["pubsub", "loading", "stale", "fast"],
        ("psubscribe" | "punsubscribe" | "subscribe" | "unsubscribe", _) => {
            &["pubsub", "noscript", "loading", "stale"]
        }
        ("role", _) => &["noscript", "loading", "stale", "fast"],
        ("shutdown", _) => &[
            "admin",
            "noscript",
            "loading",
            "stale",
            "no_multi",
            "allow_busy",
        ],
        _ => &["loading", "stale"],
    }
}

/// What clients that send one command to many servers are to know.
fn tips(command: &Command) -> &'static [&'static str] {
    match (command.name, command.sub) {
        ("acl", "deluser" | "save" | "setuser") | ("client", "setinfo" | "setname") => {
            &["request_policy:all_nodes", "response_policy:all_succeeded"]
        }
        ("client", "info" | "list") => &["nondeterministic_output"],
        ("command", "" | "docs" | "info" | "list") => &["nondeterministic_output_order"],
        ("info", _) => &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        ("ping", _) => &["request_policy:all_shards", "response_policy:all_succeeded"],
        _ => &[],
    }
}

fn info(command: &'static Command) -> Frame {
    let flags = flags(command).iter();
    let flags = flags.map(|flag| Frame::simple(*flag)).collect();
    let tips = tips(command).iter();
    let categories = command.categories.iter();
    let categories = categories.map(|name| Frame::simple(format!("@{name}")));
    Frame::Array(vec![
        Frame::bulk(command.full_name()),
        Frame::Integer(command.arity),
        Frame::Set(flags),
        Frame::Integer(0),
        Frame::Integer(0),
        Frame::Integer(0),
        Frame::Set(categories.collect()),
        Frame::Set(tips.map(|tip| Frame::bulk(*tip)).collect()),
        Frame::Set(Vec::new()),
        Frame::Set(command.subcommands().map(info).collect()),
    ])
}

fn docs(commands: impl Iterator<Item = &'static Command>) -> Frame {
    Frame::Map(commands.map(doc).collect())
}

fn doc(command: &'static Command) -> (Frame, Frame) {
    let pair = |key: &'static str, value: &'static str| (Frame::bulk(key), Frame::bulk(value));
    let mut about = vec![
        pair("summary", "Part of Sentinel's protocol."),
        pair("since", "2.8.4"),
        pair("group", "sentinel"),
        pair("complexity", "O(1)"),
    ];
    if command.subcommands().next().is_some() {
        let subcommands = command.subcommands().map(doc).collect();
        about.push((Frame::bulk("subcommands"), Frame::Map(subcommands)));
    }
    (Frame::bulk(command.full_name()), Frame::Map(about))
}

const HELP: &str = "\
COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
(no subcommand)
    Everything about every command.
COUNT
    How many commands there are.
DOCS [<command-name> ...]
    What commands are for.
INFO [<command-name> ...]
    Flags, arity and categories of commands.
LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]
    The names of all commands.
HELP
    Print this help.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_in_order() {
        let names = COMMANDS.iter().map(|known| (known.name, known.sub));
        assert!(names.is_sorted(), "they are searched by halves");
    }
}

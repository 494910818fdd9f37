//! The table of commands: names, subcommands, how many words each takes; and `COMMAND`, which tells
//! of it.

use duke_resp::Frame;

use super::{super::acl::COMMANDS, lines, unknown_sub, wrong_sub_arity};
use crate::words::{Words, wrong_arity};

/// Words of a command, its name included: exactly so many, or at least so many if negative.
const ARITIES: &[(&str, i64)] = &[
    ("acl", -2),
    ("auth", -2),
    ("client", -2),
    ("command", -1),
    ("hello", -1),
    ("info", -1),
    ("ping", -1),
    ("psubscribe", -2),
    ("publish", 3),
    ("punsubscribe", -1),
    ("role", 1),
    ("sentinel", -2),
    ("shutdown", -1),
    ("subscribe", -2),
    ("unsubscribe", -1),
];

/// Subcommands, and the words of each with both names.
const SUBCOMMANDS: &[(&str, &str, i64)] = &[
    ("acl", "cat", -2),
    ("acl", "deluser", -3),
    ("acl", "dryrun", -4),
    ("acl", "genpass", -2),
    ("acl", "getuser", 3),
    ("acl", "help", 2),
    ("acl", "list", 2),
    ("acl", "load", 2),
    ("acl", "log", -2),
    ("acl", "save", 2),
    ("acl", "setuser", -3),
    ("acl", "users", 2),
    ("acl", "whoami", 2),
    ("client", "caching", 3),
    ("client", "getname", 2),
    ("client", "getredir", 2),
    ("client", "help", 2),
    ("client", "id", 2),
    ("client", "info", 2),
    ("client", "kill", -3),
    ("client", "list", -2),
    ("client", "no-evict", 3),
    ("client", "pause", -3),
    ("client", "reply", 3),
    ("client", "setinfo", 4),
    ("client", "setname", 3),
    ("client", "tracking", -3),
    ("client", "trackinginfo", 2),
    ("client", "unblock", -3),
    ("client", "unpause", 2),
    ("command", "count", 2),
    ("command", "docs", -2),
    ("command", "getkeys", -3),
    ("command", "getkeysandflags", -3),
    ("command", "help", 2),
    ("command", "info", -2),
    ("command", "list", -2),
    ("sentinel", "ckquorum", 3),
    ("sentinel", "config", -4),
    ("sentinel", "debug", -2),
    ("sentinel", "failover", -3),
    ("sentinel", "flushconfig", 2),
    ("sentinel", "get-master-addr-by-name", 3),
    ("sentinel", "get-primary-addr-by-name", 3),
    ("sentinel", "help", 2),
    ("sentinel", "info-cache", -3),
    ("sentinel", "is-master-down-by-addr", 6),
    ("sentinel", "is-primary-down-by-addr", 6),
    ("sentinel", "master", 3),
    ("sentinel", "masters", 2),
    ("sentinel", "monitor", 6),
    ("sentinel", "myid", 2),
    ("sentinel", "pending-scripts", 2),
    ("sentinel", "primaries", 2),
    ("sentinel", "primary", 3),
    ("sentinel", "remove", 3),
    ("sentinel", "replicas", 3),
    ("sentinel", "reset", 3),
    ("sentinel", "sentinels", 3),
    ("sentinel", "set", -5),
    ("sentinel", "simulate-failure", -3),
    ("sentinel", "slaves", 3),
];

pub(super) fn has(name: &str) -> bool {
    ARITIES.iter().any(|(known, _)| *known == name)
}

pub(super) fn is_container(name: &str) -> bool {
    SUBCOMMANDS
        .iter()
        .any(|(container, _, _)| *container == name)
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
    let (_, arity) = ARITIES.iter().find(|(known, _)| *known == name)?;
    if name == "auth" && words.len() > 3 {
        return Some(Frame::error("ERR syntax error"));
    }
    if is_container(&name) && words.len() >= 2 {
        let sub = words.lower(1);
        let known = SUBCOMMANDS
            .iter()
            .find(|(container, known, _)| *container == name && *known == sub);
        return match known {
            None => Some(unknown_sub(words)),
            Some((_, _, arity)) if !fits(*arity, words.len()) => Some(wrong_sub_arity(words)),
            Some(_) => None,
        };
    }
    (!fits(*arity, words.len())).then(|| wrong_arity(&name))
}

fn names() -> Vec<String> {
    let own = COMMANDS.iter().map(|(name, _)| (*name).to_owned());
    let subs = SUBCOMMANDS
        .iter()
        .map(|(container, sub, _)| format!("{container}|{sub}"));
    own.chain(subs).collect()
}

/// `COMMAND …`
pub(super) fn command(words: Words<'_>) -> Frame {
    let asked: Vec<String> = (2..words.len()).map(|index| words.lower(index)).collect();
    let all = COMMANDS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect::<Vec<_>>();
    match words.lower(1).as_str() {
        "" => Frame::Array(all.iter().map(|name| info(name)).collect()),
        "count" => Frame::Integer(i64::try_from(COMMANDS.len()).unwrap_or(i64::MAX)),
        "docs" => docs(if asked.is_empty() { &all } else { &asked }),
        "info" if asked.is_empty() => Frame::Array(all.iter().map(|name| info(name)).collect()),
        "info" => Frame::Array(asked.iter().map(|name| info(name)).collect()),
        "list" => list(words),
        "help" => lines(HELP),
        "getkeys" | "getkeysandflags" => Frame::error("ERR The command has no key arguments"),
        _ => unknown_sub(words),
    }
}

fn list(words: Words<'_>) -> Frame {
    let mut names = names();
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
            let category = words.lower(4);
            names = COMMANDS
                .iter()
                .filter(|(_, categories)| categories.contains(&category.as_str()))
                .map(|(name, _)| (*name).to_owned())
                .collect();
        }
        ("filterby", "module", 5) => names.clear(),
        _ => return Frame::error("ERR syntax error"),
    }
    Frame::Array(names.into_iter().map(Frame::bulk).collect())
}

fn arity(name: &str) -> Option<i64> {
    let own = ARITIES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, arity)| *arity);
    let sub = || {
        let (container, sub) = name.split_once('|')?;
        SUBCOMMANDS
            .iter()
            .find(|(known, own, _)| *known == container && *own == sub)
            .map(|(_, _, arity)| *arity)
    };
    own.or_else(sub)
}

fn info(name: &str) -> Frame {
    let Some(arity) = arity(name) else {
        return Frame::Null;
    };
    let container = name.split('|').next().unwrap_or_default();
    let categories = COMMANDS
        .iter()
        .find(|(known, _)| *known == container)
        .map_or(&[][..], |(_, categories)| categories);
    let flags = categories
        .iter()
        .filter(|category| matches!(**category, "admin" | "fast" | "pubsub"))
        .map(|flag| Frame::simple(*flag))
        .collect();
    let subs = SUBCOMMANDS
        .iter()
        .filter(|(known, _, _)| *known == name)
        .map(|(container, sub, _)| info(&format!("{container}|{sub}")))
        .collect();
    Frame::Array(vec![
        Frame::bulk(name.to_owned()),
        Frame::Integer(arity),
        Frame::Set(flags),
        Frame::Integer(0),
        Frame::Integer(0),
        Frame::Integer(0),
        Frame::Set(
            categories
                .iter()
                .map(|name| Frame::simple(format!("@{name}")))
                .collect(),
        ),
        Frame::Array(Vec::new()),
        Frame::Array(Vec::new()),
        Frame::Array(subs),
    ])
}

fn docs(names: &[String]) -> Frame {
    let known = names.iter().filter(|name| arity(name).is_some());
    let pair = |key: &'static str, value: &'static str| (Frame::bulk(key), Frame::bulk(value));
    Frame::Map(
        known
            .map(|name| {
                let mut about = vec![
                    pair("summary", "Part of Sentinel's protocol."),
                    pair("since", "2.8.4"),
                    pair("group", "sentinel"),
                    pair("complexity", "O(1)"),
                ];
                let subs: Vec<String> = SUBCOMMANDS
                    .iter()
                    .filter(|(container, _, _)| container == name)
                    .map(|(container, sub, _)| format!("{container}|{sub}"))
                    .collect();
                if !subs.is_empty() {
                    about.push((Frame::bulk("subcommands"), docs(&subs)));
                }
                (Frame::bulk(name.clone()), Frame::Map(about))
            })
            .collect(),
    )
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

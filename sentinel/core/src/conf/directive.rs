//! The directives Sentinel shares with the data server.
//!
//! Decides which of them mean something to a sentinel; all others that a server of Redis 7.0, 8.0 or
//! Valkey 8.1 knows are taken and left alone, so that any file stock starts with will do.

use std::{fmt::Display, str::FromStr, time::Duration};

use super::ServerConf;
use crate::output::LogLevel;

/// Names, or beginnings of names that end in `-`, which are accepted and mean nothing here.
const IGNORED: &[&str] = &[
    "acl-pubsub-default",
    "acllog-max-len",
    "active-",
    "activedefrag",
    "activerehashing",
    "always-show-logo",
    "aof-",
    "aof_rewrite_cpulist",
    "append",
    "appenddirname",
    "appendfilename",
    "appendfsync",
    "appendonly",
    "auto-aof-",
    "availability-zone",
    "bgsave_cpulist",
    "bind-source-addr",
    "bio_cpulist",
    "busy-reply-threshold",
    "client-",
    "close-on-replica-write",
    "cluster-",
    "commandlog-",
    "crash-",
    "daemonize",
    "databases",
    "dbfilename",
    "debug-context",
    "disable-thp",
    "dual-channel-replication-enabled",
    "dynamic-hz",
    "enable-",
    "events-per-io-thread",
    "extended-redis-compatibility",
    "hash-",
    "hide-user-data-from-log",
    "hll-",
    "hz",
    "ignore-warnings",
    "import-mode",
    "io-threads",
    "io-threads-do-reads",
    "jemalloc-bg-thread",
    "latency-",
    "lazyfree-",
    "lfu-",
    "list-",
    "locale-collate",
    "log-format",
    "log-timestamp-format",
    "lookahead",
    "lua-",
    "masterauth",
    "masteruser",
    "max-new-connections-per-cycle",
    "max-new-tls-connections-per-cycle",
    "maxmemory",
    "maxmemory-",
    "min-",
    "mptcp",
    "no-appendfsync-on-rewrite",
    "notify-keyspace-events",
    "oom-",
    "prefetch-batch-max-size",
    "primaryauth",
    "primaryuser",
    "proc-title-template",
    "propagation-error-behavior",
    "proto-max-bulk-len",
    "rdb-",
    "rdbchecksum",
    "rdbcompression",
    "rename-command",
    "repl-",
    "replica-",
    "replicaof",
    "req-res-logfile",
    "sanitize-dump-payload",
    "save",
    "server-",
    "server_cpulist",
    "set-",
    "shutdown-",
    "slave-",
    "slaveof",
    "slowlog-",
    "socket-mark-id",
    "stop-writes-on-bgsave-error",
    "stream-",
    "supervised",
    "syslog-",
    "tcp-",
    "tracking-",
    "zset-",
];

/// The longest time clients may be allowed to say nothing, in seconds.
const IDLE_MAX: u32 = i32::MAX.unsigned_abs();
/// Every permission there is, as chmod(2) says it.
const MODE_MAX: u32 = 0o777;

/// Obeys one directive with its arguments.
pub(super) fn obey(server: &mut ServerConf, words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [name, arguments @ ..] = words.as_slice() else {
        return Ok(());
    };
    let name = name.to_ascii_lowercase();
    match (name.as_str(), arguments) {
        ("port", [value]) => server.port = number(value)?,
        ("tls-port", [value]) => server.tls_port = number(value)?,
        ("bind", addresses) => {
            server.bind = addresses
                .iter()
                .filter(|word| !word.is_empty())
                .map(|word| (*word).to_owned())
                .collect();
        }
        ("dir", [path]) => server.dir = Some((*path).to_owned()),
        ("logfile", [path]) => (*path).clone_into(&mut server.logfile),
        ("loglevel", [word]) => {
            server.loglevel = LogLevel::read(word).ok_or_else(|| {
                "argument(s) must be one of the following: debug, verbose, notice, warning, nothing"
                    .to_owned()
            })?;
        }
        ("pidfile", [path]) => {
            server.pidfile = Some((*path).to_owned()).filter(|path| !path.is_empty());
        }
        ("maxclients", [value]) => server.clients_max = number(value)?,
        ("timeout", [value]) => {
            let seconds = within(number(value)?, IDLE_MAX, &IDLE_MAX)?;
            server.idle_max = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        }
        ("unixsocket", [path]) => (*path).clone_into(&mut server.local.path),
        ("unixsocketperm", [value]) => {
            let mode = i64::from_str_radix(value, 8)
                .map_err(|_| "argument couldn't be parsed as an octal number".to_owned())?;
            let mode = within(mode, MODE_MAX, &format_args!("{MODE_MAX:o}"))?;
            server.local.permissions = (mode > 0).then_some(mode);
        }
        ("unixsocketgroup", [group]) => {
            server.local.group = Some((*group).to_owned()).filter(|group| !group.is_empty());
        }
        ("protected-mode", [word]) => server.protected = switch(word)?,
        ("requirepass", [word]) => (*word).clone_into(&mut server.requirepass),
        ("aclfile", [path]) => {
            server.aclfile = Some((*path).to_owned()).filter(|path| !path.is_empty());
        }
        ("user", [_, ..]) => {
            let rules: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            if let Some(fault) = crate::open::acl::fault(&rules) {
                return Err(format!("Error in user declaration: {fault}"));
            }
            server.users.push(rules);
        }
        (tls, [value]) if tls.starts_with("tls-") => {
            super::tls::obey(&mut server.tls, tls, value)?;
        }
        (other, [_, ..]) if is_ignored(other) => {}
        _ => return Err("Bad directive or wrong number of arguments".to_owned()),
    }
    Ok(())
}

fn is_ignored(name: &str) -> bool {
    IGNORED
        .iter()
        .any(|known| name == *known || (known.ends_with('-') && name.starts_with(known)))
}

fn switch(word: &str) -> Result<bool, String> {
    match word.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".to_owned()),
    }
}

/// The value, if it is not beyond `most`, which is told as `shown`.
fn within(value: i64, most: u32, shown: &dyn Display) -> Result<u32, String> {
    u32::try_from(value)
        .ok()
        .filter(|value| *value <= most)
        .ok_or_else(|| format!("argument must be between 0 and {shown} inclusive"))
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| "argument couldn't be parsed into an integer".to_owned())
}

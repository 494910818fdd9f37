//! Which directives a custom configuration may set, and what a running server does with them.
//!
//! Three answers for a server's directive: refused (it would break the group, or has a field of its
//! own), taken by a restart only, or taken live with `CONFIG SET`. Names are lower case here; the
//! servers do not care. The lists follow what Redis 7.0 and 8.0 and Valkey 8.1 do. [`mod@line`] reads
//! the text of a directive, [`value`] tells whether a server has a value already.

pub mod line;
pub mod value;

pub use line::{Directive, LineError, parse};
pub use value::{default_value, foreign_size, is_same};

/// Directives of redis.conf that a Pipeline may not set, each with what to do instead.
pub const REFUSED: &[(&str, &str)] = &[
    ("aclfile", USERS),
    ("bind", ADDRESS),
    ("bind-source-addr", ADDRESS),
    ("daemonize", PROCESS),
    (
        "dir",
        "the data lies in /data; choose the volume with spec.pipeline.storage",
    ),
    ("enable-debug-command", PROTECTED),
    ("enable-module-command", PROTECTED),
    ("enable-protected-configs", PROTECTED),
    ("include", "put the lines themselves into customConfig"),
    ("masterauth", USERS),
    ("masteruser", USERS),
    ("pidfile", PROCESS),
    ("port", ADDRESS),
    ("primaryauth", USERS),
    ("primaryuser", USERS),
    ("protected-mode", ADDRESS),
    (
        "rename-command",
        "the operator needs the commands under their own names",
    ),
    ("replica-announce-ip", ADDRESS),
    ("replica-announce-port", ADDRESS),
    (
        "replica-announced",
        "the Dukes know every data pod; use replica-priority 0 for one to pass over",
    ),
    (
        "replica-read-only",
        "what is written to a replica is lost at its next synchronisation",
    ),
    ("replicaof", ROLE),
    ("requirepass", USERS),
    ("slave-announce-ip", ADDRESS),
    ("slave-announce-port", ADDRESS),
    (
        "slave-read-only",
        "what is written to a replica is lost at its next synchronisation",
    ),
    ("slaveof", ROLE),
    ("supervised", PROCESS),
    ("unixsocket", ADDRESS),
    ("unixsocketperm", ADDRESS),
    ("user", USERS),
];

/// Beginnings of directives that a Pipeline may not set, each with what to do instead.
pub const REFUSED_PREFIXES: &[(&str, &str)] = &[
    (
        "cluster-",
        "a Pipeline is a replication group, not a Redis Cluster",
    ),
    ("tls-", "the servers of a Pipeline listen on plain TCP"),
];

const ADDRESS: &str = "addresses and ports belong to the operator, which tells them to everybody";
const PROCESS: &str = "the server is the container's main process, started by the kubelet";
const PROTECTED: &str = "it would let a client of the group leave its confines";
const ROLE: &str = "the Dukes decide who follows whom";
const USERS: &str = "the operator makes the users and their passwords";

/// Settings of a Duke that a Pipeline may make, by `SENTINEL SET`, each with its least value.
pub const DUKE_SETTINGS: &[(&str, u64)] = &[
    ("down-after-milliseconds", 1),
    ("failover-timeout", 1),
    ("parallel-syncs", 1),
];

/// What to do instead of setting a directive; `None` when it may be set.
#[must_use]
pub fn refusal(directive: &str) -> Option<&'static str> {
    let exact = REFUSED.iter().find(|(name, _)| *name == directive);
    let begins = || {
        REFUSED_PREFIXES
            .iter()
            .find(|(prefix, _)| directive.starts_with(prefix))
    };
    exact.or_else(begins).map(|(_, remedy)| *remedy)
}

/// Directives that a server reads at its start only.
const AT_START: &[&str] = &[
    "always-show-logo",
    "aof-rewrite-cpulist",
    "aof_rewrite_cpulist",
    "appenddirname",
    "appendfilename",
    "bgsave-cpulist",
    "bgsave_cpulist",
    "bio-cpulist",
    "bio_cpulist",
    "databases",
    "dbfilename",
    "disable-thp",
    "io-threads",
    "io-threads-do-reads",
    "loadmodule",
    "logfile",
    "rdbchecksum",
    "server-cpulist",
    "server_cpulist",
    "set-proc-title",
    "socket-mark-id",
    "syslog-enabled",
    "syslog-facility",
    "syslog-ident",
    "tcp-backlog",
];

/// Whether only a restart brings a directive into force.
///
/// A directive that no list knows is tried live: the server's own answer is the best judge of it,
/// and a pod that is not restarted cannot fail to come up again.
#[must_use]
pub fn needs_restart(directive: &str) -> bool {
    AT_START.contains(&directive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_group_is_refused_with_a_remedy() {
        for directive in [
            "port",
            "replicaof",
            "user",
            "tls-port",
            "cluster-enabled",
            "include",
        ] {
            assert!(
                refusal(directive).is_some_and(|remedy| !remedy.is_empty()),
                "{directive}"
            );
        }
        for directive in [
            "maxmemory",
            "save",
            "appendonly",
            "databases",
            "min-replicas-to-write",
        ] {
            assert_eq!(refusal(directive), None, "{directive}");
        }
    }

    #[test]
    fn lists_are_sorted_and_disjoint() {
        assert!(REFUSED.is_sorted_by(|left, right| left.0 < right.0));
        assert!(AT_START.is_sorted_by(|left, right| left < right));
        assert!(
            AT_START
                .iter()
                .all(|directive| refusal(directive).is_none())
        );
    }
}

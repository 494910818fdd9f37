//! Values of directives: when two texts mean the same, which sizes no server can read, and what a
//! server has by default.

use std::collections::BTreeMap;

use super::Directive;

/// Directives whose values are sizes in memory.
pub const SIZES: &[&str] = &[
    "active-defrag-ignore-bytes",
    "auto-aof-rewrite-min-size",
    "client-output-buffer-limit",
    "client-query-buffer-limit",
    "hash-max-listpack-value",
    "hash-max-ziplist-value",
    "hll-sparse-max-bytes",
    "maxmemory",
    "maxmemory-clients",
    "proto-max-bulk-len",
    "repl-backlog-size",
    "set-max-listpack-value",
    "stream-node-max-bytes",
    "zset-max-listpack-value",
    "zset-max-ziplist-value",
];

/// Kubernetes' units of size.
const KUBERNETES_UNITS: [(&str, u64); 4] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// The servers' units of size, the largest first.
const UNITS: [(&str, u64); 3] = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];

/// Directives whose lines add up instead of replacing each other.
pub const CUMULATIVE: [&str; 2] = ["client-output-buffer-limit", "save"];

/// What we set for every server and a custom line may set otherwise.
///
/// Replicas are fed without a detour over the disk and at once, and a cut link shows within
/// seconds on either side.
pub const OURS: &[(&str, &str)] = &[
    ("repl-diskless-sync", "yes"),
    ("repl-diskless-sync-delay", "0"),
    ("repl-ping-replica-period", "1"),
    ("save", "900 1 300 10"),
    ("tcp-keepalive", "60"),
];

/// Values that a running server goes back to when a custom line is taken away.
///
/// Only directives with one default in all servers we know; our own settings stand for theirs.
const DEFAULTS: &[(&str, &str)] = &[
    ("activedefrag", "no"),
    ("active-expire-effort", "1"),
    ("aof-load-truncated", "yes"),
    ("appendfsync", "everysec"),
    ("appendonly", "no"),
    ("auto-aof-rewrite-min-size", "64mb"),
    ("auto-aof-rewrite-percentage", "100"),
    ("busy-reply-threshold", "5000"),
    ("client-query-buffer-limit", "1gb"),
    ("dynamic-hz", "yes"),
    ("hz", "10"),
    ("latency-monitor-threshold", "0"),
    ("lfu-decay-time", "1"),
    ("lfu-log-factor", "10"),
    ("loglevel", "notice"),
    ("lua-time-limit", "5000"),
    ("maxclients", "10000"),
    ("maxmemory", "0"),
    ("maxmemory-clients", "0"),
    ("maxmemory-eviction-tenacity", "10"),
    ("maxmemory-policy", "noeviction"),
    ("maxmemory-samples", "5"),
    ("min-replicas-max-lag", "10"),
    ("min-replicas-to-write", "0"),
    ("no-appendfsync-on-rewrite", "no"),
    ("notify-keyspace-events", ""),
    ("proto-max-bulk-len", "512mb"),
    ("rdbcompression", "yes"),
    ("repl-disable-tcp-nodelay", "no"),
    ("repl-timeout", "60"),
    ("replica-ignore-maxmemory", "yes"),
    ("replica-priority", "100"),
    ("replica-serve-stale-data", "yes"),
    ("slowlog-log-slower-than", "10000"),
    ("slowlog-max-len", "128"),
    ("stop-writes-on-bgsave-error", "yes"),
    ("timeout", "0"),
    ("tracking-table-max-keys", "1000000"),
];

/// The value a running server had before a custom line gave it another; `None` when that depends on
/// the server, so that only a restart brings it back.
#[must_use]
pub fn default_value(directive: &str) -> Option<&'static str> {
    OURS.iter()
        .chain(DEFAULTS)
        .find(|(name, _)| *name == directive)
        .map(|(_, value)| *value)
}

/// Whether a server that answers `present` to `CONFIG GET` has what `wanted` asks for.
///
/// Servers answer in their own spelling: bytes for `50mb`, flags in their own order, all classes of
/// buffer limits when one was set.
#[must_use]
pub fn is_same(directive: &str, wanted: &str, present: &str) -> bool {
    match directive {
        "client-output-buffer-limit" => {
            let (wanted, present) = (classes(wanted), classes(present));
            wanted
                .iter()
                .all(|(class, limits)| present.get(class) == Some(limits))
        }
        "notify-keyspace-events" => flags(wanted) == flags(present),
        _ => words(wanted) == words(present),
    }
}

/// Words in lower case, sizes as bytes.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| bytes(word).unwrap_or_else(|| word.to_lowercase()))
        .collect()
}

/// Reads a size like the servers do: `k` is a thousand, `kb` is 1024.
fn bytes(word: &str) -> Option<String> {
    let end = word
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(word.len());
    let (digits, unit) = word.split_at(end);
    let factor: u64 = match unit.to_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    Some(digits.parse::<u64>().ok()?.checked_mul(factor)?.to_string())
}

/// A size in Kubernetes' spelling in a directive's value, and how the servers spell it.
#[must_use]
pub fn foreign_size(directive: &Directive) -> Option<(&str, String)> {
    if !SIZES.contains(&directive.name.as_str()) {
        return None;
    }
    directive
        .value
        .split_whitespace()
        .find_map(|word| Some((word, servers_spelling(word)?)))
}

/// How the servers spell a size in Kubernetes' spelling: `1gb` for `1Gi`, `1536mb` for `1.5Gi`.
fn servers_spelling(word: &str) -> Option<String> {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = word.split_at(end);
    let unit = unit.strip_suffix(['b', 'B']).unwrap_or(unit);
    let (_, factor) = KUBERNETES_UNITS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(unit))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let size = digits.checked_mul(*factor)?.checked_div(scale)?;
    let (unit, factor) = UNITS
        .iter()
        .find(|(_, factor)| size.checked_rem(*factor) == Some(0))?;
    Some(format!("{}{unit}", size.checked_div(*factor)?))
}

/// Event flags as a set.
fn flags(text: &str) -> Vec<char> {
    let mut flags: Vec<char> = text.chars().collect();
    flags.sort_unstable();
    flags.dedup();
    flags
}

/// Buffer limits by class; `slave` is the old name of `replica`.
fn classes(text: &str) -> BTreeMap<String, Vec<String>> {
    words(text)
        .chunks(4)
        .filter_map(|chunk| chunk.split_first())
        .map(|(class, limits)| {
            let class = if class == "slave" { "replica" } else { class };
            (class.to_owned(), limits.to_vec())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_the_same() {
        for (directive, wanted, present) in [
            ("maxmemory", "50mb", "52428800"),
            ("maxmemory", "1g", "1000000000"),
            ("maxmemory-policy", "AllKeys-LRU", "allkeys-lru"),
            ("save", "", ""),
            ("save", "900 1  300 10", "900 1 300 10"),
            ("notify-keyspace-events", "KEA", "AKE"),
            (
                "client-output-buffer-limit",
                "replica 1mb 1mb 60",
                "normal 0 0 0 slave 1048576 1048576 60 pubsub 33554432 8388608 60",
            ),
            ("maxmemory-clients", "5%", "5%"),
        ] {
            assert!(is_same(directive, wanted, present), "{directive} {wanted}");
        }
    }

    #[test]
    fn a_size_that_no_server_reads_is_told_in_the_servers_spelling() {
        for (line, size) in [
            ("maxmemory 1Gi", Some(("1Gi", "1gb"))),
            ("maxmemory 512Mi", Some(("512Mi", "512mb"))),
            ("maxmemory 1.5Gi", Some(("1.5Gi", "1536mb"))),
            ("maxmemory 2Ti", Some(("2Ti", "2048gb"))),
            ("maxmemory 1GiB", Some(("1GiB", "1gb"))),
            ("repl-backlog-size 64Ki", Some(("64Ki", "64kb"))),
            (
                "client-output-buffer-limit replica 256Mi 64mb 60",
                Some(("256Mi", "256mb")),
            ),
            ("maxmemory 1gb", None),
            ("maxmemory 1g", None),
            ("maxmemory 1073741824", None),
            ("maxmemory-clients 5%", None),
            ("databases 1Gi", None),
        ] {
            let directive = super::super::parse(line).unwrap().unwrap();
            let found = foreign_size(&directive);
            let found = found
                .as_ref()
                .map(|(word, remedy)| (*word, remedy.as_str()));
            assert_eq!(found, size, "{line}");
        }
    }

    #[test]
    fn other_values_are_not_the_same() {
        for (directive, wanted, present) in [
            ("maxmemory", "50mb", "50000000"),
            ("save", "", "900 1"),
            ("client-output-buffer-limit", "pubsub 0 0 0", "normal 0 0 0"),
        ] {
            assert!(!is_same(directive, wanted, present), "{directive} {wanted}");
        }
    }

    #[test]
    fn a_default_is_ours_first() {
        assert_eq!(default_value("tcp-keepalive"), Some("60"));
        assert_eq!(default_value("save"), Some("900 1 300 10"));
        assert_eq!(default_value("maxmemory"), Some("0"));
        assert_eq!(default_value("repl-backlog-size"), None);
    }
}

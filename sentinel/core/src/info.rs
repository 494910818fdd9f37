//! What a data server says of itself in INFO.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

/// A server's part in replication, in its own words.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Role {
    /// It has not said yet.
    #[default]
    Unknown,
    /// It takes writes.
    Master,
    /// It follows another.
    Replica {
        /// The host it was told to follow, as text.
        host: String,
        /// The port.
        port: u16,
        /// Both together, if the host is no name. It is compared at every turn.
        address: Option<SocketAddr>,
        /// Whether it is in touch with it.
        link_up: bool,
    },
}

impl Role {
    /// Sentinel's word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Master => "master",
            Self::Replica { .. } => "slave",
        }
    }

    /// Whether it is a replica of nothing, as every server starts.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self, Self::Replica { host, port, .. } if host == "127.0.0.1" && *port == 1)
    }

    /// Whether it follows `master`.
    pub(crate) fn follows(&self, master: SocketAddr) -> bool {
        matches!(self, Self::Replica { address: Some(address), .. } if *address == master)
    }
}

/// What was read from one INFO.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of INFO")]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Info {
    pub(crate) run_id: String,
    pub(crate) role: Role,
    pub(crate) offset: u64,
    pub(crate) priority: u32,
    pub(crate) loading: bool,
    /// How many keys it holds, in all its databases; it names none that is empty.
    pub(crate) keys: u64,
    /// Seconds the link to the master has been down.
    pub(crate) link_down_seconds: u64,
    /// Seconds since it last heard its master, while its link stands.
    pub(crate) heard_seconds: u64,
    /// It never was in touch with its master, or is being given a whole new data set by it.
    pub(crate) unsynced: bool,
    pub(crate) lineage: Lineage,
    /// The replicas a master names, as host and port.
    pub(crate) replicas: Vec<(String, u16)>,
    /// A replica that is not to be told of.
    pub(crate) hidden: bool,
    /// It is as new as Redis 6.2: it can hold its clients' writes (`CLIENT PAUSE … WRITE`), and has the
    /// command `FAILOVER`, the only part of this that shows in its INFO.
    pub(crate) hands_over: bool,
}

/// The names of a stream of writes: the present one, and the one it was continued from. Servers that
/// share a name hold parts of the same history, so that their offsets can be compared.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Lineage {
    pub(crate) now: String,
    pub(crate) before: String,
    /// Where the present stream left the one before it.
    pub(crate) left: u64,
}

/// What one history is to another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Novelty {
    /// The same, or an older one.
    Former,
    /// Nothing is known.
    Unrelated,
    /// It goes on from the other.
    Successor,
}

impl Lineage {
    /// Whether the server named its history at all.
    pub(crate) fn is_known(&self) -> bool {
        !self.now.is_empty()
    }

    /// How much of the stream `name` a server holds that has `offset` of its own, if any.
    pub(crate) fn part_of(&self, name: &str, offset: u64) -> Option<u64> {
        if self.now == name {
            Some(offset)
        } else {
            (self.before == name).then_some(offset.min(self.left))
        }
    }

    /// How likely this is the history of the master that came after the one with the history `former`: it
    /// goes on from that, has nothing to do with it, or is that very history or an older one.
    pub(crate) fn novelty(&self, former: Option<&Self>) -> Novelty {
        match former {
            Some(former) if self.before == former.now => Novelty::Successor,
            Some(former) if self.now == former.now || self.now == former.before => Novelty::Former,
            Some(_) | None => Novelty::Unrelated,
        }
    }

    /// Whether two servers hold parts of one history.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let named = |id: &&String| id.bytes().any(|byte| byte != b'0');
        let ours = [&self.now, &self.before];
        let theirs = [&other.now, &other.before];
        ours.iter().any(|id| named(id) && theirs.contains(id))
    }
}

/// Reads INFO's text; unknown lines are skipped.
pub(crate) fn read(text: &[u8]) -> Info {
    // Nearly always it is text; finding that out is quicker than mending it.
    let text = str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed);
    let mut info = Info {
        priority: 100,
        ..Info::default()
    };
    let mut host = String::new();
    let mut port = 0;
    let mut link_up = false;
    let mut role = "";
    let mut master_offset = 0;
    let mut replica_offset = None;
    for line in text.lines() {
        let Some((key, value)) = line.trim_end().split_once(':') else {
            continue;
        };
        match key {
            "run_id" => value.clone_into(&mut info.run_id),
            "role" => role = if value == "master" { "master" } else { "slave" },
            "master_host" => value.clone_into(&mut host),
            "master_port" => port = value.parse().unwrap_or(0),
            "master_link_status" => link_up = value == "up",
            "master_link_down_since_seconds" => {
                info.unsynced |= value == "-1";
                info.link_down_seconds = value.parse().unwrap_or(0);
            }
            // −1 while the link is down.
            "master_last_io_seconds_ago" => info.heard_seconds = value.parse().unwrap_or(0),
            "master_sync_in_progress" => info.unsynced |= value == "1",
            "master_replid" => value.clone_into(&mut info.lineage.now),
            "master_replid2" => value.clone_into(&mut info.lineage.before),
            // The first byte of the present stream; without one before it, −1.
            "second_repl_offset" => {
                info.lineage.left = value
                    .parse()
                    .map_or(0, |first: u64| first.saturating_sub(1));
            }
            "slave_priority" => info.priority = value.parse().unwrap_or(100),
            "slave_repl_offset" => replica_offset = value.parse().ok(),
            "master_repl_offset" => master_offset = value.parse().unwrap_or(0),
            "loading" => info.loading = value == "1",
            "master_failover_state" => info.hands_over = true,
            "replica_announced" => info.hidden = value == "0",
            _ => {
                info.keys = info.keys.saturating_add(keys(key, value).unwrap_or(0));
                info.replicas.extend(replica(key, value));
            }
        }
    }
    info.offset = replica_offset.unwrap_or(master_offset);
    info.role = match role {
        "master" => Role::Master,
        "slave" => Role::Replica {
            address: host.parse::<IpAddr>().ok().map(|ip| (ip, port).into()),
            host,
            port,
            link_up,
        },
        _ => Role::Unknown,
    };
    info
}

/// Reads `slave0:ip=10.0.0.2,port=6379,…`.
fn replica(key: &str, value: &str) -> Option<(String, u16)> {
    numbered(key, "slave").then_some(())?;
    let port = field(value, "port")?.parse().ok()?;
    Some((field(value, "ip")?.to_owned(), port))
}

/// Reads `db0:keys=12,expires=3,…`.
fn keys(key: &str, value: &str) -> Option<u64> {
    numbered(key, "db").then_some(())?;
    field(value, "keys")?.parse().ok()
}

/// Whether a line's key is `prefix` with a number behind it.
fn numbered(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// One field of a value that has several.
fn field<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    value
        .split(',')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(now: &str, before: &str) -> Lineage {
        Lineage {
            now: now.to_owned(),
            before: before.to_owned(),
            left: 0,
        }
    }

    #[test]
    fn a_master_names_its_replicas() {
        let info = read(
            b"role:master\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=7,lag=0\r\nslave1:ip=::1,port=x\r\n",
        );
        assert_eq!(info.replicas, [("10.0.0.2".to_owned(), 6379)]);
    }

    #[test]
    fn a_replica_is_read_with_its_master() {
        let info = read(
            b"# Server\r\nrun_id:abc\r\n# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
              master_link_status:up\r\nslave_repl_offset:77\r\nslave_priority:5\r\nmaster_repl_offset:77\r\n",
        );
        assert!(info.role.follows("10.0.0.1:6379".parse().unwrap()));
        assert!(!info.role.is_blank());
        assert_eq!(
            (info.offset, info.priority, info.run_id.as_str()),
            (77, 5, "abc")
        );
    }

    #[test]
    fn histories_meet_in_either_of_their_names() {
        assert!(lineage("b", "a").meets(&lineage("a", "00")));
        assert!(lineage("a", "00").meets(&lineage("c", "a")));
        assert!(!lineage("a", "00").meets(&lineage("b", "00")));
        assert!(!lineage("", "").is_known());
    }

    #[test]
    fn a_history_holds_the_one_before_it_as_far_as_it_went() {
        let text =
            b"role:master\r\nmaster_replid:b\r\nmaster_replid2:a\r\nsecond_repl_offset:41\r\n";
        let lineage = read(text).lineage;
        assert_eq!(lineage.part_of("b", 70), Some(70));
        assert_eq!(lineage.part_of("a", 70), Some(40));
        assert_eq!(lineage.part_of("a", 30), Some(30));
        assert_eq!(lineage.part_of("c", 70), None);
        let first = read(b"role:master\r\nmaster_replid:b\r\nsecond_repl_offset:-1\r\n").lineage;
        assert_eq!(first.left, 0);
    }

    #[test]
    fn a_successor_goes_on_from_the_history_before_it() {
        let former = lineage("b", "a");
        let novelty = |now, before| lineage(now, before).novelty(Some(&former));
        assert_eq!(novelty("c", "b"), Novelty::Successor);
        assert_eq!(novelty("x", "00"), Novelty::Unrelated);
        assert_eq!(novelty("b", "a"), Novelty::Former);
        assert_eq!(novelty("a", "00"), Novelty::Former);
        assert_eq!(lineage("c", "b").novelty(None), Novelty::Unrelated);
        assert!(Novelty::Successor > Novelty::Unrelated && Novelty::Unrelated > Novelty::Former);
    }

    #[test]
    fn a_replica_that_never_was_in_touch_says_so() {
        assert!(read(b"role:slave\r\nmaster_link_down_since_seconds:-1\r\n").unsynced);
        assert!(read(b"role:slave\r\nmaster_sync_in_progress:1\r\n").unsynced);
        assert!(!read(b"role:slave\r\nmaster_link_down_since_seconds:3\r\n").unsynced);
    }

    #[test]
    fn keys_of_all_databases_count() {
        let text = b"# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=0\r\ndb15:keys=30,expires=0,avg_ttl=0\r\ndbx:keys=1\r\n";
        assert_eq!(read(text).keys, 42);
        assert_eq!(read(b"# Keyspace\r\n").keys, 0);
    }

    #[test]
    fn a_started_server_follows_nothing() {
        assert!(
            read(b"role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:1\r\n")
                .role
                .is_blank()
        );
        assert_eq!(read(b"junk\r\n:::\r\n").role, Role::Unknown);
    }
}

//! Questions and orders to one data node (Redis or Valkey server).
//!
//! The only order that changes a node's role is [`promote`], for seeding a group that has no Duke
//! majority with memory; everything else about roles is the Dukes' business. It is conditional: a
//! node that is not what was chosen any more is left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use redis::cmd;

use super::{Connection, Credentials, Error, history::History, info::Info};

/// The address that a node's configuration names as its master: nothing listens there, so the node
/// is a replica of nothing until somebody gives it a role.
pub const NOWHERE: (&str, u16) = ("127.0.0.1", 1);

/// What a data node says it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// It accepts writes.
    Master,
    /// It follows another node.
    Replica {
        /// The host it was told to follow, as it prints it.
        host: String,
        /// The port it was told to follow.
        port: u16,
        /// Whether its link is up.
        link_up: bool,
        /// Whether a first or full synchronisation is under way.
        syncing: bool,
    },
}

/// What a data node reported about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeReport {
    /// Its role.
    pub role: Role,
    /// Bytes of the replication stream it has processed (as master: has produced). One that holds
    /// no known part of any stream, as after an aborted synchronisation, says 1.
    pub offset: u64,
    /// The names of its stream of writes.
    pub history: History,
    /// For a replica: whether it was ever in touch with the master that it follows now.
    pub was_in_touch: bool,
    /// The identity of its process.
    pub run_id: String,
    /// The server's version text.
    pub version: String,
    /// Whether it is still reading its data from disk.
    pub loading: bool,
    /// Number of keys over all databases.
    pub keys: u64,
    /// For a master: how many replicas are connected and online, with their acknowledged offsets.
    pub followers: Vec<Follower>,
    /// The current values of the configuration keys that were asked for.
    pub config: BTreeMap<String, String>,
}

/// A replica as its master sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Follower {
    /// The replica's address as the master sees it.
    pub ip: String,
    /// Whether the master streams to it (`state=online`).
    pub online: bool,
    /// The offset it acknowledged last.
    pub offset: u64,
}

impl NodeReport {
    /// Whether the node is a replica of nothing, as every freshly started node is.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match &self.role {
            Role::Master => false,
            Role::Replica { host, port, .. } => (host.as_str(), *port) == NOWHERE,
        }
    }

    /// Whether the node follows `master` with its link up and nothing left to synchronise.
    #[must_use]
    pub fn is_in_sync_with(&self, master: IpAddr) -> bool {
        match &self.role {
            Role::Master => false,
            Role::Replica {
                link_up, syncing, ..
            } => self.follows(master) && *link_up && !*syncing && !self.loading,
        }
    }

    /// Whether the node was told to follow `master`.
    #[must_use]
    pub fn follows(&self, master: IpAddr) -> bool {
        match &self.role {
            Role::Master => false,
            Role::Replica { host, .. } => host.parse() == Ok(master),
        }
    }

    /// Reads an `INFO` reply.
    #[must_use]
    pub fn from_info(info: &Info, config: BTreeMap<String, String>) -> Self {
        let is_master = info.text("role") == "master";
        let role = if is_master {
            Role::Master
        } else {
            Role::Replica {
                host: info.text("master_host").to_owned(),
                port: u16::try_from(info.number("master_port")).unwrap_or(0),
                link_up: info.text("master_link_status") == "up",
                syncing: info.flag("master_sync_in_progress"),
            }
        };
        let offset = if is_master {
            "master_repl_offset"
        } else {
            "slave_repl_offset"
        };
        Self {
            role,
            offset: info.number(offset),
            history: History::of(info),
            was_in_touch: !is_master && info.text("master_link_down_since_seconds") != "-1",
            run_id: info.text("run_id").to_owned(),
            version: version(info),
            loading: info.flag("loading"),
            keys: info.keys(),
            followers: followers(info),
            config,
        }
    }
}

/// Valkey prints its own version beside the Redis version it is compatible with.
fn version(info: &Info) -> String {
    match info.text("valkey_version") {
        "" => info.text("redis_version").to_owned(),
        own => own.to_owned(),
    }
}

/// The `slave0:ip=…,port=…,state=online,offset=…` lines of a master.
fn followers(info: &Info) -> Vec<Follower> {
    (0..info.number("connected_slaves"))
        .map(|index| info.text(&format!("slave{index}")).to_owned())
        .filter(|line| !line.is_empty())
        .map(|line| {
            let fields: BTreeMap<&str, &str> = line
                .split(',')
                .filter_map(|part| part.split_once('='))
                .collect();
            let field = |key: &str| fields.get(key).copied().unwrap_or_default();
            Follower {
                ip: field("ip").to_owned(),
                online: field("state") == "online",
                offset: field("offset").parse().unwrap_or(0),
            }
        })
        .collect()
}

/// Asks a node for its role, its data and the given configuration keys.
///
/// # Errors
/// When it cannot be reached or does not answer within `limit` per question.
pub async fn look(
    address: SocketAddr,
    credentials: &Credentials,
    keys: &BTreeSet<String>,
    limit: Duration,
) -> Result<NodeReport, Error> {
    let mut connection = Connection::open(address, credentials, limit).await?;
    let text: String = connection.ask(&cmd("INFO")).await?;
    let info = Info::parse(&text);
    let mut config = BTreeMap::new();
    // One question per key: several patterns in one CONFIG GET exist from 7.0 on only, and the
    // answer says nothing about a key that this server does not know.
    for key in keys {
        let found: Vec<String> = connection.ask(cmd("CONFIG").arg("GET").arg(key)).await?;
        if let [name, value, ..] = found.as_slice() {
            config.insert(name.to_ascii_lowercase(), value.clone());
        }
    }
    Ok(NodeReport::from_info(&info, config))
}

/// What a node must still be when the order to become master reaches it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expected {
    /// The process.
    pub run_id: String,
    /// The name of its stream of writes.
    pub history: String,
    /// How much of it there was when it was chosen.
    pub offset: u64,
    /// Whether it may be in touch with a master: only when a human chose it.
    pub may_be_linked: bool,
}

impl Expected {
    /// What keeps a node from being promoted, if anything.
    #[must_use]
    pub fn objection(&self, report: &NodeReport) -> Option<String> {
        let Self {
            run_id,
            history,
            offset,
            may_be_linked,
        } = self;
        if report.run_id != *run_id {
            return Some("its process was started anew".to_owned());
        }
        if report.loading {
            return Some("it is loading its data".to_owned());
        }
        match &report.role {
            Role::Master => return None,
            Role::Replica {
                host,
                port,
                link_up,
                syncing,
            } => {
                if (*link_up && !may_be_linked) || *syncing {
                    return Some(format!("it is in touch with a master at {host}:{port}"));
                }
            }
        }
        if report.history.id != *history || report.offset < *offset {
            let (now, at) = (report.history.short(), report.offset);
            return Some(format!("its data is another, offset {at} of {now}"));
        }
        None
    }
}

/// Makes a node the first master of a group that has none, if it is still what was chosen.
///
/// Looks on the connection that the order takes, so order and look meet the same process. What may
/// change between the two is one thing: within that round trip somebody may give the node a master.
/// A node that is master already stays so. Looks again afterwards: an order counts as carried out
/// only when the node says that it is master.
///
/// # Errors
/// When the node cannot be reached, refuses, or is not what was chosen.
pub async fn promote(
    address: SocketAddr,
    credentials: &Credentials,
    expected: &Expected,
    limit: Duration,
) -> Result<(), Error> {
    let changed = |message: String| Error::Changed { address, message };
    let mut connection = Connection::open(address, credentials, limit).await?;
    let report = look_once(&mut connection).await?;
    if let Some(objection) = expected.objection(&report) {
        return Err(changed(objection));
    }
    if report.role == Role::Master {
        return Ok(());
    }
    connection
        .ask::<()>(cmd("REPLICAOF").arg("NO").arg("ONE"))
        .await?;
    let after = look_once(&mut connection).await?;
    if after.role != Role::Master {
        return Err(changed("somebody gave it another role".to_owned()));
    }
    Ok(())
}

async fn look_once(connection: &mut Connection) -> Result<NodeReport, Error> {
    let text: String = connection.ask(&cmd("INFO")).await?;
    Ok(NodeReport::from_info(&Info::parse(&text), BTreeMap::new()))
}

/// Sets one configuration key on a living node.
///
/// # Errors
/// When the node cannot be reached or refuses the value; its words are in the error.
pub async fn set_config(
    address: SocketAddr,
    credentials: &Credentials,
    key: &str,
    value: &str,
    limit: Duration,
) -> Result<(), Error> {
    let mut connection = Connection::open(address, credentials, limit).await?;
    connection
        .ask::<()>(cmd("CONFIG").arg("SET").arg(key).arg(value))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> NodeReport {
        NodeReport::from_info(&Info::parse(text), BTreeMap::new())
    }

    #[test]
    fn a_fresh_node_is_blank() {
        let node = report(
            "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:1\r\nmaster_link_status:down\r\n",
        );
        assert!(node.is_blank());
        assert!(!node.is_in_sync_with("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_replica_is_in_sync_when_its_link_is_up_and_nothing_is_left_to_copy() {
        let master: IpAddr = "10.0.0.1".parse().unwrap();
        let text = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
            master_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:77\r\n";
        let node = report(text);
        assert!(node.is_in_sync_with(master));
        assert_eq!(node.offset, 77);
        assert!(!report(&text.replace("progress:0", "progress:1")).is_in_sync_with(master));
        assert!(!report(&format!("{text}loading:1\r\n")).is_in_sync_with(master));
        assert!(!node.is_in_sync_with("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn only_what_was_chosen_is_promoted() {
        let text = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nrun_id:r\r\n\
            master_link_status:down\r\nmaster_replid:h\r\nslave_repl_offset:77\r\n";
        let expected = Expected {
            run_id: "r".to_owned(),
            history: "h".to_owned(),
            offset: 77,
            may_be_linked: false,
        };
        let objection = |from: &str, to: &str| expected.objection(&report(&text.replace(from, to)));
        assert_eq!(objection("", ""), None);
        assert_eq!(objection("offset:77", "offset:78"), None);
        for (from, to, word) in [
            ("run_id:r", "run_id:s", "anew"),
            ("replid:h", "replid:g", "another"),
            ("offset:77", "offset:76", "another"),
            ("status:down", "status:up", "in touch"),
            (
                "run_id:r",
                "master_sync_in_progress:1\r\nrun_id:r",
                "in touch",
            ),
            ("run_id:r", "loading:1\r\nrun_id:r", "loading"),
            ("role:slave", "loading:1\r\nrole:master", "loading"),
        ] {
            let said = objection(from, to).unwrap_or_default();
            assert!(said.contains(word), "{to:?}: {said:?}");
        }
        let accepted = Expected {
            may_be_linked: true,
            ..expected
        };
        assert_eq!(
            accepted.objection(&report(&text.replace("down", "up"))),
            None
        );
    }

    #[test]
    fn a_master_lists_its_followers() {
        let node = report(
            "role:master\r\nmaster_repl_offset:100\r\nconnected_slaves:2\r\nvalkey_version:8.1.1\r\n\
             slave0:ip=10.0.0.2,port=6379,state=online,offset=90,lag=0\r\n\
             slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n",
        );
        assert_eq!(node.role, Role::Master);
        assert_eq!((node.offset, node.version.as_str()), (100, "8.1.1"));
        let online: Vec<_> = node
            .followers
            .iter()
            .map(|f| (f.ip.as_str(), f.online))
            .collect();
        assert_eq!(online, [("10.0.0.2", true), ("10.0.0.3", false)]);
    }
}

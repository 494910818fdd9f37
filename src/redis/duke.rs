//! Questions and orders to one Duke: `DUKE STATUS`, `MEMBERS`, `NODES`, `SEED`, `HANDOVER`, and
//! Sentinel's `SET`.
//!
//! Reading is lenient where a newer Duke may say more (unknown keys are skipped) and strict where
//! a wrong reading could move a master: an address that does not parse is an error.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use redis::{Value, cmd, from_redis_value_ref};

use super::{Connection, Credentials, Error};

/// The name under which clients know the group's master.
pub const MASTER_NAME: &str = "mymaster";

/// Where a member's row says why the Duke's login is refused there. Older Dukes' rows end before.
const MEMBER_REFUSAL: usize = 5;
/// Where a node's row says it.
const NODE_REFUSAL: usize = 9;

/// A Duke as the whole group names it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Member {
    /// Its run id, 40 hexadecimal digits.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A data node as one Duke sees it; the role fields are the node's own words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownNode {
    /// Where the node listens.
    pub address: SocketAddr,
    /// Whether the Duke reaches it.
    pub up: bool,
    /// `master`, `replica` or `unknown`.
    pub role: String,
    /// The host it follows, empty for a master or an unknown one.
    pub master_host: String,
    /// The port it follows, 0 if none.
    pub master_port: u16,
    /// Why the Duke's login is refused there, in the server's words; empty if it is not, or if the Duke
    /// is too old to say.
    pub refusal: String,
}

impl KnownNode {
    /// Whether the Duke sees the node alive with a role: master, or replica of somebody real.
    #[must_use]
    pub fn has_lineage(&self) -> bool {
        let nowhere = (self.master_host.as_str(), self.master_port) == super::node::NOWHERE;
        self.up && (self.role == "master" || (self.role == "replica" && !nowhere))
    }
}

/// What `DUKE STATUS` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DukeReport {
    /// The Duke's run id.
    pub id: String,
    /// Whether it knows the group's past and may vote.
    pub memory: bool,
    /// The generation of the group it knows, 0 if none.
    pub generation: u64,
    /// The highest epoch it has seen.
    pub current_epoch: u64,
    /// The epoch in which its master was made.
    pub config_epoch: u64,
    /// The master it knows.
    pub master: Option<SocketAddr>,
    /// Sentinel's flags of the master (`s_down`, `o_down`, `failover_in_progress`, …).
    pub flags: Vec<String>,
    /// Where a failover stands, `none` when there is none.
    pub failover_state: String,
    /// The number of Dukes of which a majority is taken, 0 before it was told.
    pub size: u32,
    /// How many Dukes must agree that the master is down.
    pub quorum: u32,
    /// The Dukes it was told of, itself included.
    pub members: Vec<Member>,
    /// The data nodes it was told of.
    pub nodes: Vec<KnownNode>,
    /// Why there is no master or no promotion now; empty if there is nothing to say, or if the Duke is too
    /// old to say.
    pub reason: String,
    /// Members, by their run ids, where its login is refused, and in which words.
    pub refused_by: BTreeMap<String, String>,
    /// Sentinel settings as it has them (`down-after-milliseconds`, …).
    pub settings: BTreeMap<String, String>,
}

impl DukeReport {
    /// Whether a failover is under way at this Duke.
    #[must_use]
    pub fn is_failing_over(&self) -> bool {
        self.flags.iter().any(|flag| flag == "failover_in_progress")
            || !matches!(self.failover_state.as_str(), "" | "none" | "no_failover")
    }

    /// Whether this Duke holds the master for dead, alone or with others.
    #[must_use]
    pub fn holds_master_down(&self) -> bool {
        self.flags
            .iter()
            .any(|flag| flag == "s_down" || flag == "o_down")
    }
}

/// An order to seed a group: all it has to know to have memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seed {
    /// The generation, one more than any before.
    pub generation: u64,
    /// The group's master.
    pub master: SocketAddr,
    /// The epoch in which it was chosen.
    pub epoch: u64,
}

/// Asks a Duke for its status.
///
/// # Errors
/// When it cannot be reached, or answers something that is no status.
pub async fn look(
    address: SocketAddr,
    credentials: &Credentials,
    limit: Duration,
) -> Result<DukeReport, Error> {
    let mut connection = Connection::open(address, credentials, limit).await?;
    let answer: Value = connection.ask(cmd("DUKE").arg("STATUS")).await?;
    read_status(&answer).map_err(|message| Error::Garbled { address, message })
}

/// Tells a Duke the whole list of Dukes, itself included.
///
/// # Errors
/// When it cannot be reached or refuses.
pub async fn tell_members(
    address: SocketAddr,
    credentials: &Credentials,
    size: u32,
    quorum: u32,
    members: &[Member],
    limit: Duration,
) -> Result<(), Error> {
    let mut command = cmd("DUKE");
    command.arg("MEMBERS").arg(size).arg(quorum);
    for member in members {
        command.arg(format!("{}@{}", member.id, member.address));
    }
    order(address, credentials, &command, limit).await
}

/// Tells a Duke the whole list of data nodes of record.
///
/// # Errors
/// When it cannot be reached or refuses.
pub async fn tell_nodes(
    address: SocketAddr,
    credentials: &Credentials,
    nodes: &[SocketAddr],
    limit: Duration,
) -> Result<(), Error> {
    let mut command = cmd("DUKE");
    command.arg("NODES");
    for node in nodes {
        command.arg(node.to_string());
    }
    order(address, credentials, &command, limit).await
}

/// Gives a Duke memory of the group.
///
/// # Errors
/// When it cannot be reached, or knows something newer (`STALE`).
pub async fn seed(
    address: SocketAddr,
    credentials: &Credentials,
    seed: Seed,
    limit: Duration,
) -> Result<(), Error> {
    let mut command = cmd("DUKE");
    command
        .arg("SEED")
        .arg(seed.generation)
        .arg(seed.master.ip().to_string())
        .arg(seed.master.port())
        .arg(seed.epoch);
    order(address, credentials, &command, limit).await
}

/// Changes one Sentinel setting of a living Duke.
///
/// # Errors
/// When it cannot be reached or refuses the value.
pub async fn set(
    address: SocketAddr,
    credentials: &Credentials,
    option: &str,
    value: &str,
    limit: Duration,
) -> Result<(), Error> {
    let mut command = cmd("SENTINEL");
    command.arg("SET").arg(MASTER_NAME).arg(option).arg(value);
    order(address, credentials, &command, limit).await
}

/// Asks a Duke to move the master away from a server. Where another one is master already, nothing
/// happens.
///
/// A Duke of a version that does not know this order is asked for a failover instead.
///
/// # Errors
/// When it cannot be reached or cannot do it now (`NOGOODSLAVE`, `INPROG`, `NOMAJORITY`).
pub async fn hand_over(
    address: SocketAddr,
    credentials: &Credentials,
    from: SocketAddr,
    limit: Duration,
) -> Result<(), Error> {
    let mut command = cmd("DUKE");
    let (ip, port) = (from.ip().to_string(), from.port());
    command.arg("HANDOVER").arg(ip).arg(port);
    let asked = order(address, credentials, &command, limit).await;
    let refusal = asked.as_ref().err().and_then(Error::answer);
    match refusal {
        Some(text) if text.starts_with("NOTMASTER") => Ok(()),
        Some(text) if text.contains("unknown subcommand") => {
            let mut command = cmd("SENTINEL");
            command.arg("FAILOVER").arg(MASTER_NAME);
            order(address, credentials, &command, limit).await
        }
        Some(_) | None => asked,
    }
}

async fn order(
    address: SocketAddr,
    credentials: &Credentials,
    command: &redis::Cmd,
    limit: Duration,
) -> Result<(), Error> {
    let mut connection = Connection::open(address, credentials, limit).await?;
    connection.ask::<()>(command).await
}

/// Reads the flat key–value array of `DUKE STATUS`.
fn read_status(answer: &Value) -> Result<DukeReport, String> {
    let Value::Array(items) = answer else {
        return Err("the status is no array".to_owned());
    };
    let mut fields = BTreeMap::new();
    for pair in items.chunks(2) {
        let [key, value] = pair else {
            return Err("the status has a key without a value".to_owned());
        };
        fields.insert(text(key)?, value);
    }
    let word = |key: &str| {
        fields
            .get(key)
            .map_or(Ok(String::new()), |value| text(value))
    };
    let number = |key: &str| word(key).map(|text| text.parse::<u64>().unwrap_or(0));
    let master = match word("master-ip")?.as_str() {
        "" => None,
        ip => Some(address(ip, &word("master-port")?)?),
    };
    let settings = [
        "down-after-milliseconds",
        "failover-timeout",
        "parallel-syncs",
    ]
    .into_iter()
    .map(|key| Ok((key.to_owned(), word(key)?)))
    .collect::<Result<_, String>>()?;
    let small = |key: &str| number(key).map(|n| u32::try_from(n).unwrap_or(0));
    let members = rows(fields.get("members").copied())?;
    Ok(DukeReport {
        id: word("myid")?,
        memory: word("memory")? == "yes",
        generation: number("generation")?,
        current_epoch: number("current-epoch")?,
        config_epoch: number("config-epoch")?,
        master,
        flags: word("flags")?.split(',').map(str::to_owned).collect(),
        failover_state: word("failover-state")?,
        size: small("size")?,
        quorum: small("quorum")?,
        members: members
            .iter()
            .map(|row| read_member(row))
            .collect::<Result<_, _>>()?,
        reason: word("reason")?,
        refused_by: members.iter().filter_map(|row| refusal(row)).collect(),
        nodes: rows(fields.get("nodes").copied())?
            .iter()
            .map(|row| read_node(row))
            .collect::<Result<_, _>>()?,
        settings,
    })
}

fn read_member(row: &[String]) -> Result<Member, String> {
    let [id, ip, port, ..] = row else {
        return Err("a member row is too short".to_owned());
    };
    Ok(Member {
        id: id.clone(),
        address: address(ip, port)?,
    })
}

/// A member's id and why it refuses the Duke's login, if it does and the Duke says so.
fn refusal(row: &[String]) -> Option<(String, String)> {
    let (id, refusal) = (row.first()?, row.get(MEMBER_REFUSAL)?);
    (!refusal.is_empty()).then(|| (id.clone(), refusal.clone()))
}

fn read_node(row: &[String]) -> Result<KnownNode, String> {
    let [ip, port, state, role, master_host, master_port, ..] = row else {
        return Err("a node row is too short".to_owned());
    };
    Ok(KnownNode {
        address: address(ip, port)?,
        up: state == "up",
        role: role.clone(),
        master_host: master_host.clone(),
        master_port: master_port.parse().unwrap_or(0),
        refusal: row.get(NODE_REFUSAL).cloned().unwrap_or_default(),
    })
}

fn rows(value: Option<&Value>) -> Result<Vec<Vec<String>>, String> {
    value.map_or(Ok(Vec::new()), |table| {
        from_redis_value_ref(table).map_err(|error| format!("a table of the status: {error}"))
    })
}

fn text(value: &Value) -> Result<String, String> {
    from_redis_value_ref(value).map_err(|error| format!("a cell of the status: {error}"))
}

fn address(ip: &str, port: &str) -> Result<SocketAddr, String> {
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip:?} is no address"))?;
    let port: u16 = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn row(cells: &[&str]) -> Value {
        Value::Array(cells.iter().map(|cell| bulk(cell)).collect())
    }

    fn status(master_ip: &str) -> Value {
        let mut items: Vec<Value> = [
            ("myid", "a1"),
            ("memory", "yes"),
            ("generation", "2"),
            ("current-epoch", "7"),
            ("config-epoch", "6"),
            ("leader-epoch", "6"),
            ("master-ip", master_ip),
            ("master-port", "6379"),
            ("flags", "s_down,o_down,master,failover_in_progress"),
            ("failover-state", "wait_promotion"),
            ("size", "3"),
            ("quorum", "2"),
            ("down-after-milliseconds", "1000"),
            ("something-new", "x"),
        ]
        .iter()
        .flat_map(|(key, value)| [bulk(key), bulk(value)])
        .collect();
        items.push(bulk("members"));
        items.push(Value::Array(vec![row(&[
            "a1", "10.0.1.1", "26379", "self", "yes",
        ])]));
        items.push(bulk("nodes"));
        items.push(Value::Array(vec![
            row(&[
                "10.0.0.1",
                "6379",
                "up",
                "replica",
                "127.0.0.1",
                "1",
                "down",
                "0",
                "r1",
            ]),
            row(&[
                "10.0.0.2", "6379", "up", "replica", "10.0.0.9", "6379", "down", "5", "r2",
            ]),
            row(&["10.0.0.3", "6379", "down", "master", "", "0", "", "0", ""]),
        ]));
        Value::Array(items)
    }

    #[test]
    fn why_there_is_no_master_and_who_refuses_is_read_where_it_is_said() {
        let silent = read_status(&status("10.0.0.9")).unwrap();
        assert_eq!((silent.reason.as_str(), silent.refused_by.len()), ("", 0));
        assert_eq!(
            silent.nodes[0].refusal, "",
            "an older Duke's row ends before"
        );
        let refusal = "WRONGPASS invalid username-password pair";
        let items = vec![
            bulk("reason"),
            bulk("no node is fit"),
            bulk("members"),
            Value::Array(vec![
                row(&["a1", "10.0.1.1", "26379", "self", "yes", ""]),
                row(&["b2", "10.0.1.2", "26379", "down", "unknown", refusal]),
            ]),
            bulk("nodes"),
            Value::Array(vec![row(&[
                "10.0.0.1", "6379", "down", "unknown", "", "0", "", "0", "", refusal,
            ])]),
        ];
        let report = read_status(&Value::Array(items)).unwrap();
        assert_eq!(report.reason, "no node is fit");
        let refused_by: Vec<_> = report.refused_by.into_iter().collect();
        assert_eq!(refused_by, [("b2".to_owned(), refusal.to_owned())]);
        assert_eq!(report.nodes[0].refusal, refusal);
    }

    #[test]
    fn a_status_is_read_whole() {
        let report = read_status(&status("10.0.0.9")).unwrap();
        assert_eq!(report.master, Some("10.0.0.9:6379".parse().unwrap()));
        assert!(report.is_failing_over() && report.holds_master_down() && report.memory);
        assert_eq!(
            (report.generation, report.current_epoch, report.config_epoch),
            (2, 7, 6)
        );
        assert_eq!((report.size, report.quorum), (3, 2));
        assert_eq!(report.members[0].address, "10.0.1.1:26379".parse().unwrap());
        assert_eq!(report.settings["down-after-milliseconds"], "1000");
    }

    #[test]
    fn only_a_reachable_node_with_a_role_has_lineage() {
        let report = read_status(&status("")).unwrap();
        assert_eq!(report.master, None);
        let lineage: Vec<bool> = report.nodes.iter().map(KnownNode::has_lineage).collect();
        assert_eq!(lineage, [false, true, false]);
    }

    #[test]
    fn a_master_that_is_no_address_is_refused() {
        assert!(read_status(&status("somewhere")).is_err());
        assert!(read_status(&Value::Nil).is_err());
        assert!(read_status(&Value::Array(vec![bulk("myid")])).is_err());
    }

    /// A server that says yes to everything but the hand-over; gives what it was asked.
    async fn asked_to_hand_over(refusal: &'static str) -> (Result<(), Error>, Vec<String>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let duke = listener.local_addr().unwrap();
        let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = client.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    let answer = if text.contains("HANDOVER") {
                        refusal
                    } else {
                        "+OK\r\n"
                    };
                    asked.send(text).unwrap();
                    client.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let credentials = Credentials {
            user: "operator".into(),
            password: "x".into(),
        };
        let from = "10.0.0.1:6379".parse().unwrap();
        let ended = hand_over(duke, &credentials, from, Duration::from_secs(5)).await;
        server.abort();
        let mut words = Vec::new();
        while let Ok(text) = asking.try_recv() {
            let orders = ["HANDOVER", "FAILOVER"].into_iter();
            words.extend(orders.filter(|word| text.contains(word)).map(str::to_owned));
        }
        (ended, words)
    }

    #[tokio::test]
    async fn a_master_is_moved_by_the_order_that_a_duke_knows() {
        let (ended, asked) = asked_to_hand_over("+OK\r\n").await;
        assert_eq!((ended, asked), (Ok(()), vec!["HANDOVER".to_owned()]));
        let (ended, asked) = asked_to_hand_over("-NOTMASTER 10.0.0.2:6379 is the master\r\n").await;
        assert_eq!((ended, asked), (Ok(()), vec!["HANDOVER".to_owned()]));
        let (ended, asked) = asked_to_hand_over("-NOGOODSLAVE none\r\n").await;
        assert!(
            ended
                .unwrap_err()
                .answer()
                .unwrap()
                .starts_with("NOGOODSLAVE")
        );
        assert_eq!(asked, ["HANDOVER"]);
        let former =
            "-ERR unknown subcommand 'HANDOVER'. Try DUKE MEMBERS, NODES, SEED or STATUS.\r\n";
        let (ended, asked) = asked_to_hand_over(former).await;
        assert_eq!(ended, Ok(()));
        assert_eq!(asked, ["HANDOVER", "FAILOVER"]);
    }
}

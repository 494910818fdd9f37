//! A whole group on loopback: data servers and Dukes as processes, each on an address of its own.
//!
//! Every test has sixteen addresses in 127.0.0.0/8 derived from its process id and number, so tests
//! run side by side with the usual ports and never meet; all files stand in one temporary folder.

use std::fmt::Debug;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use duke_resp::Frame;

use crate::process::Process;
use crate::wire::{Wire, text};

const REDIS: &str = "/usr/bin/redis-server";
const DATA_PORT: u16 = 6379;
const DUKE_PORT: u16 = 26379;
pub(crate) const READY_PORT: u16 = 26380;
/// Longest wait for a single answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait for a condition; far beyond what is needed even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const OPERATOR_PASSWORD: &str = "operator-secret";
pub(crate) const PEER_PASSWORD: &str = "peer-secret";
const AGENT_PASSWORD: &str = "agent-secret";
/// What lets Dukes hold clients' writes.
const PAUSE_RIGHTS: &str = "+client|pause +client|unpause";
const DUKE_PASSWORD: &str = "duke-secret";
const REPLICA_PASSWORD: &str = "replica-secret";

/// Three data servers and three Dukes.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
    pub(crate) nodes: Vec<Node>,
    pub(crate) dukes: Vec<Duke>,
}

/// One data server.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) ip: Ipv4Addr,
    folder: PathBuf,
    pub(crate) process: Process,
}

/// One Duke.
#[derive(Debug)]
pub(crate) struct Duke {
    pub(crate) ip: Ipv4Addr,
    folder: PathBuf,
    pub(crate) process: Process,
}

impl World {
    /// Starts everything; the Dukes know nothing yet.
    pub(crate) fn start(name: &str) -> Self {
        assert!(
            Path::new(REDIS).exists(),
            "{REDIS} is missing: install the Debian package redis-server to run this test"
        );
        let folder = std::env::temp_dir().join(format!("duke-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        let mut addresses = addresses();
        let mut next = || addresses.next().unwrap();
        let nodes = (0..3)
            .map(|n| Node::start(next(), folder.join(format!("node{n}"))))
            .collect();
        let dukes = (0..3)
            .map(|n| Duke::start(next(), folder.join(format!("duke{n}"))))
            .collect();
        Self {
            folder,
            nodes,
            dukes,
        }
    }

    /// Starts everything, makes the first node master and tells the Dukes about it.
    pub(crate) fn seeded(name: &str) -> Self {
        let world = Self::start(name);
        let master = world.nodes[0].address();
        wait_for("the first node to answer", || {
            world.nodes[0].login()?.ask(&["REPLICAOF", "NO", "ONE"])
        });
        world.feed();
        world.seed(1, master, 1);
        world.settled(master);
        world
    }

    /// Tells every Duke who belongs to the group, as the operator does.
    pub(crate) fn feed(&self) {
        let members: Vec<String> = self
            .dukes
            .iter()
            .map(|duke| format!("{}@{}", duke.id(), duke.address()))
            .collect();
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.address().to_string())
            .collect();
        for duke in &self.dukes {
            duke.tell(&members, &nodes).unwrap();
        }
    }

    /// Gives every Duke a memory of its own to begin with.
    fn seed(&self, generation: u64, master: SocketAddr, epoch: u64) {
        let (generation, epoch) = (generation.to_string(), epoch.to_string());
        let (ip, port) = (master.ip().to_string(), master.port().to_string());
        for duke in &self.dukes {
            duke.ask(&["DUKE", "SEED", &generation, &ip, &port, &epoch])
                .unwrap();
        }
    }

    /// Waits until every Duke names `master` and every other running node follows it.
    pub(crate) fn settled(&self, master: SocketAddr) {
        for duke in &self.dukes {
            wait_for(&format!("{} to name {master}", duke.ip), || {
                ensure!(duke.master()? == Some(master), "{:?}", duke.master());
                Ok(())
            });
        }
        for node in &self.nodes {
            wait_for(&format!("{} to follow {master}", node.ip), || {
                node.follows(master)
            });
        }
    }

    /// Waits until a majority of the Dukes agrees on a master other than `old`.
    pub(crate) fn next_master(&self, old: SocketAddr) -> SocketAddr {
        wait_for("another master", || {
            let named: Vec<SocketAddr> = self
                .dukes
                .iter()
                .filter_map(|duke| duke.master().ok().flatten())
                .collect();
            let elected = named.iter().copied().find(|master| {
                *master != old && named.iter().filter(|other| *other == master).count() >= 2
            });
            elected.context(format!("{named:?}"))
        })
    }

    pub(crate) fn node(&mut self, address: SocketAddr) -> &mut Node {
        self.nodes
            .iter_mut()
            .find(|node| node.address() == address)
            .unwrap()
    }

    /// What the Dukes wrote, for the message of a failed test.
    fn print_logs(&self) {
        for duke in &self.dukes {
            let log = fs::read_to_string(duke.folder.join("log")).unwrap_or_default();
            println!("--- {} ---\n{log}", duke.ip);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // The children hold no file that matters; what they still write goes nowhere.
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Node {
    fn start(ip: Ipv4Addr, folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let home = folder.display();
        let users = format!(
            "user default on nopass ~* &* +@all -replicaof -slaveof -failover -shutdown -debug -acl\n\
             user duke on >{DUKE_PASSWORD} resetkeys resetchannels -@all +ping +info +role +multi \
             +exec +replicaof +slaveof +client|setname +client|kill {PAUSE_RIGHTS} +auth\n\
             user replica on >{REPLICA_PASSWORD} resetkeys resetchannels -@all +ping +psync \
             +replconf\n\
             user operator on >{OPERATOR_PASSWORD} ~* &* +@all\n"
        );
        fs::write(folder.join("users.acl"), users).unwrap();
        let conf = format!(
            "port {DATA_PORT}\nbind {ip}\ndir {home}\nreplicaof 127.0.0.1 1\n\
             aclfile {home}/users.acl\nmasteruser replica\nmasterauth {REPLICA_PASSWORD}\n\
             repl-diskless-sync yes\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n\
             save \"\"\n"
        );
        fs::write(folder.join("redis.conf"), conf).unwrap();
        let process = Self::spawn(&folder);
        Self {
            ip,
            folder,
            process,
        }
    }

    fn spawn(folder: &Path) -> Process {
        let conf = folder.join("redis.conf").display().to_string();
        Process::start(REDIS, &[&conf], &folder.join("log"))
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(self.ip), DATA_PORT)
    }

    /// Kills it if it still runs, and starts it again with its configuration.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.folder);
    }

    pub(crate) fn login(&self) -> Result<Wire> {
        Wire::login(self.address(), PATIENCE, "operator", OPERATOR_PASSWORD)
    }

    /// Takes the right to hold clients' writes from the Dukes, as if it was started before they had it.
    pub(crate) fn forbid_pause(&self) -> Result<()> {
        let rights: Vec<String> = PAUSE_RIGHTS
            .split(' ')
            .map(|one| one.replace('+', "-"))
            .collect();
        let words = ["ACL", "SETUSER", "duke"].into_iter();
        let words: Vec<&str> = words.chain(rights.iter().map(String::as_str)).collect();
        self.login()?.ask(&words)?;
        Ok(())
    }

    pub(crate) fn follows(&self, master: SocketAddr) -> Result<()> {
        let role = self.login()?.ask(&["ROLE"])?;
        let words: Vec<String> = role
            .as_array()
            .unwrap_or_default()
            .iter()
            .map(text)
            .collect();
        if self.address() == master {
            ensure!(words[0] == "master", "{} is {words:?}", self.ip);
        } else {
            let (ip, port) = (master.ip().to_string(), master.port().to_string());
            let follows = words[0] == "slave" && words[1] == ip && words[2] == port;
            ensure!(
                follows && words[3] == "connected",
                "{} is {words:?}",
                self.ip
            );
        }
        Ok(())
    }
}

impl Duke {
    fn start(ip: Ipv4Addr, folder: PathBuf) -> Self {
        let users = folder.join("users");
        fs::create_dir_all(&users).unwrap();
        fs::write(users.join("duke"), format!("{DUKE_PASSWORD}\n")).unwrap();
        fs::write(users.join("operator"), OPERATOR_PASSWORD).unwrap();
        fs::write(users.join("peer"), PEER_PASSWORD).unwrap();
        fs::write(users.join("agent"), AGENT_PASSWORD).unwrap();
        let home = folder.display();
        let conf = format!(
            "port {DUKE_PORT}\nbind {ip}\ndir {home}\nduke group mymaster\n\
             duke state {home}/duke.state\nduke users {home}/users\nduke ready-port {READY_PORT}\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 10000\nsentinel parallel-syncs mymaster 1\n"
        );
        fs::write(folder.join("duke.conf"), conf).unwrap();
        let process = Self::spawn(&folder, ip);
        Self {
            ip,
            folder,
            process,
        }
    }

    fn spawn(folder: &Path, ip: Ipv4Addr) -> Process {
        let conf = folder.join("duke.conf").display().to_string();
        let arguments = [conf.as_str(), "--sentinel", "announce-ip", &ip.to_string()];
        Process::start(env!("CARGO_BIN_EXE_duke"), &arguments, &folder.join("log"))
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(self.ip), DUKE_PORT)
    }

    /// Starts it again after it was killed; its state file is as it was.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.folder, self.ip);
    }

    /// A second Duke with the same configuration.
    pub(crate) fn twin(&self) -> Process {
        Self::spawn(&self.folder, self.ip)
    }

    /// Its state file.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("duke.state")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A connection that may only discover.
    pub(crate) fn anonymous(&self) -> Result<Wire> {
        Wire::connect(self.address(), PATIENCE)
    }

    pub(crate) fn login(&self) -> Result<Wire> {
        Wire::login(self.address(), PATIENCE, "operator", OPERATOR_PASSWORD)
    }

    /// A connection of the agent beside a data server.
    pub(crate) fn agent(&self) -> Result<Wire> {
        Wire::login(self.address(), PATIENCE, "agent", AGENT_PASSWORD)
    }

    /// One request as the operator, on a fresh connection.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<Frame> {
        self.login()?.ask(words)
    }

    fn tell(&self, members: &[String], nodes: &[String]) -> Result<()> {
        let members = members.iter().map(String::as_str);
        let words: Vec<&str> = ["DUKE", "MEMBERS", "3", "2"]
            .into_iter()
            .chain(members)
            .collect();
        self.ask(&words)?;
        let nodes = nodes.iter().map(String::as_str);
        let words: Vec<&str> = ["DUKE", "NODES"].into_iter().chain(nodes).collect();
        self.ask(&words)?;
        Ok(())
    }

    /// Its id, once it answers.
    pub(crate) fn id(&self) -> String {
        wait_for(&format!("{} to answer", self.ip), || self.status("myid"))
    }

    /// One field of DUKE STATUS.
    pub(crate) fn status(&self, field: &str) -> Result<String> {
        let reply = self.ask(&["DUKE", "STATUS"])?;
        let pairs = reply.as_array().unwrap_or_default().chunks_exact(2);
        let value = pairs
            .filter(|pair| text(&pair[0]) == field)
            .map(|pair| text(&pair[1]))
            .next();
        value.context(format!("no field {field} in {reply:?}"))
    }

    /// The master it names to anybody who asks.
    pub(crate) fn master(&self) -> Result<Option<SocketAddr>> {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
        let reply = self.anonymous()?.ask(&words)?;
        let Some([ip, port]) = reply.as_array() else {
            return Ok(None);
        };
        Ok(Some(format!("{}:{}", text(ip), text(port)).parse()?))
    }
}

/// Tries until it works; fails the test with the last reason after a generous limit.
pub(crate) fn wait_for<T: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> T {
    let begin = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if begin.elapsed() > LIMIT => panic!("waited for {what}: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Sixteen loopback addresses no other test of this machine uses.
fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    static WORLDS: AtomicU8 = AtomicU8::new(0);
    let world = WORLDS.fetch_add(1, Ordering::Relaxed);
    assert!(world < 15, "more worlds than addresses");
    let [.., high, low] = std::process::id().to_be_bytes();
    (1..=15).map(move |host| Ipv4Addr::new(127, high.max(1), low, world * 16 + host))
}

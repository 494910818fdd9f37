//! A master with two replicas and some sentinels, each a process of its own.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use duke_resp::Frame;

use crate::process::Process;
use crate::wire::{Wire, text};

/// Longer than anything here takes on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);
/// Servers and sentinels listen on so many ports from the lowest one.
const LOWEST_PORT: u32 = 12_000;
const PORTS: u32 = 20_000;
/// How much of a log is shown when a test fails.
const SHOWN_LINES: usize = 60;
/// For one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Another release's programs than the installed ones: a folder with `redis-server` and
/// `redis-sentinel`, or `valkey-server` and `valkey-sentinel`. `cargo testbed stock NAME` makes one.
const STOCK: &str = "DUKE_STOCK";

/// The stock program of this role: `server`, `sentinel` or `cli`.
pub(crate) fn stock(role: &str) -> String {
    let Some(folder) = std::env::var_os(STOCK).map(PathBuf::from) else {
        return format!("redis-{role}");
    };
    let found = ["redis", "valkey"]
        .map(|family| folder.join(format!("{family}-{role}")))
        .into_iter()
        .find(|path| path.exists());
    let found =
        found.unwrap_or_else(|| panic!("{STOCK} names {}, which has no {role}", folder.display()));
    found.display().to_string()
}

/// Which program a sentinel is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Duke,
    Stock,
}

/// A data server.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) process: Process,
    folder: PathBuf,
}

/// A sentinel of either kind.
pub(crate) struct Sentinel {
    pub(crate) port: u16,
    pub(crate) process: Process,
    pub(crate) kind: Kind,
    conf: PathBuf,
}

/// Everything of one test; its folder goes with it.
pub(crate) struct World {
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Sentinel>,
    folder: PathBuf,
}

/// Waits until `condition` holds; panics with `what` if it never does.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(PAUSE);
    }
}

/// A port nobody listens on, of those that the kernel gives to no outgoing connection: whoever is started again
/// finds it free.
pub(crate) fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = std::process::id().wrapping_mul(37) + TRIED.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(LOWEST_PORT + turn % PORTS).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(crate) fn ask(port: u16, words: &[&str]) -> Result<Frame> {
    Wire::connect(address(port), ANSWER)?.ask(words)
}

impl Server {
    fn start(folder: &Path, port: u16, master: Option<u16>) -> Self {
        let folder = folder.join(port.to_string());
        fs::create_dir_all(&folder).unwrap();
        let replicaof = master.map(|port| format!("replicaof 127.0.0.1 {port}\n"));
        let conf = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\nrepl-diskless-sync-delay 0\n{}",
            folder.display(),
            replicaof.unwrap_or_default()
        );
        fs::write(folder.join("redis.conf"), conf).unwrap();
        let process = Self::spawn(&folder);
        Self {
            port,
            process,
            folder,
        }
    }

    fn spawn(folder: &Path) -> Process {
        let conf = folder.join("redis.conf");
        Process::start(
            &stock("server"),
            &[conf.to_str().unwrap()],
            &folder.join("log"),
        )
    }

    /// Runs it again, with the configuration the sentinels had it write.
    pub(crate) fn restart(&mut self) {
        self.process = Self::spawn(&self.folder);
    }

    pub(crate) fn info(&self, field: &str) -> Option<String> {
        let info = text(&ask(self.port, &["INFO", "replication"]).ok()?);
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.map(str::to_owned)
    }
}

impl Sentinel {
    fn start(folder: &Path, kind: Kind, master: u16, quorum: usize) -> Self {
        let port = free_port();
        let conf = folder.join(format!("sentinel-{port}.conf"));
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor lake 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds lake 1000\nsentinel failover-timeout lake 10000\n",
            folder.display()
        );
        fs::write(&conf, text).unwrap();
        let process = Self::spawn(kind, &conf);
        Self {
            port,
            process,
            kind,
            conf,
        }
    }

    fn spawn(kind: Kind, conf: &Path) -> Process {
        let log = conf.with_extension("log");
        match kind {
            Kind::Duke => {
                Process::start(env!("CARGO_BIN_EXE_duke"), &[conf.to_str().unwrap()], &log)
            }
            Kind::Stock => Process::start(&stock("sentinel"), &[conf.to_str().unwrap()], &log),
        }
    }

    /// Kills it and runs it again with the file it wrote.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = Self::spawn(self.kind, &self.conf);
    }

    /// The same, with another line in the file.
    pub(crate) fn restart_with(&mut self, line: &str) {
        self.restart_without("no line begins so", line);
    }

    /// The same, and without lines that begin with `start`.
    pub(crate) fn restart_without(&mut self, start: &str, line: &str) {
        self.process.kill();
        let text = fs::read_to_string(&self.conf).unwrap();
        let kept = text.lines().filter(|line| !line.starts_with(start));
        let mut lines: Vec<&str> = kept.collect();
        lines.push(line);
        fs::write(&self.conf, lines.join("\n")).unwrap();
        self.process = Self::spawn(self.kind, &self.conf);
    }

    pub(crate) fn ask(&self, words: &[&str]) -> Result<Frame> {
        ask(self.port, words)
    }

    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(address(self.port), ANSWER).unwrap()
    }

    pub(crate) fn text(&self, words: &[&str]) -> Result<String> {
        Ok(text(&self.ask(words)?))
    }

    /// How often it logged this event.
    pub(crate) fn logged(&self, event: &str) -> usize {
        let log = fs::read_to_string(self.conf.with_extension("log")).unwrap();
        log.matches(event).count()
    }

    /// Where it says the master is.
    pub(crate) fn master_port(&self) -> Option<u16> {
        let reply = self
            .ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "lake"])
            .ok()?;
        text(reply.as_array()?.get(1)?).parse().ok()
    }

    /// One field of `SENTINEL MASTER`.
    pub(crate) fn master_field(&self, name: &str) -> Option<String> {
        let reply = self.ask(&["SENTINEL", "MASTER", "lake"]).ok()?;
        let fields: Vec<String> = reply.as_array()?.iter().map(text).collect();
        let at = fields.iter().position(|field| field == name)?;
        fields.get(at + 1).cloned()
    }
}

impl World {
    /// Starts everything; the first server is the master.
    pub(crate) fn new(name: &str, kinds: &[Kind]) -> Self {
        let folder = std::env::temp_dir().join(format!("duke-open-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let master = free_port();
        let mut servers = vec![Server::start(&folder, master, None)];
        wait_for("the master to answer", || ask(master, &["PING"]).is_ok());
        for _ in 0..2 {
            servers.push(Server::start(&folder, free_port(), Some(master)));
        }
        // Sentinels look for replicas when they start, and then every ten seconds.
        wait_for("the replicas to follow", || {
            servers[0].info("connected_slaves").as_deref() == Some("2")
        });
        let quorum = kinds.len() / 2 + 1;
        let sentinels = kinds
            .iter()
            .map(|kind| Sentinel::start(&folder, *kind, master, quorum))
            .collect();
        Self {
            servers,
            sentinels,
            folder,
        }
    }

    /// Has the stock sentinels look and speak more often than they would, so that nobody waits for them.
    pub(crate) fn hurry_stock(&self) {
        for sentinel in self.sentinels.iter().filter(|it| it.kind == Kind::Stock) {
            let hurry =
                "SENTINEL DEBUG info-period 300 ping-period 300 ask-period 100 publish-period 200";
            let words: Vec<&str> = hurry.split(' ').collect();
            wait_for("a stock sentinel to hurry", || sentinel.ask(&words).is_ok());
        }
    }

    /// Waits until nobody is in a failover any more and every sentinel finds everybody well.
    pub(crate) fn calm(&self) {
        for sentinel in &self.sentinels {
            wait_for("a sentinel to find everybody well", || {
                let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", "lake"]);
                let shown = format!("{replicas:?}");
                let well = shown.matches("b\"slave\"").count() == 4
                    && shown.matches("b\"ok\"").count() == 2;
                well && sentinel.master_field("flags").as_deref() == Some("master")
            });
        }
    }

    /// Prints the end of everybody's log.
    fn show(&self) {
        let servers = self.servers.iter().map(|it| it.folder.join("log"));
        let sentinels = self.sentinels.iter();
        let logs = servers.chain(sentinels.map(|it| it.conf.with_extension("log")));
        for log in logs {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let shown = lines.len().saturating_sub(SHOWN_LINES);
            let end = lines[shown..].join("\n");
            // To whom else could a failure to print be told?
            drop(writeln!(std::io::stderr(), "{}:\n{end}", log.display()));
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn server(&mut self, port: u16) -> &mut Server {
        self.servers
            .iter_mut()
            .find(|server| server.port == port)
            .unwrap()
    }

    /// Waits until every sentinel knows everybody; says who is master.
    pub(crate) fn settled(&self) -> u16 {
        let others = (self.sentinels.len() - 1).to_string();
        for sentinel in &self.sentinels {
            wait_for("a sentinel to know everybody", || {
                sentinel.master_field("num-slaves").as_deref() == Some("2")
                    && sentinel.master_field("num-other-sentinels").as_deref() == Some(&others)
            });
        }
        let master = self.sentinels[0].master_port().unwrap();
        self.follows(master);
        master
    }

    /// Waits until every sentinel names one master that is not `old`; says which.
    pub(crate) fn next_master(&self, old: u16) -> u16 {
        let mut named = Vec::new();
        wait_for("the sentinels to agree on another master", || {
            named = self.sentinels.iter().map(Sentinel::master_port).collect();
            let first = named.first().copied().flatten();
            first.is_some_and(|port| port != old) && named.iter().all(|port| *port == first)
        });
        named.first().copied().flatten().unwrap()
    }

    /// Waits until `master` is one and all others follow it.
    pub(crate) fn follows(&self, master: u16) {
        for server in &self.servers {
            wait_for("the servers to follow", || {
                if server.port == master {
                    return server.info("role").as_deref() == Some("master");
                }
                server.info("master_port").as_deref() == Some(&master.to_string())
                    && server.info("master_link_status").as_deref() == Some("up")
            });
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return self.show();
        }
        // What cannot be removed is only a little rubbish.
        drop(fs::remove_dir_all(&self.folder));
    }
}

//! A master with two replicas and three sentinels, each a process of its own on loopback.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::{
    process::{Folder, Process},
    program::{Kind, Programs},
    wire::{ask, text},
};

/// The master's name.
pub(crate) const NAME: &str = "lake";
/// How long a group may take to become whole.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// A data server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) process: Process,
    program: PathBuf,
    folder: PathBuf,
}

/// Everything of one measurement; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) servers: Vec<Server>,
    /// Ports of the sentinels.
    pub(crate) sentinels: Vec<u16>,
    _processes: Vec<Process>,
    _folder: Folder,
}

/// A port nobody listens on just now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Waits until `condition` holds.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !condition().await {
        ensure!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(PAUSE).await;
    }
    Ok(())
}

impl Server {
    fn start(programs: &Programs, folder: &Path, master: Option<u16>) -> Result<Self> {
        let port = free_port()?;
        let folder = folder.join(port.to_string());
        fs::create_dir_all(&folder)?;
        let program = programs.server().to_owned();
        let process = spawn(&program, &folder, port, master)?;
        Ok(Self {
            port,
            process,
            program,
            folder,
        })
    }

    /// Kills it and starts it at once as a replica of nothing, without its data.
    pub(crate) fn restart_as_replica(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = spawn(&self.program, &self.folder, self.port, Some(1))?;
        Ok(())
    }

    /// One field of `INFO replication`.
    pub(crate) async fn field(&self, name: &str) -> Option<String> {
        let info = text(&ask(self.port, &["INFO", "replication"]).await.ok()?);
        let found = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(str::to_owned)
    }
}

fn spawn(program: &Path, folder: &Path, port: u16, master: Option<u16>) -> Result<Process> {
    let follows = master.map(|port| format!("replicaof 127.0.0.1 {port}\n"));
    let conf = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\nrepl-diskless-sync-delay 0\n{}",
        folder.display(),
        follows.unwrap_or_default()
    );
    let path = folder.join("server.conf");
    fs::write(&path, conf)?;
    let path = path.display().to_string();
    Process::start(program, &[&path], &folder.join("log"))
}

impl Group {
    /// Starts everything and waits until all know each other; the first server is the master. Its files
    /// stay if `keep` says where.
    pub(crate) async fn start(
        programs: &Programs,
        kind: Kind,
        down_after: Duration,
        keep: Option<PathBuf>,
    ) -> Result<Self> {
        let folder = keep.map_or_else(|| Folder::new("group"), Folder::kept)?;
        let master = Server::start(programs, folder.path(), None)?;
        let port = master.port;
        let mut servers = vec![master];
        for _ in 0..2 {
            servers.push(Server::start(programs, folder.path(), Some(port))?);
        }
        wait_for("the replicas to follow", async || {
            servers[0].field("connected_slaves").await.as_deref() == Some("2")
        })
        .await?;
        let (mut sentinels, mut processes) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let own = free_port()?;
            let conf = folder.path().join(format!("sentinel-{own}.conf"));
            let text = format!(
                "port {own}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds {NAME} {}\nsentinel failover-timeout {NAME} 10000\n",
                folder.path().display(),
                down_after.as_millis()
            );
            fs::write(&conf, text)?;
            let log = conf.with_extension("log");
            let path = conf.display().to_string();
            let program = programs.sentinel(kind);
            let arguments: &[&str] = match kind {
                Kind::Duke => &[&path],
                Kind::Stock => &[&path, "--sentinel"],
            };
            processes.push(Process::start(program, arguments, &log)?);
            sentinels.push(own);
        }
        let group = Self {
            servers,
            sentinels,
            _processes: processes,
            _folder: folder,
        };
        group.settled().await?;
        Ok(group)
    }

    /// Waits until every sentinel knows everybody and finds all of them well.
    async fn settled(&self) -> Result<()> {
        for port in &self.sentinels {
            wait_for("a sentinel to know everybody", async || {
                let fields = master_fields(*port).await.unwrap_or_default();
                let is = |name: &str, value: &str| {
                    fields
                        .windows(2)
                        .any(|pair| pair[0] == name && pair[1] == value)
                };
                let replicas = ask(*port, &["SENTINEL", "REPLICAS", NAME]).await;
                let well = format!("{replicas:?}").matches("b\"ok\"").count();
                is("num-slaves", "2")
                    && is("num-other-sentinels", "2")
                    && is("flags", "master")
                    && well == 2
            })
            .await?;
        }
        Ok(())
    }

    /// The server with this port.
    pub(crate) fn server(&mut self, port: u16) -> Result<&mut Server> {
        let found = self.servers.iter_mut().find(|server| server.port == port);
        found.context("a master is one of the servers")
    }
}

async fn master_fields(port: u16) -> Result<Vec<String>> {
    let reply = ask(port, &["SENTINEL", "MASTER", NAME]).await?;
    let fields = reply.as_array().unwrap_or_default();
    Ok(fields.iter().map(text).collect())
}

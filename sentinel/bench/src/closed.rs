//! A closed group: three data servers with their users, and three Dukes that were told of them and of each other, each
//! a process of its own on loopback.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    group::{free_port, wait_for},
    process::{Folder, Process},
    wire::{Wire, local, text},
};

/// The master's name.
pub(crate) const NAME: &str = "mymaster";
/// Everybody's password here.
const PASSWORD: &str = "secret";

/// Everything of one measurement; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Closed {
    /// Ports of the data servers.
    pub(crate) servers: Vec<u16>,
    /// Ports of the Dukes.
    pub(crate) dukes: Vec<u16>,
    _processes: Vec<Process>,
    _folder: Folder,
}

impl Closed {
    /// Starts everything; the first server is the master.
    pub(crate) async fn start(duke: &Path, server: &Path) -> Result<Self> {
        let folder = Folder::new("closed")?;
        let (mut servers, mut dukes, mut processes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let port = free_port()?;
            processes.push(start_server(server, folder.path(), port)?);
            servers.push(port);
        }
        for _ in 0..3 {
            let port = free_port()?;
            processes.push(start_duke(duke, folder.path(), port)?);
            dukes.push(port);
        }
        let group = Self {
            servers,
            dukes,
            _processes: processes,
            _folder: folder,
        };
        group.begin().await?;
        Ok(group)
    }

    /// What the operator does: makes the first server master, and tells the Dukes of everybody.
    async fn begin(&self) -> Result<()> {
        let master = self.servers[0];
        for port in &self.servers {
            wait_for("a data server", async || {
                log_in(*port, "operator").await.is_ok()
            })
            .await?;
        }
        log_in(master, "operator")
            .await?
            .ask(&["REPLICAOF", "NO", "ONE"])
            .await?;
        let mut members = vec!["DUKE".to_owned(), "MEMBERS".into(), "3".into(), "2".into()];
        for port in &self.dukes {
            wait_for("a Duke", async || log_in(*port, "operator").await.is_ok()).await?;
            let id = text(
                &log_in(*port, "operator")
                    .await?
                    .ask(&["SENTINEL", "MYID"])
                    .await?,
            );
            members.push(format!("{id}@{}", local(*port)));
        }
        let mut nodes = vec!["DUKE".to_owned(), "NODES".into()];
        nodes.extend(self.servers.iter().map(|port| local(*port).to_string()));
        let seed = ["DUKE", "SEED", "1", "127.0.0.1", &master.to_string(), "1"].map(str::to_owned);
        for port in &self.dukes {
            let mut duke = log_in(*port, "operator").await?;
            for words in [&members[..], &nodes, &seed] {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                duke.ask(&words).await?;
            }
        }
        self.settled(local(master)).await
    }

    /// The master all Dukes name; none if they do not name one, or not the same.
    pub(crate) async fn master(&self) -> Option<SocketAddr> {
        let mut named = None;
        for port in &self.dukes {
            let master = master_of(*port).await.ok().flatten()?;
            ensure_same(&mut named, master)?;
        }
        named
    }

    /// Waits until all Dukes name this master and all other servers follow it.
    pub(crate) async fn settled(&self, master: SocketAddr) -> Result<()> {
        wait_for("the group to settle", async || {
            self.master().await == Some(master) && self.follow(master).await.is_ok()
        })
        .await
    }

    async fn follow(&self, master: SocketAddr) -> Result<()> {
        for port in self.servers.iter().filter(|port| local(**port) != master) {
            let info = log_in(*port, "operator")
                .await?
                .ask(&["INFO", "replication"])
                .await?;
            let info = text(&info);
            let port = format!("master_port:{}\r", master.port());
            ensure!(
                info.contains(&port) && info.contains("master_link_status:up"),
                "{info}"
            );
        }
        Ok(())
    }
}

fn ensure_same(named: &mut Option<SocketAddr>, master: SocketAddr) -> Option<()> {
    (*named.get_or_insert(master) == master).then_some(())
}

/// The master a Duke names, if it names one.
pub(crate) async fn master_of(duke: u16) -> Result<Option<SocketAddr>> {
    let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
    let reply = Wire::connect(local(duke)).await?.ask(&words).await?;
    let Some([ip, port]) = reply.as_array() else {
        return Ok(None);
    };
    let address = format!("{}:{}", text(ip), text(port));
    Ok(Some(address.parse().context("a Duke names an address")?))
}

/// A connection of this user's.
pub(crate) async fn log_in(port: u16, user: &str) -> Result<Wire> {
    let mut wire = Wire::connect(local(port)).await?;
    wire.ask(&["AUTH", user, PASSWORD]).await?;
    Ok(wire)
}

fn start_server(program: &Path, folder: &Path, port: u16) -> Result<Process> {
    let folder = folder.join(port.to_string());
    fs::create_dir_all(&folder)?;
    let home = folder.display();
    // The rights of the Dukes are those an operator renders.
    let users = format!(
        "user default on nopass ~* &* +@all -replicaof -slaveof -failover -shutdown -debug -acl\n\
         user duke on >{PASSWORD} resetkeys resetchannels -@all +ping +info +role +multi +exec +replicaof \
         +client|kill +client|setname +client|pause +client|unpause\n\
         user replica on >{PASSWORD} resetkeys resetchannels -@all +ping +psync +replconf\n\
         user operator on >{PASSWORD} ~* &* +@all\n"
    );
    fs::write(folder.join("users.acl"), users)?;
    let conf = format!(
        "port {port}\nbind 127.0.0.1\ndir {home}\nreplicaof 127.0.0.1 1\naclfile {home}/users.acl\n\
         masteruser replica\nmasterauth {PASSWORD}\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\nsave \"\"\n"
    );
    run(program, &folder, "redis.conf", &conf)
}

fn start_duke(program: &Path, folder: &Path, port: u16) -> Result<Process> {
    let folder = folder.join(format!("duke-{port}"));
    let users = folder.join("users");
    fs::create_dir_all(&users)?;
    for user in ["duke", "operator", "peer", "agent"] {
        fs::write(users.join(user), PASSWORD)?;
    }
    let home = folder.display();
    let conf = format!(
        "port {port}\nbind 127.0.0.1\nduke group {NAME}\nduke state {home}/duke.state\nduke users {home}/users\n\
         sentinel down-after-milliseconds {NAME} {}\nsentinel parallel-syncs {NAME} 2\n",
        Duration::from_secs(1).as_millis()
    );
    run(program, &folder, "duke.conf", &conf)
}

fn run(program: &Path, folder: &Path, name: &str, conf: &str) -> Result<Process> {
    let path: PathBuf = folder.join(name);
    fs::write(&path, conf)?;
    let path = path.display().to_string();
    Process::start(program, &[&path], &folder.join("log"))
}

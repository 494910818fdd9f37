//! Sentinels that watch the same modelled masters: their configurations, and when they are at work.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use super::model::{Fleet, address};
use crate::{
    Scale,
    group::free_port,
    process::{Folder, Process},
    program::{Kind, Programs},
    wire::{ask, text},
};

/// How long a sentinel may take to find everybody after its start.
const GATHERING: Duration = Duration::from_mins(2);
/// Between two looks at that; the answer is long.
const PAUSE: Duration = Duration::from_millis(250);
/// Connections of a sentinel to a data server: for commands, and for the channel.
pub(super) const LINKS: usize = 2;

/// Places for those who ask.
const CLIENTS: usize = 500;

/// Sentinels of one kind.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) ports: Vec<u16>,
    pub(super) processes: Vec<Process>,
    _folder: Folder,
}

/// What they are to watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) masters: usize,
    pub(super) sentinels: usize,
    pub(super) down_after: Duration,
}

/// What a master is called.
pub(super) fn name(master: usize) -> String {
    format!("m{master:04}")
}

impl Watch {
    /// Starts sentinels that know everybody already, and waits until they are connected to all of them
    /// and find all masters well.
    ///
    /// # Errors
    /// When that takes too long.
    pub(super) async fn start(
        programs: &Programs,
        wanted: &Scale,
        kind: Kind,
        fleet: &Fleet,
        setup: Setup,
    ) -> Result<Self> {
        let folder = match &wanted.keep {
            Some(path) => Folder::kept(path.join(kind.name()))?,
            None => Folder::new("watch")?,
        };
        let ports = (0..setup.sentinels)
            .map(|_| free_port())
            .collect::<Result<Vec<_>>>()?;
        let mut processes = Vec::new();
        for own in &ports {
            let conf = folder.path().join(format!("{own}.conf"));
            fs::write(&conf, configuration(fleet, setup, *own, &ports))?;
            let path = conf.display().to_string();
            let arguments: &[&str] = match kind {
                Kind::Duke => &[&path],
                Kind::Stock => &[&path, "--sentinel"],
            };
            let log = conf.with_extension("log");
            processes.push(Process::start(programs.sentinel(kind), arguments, &log)?);
        }
        let watch = Self {
            ports,
            processes,
            _folder: folder,
        };
        timeout(GATHERING, watch.whole(fleet, setup))
            .await
            .context("the sentinels did not find everybody")?;
        Ok(watch)
    }

    async fn whole(&self, fleet: &Fleet, setup: Setup) {
        let wanted = setup.masters * fleet.each() * LINKS * setup.sentinels;
        while fleet.connections() < wanted {
            sleep(PAUSE).await;
        }
        for port in &self.ports {
            while !finds_all_well(*port, setup, fleet.each()).await {
                sleep(PAUSE).await;
            }
        }
    }

    /// How long all of them have been running on a processor, together.
    pub(super) fn used(&self) -> Result<Duration> {
        self.processes.iter().map(Process::used).sum()
    }
}

async fn finds_all_well(port: u16, setup: Setup, each: usize) -> bool {
    let Ok(info) = ask(port, &["INFO", "sentinel"]).await else {
        return false;
    };
    let well = format!(",slaves={},sentinels={}", each - 1, setup.sentinels);
    let info = text(&info);
    let lines = info.lines().filter(|line| line.contains("status=ok"));
    lines.filter(|line| line.ends_with(&well)).count() == setup.masters
}

/// The limit of clients must be beyond the links: stock makes room for no more descriptors than that,
/// whatever they are for.
fn configuration(fleet: &Fleet, setup: Setup, own: u16, all: &[u16]) -> String {
    let maxclients = setup.masters * fleet.each() * LINKS + CLIENTS;
    let id = |port: u16| format!("{port:040x}");
    let quorum = all.len() / 2 + 1;
    let mut lines = vec![
        format!("port {own}"),
        "bind 127.0.0.1".to_owned(),
        format!("sentinel myid {}", id(own)),
        format!("maxclients {maxclients}"),
    ];
    for master in 0..setup.masters {
        let (name, port) = (name(master), fleet.port());
        let at = |which: usize| address(fleet.of(master, which));
        lines.push(format!("sentinel monitor {name} {} {port} {quorum}", at(0)));
        lines.push(format!(
            "sentinel down-after-milliseconds {name} {}",
            setup.down_after.as_millis()
        ));
        lines.push(format!("sentinel failover-timeout {name} 10000"));
        for which in 1..fleet.each() {
            lines.push(format!(
                "sentinel known-replica {name} {} {port}",
                at(which)
            ));
        }
        for other in all.iter().filter(|port| **port != own) {
            let id = id(*other);
            lines.push(format!(
                "sentinel known-sentinel {name} 127.0.0.1 {other} {id}"
            ));
        }
    }
    lines.join("\n") + "\n"
}

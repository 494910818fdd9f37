//! Many masters: what they cost at rest, and how long it takes until many dead ones are replaced. The
//! data servers are modelled in this process; the sentinels are the real programs.

mod model;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{sleep, timeout};

use self::model::{Fleet, address, of};
use crate::{
    group::{free_port, wait_for},
    process::{Folder, Process},
    program::{Kind, Programs},
    say,
    table::{Table, millis},
    wire::{Wire, ask, command, local, text},
};

/// Masters that are watched when some of them die, and how many die.
const WATCHED: usize = 1_000;
const DYING: usize = 100;
/// Of three sentinels two must agree.
const SENTINELS: usize = 3;
/// How long a sentinel may take to find everybody after its start.
const GATHERING: Duration = Duration::from_mins(2);

/// Sentinels that watch the same masters.
struct Watch {
    ports: Vec<u16>,
    processes: Vec<Process>,
    _folder: Folder,
}

/// Measures everything and prints the tables.
///
/// # Errors
/// When a sentinel does not come up, or too few files may be open.
pub(crate) async fn run(
    programs: &Programs,
    only: &[usize],
    rest: Duration,
    patience: Duration,
) -> Result<()> {
    let all = [1, 100, 1_000, 5_000];
    let chosen = if only.is_empty() { &all[..] } else { only };
    allow_files(chosen.iter().copied().max().unwrap_or(0).max(WATCHED))?;
    at_rest(programs, chosen, rest).await?;
    if only.is_empty() || only.contains(&WATCHED) {
        many_deaths(programs, patience).await?;
    }
    say("");
    Ok(())
}

/// Two connections to every server from every sentinel, and both ends are files of some process.
fn allow_files(masters: usize) -> Result<()> {
    let sentinels = if masters == WATCHED { SENTINELS } else { 1 };
    let wanted = u64::try_from(masters.max(WATCHED) * model::EACH * 2 * sentinels.max(1) + 1_000)?;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < wanted) {
        let more = Some(wanted);
        let raised = Rlimit {
            current: more,
            maximum: more,
        };
        return setrlimit(Resource::Nofile, raised).with_context(|| {
            format!(
                "{wanted} files are needed, and only {maximum:?} may be open: raise `ulimit -Hn`"
            )
        });
    }
    let current = maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

fn name(master: usize) -> String {
    format!("m{master:04}")
}

impl Watch {
    /// Starts sentinels that know everybody already, and waits until they found all masters well.
    async fn start(
        programs: &Programs,
        kind: Kind,
        fleet: &Fleet,
        masters: usize,
        sentinels: usize,
        down_after: Duration,
    ) -> Result<Self> {
        let folder = Folder::new("watch")?;
        let ports = (0..sentinels)
            .map(|_| free_port())
            .collect::<Result<Vec<_>>>()?;
        let mut processes = Vec::new();
        for own in &ports {
            let conf = folder.path().join(format!("{own}.conf"));
            fs::write(
                &conf,
                configuration(fleet, masters, *own, &ports, down_after),
            )?;
            let path = conf.display().to_string();
            let arguments: &[&str] = match kind {
                Kind::Duke => &[&path],
                Kind::Stock => &[&path, "--sentinel"],
            };
            let log = folder.path().join("log");
            processes.push(Process::start(programs.sentinel(kind), arguments, &log)?);
        }
        let watch = Self {
            ports,
            processes,
            _folder: folder,
        };
        let whole = timeout(GATHERING, watch.whole(masters));
        whole
            .await
            .context("the sentinels did not find everybody")??;
        Ok(watch)
    }

    async fn whole(&self, masters: usize) -> Result<()> {
        for port in &self.ports {
            wait_for("a sentinel to find all masters well", async || {
                let Ok(info) = ask(*port, &["INFO", "sentinel"]).await else {
                    return false;
                };
                let well = format!(",slaves=2,sentinels={}", self.ports.len());
                let info = text(&info);
                let lines = info.lines().filter(|line| line.contains("status=ok"));
                lines.filter(|line| line.ends_with(&well)).count() == masters
            })
            .await?;
        }
        Ok(())
    }
}

fn configuration(
    fleet: &Fleet,
    masters: usize,
    own: u16,
    all: &[u16],
    down_after: Duration,
) -> String {
    let id = |port: u16| format!("{port:040x}");
    let quorum = all.len() / 2 + 1;
    let mut lines = vec![
        format!("port {own}"),
        "bind 127.0.0.1".to_owned(),
        format!("sentinel myid {}", id(own)),
    ];
    for master in 0..masters {
        let (name, port) = (name(master), fleet.port);
        let at = |which: usize| address(of(master, which));
        lines.push(format!("sentinel monitor {name} {} {port} {quorum}", at(0)));
        lines.push(format!(
            "sentinel down-after-milliseconds {name} {}",
            down_after.as_millis()
        ));
        lines.push(format!("sentinel failover-timeout {name} 10000"));
        for which in 1..model::EACH {
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

async fn at_rest(programs: &Programs, chosen: &[usize], rest: Duration) -> Result<()> {
    let title = format!(
        "One sentinel at rest, masters with two replicas each, down-after 30 s: memory, and share of one core over \
         {} s.",
        rest.as_secs()
    );
    let table = Table::new(&title, &["masters", "sentinel", "memory (MiB)", "CPU (%)"]);
    for masters in chosen.iter().copied() {
        for kind in Kind::BOTH {
            let fleet = Fleet::start(masters).await?;
            let down_after = Duration::from_secs(30);
            let watch = Watch::start(programs, kind, &fleet, masters, 1, down_after).await?;
            let process = watch.processes.first().context("there is one")?;
            // Let what the start needed be over.
            sleep(rest / 2).await;
            let (begin, before) = (Instant::now(), process.used()?);
            sleep(rest).await;
            let used = process.used()?.saturating_sub(before);
            let share = used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
            let mebibytes = process.memory()? / (1 << 20);
            table.row(&[
                masters.to_string(),
                kind.name().to_owned(),
                mebibytes.to_string(),
                format!("{share:.1}"),
            ]);
        }
    }
    Ok(())
}

async fn many_deaths(programs: &Programs, patience: Duration) -> Result<()> {
    let title = format!(
        "{DYING} of {WATCHED} masters fall silent at once; three sentinels, down-after 1 s: from then until all \
         three name a new master for all of them, milliseconds. Stock is waited for {} s.",
        patience.as_secs()
    );
    let table = Table::new(&title, &["sentinels", "half of them", "all of them"]);
    for kind in Kind::BOTH {
        let fleet = Fleet::start(WATCHED).await?;
        let second = Duration::from_secs(1);
        let watch = Watch::start(programs, kind, &fleet, WATCHED, SENTINELS, second).await?;
        let step = WATCHED / DYING;
        let dying: Vec<usize> = (0..DYING).map(|number| number * step).collect();
        let begin = Instant::now();
        for master in &dying {
            fleet.kill(of(*master, 0));
        }
        let (half, all, count) = replaced(&watch, &dying, begin, patience).await?;
        let or_not = |span: Option<Duration>| {
            span.map_or_else(|| format!("not in time: {count} of {DYING}"), millis)
        };
        table.row(&[kind.name().to_owned(), or_not(half), or_not(all)]);
    }
    Ok(())
}

/// When half of the dying and when all were replaced in everybody's eyes; and how many were in the end.
async fn replaced(
    watch: &Watch,
    dying: &[usize],
    begin: Instant,
    patience: Duration,
) -> Result<(Option<Duration>, Option<Duration>, usize)> {
    let mut wires = Vec::new();
    for port in &watch.ports {
        wires.push(Wire::connect(local(*port)).await?);
    }
    let (mut half, mut count) = (None, 0);
    while begin.elapsed() < patience {
        let mut least = dying.len();
        for wire in &mut wires {
            least = least.min(renamed(wire, dying).await?);
        }
        count = least;
        if half.is_none() && count * 2 >= dying.len() {
            half = Some(begin.elapsed());
        }
        if count == dying.len() {
            return Ok((half, Some(begin.elapsed()), count));
        }
        sleep(Duration::from_millis(5)).await;
    }
    ensure!(count < dying.len(), "all were replaced");
    Ok((half, None, count))
}

/// For how many of these masters a sentinel names another server than the first.
async fn renamed(wire: &mut Wire, dying: &[usize]) -> Result<usize> {
    let mut questions = Vec::new();
    for master in dying {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &name(*master)];
        questions.extend_from_slice(&command(&words));
    }
    wire.send(&questions).await?;
    let mut count = 0;
    for master in dying {
        let answer = wire.receive().await?;
        let host = answer.as_array().and_then(|place| place.first()).map(text);
        let old = address(of(*master, 0)).to_string();
        count += usize::from(host.is_some_and(|host| host != old));
    }
    Ok(count)
}

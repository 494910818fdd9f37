//! How many questions for the master's address are answered, how fast, and how long an event takes to
//! all subscribers: one sentinel with one master, Duke and stock in turns.

mod load;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::load::{Answered, Clients};
use crate::{
    group::{NAME, free_port, wait_for},
    process::{Folder, Process},
    program::{Kind, Programs},
    say,
    table::{Table, median, millis, share},
    wire::{ask, local},
};

/// Connections, and questions under way on each.
const LOADS: [(usize, usize); 6] = [(1, 1), (1, 16), (50, 1), (50, 16), (1_000, 1), (1_000, 16)];
/// Clients that are connected while a few of them ask, and subscribers.
const MANY: usize = 10_000;
/// How many of them ask.
const FEW: usize = 50;
/// Events that are timed in each round.
const EVENTS: usize = 5;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Subject {
    /// Questions on few and on many connections.
    Throughput,
    /// Questions beside many clients that are silent.
    Crowd,
    /// One event to many subscribers.
    Events,
}

/// A sentinel with one master.
struct Single {
    port: u16,
    _processes: [Process; 2],
    _folder: Folder,
}

/// Measures everything and prints the tables.
///
/// # Errors
/// When a sentinel does not come up, or too few files may be open.
pub(crate) async fn run(
    programs: &Programs,
    each: Duration,
    rounds: usize,
    only: Option<Subject>,
) -> Result<()> {
    allow_files()?;
    for subject in [Subject::Throughput, Subject::Crowd, Subject::Events] {
        if only.is_some_and(|only| only != subject) {
            continue;
        }
        match subject {
            Subject::Throughput => throughput(programs, each, rounds).await?,
            Subject::Crowd => crowd(programs, each, rounds).await?,
            Subject::Events => events(programs, rounds).await?,
        }
    }
    say("");
    Ok(())
}

/// Both ends of every connection are files of some process; the children inherit the limit.
fn allow_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    let wanted = u64::try_from(MANY)? + 500;
    ensure!(
        maximum.is_none_or(|maximum| maximum >= wanted),
        "{MANY} connections need {wanted} files, but only {maximum:?} may be open: raise `ulimit -Hn`"
    );
    Ok(())
}

impl Single {
    async fn start(programs: &Programs, kind: Kind) -> Result<Self> {
        let folder = Folder::new("single")?;
        let (server_port, port) = (free_port()?, free_port()?);
        let dir = folder.path().display();
        let server_conf = folder.path().join("server.conf");
        fs::write(
            &server_conf,
            format!("port {server_port}\nbind 127.0.0.1\ndir {dir}\nsave \"\"\n"),
        )?;
        let conf = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nmaxclients {}\n\
             sentinel monitor {NAME} 127.0.0.1 {server_port} 1\n",
            MANY + 100
        );
        fs::write(&conf, text)?;
        let start = |program, path: &std::path::Path, more: &[&str]| {
            let path = path.display().to_string();
            let arguments = [&[path.as_str()][..], more].concat();
            Process::start(program, &arguments, &folder.path().join("log"))
        };
        let server = start(programs.server(), &server_conf, &[])?;
        let more: &[&str] = if kind == Kind::Stock {
            &["--sentinel"]
        } else {
            &[]
        };
        let sentinel = start(programs.sentinel(kind), &conf, more)?;
        wait_for("a sentinel to find its master well", async || {
            let reply = ask(port, &["SENTINEL", "MASTER", NAME]).await;
            format!("{reply:?}").contains("Bulk(b\"master\")")
        })
        .await?;
        Ok(Self {
            port,
            _processes: [server, sentinel],
            _folder: folder,
        })
    }
}

fn thousands(number: u64) -> String {
    format!(
        "{:.1} k",
        Duration::from_micros(number).as_secs_f64() * 1000.0
    )
}

fn micros(all: &[Duration], percent: usize) -> String {
    share(all, percent).map_or_else(|| "—".to_owned(), millis)
}

/// `median (least–greatest)` of so many each second.
fn rate(all: &[u64]) -> String {
    let middle = median(all).unwrap_or(0);
    let (least, most) = (all.iter().min(), all.iter().max());
    format!(
        "{} ({}–{})",
        thousands(middle),
        thousands(least.copied().unwrap_or(0)),
        thousands(most.copied().unwrap_or(0))
    )
}

async fn throughput(programs: &Programs, each: Duration, rounds: usize) -> Result<()> {
    let title = format!(
        "`SENTINEL GET-MASTER-ADDR-BY-NAME`, answers a second: median and (least–greatest) of {rounds} rounds of \
         {} s in turns; time to an answer in milliseconds.",
        each.as_secs()
    );
    let head = [
        "connections",
        "at once on each",
        "sentinel",
        "answers/s",
        "p50",
        "p99",
    ];
    let table = Table::new(&title, &head);
    for (connections, depth) in LOADS {
        let mut seen = Kind::BOTH.map(|kind| (kind, Vec::new(), Vec::new()));
        for _ in 0..rounds {
            for (kind, rates, spans) in &mut seen {
                let single = Single::start(programs, *kind).await?;
                let clients = Clients::connect(local(single.port), connections, depth).await?;
                let Answered { rate, times } = clients.ask_for(each).await?;
                rates.push(rate);
                spans.extend(times);
            }
        }
        for (kind, rates, spans) in seen {
            table.row(&[
                connections.to_string(),
                depth.to_string(),
                kind.name().to_owned(),
                rate(&rates),
                micros(&spans, 50),
                micros(&spans, 99),
            ]);
        }
    }
    Ok(())
}

async fn crowd(programs: &Programs, each: Duration, rounds: usize) -> Result<()> {
    let title = format!(
        "The same with {MANY} clients connected, of whom {FEW} ask, one question at a time."
    );
    let table = Table::new(&title, &["sentinel", "answers/s", "p50", "p99", "p99.9"]);
    let mut seen = Kind::BOTH.map(|kind| (kind, Vec::new(), Vec::new()));
    for _ in 0..rounds {
        for (kind, rates, spans) in &mut seen {
            let single = Single::start(programs, *kind).await?;
            let address = local(single.port);
            let idle = Clients::connect(address, MANY - FEW, 1).await?;
            let clients = Clients::connect(address, FEW, 1).await?;
            let Answered { rate, times } = clients.ask_for(each).await?;
            rates.push(rate);
            spans.extend(times);
            drop(idle);
        }
    }
    for (kind, rates, spans) in seen {
        let worst = spans.len().div_ceil(1000);
        let mut sorted = spans.clone();
        sorted.sort_unstable();
        let thousandth = sorted
            .len()
            .checked_sub(worst)
            .and_then(|at| sorted.get(at));
        table.row(&[
            kind.name().to_owned(),
            rate(&rates),
            micros(&spans, 50),
            micros(&spans, 99),
            thousandth.copied().map_or_else(|| "—".to_owned(), millis),
        ]);
    }
    Ok(())
}

async fn events(programs: &Programs, rounds: usize) -> Result<()> {
    let title = format!(
        "One event (`+reset-master`) to {MANY} subscribers: milliseconds from the command, median of {} events.",
        EVENTS * rounds
    );
    let head = [
        "sentinel",
        "first subscriber",
        "median subscriber",
        "last subscriber",
    ];
    let table = Table::new(&title, &head);
    let mut seen = Kind::BOTH.map(|kind| (kind, Vec::new()));
    for _ in 0..rounds {
        for (kind, spans) in &mut seen {
            let single = Single::start(programs, *kind).await?;
            let mut subscribers = load::subscribe(local(single.port), MANY).await?;
            for _ in 0..EVENTS {
                let begin = Instant::now();
                ask(single.port, &["SENTINEL", "RESET", NAME]).await?;
                let mut moments: Vec<Duration> = Vec::with_capacity(MANY);
                for _ in 0..MANY {
                    let at = subscribers.recv().await.context("a subscriber is gone")?;
                    moments.push(at.duration_since(begin));
                }
                spans.push(moments);
            }
        }
    }
    for (kind, spans) in seen {
        let of = |percent: usize| {
            let each: Vec<Duration> = spans
                .iter()
                .filter_map(|heard| share(heard, percent))
                .collect();
            median(&each).map_or_else(|| "—".to_owned(), millis)
        };
        table.row(&[kind.name().to_owned(), of(0), of(50), of(100)]);
    }
    Ok(())
}

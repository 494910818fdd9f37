//! Many masters: what they cost at rest, and how long it takes until many dead ones are replaced. The
//! data servers are modelled in this process; the sentinels are the real programs.

mod deaths;
mod model;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::sleep;

use self::{
    model::Fleet,
    watch::{Setup, Watch},
};
use crate::{
    Scale,
    program::{Kind, Programs},
    say,
    table::Table,
};

/// Files of a process besides its connections to servers.
const OTHER_FILES: usize = 1_000;
/// Masters at rest.
const MASTERS: [usize; 4] = [1, 100, 1_000, 5_000];

/// Measures everything and prints the tables.
///
/// # Errors
/// When a sentinel does not come up, or too few files may be open.
pub(crate) async fn run(programs: &Programs, wanted: &Scale) -> Result<()> {
    let deaths = wanted.dying > 0;
    ensure!(
        wanted.dying <= wanted.watched,
        "no more can die than are watched"
    );
    let chosen = match (wanted.seconds, wanted.masters.as_slice()) {
        (0, _) => &[],
        (_, []) => &MASTERS[..],
        (_, some) => some,
    };
    if !chosen.is_empty() {
        at_rest(programs, wanted, chosen).await?;
    }
    if deaths {
        let fit = replicas_that_fit(wanted.watched, deaths::SENTINELS, wanted.replicas)?;
        ensure!(
            fit == wanted.replicas,
            "the limit of open files allows only {fit} replicas each: say --replicas {fit}"
        );
        deaths::many_deaths(programs, wanted).await?;
    }
    say("");
    Ok(())
}

/// Which sentinels are measured.
fn kinds(wanted: &Scale) -> impl Iterator<Item = Kind> {
    let only = wanted.only;
    let chosen = move |kind: &Kind| only.is_none_or(|only| only == *kind);
    Kind::BOTH.into_iter().filter(chosen)
}

/// Of the replicas wanted for every master, so many as this host's limit of open files allows. Every
/// connection has its server's end in this process, whose limit the sentinels inherit.
fn replicas_that_fit(masters: usize, sentinels: usize, wanted: usize) -> Result<usize> {
    let files = |replicas: usize| masters * (1 + replicas) * watch::LINKS * sentinels + OTHER_FILES;
    let most = allow_files(files(wanted))?;
    (0..=wanted)
        .rev()
        .find(|replicas| files(*replicas) <= most)
        .with_context(|| {
            let least = files(0);
            format!("{least} files are needed, and only {most} may be open: raise `ulimit -Hn`")
        })
}

/// Raises the limit of open files to `wanted`, or as far as may be; says what it is then.
fn allow_files(wanted: usize) -> Result<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.map_or(wanted, |maximum| usize::try_from(maximum).unwrap_or(wanted));
    let limit = |files: usize| {
        let files = u64::try_from(files).ok();
        Rlimit {
            current: files,
            maximum: files,
        }
    };
    if most < wanted && setrlimit(Resource::Nofile, limit(wanted)).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::Nofile, limit(most)).context("raising the limit of open files")?;
    Ok(most)
}

async fn at_rest(programs: &Programs, wanted: &Scale, chosen: &[usize]) -> Result<()> {
    let rest = Duration::from_secs(wanted.seconds);
    let title = format!(
        "One sentinel at rest, masters with {} replicas each or as many as the limit of open files allows, \
         down-after 30 s: memory, and share of one core over {} s.",
        wanted.replicas,
        rest.as_secs()
    );
    let head = [
        "masters",
        "replicas each",
        "sentinel",
        "memory (MiB)",
        "CPU (%)",
    ];
    let table = Table::new(&title, &head);
    for masters in chosen.iter().copied() {
        let replicas = match replicas_that_fit(masters, 1, wanted.replicas) {
            Ok(replicas) => replicas,
            Err(error) => {
                // Fewer are still worth a look.
                say(&format!("\n{masters} masters: {error:#}"));
                continue;
            }
        };
        for kind in kinds(wanted) {
            let fleet = Fleet::start(masters, replicas)?;
            let setup = Setup {
                masters,
                sentinels: 1,
                down_after: Duration::from_secs(30),
            };
            let watch = match Watch::start(programs, wanted, kind, &fleet, setup).await {
                Ok(watch) => watch,
                Err(error) => {
                    let error = error.to_string();
                    let name = kind.name().to_owned();
                    let place = [masters.to_string(), replicas.to_string()];
                    table.row(&[&place[..], &[name, error, String::new()]].concat());
                    continue;
                }
            };
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
                replicas.to_string(),
                kind.name().to_owned(),
                mebibytes.to_string(),
                format!("{share:.1}"),
            ]);
        }
    }
    Ok(())
}

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
        allow_files(wanted.watched, deaths::SENTINELS)?;
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

/// Every connection has its server's end in this process, whose limit the sentinels inherit.
fn allow_files(masters: usize, sentinels: usize) -> Result<()> {
    let connections = masters * model::EACH * watch::LINKS * sentinels;
    let wanted = u64::try_from(connections + 1_000)?;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = match maximum {
        Some(maximum) if maximum < wanted => Some(wanted),
        enough => enough,
    };
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, raised).with_context(|| {
        format!("{wanted} files are needed, and only {maximum:?} may be open: raise `ulimit -Hn`")
    })
}

async fn at_rest(programs: &Programs, wanted: &Scale, chosen: &[usize]) -> Result<()> {
    let rest = Duration::from_secs(wanted.seconds);
    let title = format!(
        "One sentinel at rest, masters with two replicas each, down-after 30 s: memory, and share of one core over \
         {} s.",
        rest.as_secs()
    );
    let table = Table::new(&title, &["masters", "sentinel", "memory (MiB)", "CPU (%)"]);
    for masters in chosen.iter().copied() {
        if let Err(error) = allow_files(masters, 1) {
            // Fewer are still worth a look.
            say(&format!("\n{masters} masters: {error:#}"));
            continue;
        }
        for kind in kinds(wanted) {
            let fleet = Fleet::start(masters)?;
            let setup = Setup {
                masters,
                sentinels: 1,
                down_after: Duration::from_secs(30),
            };
            let watch = match Watch::start(programs, wanted, kind, &fleet, setup).await {
                Ok(watch) => watch,
                Err(error) => {
                    let never = [kind.name(), &error.to_string(), ""].map(str::to_owned);
                    let row: Vec<String> = [masters.to_string()].into_iter().chain(never).collect();
                    table.row(&row);
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
                kind.name().to_owned(),
                mebibytes.to_string(),
                format!("{share:.1}"),
            ]);
        }
    }
    Ok(())
}

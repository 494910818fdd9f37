//! The verb `enumerate`: which worlds are enumerated, on how many threads, and what is told of it.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Result, anyhow};
use clap::Args;
use duke_sim::{
    Mutation,
    enumerate::{
        Bounds, Branching, Deviation, Outcome, Report, Schedule, Start, Tally, replay, walk,
    },
};

/// What is enumerated; of what is said several times, everything with everything else.
#[derive(Debug, Args)]
pub(crate) struct Enumerate {
    /// Dukes of a world.
    #[arg(long, value_delimiter = ',', default_value = "3")]
    dukes: Vec<usize>,
    /// Data nodes of a world.
    #[arg(long, value_delimiter = ',', default_value = "2")]
    nodes: Vec<usize>,
    /// What happens to the master when choices begin; everything in turn when not said.
    #[arg(long, value_delimiter = ',')]
    start: Vec<Start>,
    /// So many deviations from the usual course at most.
    #[arg(long, default_value_t = 1)]
    deviations: u32,
    /// Among so many choices.
    #[arg(long, default_value_t = 100)]
    points: u32,
    /// Each at most so many choices behind the one before; anywhere when not said.
    #[arg(long, default_value_t = u32::MAX)]
    reach: u32,
    /// Only these kinds of deviations.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Deviation>,
    /// Of what is left to chance: names, and when Dukes stand.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seed: Vec<u64>,
    /// On so many threads; all cores when not said.
    #[arg(long)]
    threads: Option<usize>,
    /// A rule to break on purpose.
    #[arg(long)]
    mutant: Option<Mutation>,
    /// Runs one schedule and tells what happened.
    #[arg(long)]
    replay: Option<Schedule>,
}

impl Enumerate {
    fn worlds(&self) -> Vec<Bounds> {
        let starts = or_all(&self.start, &Start::ALL);
        let mut worlds = Vec::new();
        for &seed in &self.seed {
            for &dukes in &self.dukes {
                for &nodes in &self.nodes {
                    worlds.extend(starts.iter().map(|start| Bounds {
                        seed,
                        dukes,
                        nodes,
                        start: *start,
                        deviations: self.deviations,
                        points: self.points,
                        reach: self.reach,
                        kinds: or_all(&self.only, &Deviation::ALL),
                        mutation: self.mutant,
                    }));
                }
            }
        }
        worlds
    }

    /// Runs what is to be run.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if let Some(schedule) = &self.replay {
            return again(&self.worlds(), schedule);
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.threads.unwrap_or(cores).max(1);
        let begin = crate::clock();
        let mut out = io::stdout().lock();
        let mut total = Tally::default();
        for bounds in self.worlds() {
            let mut panicked = Ok(());
            let report = walk(&bounds, |level| {
                spread(&bounds, level, threads).unwrap_or_else(|error| {
                    panicked = Err(error);
                    Vec::new()
                })
            });
            panicked?;
            tell(&mut out, &bounds, &report)?;
            total.merge(report.tally);
        }
        writeln!(
            out,
            "{} schedules, {} choices, {} events, in {:.1} s",
            total.passed + total.failed,
            total.points,
            total.events,
            begin.elapsed().as_secs_f64()
        )?;
        let word = if total.failed == 0 { "ok" } else { "FAILED" };
        writeln!(
            out,
            "test result: {word}. {} passed; {} failed",
            total.passed, total.failed
        )?;
        Ok(crate::code(total.failed == 0))
    }
}

fn or_all<T: Copy>(said: &[T], all: &[T]) -> Vec<T> {
    if said.is_empty() { all } else { said }.to_vec()
}

fn again(worlds: &[Bounds], schedule: &Schedule) -> Result<ExitCode> {
    let [bounds] = worlds else {
        return Err(anyhow!(
            "a schedule belongs to one --start, one --dukes and one --nodes"
        ));
    };
    let verdict = replay(bounds, schedule).map_err(|why| anyhow!(why))?;
    let mut out = io::stdout().lock();
    write!(out, "{}", verdict.log)?;
    let word = verdict.broken.as_deref().unwrap_or("passed");
    writeln!(out, "{schedule}: {word}")?;
    Ok(crate::code(verdict.broken.is_none()))
}

/// Tells what came of a world: the first failure with its log.
fn tell(out: &mut impl io::Write, bounds: &Bounds, report: &Report) -> Result<()> {
    let failures = &report.tally.failures;
    if let Some((schedule, _)) = failures.first() {
        let verdict = replay(bounds, schedule).map_err(|why| anyhow!(why))?;
        write!(out, "{}", verdict.log)?;
    }
    for (schedule, broken) in failures {
        writeln!(
            out,
            "{schedule}: {broken}\n  \
             again: cargo run --release -p duke-sim -- enumerate {bounds} --replay {schedule}"
        )?;
    }
    writeln!(out, "{bounds}: {report}")?;
    Ok(())
}

/// Runs every branching on so many threads: the outcomes are the same however many these are.
fn spread(bounds: &Bounds, level: &[Branching], threads: usize) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(branching) = level.get(index) else {
                return;
            };
            let outcome = branching.run(bounds);
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.push((index, outcome));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a simulation panicked")))
    })?;
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

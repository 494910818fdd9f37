//! The simulator's command line: parses and calls the library, with threads and a clock.

#[path = "main/enumerate.rs"]
mod enumerate;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use clap::{Args, Parser, Subcommand};
use duke_sim::{Group, Mutation, Options, SECOND, Verdict, World, run};

/// A deterministic world around Duke's engine.
#[derive(Debug, Parser)]
#[command(name = "duke-sim", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs one seed and tells what happened.
    Seed {
        /// The seed, decimal or 0x…
        #[arg(value_parser = seed)]
        seed: u64,
        /// A rule to break on purpose.
        #[arg(long)]
        mutant: Option<Mutation>,
        /// Only the verdict.
        #[arg(long)]
        quiet: bool,
        #[command(flatten)]
        kind: Kind,
    },
    /// Runs many seeds.
    Swarm {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first one.
        #[arg(long, value_parser = seed, default_value = "0")]
        from: u64,
        /// On so many threads; all cores when not said.
        #[arg(long)]
        threads: Option<usize>,
        /// A rule to break on purpose.
        #[arg(long)]
        mutant: Option<Mutation>,
        #[command(flatten)]
        kind: Kind,
    },
    /// Runs every schedule of small worlds up to a bound.
    Enumerate(enumerate::Enumerate),
    /// Breaks every rule in turn and says after how many seeds that was noticed.
    Mutants {
        /// After how many seeds to give up.
        #[arg(long, default_value_t = 2_000)]
        seeds: u64,
        /// Only this one.
        #[arg(long)]
        mutant: Option<Mutation>,
        #[command(flatten)]
        kind: Kind,
    },
    /// Measures how much faster than real time a healthy group is simulated.
    Bench {
        /// For how many virtual seconds.
        #[arg(long, default_value_t = 3_600)]
        seconds: u64,
        #[command(flatten)]
        kind: Kind,
    },
}

/// What kind of group is simulated.
#[derive(Args, Clone, Copy, Debug)]
struct Kind {
    /// An open group, as stock Sentinels form it, instead of a closed one.
    #[arg(long)]
    open: bool,
}

impl Kind {
    fn group(self) -> Group {
        if self.open {
            Group::Open
        } else {
            Group::Closed
        }
    }

    fn options(self, seed: u64, mutation: Option<Mutation>) -> Options {
        Options {
            mutation,
            ..Options::of(self.group(), seed)
        }
    }
}

fn seed(word: &str) -> Result<u64, std::num::ParseIntError> {
    word.strip_prefix("0x")
        .map_or_else(|| word.parse(), |digits| u64::from_str_radix(digits, 16))
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().verb {
        Verb::Seed {
            seed,
            mutant,
            quiet,
            kind,
        } => one(&kind.options(seed, mutant), quiet),
        Verb::Swarm {
            seeds,
            from,
            threads,
            mutant,
            kind,
        } => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let options = |seed| kind.options(seed, mutant);
            swarm(from, seeds, threads.unwrap_or(cores).max(1), options)
        }
        Verb::Enumerate(enumerate) => enumerate.run(),
        Verb::Mutants {
            seeds,
            mutant,
            kind,
        } => mutants(seeds, mutant, kind),
        Verb::Bench { seconds, kind } => bench(seconds, kind.group()),
    }
}

fn one(options: &Options, quiet: bool) -> Result<ExitCode> {
    let verdict = run(options, !quiet);
    let mut out = io::stdout().lock();
    write!(out, "{}", verdict.log)?;
    writeln!(out, "{verdict}")?;
    Ok(code(verdict.broken.is_none()))
}

fn code(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What a swarm has come to so far.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    virtual_seconds: u64,
    events: u64,
    switches: usize,
    acknowledged: usize,
    lost: usize,
    slowest: u64,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        if verdict.broken.is_none() {
            self.passed += 1;
            self.slowest = self.slowest.max(verdict.settling);
        } else {
            self.failed += 1;
        }
        self.virtual_seconds += verdict.time / SECOND;
        self.events += verdict.events;
        self.switches += verdict.switches;
        self.acknowledged += verdict.acknowledged;
        self.lost += verdict.lost;
    }
}

fn swarm(
    from: u64,
    seeds: u64,
    threads: usize,
    options: impl Fn(u64) -> Options + Sync,
) -> Result<ExitCode> {
    let begin = clock();
    let next = AtomicU64::new(from);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&next, from + seeds, &options, &tally)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| anyhow!("a simulation panicked"))?
        })
    })?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} virtual hours, {} events, {} masters replaced, {} of {} acknowledged writes lost as permitted, \
         settled after {} ms at most, in {:.1} s",
        tally.virtual_seconds / 3600,
        tally.events,
        tally.switches,
        tally.lost,
        tally.acknowledged,
        tally.slowest / 1_000,
        begin.elapsed().as_secs_f64()
    )?;
    let word = if tally.failed == 0 { "ok" } else { "FAILED" };
    writeln!(
        out,
        "test result: {word}. {} passed; {} failed",
        tally.passed, tally.failed
    )?;
    Ok(code(tally.failed == 0))
}

fn work(
    next: &AtomicU64,
    end: u64,
    options: impl Fn(u64) -> Options,
    tally: &Mutex<Tally>,
) -> Result<()> {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return Ok(());
        }
        let verdict = run(&options(seed), false);
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(&verdict);
        let done = tally.passed + tally.failed;
        let mut out = io::stdout().lock();
        if verdict.broken.is_some() {
            writeln!(out, "{verdict}")?;
        }
        if done.is_multiple_of(1_000) {
            writeln!(out, "{done} seeds, {} failed", tally.failed)?;
        }
    }
}

fn mutants(seeds: u64, only: Option<Mutation>, kind: Kind) -> Result<ExitCode> {
    let mut all = true;
    let mut out = io::stdout().lock();
    for &mutation in Mutation::of(kind.group()) {
        if only.is_some_and(|only| only != mutation) {
            continue;
        }
        let caught = (0..seeds)
            .map(|seed| run(&kind.options(seed, Some(mutation)), false))
            .find_map(|verdict| Some((verdict.options.seed, verdict.broken?)));
        if let Some((seed, broken)) = caught {
            writeln!(out, "{mutation}: caught by seed {seed}: {broken}")?;
        } else {
            all = false;
            writeln!(out, "{mutation}: not caught by {seeds} seeds")?;
        }
    }
    Ok(code(all))
}

fn bench(seconds: u64, group: Group) -> Result<ExitCode> {
    // Dukes of an open group look for replicas each ten seconds.
    let first = match group {
        Group::Closed => 5 * SECOND,
        Group::Open => 30 * SECOND,
    };
    let mut out = io::stdout().lock();
    for writes in [0, 10] {
        let mut world = World::new(Options::at_rest(group, writes), false);
        world.run_until(first);
        if let Some(why) = world.unsettled() {
            return Err(anyhow!("the healthy group has not settled: {why}"));
        }
        let (begin, before) = (clock(), world.events);
        world.run_until(first + seconds * SECOND);
        let took = begin.elapsed().max(Duration::from_micros(1));
        if let Some(why) = world.unsettled() {
            return Err(anyhow!("the healthy group did not stay settled: {why}"));
        }
        let events = world.events - before;
        let span = Duration::from_secs(seconds).as_secs_f64();
        writeln!(
            out,
            "3 Dukes, 3 nodes, {writes} writes/s: {span:.0} s in {:.3} s: {:.0} times real time, {events} events, \
             {} ns each",
            took.as_secs_f64(),
            span / took.as_secs_f64(),
            took.as_nanos() / u128::from(events.max(1))
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Only to measure how long this program takes: no run depends on it.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulation has a clock of its own"
)]
fn clock() -> Instant {
    Instant::now()
}

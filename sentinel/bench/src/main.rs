//! Duke and a stock sentinel side by side, on this machine, in one run: what each takes for the same.
//!
//! Every table is Markdown, ready for `docs/measurements.md`. Nothing here judges; a number that is
//! worse than stock's is printed like any other.

mod closed;
mod failover;
mod group;
mod process;
mod program;
mod queries;
mod scale;
mod switchover;
mod table;
mod wire;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    failover::Fault,
    program::{Kind, Programs},
};

/// Duke and a stock sentinel side by side.
#[derive(Debug, Parser)]
#[command(name = "duke-bench", version)]
struct Arguments {
    #[command(flatten)]
    choice: Choice,
    #[command(subcommand)]
    verb: Verb,
}

/// Which programs are compared.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// A built Duke, instead of the one that is built now.
    #[arg(long, global = true)]
    duke: Option<PathBuf>,
    /// A folder with a stock server and sentinel, instead of the installed ones.
    #[arg(long, global = true)]
    stock: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How long a failover takes, stage by stage.
    Failover(Failover),
    /// How many questions for the master are answered, how fast, and how events reach subscribers.
    Queries {
        /// How long each measurement lasts, in seconds.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// How often each is repeated, in turns.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Only this table.
        #[arg(long)]
        only: Option<queries::Subject>,
    },
    /// What many masters cost at rest, and how long it takes until many dead ones are replaced.
    Scale(Scale),
    /// What clients notice of planned moves of the master in a closed group, and whether a write is lost.
    Switchover(Switchover),
}

/// Which planned moves are measured.
#[derive(Debug, Args)]
pub(crate) struct Switchover {
    /// How often the master is moved, with each server.
    #[arg(long, default_value_t = 500)]
    rounds: usize,
    /// How many clients write all the time.
    #[arg(long, default_value_t = 4)]
    writers: usize,
    /// Also with this data server, a program.
    #[arg(long)]
    server: Vec<PathBuf>,
}

/// Which failovers are measured.
#[derive(Debug, Args)]
pub(crate) struct Failover {
    /// How often each case is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only with this down-after, in milliseconds; 200, 500, 1000 and 5000 when not said.
    #[arg(long)]
    down_after: Vec<u64>,
    /// Only after this fault; all when not said, the last one only with a down-after of 1000.
    #[arg(long)]
    fault: Vec<Fault>,
    /// Only with this sentinel.
    #[arg(long)]
    only: Option<Kind>,
    /// A folder that is to be left with all configurations and logs.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// What is measured with many masters.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Only with so many masters at rest; 1, 100, 1000 and 5000 when not said.
    #[arg(long)]
    masters: Vec<usize>,
    /// How long they rest, in seconds; 0 leaves rest out.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many masters are watched when some of them die.
    #[arg(long, default_value_t = 1_000)]
    watched: usize,
    /// How many of them die; 0 leaves deaths out.
    #[arg(long, default_value_t = 100)]
    dying: usize,
    /// How many replicas every master has; fewer at rest where the limit of open files allows no more.
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// With this down-after when they die, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    down_after: u64,
    /// How often they die.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// When to stop waiting for those that are not replaced, in seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// Only with this sentinel.
    #[arg(long)]
    only: Option<Kind>,
    /// A folder that is to be left with the sentinels' configurations and logs.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Prints a line.
pub(crate) fn say(line: &str) {
    // Nobody listens any more: there is nobody to tell.
    drop(writeln!(io::stdout().lock(), "{line}"));
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let programs = Programs::find(&arguments.choice)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seconds = Duration::from_secs;
    runtime.block_on(async {
        match arguments.verb {
            Verb::Failover(wanted) => failover::run(&programs, &wanted).await,
            Verb::Queries {
                seconds: each,
                rounds,
                only,
            } => queries::run(&programs, seconds(each), rounds, only).await,
            Verb::Scale(wanted) => scale::run(&programs, &wanted).await,
            Verb::Switchover(wanted) => switchover::run(&programs, &wanted).await,
        }
    })
}

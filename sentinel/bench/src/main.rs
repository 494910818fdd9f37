//! Duke and a stock sentinel side by side, on this machine, in one run: what each takes for the same.
//!
//! Every table is Markdown, ready for `docs/measurements.md`. Nothing here judges; a number that is
//! worse than stock's is printed like any other.

mod failover;
mod group;
mod process;
mod program;
mod queries;
mod scale;
mod table;
mod wire;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::program::Programs;

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
    Failover {
        /// How often each case is measured.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Only with this down-after, in milliseconds; 200, 500, 1000 and 5000 when not said.
        #[arg(long)]
        down_after: Vec<u64>,
    },
    /// How many questions for the master are answered, how fast, and how events reach subscribers.
    Queries {
        /// How long each measurement lasts, in seconds.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// How often each is repeated, in turns.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// What many masters cost at rest, and how long it takes until many dead ones are replaced.
    Scale {
        /// Only with so many masters; 1, 100, 1000 and 5000 when not said.
        #[arg(long)]
        masters: Vec<usize>,
        /// How long they rest, in seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// When to stop waiting for a stock sentinel, in seconds.
        #[arg(long, default_value_t = 60)]
        patience: u64,
    },
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
            Verb::Failover { rounds, down_after } => {
                failover::run(&programs, rounds, &down_after).await
            }
            Verb::Queries {
                seconds: each,
                rounds,
            } => queries::run(&programs, seconds(each), rounds).await,
            Verb::Scale {
                masters,
                seconds: rest,
                patience,
            } => scale::run(&programs, &masters, seconds(rest), seconds(patience)).await,
        }
    })
}

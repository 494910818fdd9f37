//! The command line of the client programs: parses and calls them.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{
    bulk, discover, listen,
    probe::{self, Limit, Target},
};
use crate::progress;

/// Begins the keys that `fill` writes.
const FILLED: &str = "filled";

/// A client program.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Writes without pause and reports, as JSON lines, how long nobody took its writes.
    Probe(Probe),
    /// Writes as many keys of a kilobyte to a server, and waits until its replicas have them.
    Fill {
        /// The server, `host:port`.
        address: String,
        /// How many keys.
        #[arg(long, default_value_t = 300_000)]
        keys: usize,
        /// How many replicas there must be.
        #[arg(long, default_value_t = 2)]
        witnesses: usize,
    },
    /// Prints how many of the keys that `fill` wrote a server has.
    Count {
        /// The server, `host:port`.
        address: String,
        /// How many were written.
        #[arg(long, default_value_t = 300_000)]
        keys: usize,
    },
    /// Asks for the master, each time on a new connection, until SIGTERM; reports as JSON lines.
    Discover {
        /// Where to ask, `host:port`.
        address: String,
        /// Between two questions, in milliseconds.
        #[arg(long, default_value_t = 20)]
        period_ms: u64,
        /// End at the latest after so many seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Prints what a Sentinel publishes on a channel, as JSON lines.
    #[command(hide = true)]
    Listen {
        /// The Sentinel, `host:port`.
        address: String,
        /// The channel.
        channel: String,
    },
    /// Prints what an HTTP address answers.
    #[command(hide = true)]
    Fetch {
        /// The server, `host:port`.
        address: String,
        /// What it is asked for.
        path: String,
    },
}

/// What the prober is told.
#[derive(Debug, Args)]
pub struct Probe {
    /// Ask a Sentinel at this host:port for the master.
    #[arg(long, required_unless_present = "address")]
    sentinel: Option<String>,
    /// Write to this host:port.
    #[arg(long, conflicts_with = "sentinel")]
    address: Option<String>,
    /// The master's name at the Sentinel.
    #[arg(long, default_value = "mymaster")]
    master: String,
    /// Between two writes, in milliseconds.
    #[arg(long, default_value_t = 1)]
    period_ms: u64,
    /// End at the latest after so many seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// End when writes have flowed again for so many milliseconds after a gap.
    #[arg(long)]
    settled_ms: Option<u64>,
}

impl Verb {
    /// Runs the program to its end.
    ///
    /// # Errors
    /// As the program says.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Probe(arguments) => arguments.run().await,
            Self::Fill {
                address,
                keys,
                witnesses,
            } => bulk::fill(&address, FILLED, keys, witnesses).await,
            Self::Count { address, keys } => {
                let found = bulk::count(&address, FILLED, keys).await?;
                progress::print(&found.to_string());
                Ok(())
            }
            Self::Discover {
                address,
                period_ms,
                seconds,
            } => {
                let period = Duration::from_millis(period_ms.max(1));
                discover::run(&address, period, Duration::from_secs(seconds)).await
            }
            Self::Listen { address, channel } => listen::run(&address, &channel).await,
            Self::Fetch { address, path } => {
                progress::print(probe::fetch(&address, &path).await?.trim_end());
                Ok(())
            }
        }
    }
}

impl Probe {
    async fn run(self) -> Result<()> {
        let target = match (self.sentinel, self.address) {
            (Some(sentinel), _) => Target::Sentinel(sentinel, self.master),
            (None, Some(address)) => Target::Address(address),
            (None, None) => unreachable!("clap asks for one of the two"),
        };
        let limit = Limit {
            period: Duration::from_millis(self.period_ms.max(1)),
            most: Duration::from_secs(self.seconds),
            settled: self.settled_ms.map(Duration::from_millis),
        };
        probe::run(&target, limit, probe::print).await.map(drop)
    }
}

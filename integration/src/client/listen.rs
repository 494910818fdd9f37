//! The listener: tells each message that a Sentinel publishes, with the time it came.
//!
//! Runs where the pods are reachable (`testbed listen`, on a node), beside the prober. Its clock is the
//! machine's, which it shares with whoever reads what it prints.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::wire::Wire;
use crate::progress;

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// When, in microseconds since 1970 by the machine's clock.
    pub at_us: u64,
    /// What the message says.
    pub text: String,
}

/// Microseconds since 1970 by the machine's clock.
#[must_use]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// Subscribes at `address` (`host:port`), says so with an empty message, and prints each message as a
/// line of JSON until the connection ends.
///
/// # Errors
/// When the server does not take the subscription, or closes the connection.
pub async fn run(address: &str, channel: &str) -> Result<()> {
    let mut wire = Wire::open(address)
        .await
        .with_context(|| format!("connecting to {address}"))?;
    let answer = wire.ask(&["SUBSCRIBE", channel]).await?;
    ensure!(
        answer.first().is_some_and(|word| word == "subscribe"),
        "{answer:?}"
    );
    tell(String::new())?;
    loop {
        let message = wire.next().await?;
        let [_, _, text] = message.as_slice() else {
            continue;
        };
        tell(text.clone())?;
    }
}

fn tell(text: String) -> Result<()> {
    let heard = Heard {
        at_us: now_us(),
        text,
    };
    progress::print(&serde_json::to_string(&heard)?);
    Ok(())
}

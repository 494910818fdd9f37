//! Much data, quickly: writes numbered keys until a server holds so many megabytes, and counts later how many
//! of them a server has.
//!
//! Runs where the pods are reachable (`testbed fill`, `testbed count`, on a node).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

use super::wire::{Wire, encode};

/// How long a value is; with its key and the server's own needs a key takes about a kilobyte.
const VALUE: usize = 1000;
/// How many commands are under way at once.
const BATCH: usize = 500;
/// How long a server may take for a batch, or to hand everything to its replicas.
const PATIENCE: Duration = Duration::from_mins(1);

/// The key of a number.
fn key(prefix: &str, number: usize) -> String {
    format!("{prefix}:{number}")
}

/// Writes `count` keys at `address` (`host:port`), and waits until `witnesses` replicas have them all.
///
/// # Errors
/// When a write is refused, or too few replicas have everything within a minute.
pub async fn fill(address: &str, prefix: &str, count: usize, witnesses: usize) -> Result<()> {
    let mut wire = Wire::open(address).await?;
    let value = noise();
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(BATCH) {
        let mut commands = String::new();
        for number in batch {
            commands += &encode(&["SET", &key(prefix, *number), &value])?;
        }
        wire.send(&commands).await?;
        for _ in batch {
            let answer = timeout(PATIENCE, wire.next()).await??;
            ensure!(answer == ["OK"], "a write said {answer:?}");
        }
    }
    let patience = PATIENCE.as_millis().to_string();
    wire.send(&encode(&["WAIT", &witnesses.to_string(), &patience])?)
        .await?;
    let answer = timeout(2 * PATIENCE, wire.next()).await??.concat();
    let have: usize = answer.parse().context("WAIT answers with a number")?;
    ensure!(
        have >= witnesses,
        "{have} replicas have everything, not {witnesses}"
    );
    Ok(())
}

/// How many of the `count` keys the server at `address` has.
///
/// # Errors
/// When the server does not answer.
pub async fn count(address: &str, prefix: &str, count: usize) -> Result<u64> {
    let mut wire = Wire::open(address).await?;
    let mut found = 0_u64;
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(BATCH) {
        let keys: Vec<String> = batch.iter().map(|number| key(prefix, *number)).collect();
        let mut words = vec!["EXISTS"];
        words.extend(keys.iter().map(String::as_str));
        wire.send(&encode(&words)?).await?;
        let answer = timeout(PATIENCE, wire.next()).await??.concat();
        let kept: u64 = answer.parse().context("EXISTS answers with a number")?;
        found = found.saturating_add(kept);
    }
    Ok(found)
}

/// A value that no server can compress: copies and snapshots are as large as the data.
fn noise() -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char::from(letters[usize::from(state.to_le_bytes()[3] & 63)])
    };
    (0..VALUE).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_length_and_no_pattern() {
        let value = noise();
        assert_eq!(value.len(), VALUE);
        let distinct: std::collections::BTreeSet<&[u8]> = value.as_bytes().chunks(4).collect();
        assert!(distinct.len() > 240, "{}", distinct.len());
    }
}

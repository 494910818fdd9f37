//! Stories in which data was lost, or people were left without a word: each in the size that made it happen,
//! each with a bound.
//!
//! Writers account for every write that was acknowledged; what was filled in before a fault, every replica had.
//! `STORIES_LONG` asks for the long form of those that are told several times; those that are told in the long
//! form only are ignored tests. Two stories of [`beside`] may be told side by side, one of [`alone`] waits until nobody
//! else tells one.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::probe::Report;
use serde_json::{Value, json};

use self::group::Group;

mod alone;
mod beside;
mod group;

/// How many keys of a kilobyte are much: 300 MB, which take a replica seconds to copy.
const MUCH: usize = 300_000;
/// How many keys are enough where only their survival is asked.
const SOME: usize = 5_000;
/// A lost master has a successor within this time of pods being able to run.
const MASTERLESS: Duration = Duration::from_secs(15);
/// Delays every full copy by so many seconds: stands for the copy of a large data set.
const SLOW_COPIES: (&str, &str) = ("repl-diskless-sync-delay", "10");

/// The spec with these lines of redis.conf.
fn with_config(lines: &[&str]) -> Value {
    json!({ "pipeline": { "customConfig": lines } })
}

/// The spec whose copies are slow.
fn slow() -> Value {
    let (name, value) = SLOW_COPIES;
    with_config(&[&format!("{name} {value}")])
}

/// No acknowledged write is missing.
fn nothing_lost(who: &str, report: &Report) -> Result<()> {
    let gaps: Vec<_> = report.gaps.iter().filter(|gap| gap.ms >= 100).collect();
    ensure!(
        report.lost == 0,
        "{who}: {} of {} acknowledged writes are lost, the first {:?}; gaps {gaps:?}",
        report.lost,
        report.acknowledged,
        report.lost_writes,
    );
    Ok(())
}

/// Says a figure that the test's output is read for.
fn figure(what: &str, value: impl std::fmt::Display) {
    integration::progress::say(&format!("figure: {what}: {value}"));
}

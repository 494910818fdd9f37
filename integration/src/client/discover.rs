//! The discoverer: a client that asks the Dukes for the master over and over, each time on a connection of
//! its own, as clients do that start or reconnect.
//!
//! Runs where the pods are reachable (`testbed discover`, on a node). A question does not wait for the one
//! before: one that hangs is seen as such, beside others that are answered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    listen::now_us,
    wire::{Wire, encode},
};
use crate::progress;

/// A question without an answer for so long has failed: what ordinary clients wait.
const PATIENCE: Duration = Duration::from_secs(3);
/// A question that takes longer hung: far more than an answer ever takes, and what a lost SYN costs.
const HUNG: Duration = Duration::from_millis(900);

/// What came of the questions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// How many were asked.
    pub asked: usize,
    /// How many took longer than 900 ms, answered or not.
    pub hung: usize,
    /// The longest that one took, in milliseconds.
    pub slowest_ms: u64,
    /// Those that were not answered with an address.
    pub failed: Vec<Failure>,
}

/// A question that was not answered with an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When it was asked, in microseconds since 1970 by the machine's clock.
    pub at_us: u64,
    /// How long it took to fail, in milliseconds.
    pub ms: u64,
    /// Why it failed.
    pub why: String,
}

/// What the discoverer tells, a JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The first question was answered.
    Started,
    /// The end.
    Ended(Answers),
}

/// Asks at `address` (`host:port`) each `period` for the master until SIGTERM, or for as long as `most`.
///
/// # Errors
/// When the first question is not answered.
pub async fn run(address: &str, period: Duration, most: Duration) -> Result<()> {
    let mut told_to_end = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    ask(address).await.context("asking for the first time")?;
    tell(&Told::Started)?;
    let deadline = tokio::time::sleep(most);
    let mut deadline = std::pin::pin!(deadline);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut questions = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut deadline => break,
            _ = told_to_end.recv() => break,
        }
        let address = address.to_owned();
        questions.spawn(async move {
            let (at_us, begun) = (now_us(), Instant::now());
            let answer = timeout(PATIENCE, ask(&address)).await;
            (at_us, begun.elapsed(), answer.map_err(Into::into).flatten())
        });
    }
    let mut answers = Answers::default();
    while let Some(question) = questions.join_next().await {
        let (at_us, took, answer) = question?;
        let ms = u64::try_from(took.as_millis())?;
        answers.asked = answers.asked.saturating_add(1);
        answers.hung = answers.hung.saturating_add(usize::from(took >= HUNG));
        answers.slowest_ms = answers.slowest_ms.max(ms);
        if let Err(error) = answer {
            let why = format!("{error:#}");
            answers.failed.push(Failure { at_us, ms, why });
        }
    }
    answers.failed.sort_by_key(|failure| failure.at_us);
    tell(&Told::Ended(answers))
}

/// One question, on a connection of its own, with nobody's patience but ours.
async fn ask(address: &str) -> Result<()> {
    let mut wire = Wire::open_patiently(address).await?;
    let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
    wire.send(&encode(&question)?).await?;
    let answer = wire.next().await?;
    let [_, _] = answer.as_slice() else {
        bail!("{answer:?} instead of an address")
    };
    Ok(())
}

fn tell(told: &Told) -> Result<()> {
    progress::print(&serde_json::to_string(told)?);
    Ok(())
}

//! The prober: a client that writes all the time and asks again every millisecond, to measure how
//! long writes fail, and which acknowledged ones are lost.
//!
//! Runs where the pods are reachable (`testbed probe`, on a node). Speaks the protocol itself, so
//! that no library's patience is in the numbers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::wire::Wire;
use crate::progress;

/// Between two attempts.
const PERIOD: Duration = Duration::from_millis(1);
/// Shorter pauses are the machine's own.
const GAP: Duration = Duration::from_millis(100);
/// How long a written key lives: long enough to be looked at in the end. Seconds.
const LIFETIME: &str = "600";

/// How the prober finds the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By asking Sentinels at this `host:port` for this master.
    Sentinel(String, String),
    /// At this `host:port`, whoever is behind it.
    Address(String),
}

/// What the prober saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// The longest time between two acknowledged writes, in milliseconds.
    pub gap_ms: u64,
    /// The master before and after the longest gap.
    pub masters: [String; 2],
    /// Acknowledged writes that the master at the end does not have.
    pub lost: u64,
}

/// When the prober ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// At the latest.
    pub most: Duration,
    /// When writes have flowed again for so long after an outage of at least a tenth of a second in which attempts
    /// failed.
    pub settled: Option<Duration>,
}

/// What the prober tells, a JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The first write was acknowledged.
    Started,
    /// The end.
    Ended(Report),
}

/// Prints what is told as a line of JSON.
pub fn print(told: &Told) {
    if let Ok(line) = serde_json::to_string(told) {
        progress::print(&line);
    }
}

/// The master's address now.
async fn find(target: &Target) -> Result<String> {
    match target {
        Target::Address(address) => Ok(address.clone()),
        Target::Sentinel(address, name) => {
            let mut wire = Wire::open(address).await?;
            let answer = wire
                .ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name])
                .await?;
            let [ip, port] = answer.as_slice() else {
                bail!("no master")
            };
            Ok(format!("{ip}:{port}"))
        }
    }
}

/// Writes until the limit, telling when it begins and what came of it.
///
/// # Errors
/// When no write succeeds at all.
pub async fn run(target: &Target, limit: Limit, tell: impl Fn(&Told)) -> Result<Report> {
    let begun = Instant::now();
    let run = run_name();
    let mut report = Report::default();
    let mut wire: Option<Wire> = None;
    let mut last: Option<(Instant, String)> = None;
    let mut failed = false;
    let mut gap_ended = None;
    let mut acknowledged = Vec::new();
    let mut number = 0_u64;
    while begun.elapsed() < limit.most {
        let settled = |at: Instant| limit.settled.is_some_and(|wanted| at.elapsed() >= wanted);
        if gap_ended.is_some_and(settled) {
            break;
        }
        number = number.saturating_add(1);
        if let Ok(master) = write(&mut wire, target, &format!("{run}:{number}")).await {
            if acknowledged.is_empty() {
                tell(&Told::Started);
            }
            acknowledged.push(number);
            let now = Instant::now();
            if let Some((before, former)) = last.replace((now, master.clone())) {
                let gap = now.duration_since(before);
                let gap_ms = u64::try_from(gap.as_millis())?;
                if failed && gap >= GAP {
                    gap_ended = Some(now);
                }
                if gap_ms > report.gap_ms {
                    report.gap_ms = gap_ms;
                    report.masters = [former, master];
                }
            }
            failed = false;
        } else {
            wire = None;
            failed = true;
        }
        // The period is the point: this is a prober, not a test that waits.
        tokio::time::sleep(PERIOD).await;
    }
    report.acknowledged = u64::try_from(acknowledged.len())?;
    ensure!(
        report.acknowledged > 0,
        "no write was acknowledged in {} s",
        limit.most.as_secs()
    );
    report.lost = lost(target, &run, &acknowledged).await?;
    tell(&Told::Ended(report.clone()));
    Ok(report)
}

/// Begins the keys of this run, and of no other.
fn run_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let milliseconds = since.map_or(0, |since| since.as_millis());
    format!("probe:{}:{milliseconds}", std::process::id())
}

/// Writes one key, over the connection there is or a new one; says where.
async fn write(wire: &mut Option<Wire>, target: &Target, key: &str) -> Result<String> {
    let open = match wire.take() {
        Some(open) => open,
        None => Wire::open(&find(target).await?).await?,
    };
    let open = wire.insert(open);
    let answer = open.ask(&["SET", key, "1", "EX", LIFETIME]).await?;
    ensure!(answer == ["OK"], "{answer:?}");
    Ok(open.address.clone())
}

/// Counts the acknowledged writes that are not there in the end.
///
/// Every write has a key of its own: one that was tried, timed out and arrived late must neither hide
/// nor undo another.
async fn lost(target: &Target, run: &str, acknowledged: &[u64]) -> Result<u64> {
    let mut lost = 0_u64;
    for numbers in acknowledged.chunks(200) {
        let keys: Vec<String> = numbers
            .iter()
            .map(|number| format!("{run}:{number}"))
            .collect();
        let mut words = vec!["EXISTS"];
        words.extend(keys.iter().map(String::as_str));
        let kept = look(target, &words).await?;
        lost = lost.saturating_add(u64::try_from(numbers.len())?.saturating_sub(kept));
    }
    Ok(lost)
}

/// Asks the master for a number, as often as it takes while the network loses packets.
async fn look(target: &Target, words: &[&str]) -> Result<u64> {
    let begun = Instant::now();
    loop {
        let attempt = async {
            let mut wire = Wire::open(&find(target).await?).await?;
            let answer = wire.ask(words).await?.concat();
            answer.parse::<u64>().context("the answer is a number")
        };
        match attempt.await {
            Ok(number) => return Ok(number),
            Err(error) if begun.elapsed() > Duration::from_secs(10) => return Err(error),
            Err(_) => tokio::time::sleep(PERIOD).await,
        }
    }
}

/// Fetches a path over HTTP from `host:port` and returns the body.
///
/// # Errors
/// When the answer is not 200.
pub async fn fetch(address: &str, path: &str) -> Result<String> {
    let mut stream = timeout(Duration::from_secs(5), TcpStream::connect(address)).await??;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await??;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has a head and a body")?;
    ensure!(
        head.split(' ').nth(1) == Some("200"),
        "{}",
        head.lines().next().unwrap_or_default()
    );
    Ok(body.to_owned())
}

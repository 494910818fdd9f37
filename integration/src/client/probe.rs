//! The prober: a client that writes all the time and asks again every millisecond or few, to measure how
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
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{listen::now_us, wire::Wire};
use crate::progress;

/// Between two attempts to read something back.
const PERIOD: Duration = Duration::from_millis(1);
/// Shorter pauses are the machine's own.
const GAP: Duration = Duration::from_millis(100);
/// The shortest pause that a report lists.
const NOTED: Duration = Duration::from_millis(20);
/// How many lost writes a report lists.
const LISTED: usize = 20;
/// How long a written key lives: long enough to be looked at in the end. Seconds.
const LIFETIME: &str = "7200";

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
    /// The first of these.
    #[serde(default)]
    pub lost_writes: Vec<Write>,
    /// Every pause between two acknowledged writes of at least 20 ms, oldest first.
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// An acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Its key.
    pub key: String,
    /// When it was acknowledged, in microseconds since 1970 by the machine's clock.
    pub at_us: u64,
    /// Who acknowledged it, `host:port` as the prober knows it.
    pub master: String,
}

/// A time without an acknowledged write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the write before it was acknowledged, in microseconds since 1970 by the machine's clock.
    pub at_us: u64,
    /// How long it was, in milliseconds.
    pub ms: u64,
}

impl Report {
    /// The longest pause that began between two times, or lasted into them; 0 when there was none to speak of.
    #[must_use]
    pub fn gap_between(&self, from_us: u64, to_us: u64) -> u64 {
        let touches = |gap: &&Gap| {
            let end_us = gap.at_us.saturating_add(gap.ms.saturating_mul(1000));
            gap.at_us < to_us && end_us > from_us
        };
        let found = self.gaps.iter().filter(touches);
        found.map(|gap| gap.ms).max().unwrap_or(0)
    }
}

/// When the prober writes and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Between two attempts to write.
    pub period: Duration,
    /// It ends after so long at the latest, and earlier on SIGTERM.
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

/// Writes until the limit or until SIGTERM, telling when it begins and what came of it.
///
/// # Errors
/// When no write succeeds at all.
pub async fn run(target: &Target, limit: Limit, tell: impl Fn(&Told)) -> Result<Report> {
    let mut told_to_end = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let deadline = tokio::time::sleep(limit.most);
    let mut deadline = std::pin::pin!(deadline);
    let mut ticks = interval(limit.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ledger = Ledger::default();
    let mut wire: Option<Wire> = None;
    let mut number = 0_u64;
    let run = run_name();
    while !ledger.has_settled(limit.settled) {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut deadline => break,
            _ = told_to_end.recv() => break,
        }
        number = number.saturating_add(1);
        let key = format!("{run}:{number}");
        if let Ok(master) = write(&mut wire, target, &key).await {
            if ledger.writes.is_empty() {
                tell(&Told::Started);
            }
            ledger.acknowledge(key, master);
        } else {
            wire = None;
            ledger.has_failed = true;
        }
    }
    ensure!(
        !ledger.writes.is_empty(),
        "no write was acknowledged in {} s",
        limit.most.as_secs()
    );
    let report = ledger.account(target).await?;
    tell(&Told::Ended(report.clone()));
    Ok(report)
}

/// Every acknowledged write, and the pauses between them.
#[derive(Debug, Default)]
struct Ledger {
    writes: Vec<Write>,
    last: Option<Instant>,
    report: Report,
    /// Whether an attempt failed since the last acknowledged write.
    has_failed: bool,
    /// When the last outage worth the name ended.
    outage_ended: Option<Instant>,
}

impl Ledger {
    /// Whether writes have flowed for so long after an outage.
    fn has_settled(&self, wanted: Option<Duration>) -> bool {
        let (Some(wanted), Some(ended)) = (wanted, self.outage_ended) else {
            return false;
        };
        ended.elapsed() >= wanted
    }

    fn acknowledge(&mut self, key: String, master: String) {
        let now = Instant::now();
        let at_us = now_us();
        if let (Some(before), Some(last)) = (self.last, self.writes.last()) {
            let gap = now.duration_since(before);
            let ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            if self.has_failed && gap >= GAP {
                self.outage_ended = Some(now);
            }
            if gap >= NOTED {
                let at_us = last.at_us;
                self.report.gaps.push(Gap { at_us, ms });
            }
            if ms > self.report.gap_ms {
                self.report.gap_ms = ms;
                self.report.masters = [last.master.clone(), master.clone()];
            }
        }
        self.has_failed = false;
        self.last = Some(now);
        self.writes.push(Write { key, at_us, master });
    }

    /// Reads every acknowledged write back from the master there is now.
    ///
    /// Every write has a key of its own: one that was tried, timed out and arrived late must neither hide
    /// nor undo another.
    async fn account(mut self, target: &Target) -> Result<Report> {
        self.report.acknowledged = u64::try_from(self.writes.len())?;
        for writes in self.writes.chunks(200) {
            let keys: Vec<&str> = writes.iter().map(|write| write.key.as_str()).collect();
            let kept = look(target, &[&["EXISTS"], keys.as_slice()].concat()).await?;
            let lost = u64::try_from(writes.len())?.saturating_sub(kept);
            self.report.lost = self.report.lost.saturating_add(lost);
            for write in writes.iter().filter(|_| lost > 0) {
                let is_listed = self.report.lost_writes.len() < LISTED;
                if is_listed && look(target, &["EXISTS", &write.key]).await? == 0 {
                    self.report.lost_writes.push(write.clone());
                }
            }
        }
        Ok(self.report)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_belongs_to_every_time_it_reaches_into() {
        let gap = |at_us, ms| Gap { at_us, ms };
        let report = Report {
            gaps: vec![gap(1_000_000, 50), gap(2_000_000, 300), gap(3_000_000, 70)],
            ..Report::default()
        };
        assert_eq!(report.gap_between(900_000, 1_010_000), 50);
        assert_eq!(report.gap_between(2_100_000, 2_900_000), 300);
        assert_eq!(report.gap_between(1_060_000, 4_000_000), 300);
        assert_eq!(report.gap_between(1_060_000, 1_900_000), 0);
    }

    #[test]
    fn a_report_without_the_newer_fields_is_read() {
        let line = r#"{"ended":{"acknowledged":3,"gap_ms":7,"masters":["a","b"],"lost":1}}"#;
        let told: Told = serde_json::from_str(line).unwrap();
        let Told::Ended(report) = told else {
            panic!("{told:?}")
        };
        assert_eq!((report.lost, report.gaps.len()), (1, 0));
    }
}

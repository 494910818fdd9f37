//! `cargo verify`: runs every suite of the project, one after the other, within its time budget.
//!
//! Decides the order (cheap first), the budgets and what counts as a test; the suites themselves
//! are ordinary commands that anybody can run alone. Touches nothing but its child processes.

use std::{
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

pub mod mixed;
pub mod policy;
mod suite;
pub mod upstream;

use self::suite::{SUITES, Suite};
use crate::{
    cluster::{Cluster, ClusterName},
    process, progress,
};

/// The cluster of the suites `cluster` and `stories-long`, as their tests call it.
const CLUSTER: &str = "verify";

/// Which suites run, and what is left standing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Choice {
    /// Only these suites; all when not said.
    #[arg(long)]
    pub only: Vec<String>,
    /// Those that take long, too.
    #[arg(long)]
    pub long: bool,
    /// Leave the cluster of the tests standing, to look around or to run some of them again.
    #[arg(long)]
    pub keep: bool,
}

/// What a suite came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    const PASSED: Self = Self {
        passed: 1,
        failed: 0,
    };
    const FAILED: Self = Self {
        passed: 0,
        failed: 1,
    };

    /// Reads libtest's closing line, `test result: ok. 3 passed; 1 failed; …`.
    fn read(line: &str) -> Option<Self> {
        let rest = line.trim_start().strip_prefix("test result: ")?;
        let count = |word: &str| {
            rest.split(['.', ';'])
                .filter_map(|part| part.trim().strip_suffix(word))
                .find_map(|number| number.trim().parse::<u64>().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
        })
    }

    fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

/// How a suite's command ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Exited(ExitStatus),
    OutOfTime,
    Interrupted,
}

/// Runs the suites of `choice` and says whether everything passed.
///
/// Goes on after a failed suite, so that one run shows everything that is wrong. Takes the tests'
/// cluster away in the end, unless told to keep it.
///
/// # Errors
/// When a suite's command cannot be started at all, `only` names no suite, or somebody interrupts.
pub async fn run(choice: &Choice) -> Result<bool> {
    for name in &choice.only {
        anyhow::ensure!(
            SUITES.iter().any(|suite| suite.name == name),
            "no suite is called {name:?}: there are {}",
            SUITES
                .iter()
                .map(|suite| suite.name)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    let chosen = SUITES.iter().filter(|suite| {
        let named = choice.only.iter().any(|name| name == suite.name);
        named || (choice.only.is_empty() && (choice.long || !suite.long))
    });
    let mut total = Tally::default();
    let mut outcome = Ok(());
    for suite in chosen {
        match run_suite(suite).await {
            Ok(tally) => total.add(tally),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if !choice.keep {
        Cluster::down(&ClusterName::new(CLUSTER)?).await?;
    }
    outcome?;
    progress::say(&format!("{} passed, {} failed", total.passed, total.failed));
    Ok(total.failed == 0)
}

async fn run_suite(suite: &Suite) -> Result<Tally> {
    progress::say(&format!("== {}: {}", suite.name, suite.command.join(" ")));
    let started = Instant::now();
    let (program, arguments) = suite
        .command
        .split_first()
        .context("a suite has a program")?;
    let mut child = process::by_hand(&mut Command::new(program))
        .args(arguments)
        .envs(suite.environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Its own group, so that whatever it started ends with it when its time is up.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {program} for suite {}", suite.name))?;
    let mut counted = Tally::default();
    let end = follow(suite, &mut child, &mut counted).await?;
    let tally = judge(suite, end, counted);
    let word = if tally.failed == 0 {
        "passed"
    } else {
        "FAILED"
    };
    let why = match end {
        End::Exited(_) if tally.failed > 0 && suite.counted && tally.passed == 0 => {
            ", no test passed"
        }
        End::Exited(_) => "",
        End::OutOfTime => ", stopped at its time budget",
        End::Interrupted => anyhow::bail!("interrupted in suite {}", suite.name),
    };
    progress::say(&format!(
        "== {}: {word} in {} s{why}",
        suite.name,
        started.elapsed().as_secs(),
    ));
    Ok(tally)
}

/// What a suite's end and the lines of its test runners come to.
fn judge(suite: &Suite, end: End, counted: Tally) -> Tally {
    let success = matches!(end, End::Exited(status) if status.success());
    match (suite.counted, success) {
        (false, true) => Tally::PASSED,
        (false, false) => Tally::FAILED,
        // A runner that ran nothing has checked nothing.
        (true, true) if counted.passed == 0 => Tally::FAILED,
        // It did not compile, crashed, or ran out of time: one failure that no test reported.
        (true, false) if counted.failed == 0 => Tally {
            failed: 1,
            ..counted
        },
        (true, _) => counted,
    }
}

/// Passes a child's output on until it ends, its budget runs out, or somebody interrupts.
async fn follow(suite: &Suite, child: &mut Child, tally: &mut Tally) -> Result<End> {
    let output = child.stdout.take().context("the child's output is piped")?;
    let mut lines = BufReader::new(output).lines();
    let read = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(found) = Tally::read(&line) {
                tally.add(found);
            }
            progress::say(&line);
        }
        child.wait().await.context("waiting for a suite")
    };
    let budget = Duration::from_secs(suite.cold_minutes.saturating_mul(60));
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let end = tokio::select! {
        status = read => return Ok(End::Exited(status?)),
        () = tokio::time::sleep(budget) => End::OutOfTime,
        _ = tokio::signal::ctrl_c() => End::Interrupted,
        _ = terminated.recv() => End::Interrupted,
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(group) = pid.and_then(Pid::from_raw) {
        kill_process_group(group, Signal::KILL).context("stopping a suite")?;
    }
    child.wait().await.context("reaping a suite")?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_closing_line_of_a_test_runner() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out";
        assert_eq!(
            Tally::read(line),
            Some(Tally {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(Tally::read("running 3 tests"), None);
    }

    #[test]
    fn the_budgets_add_up_to_what_a_new_machine_may_take() {
        let plain = SUITES.iter().filter(|suite| !suite.long);
        let sum: u64 = plain.map(|suite| suite.cold_minutes).sum();
        assert!(sum <= 75, "{sum} minutes");
    }
}

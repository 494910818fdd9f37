//! `cargo verify`: runs every suite of the project, one after the other, within its time budget.
//!
//! Decides the order (cheap first), the budgets and what counts as a test; the suites themselves
//! are ordinary commands that anybody can run alone. Touches nothing but its child processes.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::progress;

/// One suite: what runs, and how long it may take.
#[derive(Debug, Clone, Copy)]
struct Suite {
    /// The name shown and accepted by `--only`.
    name: &'static str,
    /// The command line, the program first.
    command: &'static [&'static str],
    /// Extra environment.
    environment: &'static [(&'static str, &'static str)],
    /// The most it may take on a new machine, where everything is still to be built. Minutes.
    cold_minutes: u64,
    /// Whether the command is a test runner whose closing lines are added up.
    counted: bool,
    /// Whether it runs only when asked for, by name or with `--long`.
    long: bool,
}

/// The one table of time budgets. The sum of the first column is what a new machine may take (75);
/// with warm caches the whole takes about a third.
const SUITES: &[Suite] = &[
    Suite {
        name: "format",
        command: &["cargo", "fmt", "--all", "--check"],
        environment: &[],
        cold_minutes: 1,
        counted: false,
        long: false,
    },
    Suite {
        name: "lint",
        command: &["cargo", "lint"],
        environment: &[],
        cold_minutes: 8,
        counted: false,
        long: false,
    },
    Suite {
        name: "test",
        command: &["cargo", "test", "--workspace", "--locked"],
        environment: &[],
        cold_minutes: 10,
        counted: true,
        long: false,
    },
    Suite {
        name: "document",
        command: &[
            "cargo",
            "doc",
            "--workspace",
            "--no-deps",
            "--locked",
            "--quiet",
        ],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
        cold_minutes: 3,
        counted: false,
        long: false,
    },
    Suite {
        name: "dependencies",
        command: &["cargo", "testbed", "policy"],
        environment: &[],
        cold_minutes: 8,
        counted: false,
        long: false,
    },
    Suite {
        name: "build",
        command: &["cargo", "testbed", "build"],
        environment: &[],
        cold_minutes: 22,
        counted: false,
        long: false,
    },
    Suite {
        name: "cluster",
        command: &[
            "cargo",
            "test",
            "--package",
            "integration",
            "--features",
            "cluster",
            "--locked",
            "--test",
            "cluster",
            "--",
            "--test-threads=1",
        ],
        environment: &[],
        cold_minutes: 23,
        counted: true,
        long: true,
    },
];

/// What a suite came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
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

/// Runs the suites named in `only`, or all (those that take long only when told so), and says whether everything passed.
///
/// Goes on after a failed suite, so that one run shows everything that is wrong.
///
/// # Errors
/// When a suite's command cannot be started at all, or `only` names no suite.
pub fn run(only: &[String], long: bool) -> Result<bool> {
    for name in only {
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
    let mut total = Tally::default();
    for suite in SUITES.iter().filter(|suite| {
        let named = only.iter().any(|name| name == suite.name);
        named || (only.is_empty() && (long || !suite.long))
    }) {
        total.add(run_suite(suite)?);
    }
    progress::say(&format!("{} passed, {} failed", total.passed, total.failed));
    Ok(total.failed == 0)
}

fn run_suite(suite: &Suite) -> Result<Tally> {
    let budget = Duration::from_secs(suite.cold_minutes.saturating_mul(60));
    progress::say(&format!("== {}: {}", suite.name, suite.command.join(" ")));
    let started = Instant::now();
    let (program, arguments) = suite
        .command
        .split_first()
        .context("a suite has a program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(suite.environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program} for suite {}", suite.name))?;
    let counted = Arc::new(Mutex::new(Tally::default()));
    let reader = forward(&mut child, &counted)?;
    let status = wait_within(&mut child, budget)?;
    // After a kill, grandchildren may hold the pipe open; the tally so far is what counts then.
    if status.is_some() {
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader of {} panicked", suite.name))?;
    }
    let mut tally = *counted.lock().unwrap_or_else(PoisonError::into_inner);
    let success = status.is_some_and(|status| status.success());
    if !suite.counted {
        tally = if success {
            Tally {
                passed: 1,
                failed: 0,
            }
        } else {
            Tally {
                passed: 0,
                failed: 1,
            }
        };
    } else if success && tally.passed == 0 {
        progress::say(&format!("== {}: ran no test", suite.name));
        tally.failed = 1;
    } else if !success && tally.failed == 0 {
        // It did not compile, crashed, or ran out of time: one failure that no test reported.
        tally.failed = 1;
    }
    progress::say(&format!(
        "== {}: {} in {} s{}",
        suite.name,
        if tally.failed == 0 {
            "passed"
        } else {
            "FAILED"
        },
        started.elapsed().as_secs(),
        if status.is_none() {
            ", stopped at its time budget"
        } else {
            ""
        },
    ));
    Ok(tally)
}

/// Passes a child's output on line by line and adds up what its test runners report.
fn forward(child: &mut Child, tally: &Arc<Mutex<Tally>>) -> Result<std::thread::JoinHandle<()>> {
    let output = child.stdout.take().context("the child's output is piped")?;
    let tally = Arc::clone(tally);
    Ok(std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(found) = Tally::read(&line) {
                tally
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(found);
            }
            progress::say(&line);
        }
    }))
}

/// Waits for a child; `None` when the budget ran out and it was killed.
fn wait_within(child: &mut Child, budget: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now()
        .checked_add(budget)
        .context("the budget is no time")?;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a suite")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child
                .kill()
                .context("stopping a suite at its time budget")?;
            child.wait().context("reaping a suite")?;
            return Ok(None);
        }
        // A poll of a child process, the only wait std offers with a limit.
        std::thread::sleep(Duration::from_millis(100));
    }
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
        let sum: u64 = SUITES.iter().map(|suite| suite.cold_minutes).sum();
        assert!(sum <= 75, "{sum} minutes");
    }
}

//! The Sentinel tests that Redis and Valkey publish with their sources, with Duke in the sentinel's place.
//!
//! Each run has a copy of the tests, a network and processes of its own: whatever it leaves behind ends with it. What
//! is in the tests and how they judge is theirs; here is only what starts them and reads what they print.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    debian::stock::{STOCK, Stock, Unpacked, script},
    image, place, process, progress,
};

/// How many runs go on at once: they mostly wait.
const SIDE_BY_SIDE: usize = 2;
/// What a shell does inside a run's own namespaces. It closes whatever file it inherited, which the tests would take for
/// the sentinel's when a script has lost its parent to it; and it stays to bury orphans, as process 1 must.
const INSIDE: &str = "for fd in /proc/self/fd/*; do fd=${fd##*/}; [ $fd -lt 3 ] || eval \"exec $fd>&-\"; done; \
                      ip link set lo up && tclsh tests/sentinel/run.tcl \"$@\"; exit $?";

/// What the tests printed, in a run's folder.
const OUTPUT: &str = "output";

/// What is run.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Whose tests, redis-8.0 or valkey-8.1; everybody's when not said.
    pub names: Vec<String>,
    /// Fresh sentinels and servers for each unit, instead of the same for all.
    #[arg(long)]
    pub isolate: bool,
    /// Only units whose file's name contains this.
    #[arg(long)]
    pub unit: Option<String>,
    /// How often.
    #[arg(long, default_value_t = 1)]
    pub times: usize,
}

/// One start of the tests.
#[derive(Debug)]
struct Run {
    /// What it is called in messages.
    name: String,
    folder: PathBuf,
    /// Only this unit, by the name of its file.
    unit: Option<String>,
    /// How many units it must go through.
    units: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Outcome {
    units: usize,
    passed: usize,
    failed: usize,
    /// What it prints now explains a failure.
    explains: bool,
}

/// Runs the tests of `plan`, prints what fails and a closing line, and says whether all passed.
///
/// # Errors
/// When something cannot be fetched, built or started.
pub async fn run(plan: &Plan) -> Result<bool> {
    let duke = image::programs().await?.join("duke");
    let mut runs = Vec::new();
    for stock in chosen(&plan.names)? {
        let unpacked = stock.ensure().await?;
        runs.extend(prepare(stock, &unpacked, &duke, plan)?);
    }
    ensure!(
        !runs.is_empty(),
        "no unit's name contains what was asked for"
    );
    let outcomes: Vec<Result<Outcome>> = stream::iter(runs)
        .map(|run| async move { run.go().await })
        .buffered(SIDE_BY_SIDE)
        .collect()
        .await;
    let mut total = Outcome::default();
    for outcome in outcomes {
        let outcome = outcome?;
        total.passed += outcome.passed;
        total.failed += outcome.failed;
    }
    let word = if total.failed == 0 { "ok" } else { "FAILED" };
    progress::print(&format!(
        "test result: {word}. {} passed; {} failed",
        total.passed, total.failed
    ));
    Ok(total.failed == 0)
}

fn chosen(names: &[String]) -> Result<Vec<Stock>> {
    if names.is_empty() {
        return Ok(STOCK.to_vec());
    }
    names.iter().map(|name| Stock::named(name)).collect()
}

/// Lays out a folder for each run, as the tests expect the tree of sources they belong to.
fn prepare(stock: Stock, unpacked: &Unpacked, duke: &Path, plan: &Plan) -> Result<Vec<Run>> {
    let units = units(&unpacked.tests, plan.unit.as_deref())?;
    let single = plan.isolate || plan.unit.is_some();
    let groups: Vec<Option<String>> = if single {
        units.iter().cloned().map(Some).collect()
    } else {
        vec![None]
    };
    let base = place::cache()?.join("upstream").join(stock.name);
    if base.exists() {
        fs::remove_dir_all(&base).with_context(|| format!("removing {}", base.display()))?;
    }
    let mut runs = Vec::new();
    for time in 1..=plan.times.max(1) {
        for unit in &groups {
            let name = format!("{} {}", stock.name, unit.as_deref().unwrap_or("whole"));
            let folder = base.join(format!("{}-{time}", unit.as_deref().unwrap_or("whole")));
            lay_out(stock, unpacked, duke, &folder)?;
            runs.push(Run {
                name,
                folder,
                unit: unit.clone(),
                units: if single { 1 } else { units.len() },
            });
        }
    }
    Ok(runs)
}

/// The units there are, by the names of their files.
fn units(tests: &Path, part: Option<&str>) -> Result<Vec<String>> {
    let folder = tests.join("sentinel/tests");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut units: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".tcl").map(str::to_owned))
        .filter(|name| part.is_none_or(|part| name.contains(part)))
        .collect();
    units.sort();
    Ok(units)
}

fn lay_out(stock: Stock, unpacked: &Unpacked, duke: &Path, folder: &Path) -> Result<()> {
    copy(&unpacked.tests, &folder.join("tests"))?;
    let programs = place::folder(folder.join("src"))?;
    let entries = fs::read_dir(&unpacked.programs).context("reading the stock programs")?;
    let sentinel = format!("{}-sentinel", stock.family);
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name != *sentinel {
            std::os::unix::fs::symlink(entry.path(), programs.join(&name))
                .with_context(|| format!("linking {}", name.display()))?;
        }
    }
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", duke.display());
    script(&programs.join(sentinel), &text)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    place::folder(to.to_owned())?;
    let entries = fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
    for entry in entries.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
    }
    Ok(())
}

impl Run {
    async fn go(self) -> Result<Outcome> {
        let mut outcome = progress::step(&self.name, self.follow()).await?;
        if outcome.failed == 0 && outcome.units != self.units {
            progress::say(&format!(
                "{}: went through {} units of {}",
                self.name, outcome.units, self.units
            ));
            outcome.failed += 1;
        }
        if outcome.failed == 0 {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("removing {}", self.folder.display()))?;
        } else {
            progress::say(&format!(
                "{}: see {} and the logs below tests/sentinel/tmp beside it",
                self.name,
                self.folder.join(OUTPUT).display()
            ));
        }
        Ok(outcome)
    }

    /// Starts it and reads what it prints, to its end.
    async fn follow(&self) -> Result<Outcome> {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["bash", "-c", INSIDE, "bash", "--dont-clean"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(unit) = &self.unit {
            command.args(["--single", unit]);
        }
        let mut child = process::by_hand(&mut command)
            .spawn()
            .context("starting the tests: unshare, tclsh and root are needed")?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let path = self.folder.join(OUTPUT);
        let mut copy =
            fs::File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let mut outcome = Outcome::default();
        while let Some(line) = lines.next_line().await.context("reading its output")? {
            writeln!(copy, "{line}").with_context(|| format!("writing {}", path.display()))?;
            if outcome.read(&line) {
                progress::say(&format!("{}: {line}", self.name));
            }
        }
        let status = child.wait().await.context("waiting for the tests")?;
        if !status.success() && outcome.failed == 0 {
            progress::say(&format!("{}: ended with {status}", self.name));
            outcome.failed = 1;
        }
        Ok(outcome)
    }
}

impl Outcome {
    /// Counts what a line says; whether somebody wants to see it.
    fn read(&mut self, line: &str) -> bool {
        if line.contains("Testing unit: ") {
            self.units += 1;
            self.explains = false;
        } else if line.contains("FAILED: ") || line.contains("ERROR: ") {
            self.failed += 1;
            self.explains = true;
        } else if line.contains("> ") && line.contains("OK") {
            self.passed += 1;
            self.explains = false;
        }
        self.explains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tests_print_is_counted() {
        let mut outcome = Outcome::default();
        let shown: Vec<bool> = [
            "\u{1b}[0;33;49mTesting unit: 05-manual.tcl\u{1b}[0m",
            "07:58:32> (init) Restart killed instances: \u{1b}[0;32;49mOK\u{1b}[0m",
            "07:58:33> Manual failover works: \u{1b}[0;31;49mFAILED: At least one\u{1b}[0m",
            "the reason",
            "07:58:34> Next: \u{1b}[0;32;49mOK\u{1b}[0m",
        ]
        .iter()
        .map(|line| outcome.read(line))
        .collect();
        assert_eq!(shown, [false, false, true, true, false]);
        assert_eq!((outcome.units, outcome.passed, outcome.failed), (1, 2, 1));
    }
}

//! Child processes: tools that run and end, daemons that stay, and finding them again.
//!
//! A daemon is known by its pid and its start time, so that a reused pid is never taken for it.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// The process that the kernel started at this time under this pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its pid in the outermost namespace.
    pub pid: i32,
    /// Clock ticks from the machine's start to the process's.
    pub start: u64,
}

impl Identity {
    /// The process that has this pid now; `None` when there is none, or only its zombie.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; what follows its last one is regular.
        let mut fields = line.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        if state == "Z" || state == "X" {
            return None;
        }
        // Field 22 of the line is the start time, the state being field 3.
        let start = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, start })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    /// When it runs and may not be signalled.
    pub fn signal(self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("no process has pid 0")?;
        if self.alive()
            && let Err(error) = kill_process(pid, signal)
            && self.alive()
        {
            bail!("signalling process {}: {error}", self.pid);
        }
        Ok(())
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after ten seconds.
    pub async fn end(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        eventually(Duration::from_secs(10), || !self.alive())
            .await
            .with_context(|| format!("process {} does not go away", self.pid))
    }
}

/// All pids of the machine.
#[must_use]
pub fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Waits until a condition holds, looking every 20 ms.
///
/// # Errors
/// When it does not hold within the given time.
pub async fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = tokio::time::Instant::now() + within;
    while !holds() {
        if tokio::time::Instant::now() >= deadline {
            bail!("not within {} s", within.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What the cargo that started this program says of this program's package.
const PACKAGE_VARIABLES: &[&str] = &[
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_",
    "CARGO_BIN_",
];

/// Lets a cargo that is started from here believe that it was started by hand.
///
/// Build scripts look at such variables (ring's does): with other values than the last time they run again, and
/// everything that depends on them is compiled anew, for minutes.
pub fn by_hand(command: &mut Command) -> &mut Command {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| {
        let begins = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        PACKAGE_VARIABLES.iter().any(|prefix| begins(prefix))
    }) {
        command.env_remove(name);
    }
    command
}

/// Runs a tool to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started, or fails; the message carries what it printed to standard error.
pub async fn run(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("starting {shown}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = errors.trim().lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{shown}: {}\n{}", output.status, tail.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a tool that reads the given text from its standard input.
///
/// # Errors
/// As [`run`].
pub async fn feed(command: &mut Command, input: &str) -> Result<String> {
    use tokio::io::AsyncWriteExt as _;
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    stdin
        .write_all(input.as_bytes())
        .await
        .with_context(|| format!("writing to {shown}"))?;
    drop(stdin);
    let output = child
        .wait_with_output()
        .await
        .with_context(|| format!("running {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts a daemon that outlives this program and writes to a log file.
///
/// # Errors
/// When the log cannot be opened or the program not be started.
pub fn spawn(command: &mut Command, log: &Path) -> Result<Identity> {
    let shown = show(command);
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    let child = command
        .stdout(file.try_clone().context("sharing the log")?)
        .stderr(file)
        // A group of its own: an interrupt at the terminal ends us, not the cluster.
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .context("it has a pid")?;
    Identity::of(pid).with_context(|| format!("{shown} ended at once: see {}", log.display()))
}

/// The command line, for messages.
fn show(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = line.join(" ");
    if line.chars().count() <= 160 {
        return line;
    }
    line.chars().take(160).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_known_until_it_is_killed() -> Result<()> {
        let log = std::env::temp_dir().join(format!("testbed-process-{}", std::process::id()));
        let process = spawn(Command::new("sleep").arg("60"), &log)?;
        fs::remove_file(&log)?;
        assert!(process.alive());
        assert!(
            !Identity {
                start: process.start + 1,
                ..process
            }
            .alive()
        );
        process.end().await?;
        assert!(!process.alive());
        Ok(())
    }

    #[tokio::test]
    async fn a_failing_tool_says_why() {
        let error = run(Command::new("ls").arg("/no/such/folder"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}

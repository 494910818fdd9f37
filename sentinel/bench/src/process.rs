//! Child processes that do not outlive the run, and folders that go with it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A running child; killed and reaped when dropped, and by the kernel if this process dies.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` with its output appended to `log`.
    pub(crate) fn start(program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting setpriv, of Debian's package util-linux")?;
        Ok(Self { child })
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it where it stands.
    pub(crate) fn freeze(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::STOP)?)
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::CONT)?)
    }

    fn pid(&self) -> Result<Pid> {
        let pid = i32::try_from(self.child.id())?;
        Pid::from_raw(pid).context("a child has a number")
    }

    /// The memory it uses now, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .context("the kernel tells a process's memory")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }

    /// How long it has been running on a processor, to a hundredth of a second.
    pub(crate) fn used(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or(0))
            .sum();
        let hertz = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_millis(ticks * 1000 / hertz))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is just as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A folder that goes with the run, unless it was asked for.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    stays: bool,
}

impl Folder {
    /// A new one for this name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("duke-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path, stays: false })
    }

    /// One that stays.
    pub(crate) fn kept(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self { path, stays: true })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.stays {
            // What cannot be removed is only a little rubbish.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

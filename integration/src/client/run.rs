//! Holds a client program from outside: starts it, waits until it has begun, tells it to end, reads what it
//! saw.

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{discover, probe};
use crate::process::Identity;

/// A client that runs until it is told to end, or ends by itself.
#[derive(Debug)]
struct Run {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Run {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting a client")?;
        let output = child.stdout.take().context("its output is piped")?;
        let lines = BufReader::new(output).lines();
        Ok(Self { child, lines })
    }

    async fn told<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.lines.next_line().await?;
        let line = line.context("the client ended without a word")?;
        serde_json::from_str(&line).with_context(|| format!("the client said {line}"))
    }

    fn end(&self) -> Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let identity = pid.and_then(Identity::of);
        identity
            .context("the client has ended")?
            .signal(Signal::TERM)
    }
}

/// A [`probe`] that runs.
#[derive(Debug)]
pub struct Writer(Run);

impl Writer {
    /// Starts the command of a prober and waits for its first acknowledged write.
    ///
    /// # Errors
    /// When it cannot be started, or does not get to write.
    pub async fn start(command: Command) -> Result<Self> {
        let mut run = Run::start(command)?;
        let told: probe::Told = run.told().await?;
        ensure!(told == probe::Told::Started, "a prober began with {told:?}");
        Ok(Self(run))
    }

    /// Stops it, lets it account for every acknowledged write, and returns what it found.
    ///
    /// # Errors
    /// When it ended before, or nobody answers it.
    pub async fn stop(self) -> Result<probe::Report> {
        self.0.end()?;
        self.ended().await
    }

    /// Waits until it ends by itself and returns what it found.
    ///
    /// # Errors
    /// When nobody answers it.
    pub async fn ended(mut self) -> Result<probe::Report> {
        match self.0.told().await? {
            probe::Told::Ended(report) => Ok(report),
            probe::Told::Started => bail!("a prober began twice"),
        }
    }
}

/// A [`discover`] that runs.
#[derive(Debug)]
pub struct Discoverer(Run);

impl Discoverer {
    /// Starts the command of a discoverer and waits for its first answer.
    ///
    /// # Errors
    /// When it cannot be started, or gets none.
    pub async fn start(command: Command) -> Result<Self> {
        let mut run = Run::start(command)?;
        let told: discover::Told = run.told().await?;
        ensure!(
            told == discover::Told::Started,
            "a discoverer began with {told:?}"
        );
        Ok(Self(run))
    }

    /// Stops it and returns what it saw.
    ///
    /// # Errors
    /// When it ended before.
    pub async fn stop(mut self) -> Result<discover::Answers> {
        self.0.end()?;
        match self.0.told().await? {
            discover::Told::Ended(answers) => Ok(answers),
            discover::Told::Started => bail!("a discoverer began twice"),
        }
    }
}

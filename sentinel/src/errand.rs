//! What the engine wants done beside the loop: looking up hosts, files, running scripts.
//!
//! Every errand ends in an input for the engine; none holds up anything else.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use duke_core::{Input, ScriptEnd, ScriptId};
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::warn;

/// The largest file of users that is read.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// The errands under way.
#[derive(Debug)]
pub(crate) struct Errands {
    done: mpsc::UnboundedSender<Input>,
    /// Scripts that can still be ended.
    scripts: HashMap<ScriptId, oneshot::Sender<()>>,
    /// Held by every script that runs.
    running: mpsc::Sender<()>,
    /// Held by every look-up: each takes a thread, and the disk needs some, too.
    lookups: Arc<Semaphore>,
}

/// Look-ups of hosts under way at a time; others wait.
const LOOKUPS_MAX: usize = 16;

/// The scripts that run, for whoever waits for their end.
#[derive(Debug)]
pub(crate) struct Scripts(mpsc::Receiver<()>);

impl Scripts {
    /// Returns when none runs any more and none can be started.
    pub(crate) async fn ended(mut self) {
        // Nothing is ever sent: the channel closes with the last sender.
        while self.0.recv().await.is_some() {}
    }
}

impl Errands {
    pub(crate) fn new(done: mpsc::UnboundedSender<Input>) -> (Self, Scripts) {
        let (running, scripts) = mpsc::channel(1);
        let errands = Self {
            done,
            scripts: HashMap::new(),
            running,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        };
        (errands, Scripts(scripts))
    }

    /// Whether a file can be run.
    pub(crate) fn check(&self, path: String) {
        let done = self.done.clone();
        tokio::spawn(async move {
            let found = tokio::task::spawn_blocking({
                let path = path.clone();
                move || is_executable(&path)
            });
            let executable = found.await.unwrap_or(false);
            drop(done.send(Input::Checked { path, executable }));
        });
    }

    /// What a file holds.
    pub(crate) fn read(&self, path: String) {
        self.beside(move || {
            let text = read_text(&path).map_err(|error| error.to_string());
            Input::FileRead { path, text }
        });
    }

    /// Replaces a file's text as a whole.
    pub(crate) fn write(&self, path: String, text: String) {
        self.beside(move || {
            let written = crate::store::write(Path::new(&path), &text);
            let error = written.err().map(|error| error.to_string());
            Input::FileWritten { error }
        });
    }

    /// How long this process ran on a processor.
    pub(crate) fn measure(&self) {
        self.beside(|| {
            let (user, system) = usage().unwrap_or_default();
            Input::Measured { user, system }
        });
    }

    /// Does what may take long where it holds up nobody.
    fn beside(&self, errand: impl FnOnce() -> Input + Send + 'static) {
        let done = self.done.clone();
        tokio::task::spawn_blocking(move || drop(done.send(errand())));
    }

    /// A host's address; IPv4 first, as most configurations mean it.
    pub(crate) fn resolve(&self, host: String) {
        let (done, lookups) = (self.done.clone(), Arc::clone(&self.lookups));
        tokio::spawn(async move {
            // Never closed.
            let _turn = lookups.acquire().await;
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let all: Vec<_> = found
                .into_iter()
                .flatten()
                .map(|found| found.ip())
                .collect();
            let address = all
                .iter()
                .find(|ip| ip.is_ipv4())
                .or_else(|| all.first())
                .copied();
            drop(done.send(Input::Resolved { host, address }));
        });
    }

    /// Runs a program with our environment and none of our files.
    pub(crate) fn run(&mut self, script: ScriptId, words: Vec<String>) {
        self.scripts.retain(|_, kill| !kill.is_closed());
        let (kill, killed) = oneshot::channel();
        self.scripts.insert(script, kill);
        let (done, running) = (self.done.clone(), self.running.clone());
        tokio::spawn(async move {
            let _running = running;
            let end = run(script, &words, killed, &done).await;
            drop(done.send(Input::ScriptEnded { script, end }));
        });
    }

    /// Ends a script's process.
    pub(crate) fn kill(&mut self, script: ScriptId) {
        if let Some(kill) = self.scripts.remove(&script) {
            // A script that has ended meanwhile needs no more.
            let _ended = kill.send(());
        }
    }
}

/// A file's text, if it is one that a person could have written.
fn read_text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(TEXT_BYTES_MAX)
        .read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read < TEXT_BYTES_MAX) {
        Ok(text)
    } else {
        Err(io::Error::other("it is larger than 16 MiB"))
    }
}

/// The time this process spent on a processor, itself and in the kernel, to a hundredth of a second.
fn usage() -> Option<(Duration, Duration)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name stands in parentheses and may hold anything; the 14th and 15th fields follow.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let mut next = || {
        let count: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_millis(count.saturating_mul(1000) / ticks))
    };
    Some((next()?, next()?))
}

async fn run(
    script: ScriptId,
    words: &[String],
    killed: oneshot::Receiver<()>,
    done: &mpsc::UnboundedSender<Input>,
) -> ScriptEnd {
    let Some((program, arguments)) = words.split_first() else {
        return ScriptEnd::NotStarted;
    };
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            warn!(%program, %error, "could not start a script");
            return ScriptEnd::NotStarted;
        }
    };
    if let Some(pid) = child.id() {
        drop(done.send(Input::ScriptStarted { script, pid }));
    }
    let status = tokio::select! {
        status = child.wait() => status,
        Ok(()) = killed => {
            // It may have ended by itself just now.
            drop(child.start_kill());
            child.wait().await
        }
    };
    status.map_or(ScriptEnd::NotStarted, ended)
}

fn ended(status: ExitStatus) -> ScriptEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => ScriptEnd::Exited(code),
        (None, Some(signal)) => ScriptEnd::Killed(signal),
        (None, None) => ScriptEnd::NotStarted,
    }
}

/// Whether a path names a file that anybody may run.
pub(crate) fn is_executable(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(words: &[&str], kill: bool) -> ScriptEnd {
        let (done, mut inputs) = mpsc::unbounded_channel();
        let (mut errands, _scripts) = Errands::new(done);
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        errands.run(ScriptId(7), words);
        loop {
            let input = inputs.recv().await.unwrap();
            if let Input::ScriptEnded { script, end } = input {
                assert_eq!(script, ScriptId(7));
                return end;
            }
            if let Input::ScriptStarted { script, .. } = input
                && kill
            {
                errands.kill(script);
            }
        }
    }

    #[tokio::test]
    async fn a_script_is_told_to_have_ended_as_it_did() {
        assert_eq!(
            outcome(&["/bin/sh", "-c", "exit 3"], false).await,
            ScriptEnd::Exited(3)
        );
        assert_eq!(
            outcome(&["/bin/sh", "-c", "exec sleep 600"], true).await,
            ScriptEnd::Killed(9)
        );
        assert_eq!(
            outcome(&["/nonexistent"], false).await,
            ScriptEnd::NotStarted
        );
    }

    #[tokio::test]
    async fn hosts_and_files_are_looked_up() {
        let (done, mut inputs) = mpsc::unbounded_channel();
        let (errands, _scripts) = Errands::new(done);
        errands.resolve("localhost".to_owned());
        let Some(Input::Resolved { address, .. }) = inputs.recv().await else {
            panic!("nothing was resolved");
        };
        assert!(address.unwrap().is_loopback());
        errands.check("/bin/sh".to_owned());
        let checked = inputs.recv().await;
        assert!(
            matches!(
                checked,
                Some(Input::Checked {
                    executable: true,
                    ..
                })
            ),
            "{checked:?}"
        );
        assert!(!is_executable("/etc/passwd"));
    }

    #[tokio::test]
    async fn files_are_read_and_written_and_time_is_measured() {
        let (done, mut inputs) = mpsc::unbounded_channel();
        let (errands, _scripts) = Errands::new(done);
        let path = std::env::temp_dir().join(format!("duke-errand-{}", std::process::id()));
        let name = path.display().to_string();
        errands.write(name.clone(), "user ops off\n".to_owned());
        let written = inputs.recv().await;
        assert_eq!(written, Some(Input::FileWritten { error: None }));
        errands.read(name);
        let read = inputs.recv().await;
        assert!(
            matches!(&read, Some(Input::FileRead { text: Ok(text), .. }) if text == "user ops off\n"),
            "{read:?}"
        );
        fs::remove_file(path).unwrap();
        errands.read("/nonexistent".to_owned());
        let read = inputs.recv().await;
        assert!(
            matches!(&read, Some(Input::FileRead { text: Err(_), .. })),
            "{read:?}"
        );
        let begin = std::time::Instant::now();
        while usage().unwrap().0.is_zero() {
            assert!(begin.elapsed() < Duration::from_mins(1), "time is counted");
        }
        errands.measure();
        let measured = inputs.recv().await;
        assert!(
            matches!(&measured, Some(Input::Measured { user, .. }) if !user.is_zero()),
            "{measured:?}"
        );
    }
}

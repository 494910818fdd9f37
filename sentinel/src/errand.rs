//! What the engine wants done beside the loop: looking up hosts, looking at files, running scripts.
//!
//! Every errand ends in an input for the engine; none holds up anything else.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use duke_core::{Input, ScriptEnd, ScriptId};
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::warn;

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
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
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
}

//! Programs that are run on events: which wait, which run, and what becomes of one that fails.
//!
//! Decides by stock's rules: at most sixteen at a time, ten attempts, half a minute before the second
//! and twice as long before every further one, a minute for each run.

use std::time::Duration;

use super::{Open, event::Level, master::Master, timer::Sleeper};
use crate::{id::ScriptId, input::ScriptEnd, output::Output, time::Time};

const QUEUE_MAX: usize = 256;
const RUNNING_MAX: usize = 16;
const ATTEMPTS_MAX: u32 = 10;

/// One program to be run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) words: Vec<String>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// To be run then.
    Waiting(Time),
    Running {
        script: ScriptId,
        since: Time,
        pid: u32,
        killed: bool,
    },
}

impl Open {
    /// Has a program run.
    pub(crate) fn schedule(&mut self, words: Vec<String>) {
        self.scripts.push_back(Job {
            words,
            attempts: 0,
            state: State::Waiting(self.now),
        });
        if self.scripts.len() > QUEUE_MAX {
            let waiting = |job: &Job| matches!(job.state, State::Waiting(_));
            if let Some(oldest) = self.scripts.iter().position(waiting) {
                self.scripts.remove(oldest);
            }
        }
        self.timers.set(Sleeper::Scripts, Some(self.now));
    }

    /// Tells the clients' own program that the master is elsewhere: `from` and `to` are `ip port`.
    pub(crate) fn run_reconfig(&mut self, master: &Master, role: &str, from: &str, to: &str) {
        let script = &master.conf.reconfig_script;
        if script.is_empty() {
            return;
        }
        let mut words = vec![script.clone(), master.name.clone()];
        words.extend([role, "start"].map(str::to_owned));
        words.extend(
            [from, to]
                .iter()
                .flat_map(|at| at.split(' '))
                .map(str::to_owned),
        );
        self.schedule(words);
    }

    pub(crate) fn running(&self) -> usize {
        let running = |job: &&Job| matches!(job.state, State::Running { .. });
        self.scripts.iter().filter(running).count()
    }

    /// Starts what may run, ends what runs too long.
    pub(crate) fn run_scripts(&mut self) {
        let now = self.now;
        let mut room = RUNNING_MAX.saturating_sub(self.running());
        let mut wanted = Vec::new();
        let mut wake: Option<Time> = None;
        let mut sooner =
            |time: Time| wake = Some(wake.map_or(time, |before: Time| before.min(time)));
        for index in 0..self.scripts.len() {
            let script = ScriptId(self.number());
            let longest = self.periods.script_max;
            let Some(job) = self.scripts.get_mut(index) else {
                break;
            };
            match &mut job.state {
                State::Waiting(due) if *due <= now && room > 0 => {
                    room = room.saturating_sub(1);
                    job.attempts = job.attempts.saturating_add(1);
                    job.state = State::Running {
                        script,
                        since: now,
                        pid: 0,
                        killed: false,
                    };
                    let words = job.words.clone();
                    wanted.push(Output::RunScript { script, words });
                    sooner(now.after(longest));
                }
                State::Waiting(due) if *due > now => sooner(*due),
                State::Waiting(_) | State::Running { killed: true, .. } => {}
                State::Running {
                    script,
                    since,
                    killed,
                    ..
                } => {
                    if now.since(*since) > longest {
                        *killed = true;
                        wanted.push(Output::KillScript { script: *script });
                    } else {
                        sooner(since.after(longest).after(Duration::from_millis(1)));
                    }
                }
            }
        }
        for output in wanted {
            self.tell(output);
        }
        self.timers.set(Sleeper::Scripts, wake);
    }

    pub(crate) fn script_started(&mut self, number: ScriptId, process: u32) {
        for job in &mut self.scripts {
            if let State::Running { script, pid, .. } = &mut job.state
                && *script == number
            {
                *pid = process;
            }
        }
    }

    pub(crate) fn script_ended(&mut self, number: ScriptId, end: ScriptEnd) {
        let is = |job: &Job| matches!(job.state, State::Running { script, .. } if script == number);
        let Some(index) = self.scripts.iter().position(is) else {
            return;
        };
        let Some(mut job) = self.scripts.remove(index) else {
            return;
        };
        let State::Running { pid, killed, .. } = job.state else {
            return;
        };
        let path = job.words.first().cloned().unwrap_or_default();
        if killed {
            let payload = format!("{path} {pid}");
            self.event(None, Level::Warning, "-script-timeout", &payload);
        }
        let retried = matches!(end, ScriptEnd::Exited(1) | ScriptEnd::Killed(_));
        if retried && job.attempts < ATTEMPTS_MAX {
            let doublings = 1_u32
                .checked_shl(job.attempts.saturating_sub(1))
                .unwrap_or(u32::MAX);
            let pause = self.periods.script_retry.saturating_mul(doublings);
            job.state = State::Waiting(self.now.after(pause));
            self.scripts.push_back(job);
        } else if end != ScriptEnd::Exited(0) {
            let (signal, status) = match end {
                ScriptEnd::Exited(status) => (0, status),
                ScriptEnd::Killed(signal) => (signal, 0),
                ScriptEnd::NotStarted => (99, 0),
            };
            let payload = format!("{path} {signal} {status}");
            self.event(None, Level::Warning, "-script-error", &payload);
        }
        self.timers.set(Sleeper::Scripts, Some(self.now));
    }
}

//! What a person at the terminal sees while something takes long.
//!
//! Writes lines to standard error: standard output belongs to results that programs read.

use std::{
    future::Future,
    io::Write,
    time::{Duration, Instant},
};

/// How often a step that still runs says so.
const REMINDER_PERIOD: Duration = Duration::from_secs(10);

/// Shows one line.
pub fn say(line: &str) {
    // Nobody is left to be told when standard error is closed.
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Prints one line of a result to standard output.
pub fn print(line: &str) {
    // A reader that went away, as `head` does, wants no more.
    writeln!(std::io::stdout().lock(), "{line}").ok();
}

/// Carries out one step and shows how long it takes, every ten seconds while it runs and at its end.
pub async fn step<T>(what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let mut reminder = tokio::time::interval_at(
        tokio::time::Instant::now() + REMINDER_PERIOD,
        REMINDER_PERIOD,
    );
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => {
                say(&format!("{what}: {:.1} s", started.elapsed().as_secs_f64()));
                return outcome;
            }
            _ = reminder.tick() => say(&format!("{what}: {} s …", started.elapsed().as_secs())),
        }
    }
}

//! Where logs go, and how much of them.
//!
//! Standard output: lines for people at a terminal, JSON for everything else. A `logfile` gets lines.

use std::fs::File;
use std::io::{IsTerminal as _, stdout};
use std::sync::{Arc, OnceLock};

use duke_core::LogLevel;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

fn filter(level: Option<LogLevel>) -> EnvFilter {
    let word = match level {
        Some(LogLevel::Debug) => "debug",
        None | Some(LogLevel::Verbose | LogLevel::Notice) => "info",
        Some(LogLevel::Warning) => "warn",
        Some(LogLevel::Nothing) => "off",
    };
    // Who sets the environment wants to see more than the file says.
    EnvFilter::try_from_env("DUKE_LOG").unwrap_or_else(|_| EnvFilter::new(word))
}

/// Begins to log; to standard output if there is no file.
pub(crate) fn start(file: Option<File>, level: Option<LogLevel>) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines: Box<dyn Layer<_> + Send + Sync> = match file {
        Some(file) => fmt::layer()
            .with_ansi(false)
            .with_writer(Arc::new(file))
            .boxed(),
        None if stdout().is_terminal() => fmt::layer().with_writer(stdout).boxed(),
        None => fmt::layer()
            .with_writer(stdout)
            .json()
            .flatten_event(true)
            .boxed(),
    };
    let begun = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    // Only tests start twice in one process; the first logger stays.
    if begun.is_ok() {
        drop(LEVEL.set(handle));
    }
}

/// Logs this much from now on.
pub(crate) fn set(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        drop(handle.reload(filter(Some(level))));
    }
}

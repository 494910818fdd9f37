//! Logs: one line per event on standard error, JSON unless told otherwise.
//!
//! Field names are fixed, so that logs can be searched: `pipeline` (namespace/name), `address`,
//! `pod`, `epoch`, `step`, `reason`, `elapsed_ms`, `error`. Messages are constant, lower case and
//! in the past tense; what varies is a field. No secret is ever a field.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people at a terminal.
    Text,
}

/// The filter text is no filter.
#[derive(Debug, thiserror::Error)]
#[error("{filter:?} is no log filter")]
pub struct InvalidFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging for the whole process; the first call wins.
///
/// # Errors
/// When `filter` (a level, or `target=level,…`) cannot be read.
pub fn init(filter: &str, format: Format) -> Result<(), InvalidFilter> {
    let directives = EnvFilter::try_new(filter).map_err(|source| InvalidFilter {
        filter: filter.to_owned(),
        source,
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(std::io::stderr);
    let started = match format {
        Format::Json => lines.json().flatten_event(true).try_init(),
        Format::Text => lines.try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(error, "kept the logging that had been started before");
    }
    Ok(())
}

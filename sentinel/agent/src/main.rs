//! The `duke-agent` program: reads its arguments, sets up logs and the runtime, and runs.

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use duke_agent::settings::{self, Arguments, Settings, USAGE};
use tracing_subscriber::filter::LevelFilter;

/// Threads that look up the Dukes' addresses, which is all that blocks.
const BLOCKING_THREADS: usize = 1;

fn main() -> ExitCode {
    let failed = match settings::parse(std::env::args().skip(1)) {
        Ok(Arguments::Help) => print(USAGE).err(),
        Ok(Arguments::Run(settings)) => start(settings).err(),
        Ok(Arguments::Version) => {
            print(concat!("duke-agent ", env!("CARGO_PKG_VERSION"), "\n")).err()
        }
        Err(error) => Some(error.into()),
    };
    let Some(error) = failed else {
        return ExitCode::SUCCESS;
    };
    // To whom else could a failure to print be told?
    drop(writeln!(stderr(), "{error:#}"));
    ExitCode::FAILURE
}

fn start(settings: Settings) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(LevelFilter::INFO)
        .init();
    // One thread: everything waits nearly all the time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    runtime.block_on(duke_agent::run(settings))?;
    // A look-up that hangs must not hold up the end.
    runtime.shutdown_background();
    Ok(())
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(stdout().write_all(text.as_bytes())?)
}

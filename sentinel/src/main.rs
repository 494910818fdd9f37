//! The `duke` program: reads its arguments, sets up logs and the runtime, and runs.

use std::io::{Write as _, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

use duke::argument::{self, Arguments, USAGE};

fn main() -> ExitCode {
    let failed = match argument::parse(std::env::args().skip(1)) {
        Ok(Arguments::Help) => print(USAGE).err(),
        Ok(Arguments::Run { config, lines }) => start(&config, &lines).err(),
        Ok(Arguments::Version) => print(concat!("duke ", env!("CARGO_PKG_VERSION"), "\n")).err(),
        Err(error) => Some(error.into()),
    };
    duke::log::finish();
    let Some(error) = failed else {
        return ExitCode::SUCCESS;
    };
    if matches!(error.downcast_ref(), Some(duke::RunError::Logged)) {
        return ExitCode::FAILURE;
    }
    // To whom else could a failure to print be told?
    drop(writeln!(stderr(), "{error:#}"));
    ExitCode::FAILURE
}

fn start(config: &Path, lines: &[String]) -> anyhow::Result<()> {
    // One thread: one engine decides everything, and a second thread would only add wake-ups.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(duke::run(config, lines))?;
    duke::log::finish();
    // At once: neither thousands of connections nor a write to a hanging disk may hold it up, and
    // nobody was told that the latter is durable.
    std::process::exit(0);
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(stdout().write_all(text.as_bytes())?)
}

//! The command line: tries a target for some time, and keeps what showed a bug.

use std::{
    fs,
    io::{self, Write as _},
    panic::catch_unwind,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use duke_fuzz::{Mutator, TARGETS, Target, corpus};

/// Tries whatever a stranger may send, by chance.
#[derive(Debug, Parser)]
#[command(name = "duke-fuzz", version)]
struct Arguments {
    /// What is tried, or one file of it again; everything in turn when not said.
    target: Option<String>,
    /// Only this input.
    input: Option<std::path::PathBuf>,
    /// How long each target is tried.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn say(line: &str) {
    // Nobody listens any more: there is nobody to tell.
    drop(writeln!(io::stdout().lock(), "{line}"));
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let known = |name: &str| TARGETS.iter().find(|target| target.name == name);
    let chosen: Vec<&Target> = match &arguments.target {
        None => TARGETS.iter().collect(),
        Some(name) => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            let found = known(name).with_context(|| {
                format!("no target is called {name}: there are {}", names.join(", "))
            })?;
            vec![found]
        }
    };
    if let (Some(path), [target]) = (&arguments.input, chosen.as_slice()) {
        (target.run)(&fs::read(path)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = false;
    for target in chosen {
        failed |= !attempt(
            target,
            Duration::from_secs(arguments.seconds),
            arguments.seed,
        )?;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Tries one target; false if an input showed a bug.
fn attempt(target: &Target, span: Duration, seed: u64) -> Result<bool> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(corpus(target.name))? {
        inputs.push(fs::read(entry?.path())?);
    }
    if inputs.is_empty() {
        bail!("{} has no corpus", target.name);
    }
    // In an order that no file system decides.
    inputs.sort();
    let (mut mutator, begin, mut count) = (Mutator::new(seed), Instant::now(), 0_u64);
    while begin.elapsed() < span {
        let input = mutator.next(&inputs);
        count += 1;
        if catch_unwind(|| (target.run)(&input)).is_err() {
            let path =
                std::env::temp_dir().join(format!("duke-fuzz-{}-{seed}-{count}", target.name));
            fs::write(&path, &input)?;
            say(&format!(
                "{}: wrong after {count} inputs\nagain: cargo run --release -p duke-fuzz -- {} {}",
                target.name,
                target.name,
                path.display()
            ));
            return Ok(false);
        }
    }
    let rate = count / span.as_secs().max(1);
    say(&format!(
        "{}: {count} inputs, {rate} a second, nothing wrong",
        target.name
    ));
    Ok(true)
}

//! The operator's binary: arguments, logs, and which of its three things to do.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Parser as _;
use pipeline_operator::{api, cli, run, telemetry};

fn main() -> anyhow::Result<()> {
    let arguments = cli::Arguments::parse();
    match arguments.command.unwrap_or_default() {
        cli::Command::Crd => std::io::stdout()
            .write_all(api::crd_yaml().as_bytes())
            .context("writing the CRD"),
        cli::Command::Run => {
            telemetry::init(&arguments.log.log_level, arguments.log.log_format)?;
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("starting the runtime")?
                .block_on(run::run(arguments.run))
        }
        cli::Command::Version => writeln!(
            std::io::stdout(),
            "pipeline-operator {}",
            env!("CARGO_PKG_VERSION")
        )
        .context("writing the version"),
    }
}

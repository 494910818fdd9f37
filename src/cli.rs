//! Arguments and environment of the operator.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::{api::image, telemetry::Format};

/// Runs highly available Redis and Valkey replication groups on Kubernetes.
#[derive(Clone, Debug, Parser)]
#[command(name = "pipeline-operator", version, about)]
pub struct Arguments {
    /// What to do; `run` unless given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to log.
    #[command(flatten)]
    pub log: Log,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Subcommand)]
pub enum Command {
    /// Prints the custom resource definition.
    Crd,
    /// Runs the operator.
    #[default]
    Run,
    /// Prints the version.
    Version,
}

/// How to log.
#[derive(Args, Clone, Debug)]
pub struct Log {
    /// A level, or `target=level,…`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", global = true)]
    pub log_level: String,
    /// How lines look.
    #[arg(
        long,
        env = "LOG_FORMAT",
        default_value = "json",
        value_enum,
        global = true
    )]
    pub log_format: Format,
}

/// How to run.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// The Duke image of Pipelines that name none.
    #[arg(long, env = "DUKE_IMAGE", default_value = image::DUKE, global = true)]
    pub duke_image: String,
    /// The only namespace to work in; all if empty.
    #[arg(long, env = "WATCH_NAMESPACE", default_value = "", global = true)]
    pub watch_namespace: String,
    /// The name of this process's pod, for the Lease and for events.
    #[arg(
        long,
        env = "POD_NAME",
        default_value = "pipelineoperator",
        global = true
    )]
    pub pod_name: String,
    /// The namespace of this process's pod, where the Lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", global = true)]
    pub pod_namespace: String,
    /// The name of the Lease.
    #[arg(
        long,
        env = "LEASE_NAME",
        default_value = "pipelineoperator",
        global = true
    )]
    pub lease_name: String,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "LISTEN", default_value = "[::]:8080", global = true)]
    pub listen: SocketAddr,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn nothing_given_means_run() {
        let arguments = Arguments::parse_from(["pipeline-operator"]);
        assert_eq!(arguments.command.unwrap_or_default(), Command::Run);
    }
}

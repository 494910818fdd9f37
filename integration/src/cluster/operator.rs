//! The operator of this source tree, brought into a cluster as a user would bring it.

use anyhow::{Context, Result};

use super::Cluster;
use crate::{place, process};

/// The operator's Deployment and its namespace, as `example/operator.yaml` has them.
pub const DEPLOYMENT: (&str, &str) = ("pipelineoperator", "default");

/// The manifest that installs it.
///
/// # Errors
/// When the path of the source tree is no text.
pub fn manifest() -> Result<String> {
    let path = place::workspace().join("example/operator.yaml");
    path.into_os_string()
        .into_string()
        .ok()
        .context("the source tree's path is text")
}

/// Applies the manifest and replaces the operator's pods: those of an earlier run may run an earlier build.
///
/// # Errors
/// When the API server refuses, or the new pods are not ready within two minutes.
pub async fn install(cluster: &Cluster) -> Result<()> {
    let kubectl =
        async |words: &[&str]| process::run(cluster.kubectl().args(words)).await.map(drop);
    let (name, namespace) = DEPLOYMENT;
    let deployment = format!("deployment/{name}");
    let file = manifest()?;
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file]).await?;
    kubectl(&["rollout", "restart", &deployment, "-n", namespace]).await?;
    let status = ["rollout", "status", &deployment, "-n", namespace];
    kubectl(&[&status[..], &["--timeout=120s"]].concat()).await
}

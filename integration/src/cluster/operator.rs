//! The operator of this source tree, brought into a cluster as a user would bring it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::Cluster;
use crate::{place, process, scene::eventually};

/// The operator's Deployment and its namespace, as `example/operator.yaml` has them.
pub const DEPLOYMENT: (&str, &str) = ("pipelineoperator", "default");

/// How many of it run as installed.
pub const REPLICAS: i32 = 2;
/// How long its pods may take to come and go; a busy machine, not a promise.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// Scales the operator and waits until exactly so many of its pods are there and ready. None is a fault:
/// the groups are on their own.
///
/// # Errors
/// When it is not installed, or its pods do not come or go.
pub async fn scale(cluster: &Cluster, replicas: i32) -> Result<()> {
    let client = cluster.client().await?;
    let (name, namespace) = DEPLOYMENT;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let patch = json!({ "spec": { "replicas": replicas } });
    deployments
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let wanted = usize::try_from(replicas)?;
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={name}"));
    eventually(&format!("{replicas} operators run"), PATIENCE, async || {
        let status = deployments.get(name).await?.status.unwrap_or_default();
        let found = pods.list(&selector).await?.items.len();
        ensure!(found == wanted, "{found} pods");
        let ready = status.ready_replicas.unwrap_or(0);
        ensure!(
            ready == replicas && status.updated_replicas.unwrap_or(0) == replicas,
            "{status:?}"
        );
        Ok(())
    })
    .await
}

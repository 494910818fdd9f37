//! Peace: at rest nothing is written, and an operator that restarts changes nothing.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use integration::scene::{Scene, eventually};
use kube::api::ListParams;
use serde_json::json;

use crate::bed::{Bed, SETTLE};

/// Every object of the namespace with its resourceVersion, pods and their restarts included.
async fn versions(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (group, version, kind) in [
        ("", "v1", "ConfigMap"),
        ("", "v1", "Secret"),
        ("", "v1", "Service"),
        ("", "v1", "Pod"),
        ("apps", "v1", "StatefulSet"),
        ("apps", "v1", "Deployment"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        ("kubernetes.lol", "v1", "Pipeline"),
    ] {
        for object in scene
            .kind(group, version, kind)
            .await?
            .list(&ListParams::default())
            .await?
        {
            let name = object.metadata.name.unwrap_or_default();
            found.insert(
                format!("{kind}/{name}"),
                object.metadata.resource_version.unwrap_or_default(),
            );
        }
    }
    Ok(found)
}

/// The requests that came after those counted before.
fn later<'a>(before: &[String], after: &'a [String]) -> &'a [String] {
    after.get(before.len()..).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_restart_changes_nothing() -> Result<()> {
    let bed = Bed::alone().await?;
    let scene = bed.scene("restart").await?;
    scene.pipeline("demo", json!({})).await?;
    scene.settled("demo", 3, SETTLE).await?;
    bed.quiet(&scene).await?;
    let before = versions(&scene).await?;
    bed.scale_operator(0).await?;
    let counted = bed.operator_writes()?;
    bed.scale_operator(2).await?;
    bed.operator_leads().await?;
    bed.quiet(&scene).await?;
    ensure!(
        before == versions(&scene).await?,
        "{before:?}\nbecame\n{:?}",
        versions(&scene).await?
    );
    let written = bed.operator_writes()?;
    let new = later(&counted, &written);
    ensure!(new.is_empty(), "the new operator wrote: {new:?}");
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_the_operator_writes_and_lists_nothing() -> Result<()> {
    let bed = Bed::alone().await?;
    let scene = bed.scene("rest").await?;
    scene.pipeline("demo", json!({})).await?;
    scene.settled("demo", 3, SETTLE).await?;
    bed.quiet(&scene).await?;
    let before = (bed.operator_writes()?, bed.operator_lists()?);
    // Long enough for several rounds of every periodic task there is.
    let leases = bed.lease_renewals()?;
    eventually(
        "twenty renewals of the lease have passed",
        2 * SETTLE,
        async || {
            let passed = bed.lease_renewals()?.saturating_sub(leases);
            ensure!(passed >= 20, "{passed}");
            Ok(())
        },
    )
    .await?;
    let after = (bed.operator_writes()?, bed.operator_lists()?);
    let new = (later(&before.0, &after.0), later(&before.1, &after.1));
    ensure!(new.0.is_empty() && new.1.is_empty(), "at rest: {new:?}");
    scene.close().await
}

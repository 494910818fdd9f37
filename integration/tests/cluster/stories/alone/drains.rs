//! Nodes that are drained one after the other while copies take longer than drains.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use integration::scene::patiently;
use serde_json::Value;

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, MUCH, SLOW_COPIES, figure, nothing_lost, slow},
};

/// The pods behind the Service of the replicas.
async fn behind_replicas(group: &Group<'_>) -> Result<Vec<String>> {
    let slices = group
        .scene
        .kind("discovery.k8s.io", "v1", "EndpointSlice")
        .await?;
    let selector = "kubernetes.io/service-name=pipeline-demo-replicas";
    let list = slices
        .list(&kube::api::ListParams::default().labels(selector))
        .await?;
    let endpoints = list.items.iter().flat_map(|slice| {
        slice.data["endpoints"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    });
    let is_ready = |endpoint: &Value| endpoint["conditions"]["ready"] != false;
    Ok(endpoints
        .filter(is_ready)
        .filter_map(|endpoint| endpoint["targetRef"]["name"].as_str().map(str::to_owned))
        .collect())
}

/// A replica that comes back empty is not Ready and serves no reader until it has copied everything.
async fn a_copying_replica_is_not_ready(group: &Group<'_>) -> Result<()> {
    let master = group.settled().await?;
    let data = group.data().await?;
    let replica = data
        .into_iter()
        .find(|pod| pod.name != master.name)
        .context("there is a replica")?;
    group.scene.delete_pod(&replica.name, false).await?;
    let mut looks = 0_u32;
    let mut broken = None;
    patiently("the new replica is in sync", 2 * SETTLE, async || {
        // What is said of the pod is read before what its server says, which can only get better.
        let pod = group.scene.pod(&replica.name).await?;
        ensure!(pod.uid != replica.uid, "the old pod is there still");
        let is_served = behind_replicas(group).await?.contains(&pod.name);
        let info = group
            .scene
            .redis(&pod.name, &["INFO", "replication"])
            .await?;
        if info.contains("master_link_status:up") {
            return Ok(());
        }
        looks = looks.saturating_add(1);
        if pod.ready || is_served {
            broken = Some(format!(
                "ready: {}, behind -replicas: {is_served}",
                pod.ready
            ));
        }
        anyhow::bail!("{} copies", pod.name)
    })
    .await?;
    ensure!(looks > 0, "the copy was too quick to be seen");
    ensure!(
        broken.is_none(),
        "a replica that still copied was {broken:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_one_after_the_other_wait_for_copies_and_lose_nothing() -> Result<()> {
    let bed = Bed::alone().await?;
    let group = Group::whole(&bed, "drains", &serde_json::json!({})).await?;
    group.fill(MUCH).await?;
    group.change(&slow()).await?;
    group.has_setting(SLOW_COPIES).await?;
    let copying = a_copying_replica_is_not_ready(&group).await;
    group.settled().await?;
    let sentinel = group.writes_by_sentinel(50).await?;
    let service = group.writes_by_service(50).await?;
    let begun = Instant::now();
    for node in ["node-1", "node-2", "node-3"] {
        bed.drain(node).await?;
    }
    figure("three drains, s", begun.elapsed().as_secs());
    let master = group.has_kept(MUCH).await;
    let reports = (sentinel.stop().await, service.stop().await);
    master?;
    let (sentinel, service) = (reports.0?, reports.1?);
    figure("drains: gap by Sentinel, ms", sentinel.gap_ms);
    figure("drains: gap by the Service, ms", service.gap_ms);
    nothing_lost("a Sentinel client", &sentinel)?;
    nothing_lost("a Service client", &service)?;
    copying?;
    group.end().await
}

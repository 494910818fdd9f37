//! A node that is cut off with two Dukes and the master: the other side gets no master of its own.

use anyhow::{Context, Result, ensure};
use integration::scene::{PodView, patiently};
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, SOME},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_node_cut_off_with_the_majority_and_the_master_stays_the_only_group() -> Result<()> {
    let bed = Bed::alone().await?;
    // Drains of earlier stories may have left both operators on one node: one of them has to see it all.
    bed.scale_operator(0).await?;
    bed.scale_operator(2).await?;
    let made = async || Group::whole(&bed, "split", &json!({})).await;
    let group = bed.cordoned(&["node-3"], made).await?;
    let dukes = group.dukes().await?;
    let count = |node: &str| dukes.iter().filter(|duke| duke.node == node).count();
    let node = dukes
        .iter()
        .map(|duke| duke.node.clone())
        .find(|node| count(node) == 2)
        .context("no node has two Dukes")?;
    let elsewhere = if node == "node-1" { "node-2" } else { "node-1" };
    group.scene.client_pod_on(Some(elsewhere)).await?;
    group.master_on(&node).await?;
    group.fill(SOME).await?;
    let master = group.settled().await?;
    let generation = seeded(&group).await?;
    bed.cut(&node).await?;
    let alone = nothing_is_seeded(&bed, &group, &master, elsewhere).await;
    bed.heal(&node).await?;
    alone?;
    let now = group.has_kept(SOME).await?;
    ensure!(
        now.uid == master.uid,
        "{} is master instead of {}",
        now.name,
        master.name
    );
    ensure!(
        generation == seeded(&group).await?,
        "the group was seeded anew"
    );
    group.end().await
}

/// How often the group was seeded.
async fn seeded(group: &Group<'_>) -> Result<i64> {
    let object = group.scene.pipelines().await?.get("demo").await?;
    let generation = object.data["status"]["generation"].as_i64();
    generation.context("the status says how often the group was seeded")
}

/// For as long as it takes Kubernetes to give the node up, nobody on the other side becomes master.
async fn nothing_is_seeded(
    bed: &Bed,
    group: &Group<'_>,
    master: &PodView,
    elsewhere: &str,
) -> Result<()> {
    let generation = seeded(group).await?;
    patiently(
        "the status tells that something is wrong",
        SETTLE,
        async || {
            let phase = group.scene.view("demo").await?.phase;
            ensure!(phase != "Ready", "{}", group.said().await?);
            Ok(())
        },
    )
    .await?;
    for _ in 0..Bed::often(1, 3) {
        bed.window().await?;
        for pod in group
            .data()
            .await?
            .iter()
            .filter(|pod| pod.node == elsewhere)
        {
            let role = group.scene.redis(&pod.name, &["ROLE"]).await?;
            ensure!(
                !role.starts_with("master"),
                "{} is a second master",
                pod.name
            );
        }
        ensure!(
            generation == seeded(group).await?,
            "the group was seeded anew"
        );
    }
    let view = group.scene.view("demo").await?;
    ensure!(
        view.phase != "Ready" && (view.master.is_empty() || view.master == master.name),
        "{view:?}"
    );
    Ok(())
}

//! A master that dies, in every way it can: its process, its pod, its node.

use anyhow::{Context, Result, ensure};
use integration::scene::{Scene, eventually};
use serde_json::json;

use crate::bed::{Bed, IMAGES, SETTLE, with_each_server};

/// The `get-master-addr-by-name` of Sentinel clients, by one of the two names that answer it.
async fn discovered(scene: &Scene, host: &str) -> Result<String> {
    let answer = scene
        .ask(
            host,
            26379,
            &["SENTINEL", "get-master-addr-by-name", "mymaster"],
        )
        .await?;
    answer
        .lines()
        .next()
        .map(str::to_owned)
        .context("Sentinel's null: no master")
}

/// Waits until clients, labels, Services and status agree on a master other than `former`.
async fn replaced(scene: &Scene, former: &str) -> Result<()> {
    let view = eventually("another master is in the status", SETTLE, async || {
        let view = scene.view("demo").await?;
        ensure!(!view.master.is_empty() && view.master != former, "{view:?}");
        Ok(view)
    })
    .await?;
    eventually("discovery, Service and status agree", SETTLE, async || {
        let address = scene.pod(&view.master).await?.ip;
        ensure!(
            discovered(scene, "duke-demo").await? == address,
            "duke-demo names another"
        );
        ensure!(
            discovered(scene, "pipeline-demo").await? == address,
            "pipeline-demo names another"
        );
        let answer = scene
            .ask("pipeline-demo", 6379, &["SET", "after", "failover"])
            .await?;
        ensure!(answer == "OK", "a write said {answer}");
        Ok(())
    })
    .await
}

async fn begin(bed: &Bed, name: &str, image: &str) -> Result<(Scene, String)> {
    let scene = bed.scene(name).await?;
    scene
        .pipeline("demo", json!({ "pipeline": { "image": image } }))
        .await?;
    scene.client_pod().await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    ensure!(
        scene
            .ask("pipeline-demo", 6379, &["SET", "before", "failover"])
            .await?
            == "OK"
    );
    Ok((scene, master.name))
}

/// Every write acknowledged and replicated before the fault is still there.
async fn kept(scene: &Scene) -> Result<()> {
    let value = scene.ask("pipeline-demo", 6379, &["GET", "before"]).await?;
    ensure!(value == "failover", "the key from before says {value:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_process_is_replaced_and_comes_back_as_a_replica() -> Result<()> {
    let bed = Bed::get().await?;
    with_each_server(async |name, image| {
        let (scene, master) = begin(&bed, &format!("kill-{name}"), image).await?;
        bed.kill_server(&scene, &master).await?;
        replaced(&scene, &master).await?;
        let now = scene.settled("demo", 3, SETTLE).await?;
        ensure!(now.name != master, "the killed process became master again");
        kept(&scene).await?;
        scene.close().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_master_pod_is_replaced_and_comes_back_as_a_replica() -> Result<()> {
    let bed = Bed::get().await?;
    with_each_server(async |name, image| {
        let (scene, master) = begin(&bed, &format!("delete-{name}"), image).await?;
        scene.delete_pod(&master, false).await?;
        replaced(&scene, &master).await?;
        scene.settled("demo", 3, SETTLE).await?;
        kept(&scene).await?;
        scene.close().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_costs_only_the_pods_on_it() -> Result<()> {
    let bed = Bed::alone().await?;
    // One after the other: two nodes away at once would be another story.
    for (name, image) in IMAGES {
        let (scene, master) = begin(&bed, &format!("node-{name}"), image).await?;
        let node = scene.pod(&master).await?.node;
        let client = scene.pod("client").await?.node;
        // The client asks from elsewhere: what it cannot reach is no finding about the group.
        if client == node {
            bed.client_off(&scene, &node).await?;
        }
        bed.cut(&node).await?;
        let outcome = replaced(&scene, &master).await;
        bed.heal(&node).await?;
        outcome?;
        let now = scene.settled("demo", 3, 2 * SETTLE).await?;
        ensure!(now.name != master, "the lost master took the group back");
        kept(&scene).await?;
        scene.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_needs_no_operator_and_is_recorded_when_it_returns() -> Result<()> {
    let bed = Bed::alone().await?;
    let (scene, master) = begin(&bed, "absent-operator", IMAGES[0].1).await?;
    bed.scale_operator(0).await?;
    let outcome = async {
        bed.kill_server(&scene, &master).await?;
        eventually("Sentinel clients find another master", SETTLE, async || {
            let found = discovered(&scene, "duke-demo").await?;
            ensure!(found != scene.pod(&master).await?.ip, "still {found}");
            Ok(())
        })
        .await
    }
    .await;
    bed.scale_operator(2).await?;
    outcome?;
    replaced(&scene, &master).await?;
    scene.settled("demo", 3, SETTLE).await?;
    kept(&scene).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_in_labels_slices_and_status_at_once() -> Result<()> {
    let bed = Bed::get().await?;
    let (scene, master) = begin(&bed, "record", IMAGES[0].1).await?;
    let epoch = scene.view("demo").await?.epoch;
    bed.kill_server(&scene, &master).await?;
    replaced(&scene, &master).await?;
    let view = scene.ready("demo", SETTLE).await?;
    ensure!(view.epoch > epoch, "epoch {} after {epoch}", view.epoch);
    let events = scene.events("demo").await?;
    ensure!(
        events.iter().any(|event| event.contains(&view.master)),
        "no event names {}: {events:?}",
        view.master
    );
    scene.close().await
}

//! A group made smaller at the worst moment: the master just died, and the replica that stays has no data yet.

use anyhow::{Context, Result, ensure};
use integration::scene::patiently;
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, SLOW_COPIES},
};

/// Copied in seconds, and more than anybody could overlook.
const KEYS: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_group_made_smaller_keeps_its_only_good_copy() -> Result<()> {
    let bed = Bed::get().await?;
    let slow = format!("{} {}", SLOW_COPIES.0, SLOW_COPIES.1);
    let spec =
        |replicas: u8| json!({ "pipeline": { "replicas": replicas, "customConfig": [slow] } });
    let group = Group::whole(&bed, "scale-in", &json!({})).await?;
    group.fill(KEYS).await?;
    group.change(&spec(3)).await?;
    group.has_setting(SLOW_COPIES).await?;
    // The pod with the highest number is the one that goes: it must not be the master.
    let mut master = group.settled().await?;
    if master.name == "pipeline-demo-2" {
        group.scene.delete_pod(&master.name, false).await?;
        patiently("another pod is master", SETTLE, async || {
            let view = group.scene.view("demo").await?;
            ensure!(
                !view.master.is_empty() && view.master != master.name,
                "{}",
                view.master
            );
            Ok(())
        })
        .await?;
        master = group.settled().await?;
    }
    let data = group.data().await?;
    let stays = data
        .into_iter()
        .find(|pod| pod.name != master.name && pod.name != "pipeline-demo-2")
        .context("a replica that stays")?;
    group.scene.delete_pod(&stays.name, true).await?;
    patiently("the replica that stays copies", SETTLE, async || {
        let pod = group.scene.pod(&stays.name).await?;
        ensure!(pod.uid != stays.uid, "it is the old one still");
        let info = group
            .scene
            .redis(&pod.name, &["INFO", "replication"])
            .await?;
        ensure!(info.contains("master_sync_in_progress:1"), "{info}");
        Ok(())
    })
    .await?;
    bed.kill_server(&group.scene, &master.name).await?;
    group.change(&spec(2)).await?;
    group.has_kept(KEYS).await?;
    group.end().await
}

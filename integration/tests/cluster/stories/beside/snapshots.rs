//! All data pods die, and the master's snapshot is older than its replicas'.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use integration::scene::{PodView, patiently};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, SETTLE},
    stories::Group,
};

/// In everybody's snapshot.
const OLD: usize = 1_000;
/// Changes that only the replicas' snapshots have.
const NEW: usize = 1_501;

/// Volumes, and snapshots a second after a change.
fn spec() -> Value {
    json!({ "pipeline": {
        "customConfig": ["save 1 1"],
        "storage": { "persistentVolumeClaim": { "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "64Mi" } },
        } } },
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_snapshot_wins_when_all_data_pods_die() -> Result<()> {
    let bed = Bed::get().await?;
    let group = Group::whole(&bed, "snapshots", &spec()).await?;
    let master = group.settled().await?;
    group.fill(OLD).await?;
    group.has_saved().await?;
    let shell = async |script: &str| {
        let command = ["sh", "-c", script];
        group.scene.exec(&master.name, "pipeline", &command).await
    };
    shell("cp /data/dump.rdb /data/older.rdb").await?;
    group.fill(NEW).await?;
    group.has_saved().await?;
    // Nobody gets to save again: the master's disk has what it had before, as after a save that failed.
    let data = group.data().await?;
    let frozen = data
        .iter()
        .map(|pod| bed.freeze_server(&group.scene, &pod.name));
    try_join_all(frozen).await?;
    shell("mv /data/older.rdb /data/dump.rdb").await?;
    try_join_all(
        data.iter()
            .map(|pod| group.scene.delete_pod(&pod.name, true)),
    )
    .await?;
    patiently("all data pods are new", 2 * SETTLE, async || {
        let now = group.data().await?;
        let is_new = |pod: &PodView| data.iter().all(|old| old.uid != pod.uid);
        ensure!(now.len() == 3 && now.iter().all(is_new), "{now:?}");
        Ok(())
    })
    .await?;
    group.has_kept(NEW).await?;
    group.end().await
}

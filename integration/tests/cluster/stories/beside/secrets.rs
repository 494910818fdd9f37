//! The Secret of the system users is edited: told of by its key's name, and nobody goes blind.

use anyhow::{Context, Result, ensure};
use integration::scene::{PodView, patiently};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, MASTERLESS, SOME},
};

/// The Secret.
const SECRET: &str = "pipeline-demo-users";

/// Writes a key of the Secret.
async fn edit(group: &Group<'_>, key: &str, value: &str) -> Result<()> {
    let secrets = group.scene.kind("", "v1", "Secret").await?;
    let change = json!({ "stringData": { key: value } });
    secrets
        .patch(SECRET, &PatchParams::default(), &Patch::Merge(&change))
        .await?;
    Ok(())
}

/// Waits until all servers are there, one of them master and followed by the others, whatever the status thinks
/// of the rest.
async fn whole(group: &Group<'_>) -> Result<PodView> {
    let found = patiently("the group is whole", 2 * SETTLE, async || {
        group.scene.whole("demo", 3).await
    });
    match found.await {
        Ok(master) => Ok(master),
        Err(error) => anyhow::bail!("{error:#}: {}", group.said().await?),
    }
}

/// Everything that failed when passwords did not fit: a new server joins, a master is replaced, three times.
async fn works_on(group: &Group<'_>) -> Result<()> {
    let master = whole(group).await?;
    let data = group.data().await?;
    let replica = data
        .iter()
        .find(|pod| pod.name != master.name)
        .context("there is a replica")?;
    group.scene.delete_pod(&replica.name, false).await?;
    patiently("the replica's pod is a new one", SETTLE, async || {
        let pod = group.scene.pod(&replica.name).await?;
        ensure!(pod.uid != replica.uid && pod.ready, "{pod:?}");
        Ok(())
    })
    .await?;
    for _ in 0..3 {
        let master = whole(group).await?;
        group.bed.kill_server(&group.scene, &master.name).await?;
        patiently("another pod is master", SETTLE, async || {
            let now = group.scene.view("demo").await?.master;
            ensure!(
                !now.is_empty() && now != master.name,
                "{now:?}: {}",
                group.said().await?
            );
            Ok(())
        })
        .await?;
        group.has_master(MASTERLESS).await?;
    }
    let master = whole(group).await?;
    let found = group.count(&master, SOME).await?;
    ensure!(found == SOME, "{found} of {SOME} keys are left");
    Ok(())
}

/// Somebody writes another password.
async fn edited(bed: &Bed, key: &str) -> Result<()> {
    let group = Group::whole(bed, &format!("edited-{key}"), &json!({})).await?;
    group.fill(SOME).await?;
    let password = bed.password(&group.scene, "demo", key).await?;
    let service = group.writes_by_service(20).await?;
    edit(&group, key, "somethingelse").await?;
    group.says(&[SECRET, key, "changed"], MASTERLESS).await?;
    let epoch = group.scene.view("demo").await?.epoch;
    works_on(&group).await?;
    let now = group.scene.view("demo").await?.epoch;
    ensure!(
        now <= epoch.saturating_add(9),
        "elections spin: epoch {epoch} became {now}"
    );
    edit(&group, key, &password).await?;
    group.has_kept(SOME).await?;
    // The master's process was killed: the newest writes may be lost, but the Service led to a master again.
    let report = service.stop().await?;
    ensure!(
        u128::from(report.gap_ms) <= MASTERLESS.as_millis(),
        "the Service led nowhere for {} ms",
        report.gap_ms
    );
    group.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_password_of_the_dukes_is_told_of_and_locks_nobody_out() -> Result<()> {
    edited(&Bed::get().await?, "duke").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn an_edited_password_of_the_operator_is_told_of_and_blinds_nobody() -> Result<()> {
    edited(&Bed::get().await?, "operator").await
}

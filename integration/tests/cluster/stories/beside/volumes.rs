//! Volumes that were restored for one data pod alone: an empty pod never wins over the one that has data.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::scene::patiently;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, SETTLE},
    stories::Group,
};

/// What the volume of the first pod has.
const KEYS: usize = 100_000;
/// The claim of the first pod.
const CLAIM: &str = "data-pipeline-demo-0";
/// How late a volume may come: longer than anything here waits for.
const LATE: Duration = Duration::from_secs(15);

fn spec() -> Value {
    json!({ "pipeline": {
        "customConfig": ["appendonly yes"],
        "storage": { "persistentVolumeClaim": { "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "512Mi" } },
        } } },
    } })
}

/// A group with data is deleted; of its volumes only the first pod's is left, without a claim. Returns its name.
async fn only_a_volume_is_left(group: &Group<'_>) -> Result<String> {
    let scene = &group.scene;
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(scene.client.clone(), &scene.namespace);
    let volumes: Api<PersistentVolume> = Api::all(scene.client.clone());
    let master = group.settled().await?;
    group.fill(KEYS).await?;
    ensure!(
        group.count(&master, KEYS).await? == KEYS,
        "the data is there"
    );
    let claim = claims
        .get(CLAIM)
        .await?
        .spec
        .context("a claim has a spec")?;
    let volume = claim.volume_name.context("the claim is bound")?;
    let keep = json!({ "spec": { "persistentVolumeReclaimPolicy": "Retain" } });
    volumes
        .patch(&volume, &PatchParams::default(), &Patch::Merge(&keep))
        .await?;
    scene.delete_pipeline("demo").await?;
    patiently("all pods are gone", SETTLE, async || {
        let left = group.data().await?.len();
        ensure!(left == 0, "{left} are there");
        Ok(())
    })
    .await?;
    for ordinal in 0..3 {
        let name = format!("data-pipeline-demo-{ordinal}");
        claims.delete(&name, &DeleteParams::default()).await?;
    }
    patiently("the claims are gone", SETTLE, async || {
        let left = claims.list(&kube::api::ListParams::default()).await?;
        ensure!(left.items.is_empty(), "{} are there", left.items.len());
        Ok(())
    })
    .await?;
    Ok(volume)
}

/// Makes the volume one that a claim may bind to again.
async fn release(group: &Group<'_>, volume: &str) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(group.scene.client.clone());
    let free = json!({ "spec": { "claimRef": null } });
    volumes
        .patch(volume, &PatchParams::default(), &Patch::Merge(&free))
        .await?;
    Ok(())
}

/// The claim that somebody restored: none of our labels, for a volume that is there or will be.
async fn restore_claim(group: &Group<'_>, volume: &str) -> Result<()> {
    let scene = &group.scene;
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(scene.client.clone(), &scene.namespace);
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": CLAIM, "labels": { "restored-by": "somebody" } },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "512Mi" } },
            "volumeName": volume,
        },
    }))?;
    claims.create(&PostParams::default(), &claim).await?;
    Ok(())
}

/// The volume is removed with the story: nobody else would.
async fn discard(group: &Group<'_>, volume: &str) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(group.scene.client.clone());
    let drop_it = json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } });
    volumes
        .patch(volume, &PatchParams::default(), &Patch::Merge(&drop_it))
        .await?;
    Ok(())
}

/// The restored volume is there, or comes late.
async fn restored(bed: &Bed, namespace: &str, late: Option<Duration>) -> Result<()> {
    let group = Group::whole(bed, namespace, &spec()).await?;
    let volume = only_a_volume_is_left(&group).await?;
    if late.is_none() {
        release(&group, &volume).await?;
    }
    restore_claim(&group, &volume).await?;
    group.change(&spec()).await?;
    if let Some(late) = late {
        // That it is late is the story.
        tokio::time::sleep(late).await;
        release(&group, &volume).await?;
    }
    let kept = group.has_kept(KEYS).await;
    discard(&group, &volume).await?;
    kept?;
    group.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_volume_that_binds_late_wins_over_empty_ones() -> Result<()> {
    restored(&Bed::get().await?, "restored-late", Some(LATE)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_volume_whose_claim_has_no_labels_of_ours_wins_over_empty_ones() -> Result<()> {
    let bed = Bed::get().await?;
    for _ in 0..Bed::often(1, 3) {
        restored(&bed, "restored", None).await?;
    }
    Ok(())
}

//! Objects with names of ours that belong to nobody, or to somebody else: ours are adopted, others' are left
//! alone and told of, and neither is asked about faster than once in a while.

use anyhow::{Context, Result, ensure};
use integration::scene::patiently;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, SETTLE},
    stories::Group,
};

/// The Secret of the system users.
const SECRET: &str = "pipeline-demo-users";
/// So many requests about one object in the time that [`Bed::window`] takes: once a minute.
const PATIENT: usize = 1;

/// What tells whether somebody changed an object.
async fn state(group: &Group<'_>, kind: &str, name: &str) -> Result<Value> {
    let object = group.scene.kind("", "v1", kind).await?.get(name).await?;
    let metadata = object.metadata;
    Ok(json!({
        "uid": metadata.uid, "owners": metadata.owner_references, "labels": metadata.labels,
        "deleted": metadata.deletion_timestamp, "data": object.data,
    }))
}

/// Waits until the Secret is the present Pipeline's.
async fn adopted(group: &Group<'_>) -> Result<()> {
    let secrets = group.scene.kind("", "v1", "Secret").await?;
    patiently("the Secret has its owner", SETTLE, async || {
        let pipeline = group.scene.pipelines().await?.get("demo").await?;
        let owners = secrets.get(SECRET).await?.metadata.owner_references;
        let owned = owners
            .unwrap_or_default()
            .iter()
            .any(|owner| Some(&owner.uid) == pipeline.metadata.uid.as_ref());
        ensure!(owned, "it has not: {}", group.said().await?);
        Ok(())
    })
    .await
}

/// A Pipeline deleted without its objects and applied again; then a Secret that somebody freed of its owner.
async fn orphaned(bed: &Bed) -> Result<()> {
    let group = Group::whole(bed, "orphaned", &json!({})).await?;
    group.fill(100).await?;
    let before = bed.written(&group.scene, "secrets", SECRET)?;
    let namespace = group.scene.namespace.clone();
    let words = [
        "delete",
        "pipeline",
        "demo",
        "--cascade=orphan",
        "-n",
        &namespace,
    ];
    bed.kubectl(&words).await?;
    group.change(&json!({})).await?;
    adopted(&group).await?;
    group.has_kept(100).await?;
    let secrets = group.scene.kind("", "v1", "Secret").await?;
    let free = json!({ "metadata": { "ownerReferences": null } });
    secrets
        .patch(SECRET, &PatchParams::default(), &Patch::Merge(&free))
        .await?;
    adopted(&group).await?;
    group.has_kept(100).await?;
    let asked = bed
        .written(&group.scene, "secrets", SECRET)?
        .saturating_sub(before);
    ensure!(asked <= 6, "{asked} requests for two adoptions");
    group.scene.delete_pipeline("demo").await?;
    patiently("the Secret goes with its Pipeline", SETTLE, async || {
        ensure!(secrets.get_opt(SECRET).await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    group.end().await
}

/// Somebody else has an object of each of these kinds and names. It is told of, left alone, and outlives the
/// Pipeline.
async fn foreign(bed: &Bed, namespace: &str, objects: &[(&str, &str, Value)]) -> Result<()> {
    let scene = bed.scene(namespace).await?;
    let group = Group { bed, scene };
    for (kind, name, body) in objects {
        let mut object = body.clone();
        object["apiVersion"] = json!("v1");
        object["kind"] = json!(kind);
        object["metadata"] = json!({ "name": name, "labels": { "app": "of-somebody-else" } });
        let api = group.scene.kind("", "v1", kind).await?;
        let object = serde_json::from_value(object)?;
        api.create(&kube::api::PostParams::default(), &object)
            .await?;
    }
    let mut before = Vec::new();
    for (kind, name, _) in objects {
        before.push(state(&group, kind, name).await?);
    }
    group.change(&json!({})).await?;
    for (kind, name, _) in objects {
        group.says(&[kind, name], SETTLE).await?;
    }
    let resources = |kind: &str| format!("{}s", kind.to_lowercase());
    let mut counted = Vec::new();
    for (kind, name, _) in objects {
        counted.push(bed.written(&group.scene, &resources(kind), name)?);
    }
    bed.window().await?;
    for ((kind, name, _), before) in objects.iter().zip(counted) {
        let asked = bed
            .written(&group.scene, &resources(kind), name)?
            .saturating_sub(before);
        ensure!(
            asked <= PATIENT,
            "{asked} requests about {kind} {name} in half a minute"
        );
    }
    group.scene.delete_pipeline("demo").await?;
    patiently(
        "the Pipeline is gone with all that is its own",
        SETTLE,
        async || {
            let pods = group
                .data()
                .await?
                .len()
                .saturating_add(group.dukes().await?.len());
            ensure!(pods == 0, "{pods} pods are there");
            Ok(())
        },
    )
    .await?;
    for ((kind, name, _), before) in objects.iter().zip(before) {
        let after = state(&group, kind, name)
            .await
            .with_context(|| format!("somebody else's {kind} {name} was deleted"))?;
        ensure!(
            before == after,
            "{kind} {name} was changed: {before} became {after}"
        );
        let api = group.scene.kind("", "v1", kind).await?;
        api.delete(name, &DeleteParams::default()).await?;
    }
    group.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_ours_without_an_owner_is_adopted() -> Result<()> {
    orphaned(&Bed::get().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_told_of_and_left_alone() -> Result<()> {
    let body = json!({ "stringData": { "key": "value" } });
    let objects = [("Secret", SECRET, body)];
    foreign(&Bed::get().await?, "foreign-secret", &objects).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_config_map_and_a_service_of_somebody_else_are_told_of_and_left_alone() -> Result<()> {
    let service = json!({ "spec": {
        "selector": { "app": "of-somebody-else" }, "ports": [{ "port": 80 }],
    } });
    let settings = json!({ "data": { "key": "value" } });
    let objects = [
        ("ConfigMap", "duke-demo", settings),
        ("Service", "duke-demo", service),
    ];
    foreign(&Bed::get().await?, "foreign-config", &objects).await
}

//! Installation and removal: examples, chart, refused specs, deletion.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use integration::scene::eventually;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::bed::{Bed, SETTLE};

/// How many examples run side by side.
const TOGETHER: usize = 4;

/// The names of the files in `example/` that hold Pipelines.
fn examples() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(folder())? {
        let path = file?.path();
        let is_yaml = path.extension().is_some_and(|ending| ending == "yaml");
        let name = path.file_name().context("a file has a name")?;
        if is_yaml && name != "operator.yaml" {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../example")
}

/// Applies one example in a namespace of its own; returns how many Pipelines in it became Ready.
async fn try_example(bed: &Bed, name: &str) -> Result<usize> {
    let scene = bed
        .scene(&format!("example-{}", name.trim_end_matches(".yaml")))
        .await?;
    scene
        .apply(&fs::read_to_string(folder().join(name))?)
        .await?;
    let found = scene
        .pipelines()
        .await?
        .list(&ListParams::default())
        .await?;
    for pipeline in &found {
        let name = pipeline.metadata.name.as_deref().unwrap_or_default();
        scene.ready(name, 2 * SETTLE).await?;
    }
    scene.removed().await?;
    Ok(found.items.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_becomes_ready() -> Result<()> {
    let bed = Bed::get().await?;
    for names in examples()?.chunks(TOGETHER) {
        let tried = names.iter().map(async |name| {
            let count = try_example(&bed, name).await;
            let count = count.with_context(|| format!("example/{name}"))?;
            ensure!(count > 0, "example/{name} holds no Pipeline");
            Ok(())
        });
        futures::future::try_join_all(tried).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_spec_is_refused_with_the_field_and_the_remedy() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("refused").await?;
    let cases: &[(Value, &str)] = &[
        (json!({ "pipeline": { "replicas": -1 } }), "replicas"),
        (json!({ "duke": { "replicas": 0 } }), "replicas"),
        (
            json!({ "pipeline": { "customConfig": ["port 7000"] } }),
            "port",
        ),
        (
            json!({ "pipeline": { "customConfig": ["replicaof 10.0.0.1 6379"] } }),
            "replicaof",
        ),
        (json!({ "pipelin": {} }), "pipelin"),
    ];
    for (spec, word) in cases {
        match scene.pipeline("demo", spec.clone()).await {
            Ok(()) => bail!("accepted {spec}"),
            Err(error) => {
                let message = format!("{error:#}");
                ensure!(
                    message.contains(word),
                    "{spec} was refused without naming {word}: {message}"
                );
            }
        }
    }
    let name = "a".repeat(60);
    let error = scene
        .pipeline(&name, json!({}))
        .await
        .err()
        .context("a name of 60 was accepted")?;
    ensure!(format!("{error:#}").contains("name"), "{error:#}");
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_removes_everything_but_kept_volumes() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("deletion").await?;
    for (name, keep) in [("kept", true), ("dropped", false)] {
        let storage = json!({
            "keepAfterDeletion": keep,
            "persistentVolumeClaim": { "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "64Mi" } },
            } },
        });
        scene
            .pipeline(name, json!({ "pipeline": { "storage": storage } }))
            .await?;
    }
    for name in ["kept", "dropped"] {
        scene.ready(name, SETTLE).await?;
        scene.delete_pipeline(name).await?;
    }
    eventually("only the kept volumes are left", 2 * SETTLE, async || {
        let mut left = Vec::new();
        for (group, version, kind) in [
            ("", "v1", "ConfigMap"),
            ("", "v1", "Secret"),
            ("", "v1", "Service"),
            ("", "v1", "Pod"),
            ("", "v1", "PersistentVolumeClaim"),
            ("apps", "v1", "StatefulSet"),
            ("apps", "v1", "Deployment"),
            ("policy", "v1", "PodDisruptionBudget"),
            ("discovery.k8s.io", "v1", "EndpointSlice"),
        ] {
            for object in scene
                .kind(group, version, kind)
                .await?
                .list(&ListParams::default())
                .await?
            {
                left.push(format!(
                    "{kind}/{}",
                    object.metadata.name.unwrap_or_default()
                ));
            }
        }
        left.retain(|name| name != "ConfigMap/kube-root-ca.crt");
        left.sort();
        let kept: Vec<String> = (0..3)
            .map(|n| format!("PersistentVolumeClaim/data-pipeline-kept-{n}"))
            .collect();
        ensure!(left == kept, "{left:?}");
        Ok(())
    })
    .await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_installs_upgrades_and_goes_away() -> Result<()> {
    let bed = Bed::alone().await?;
    bed.helm(&["lint", "--strict", &Bed::chart()]).await?;
    bed.without_operator(async |bed| {
        let scene = bed.scene("chart").await?;
        bed.helm(&[
            "install",
            "pipelines",
            &Bed::chart(),
            "--namespace",
            "chart",
            "--wait",
        ])
        .await?;
        scene.pipeline("demo", json!({})).await?;
        let master = scene.settled("demo", 3, SETTLE).await?;
        let chart = Bed::chart();
        let upgrade = [
            "upgrade",
            "pipelines",
            &chart,
            "--namespace",
            "chart",
            "--wait",
            "--set",
            "replicas=1",
        ];
        bed.helm(&upgrade).await?;
        let now = scene.settled("demo", 3, SETTLE).await?;
        ensure!(
            now.uid == master.uid,
            "an upgrade of the operator restarted a data pod"
        );
        scene.delete_pipeline("demo").await?;
        bed.helm(&["uninstall", "pipelines", "--namespace", "chart", "--wait"])
            .await?;
        scene.close().await
    })
    .await
}

//! Losing everything of one kind at once: all Dukes, all data pods, any missing object.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::scene::{PodView, Scene, eventually};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::bed::{Bed, IMAGES, SETTLE, with_each_server};

/// How much of the newest may be lost with every server: what the append-only file has not yet on disk.
const SYNC: Duration = Duration::from_secs(1);

/// Data on a volume that outlives its pod, every write in an append-only file once a second.
fn durable(image: &str) -> Value {
    json!({ "pipeline": {
        "image": image,
        "customConfig": ["appendonly yes", "appendfsync everysec"],
        "storage": { "persistentVolumeClaim": { "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "64Mi" } },
        } } },
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn dukes_killed_at_once_come_back_and_know_the_master() -> Result<()> {
    let bed = Bed::get().await?;
    with_each_server(async |name, image| {
        let scene = bed.scene(&format!("dukes-{name}")).await?;
        scene
            .pipeline("demo", json!({ "pipeline": { "image": image } }))
            .await?;
        scene.client_pod().await?;
        let master = scene.settled("demo", 3, SETTLE).await?;
        let before = scene.pods("demo", "duke").await?;
        for duke in &before {
            scene.delete_pod(&duke.name, true).await?;
        }
        eventually("three other Dukes name the master", SETTLE, async || {
            let now = scene.pods("demo", "duke").await?;
            let fresh = now
                .iter()
                .filter(|pod| pod.ready && !before.contains(pod))
                .count();
            ensure!(fresh == 3, "{fresh} new Dukes are ready");
            let answer = scene
                .ask(
                    "duke-demo",
                    26379,
                    &["SENTINEL", "get-master-addr-by-name", "mymaster"],
                )
                .await?;
            ensure!(
                answer.lines().next() == Some(&master.ip),
                "discovery says {answer:?}"
            );
            Ok(())
        })
        .await?;
        let now = scene.settled("demo", 3, SETTLE).await?;
        ensure!(
            now.uid == master.uid,
            "the master changed though only Dukes died"
        );
        // They are a working group, not only a remembering one.
        bed.kill_server(&scene, &master.name).await?;
        eventually("the new Dukes fail over", SETTLE, async || {
            let view = scene.view("demo").await?;
            ensure!(
                !view.master.is_empty() && view.master != master.name,
                "{view:?}"
            );
            Ok(())
        })
        .await?;
        scene.settled("demo", 3, SETTLE).await?;
        scene.close().await
    })
    .await
}

/// Writes numbers under one key for a while; returns when each was acknowledged.
async fn write_numbers(scene: &Scene, master: &str) -> Result<Vec<Instant>> {
    let begun = Instant::now();
    let mut acknowledged = Vec::new();
    while begun.elapsed() < 3 * SYNC {
        let number = acknowledged.len().to_string();
        let answer = scene.redis(master, &["SET", "last", &number]).await?;
        ensure!(answer == "OK", "write {number} said {answer}");
        acknowledged.push(Instant::now());
    }
    Ok(acknowledged)
}

/// Nothing older than a second may be lost: the key has the last number written before, or a newer one.
async fn nothing_old_is_lost(scene: &Scene, written: &[Instant], struck: Instant) -> Result<()> {
    let old = |at: &&Instant| struck.duration_since(**at) > SYNC;
    let expected = written.iter().filter(old).count().saturating_sub(1);
    let master = scene.settled("demo", 3, 2 * SETTLE).await?;
    let answer = scene.redis(&master.name, &["GET", "last"]).await?;
    let found: usize = answer.parse().context("the key is gone")?;
    ensure!(
        found >= expected,
        "write {expected} was older than a second when everything was lost, {found} is there"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_pods_killed_at_once_come_back_with_the_newest_data() -> Result<()> {
    let bed = Bed::get().await?;
    with_each_server(async |name, image| {
        let scene = bed.scene(&format!("all-data-{name}")).await?;
        scene.pipeline("demo", durable(image)).await?;
        for force in [false, true] {
            let master = scene.settled("demo", 3, 2 * SETTLE).await?;
            let before = scene.pods("demo", "pipeline").await?;
            let written = write_numbers(&scene, &master.name).await?;
            let struck = Instant::now();
            for pod in &before {
                scene.delete_pod(&pod.name, force).await?;
            }
            eventually("all data pods are new", 2 * SETTLE, async || {
                let now = scene.pods("demo", "pipeline").await?;
                let is_new = |pod: &PodView| before.iter().all(|old| old.uid != pod.uid);
                ensure!(now.len() == 3, "{} are there", now.len());
                ensure!(now.iter().all(is_new), "old ones are still there");
                ensure!(now.iter().all(|pod| pod.ready), "not all are ready");
                Ok(())
            })
            .await?;
            nothing_old_is_lost(&scene, &written, struck).await?;
        }
        scene.close().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_killed_at_once_get_a_master_again() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("all-servers").await?;
    scene.pipeline("demo", durable(IMAGES[0].1)).await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    let written = write_numbers(&scene, &master.name).await?;
    let struck = Instant::now();
    for pod in scene.pods("demo", "pipeline").await? {
        bed.kill_server(&scene, &pod.name).await?;
    }
    nothing_old_is_lost(&scene, &written, struck).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_follows_the_wrong_master_is_put_right() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("strays").await?;
    scene.pipeline("demo", json!({})).await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    let pods = scene.pods("demo", "pipeline").await?;
    let stray = pods
        .iter()
        .find(|pod| pod.name != master.name)
        .context("there is a replica")?;
    // An ordinary client may not do this: only the group's own users can.
    let refused = scene.redis(&stray.name, &["REPLICAOF", "NO", "ONE"]).await;
    ensure!(
        refused.is_err(),
        "an ordinary client took a replica over: {refused:?}"
    );
    for target in [["NO", "ONE"], ["127.0.0.1", "1"]] {
        let password = bed.password(&scene, "demo", "duke").await?;
        let answer = scene
            .redis(
                &stray.name,
                &[
                    "--user",
                    "duke",
                    "--pass",
                    &password,
                    "--no-auth-warning",
                    "REPLICAOF",
                    target[0],
                    target[1],
                ],
            )
            .await?;
        ensure!(answer.starts_with("OK"), "REPLICAOF said {answer}");
        let now = eventually("the stray is back", SETTLE, async || {
            scene.whole("demo", 3).await
        })
        .await?;
        ensure!(now.uid == master.uid, "the master changed for it");
    }
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_made_again() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("missing").await?;
    scene.pipeline("demo", json!({})).await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    for (group, version, kind, name) in [
        ("", "v1", "Service", "pipeline-demo"),
        ("", "v1", "Service", "duke-demo"),
        ("", "v1", "ConfigMap", "pipeline-demo"),
        ("", "v1", "ConfigMap", "duke-demo"),
        ("policy", "v1", "PodDisruptionBudget", "pipeline-demo"),
        (
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            "pipeline-demo-duke",
        ),
    ] {
        let api = scene.kind(group, version, kind).await?;
        let uid = api.get(name).await?.metadata.uid;
        api.delete(name, &DeleteParams::default()).await?;
        eventually(&format!("{kind} {name} is back"), SETTLE, async || {
            let found = api.get(name).await?;
            ensure!(found.metadata.uid != uid && found.metadata.deletion_timestamp.is_none());
            Ok(())
        })
        .await?;
    }
    let now = scene.settled("demo", 3, SETTLE).await?;
    ensure!(now.uid == master.uid, "a data pod was replaced for it");
    scene.close().await
}

//! Changes to a living Pipeline: every field, and both directions of every number.

use anyhow::{Context, Result, ensure};
use integration::scene::{Scene, eventually};
use serde_json::{Value, json};

use crate::bed::{Bed, SETTLE};

/// The container called `name` of the first pod of a component.
async fn container(scene: &Scene, component: &str, name: &str) -> Result<Value> {
    let pods = scene.pods("demo", component).await?;
    let first = pods.first().map(|pod| pod.name.clone()).unwrap_or_default();
    let pod = scene.kind("", "v1", "Pod").await?.get(&first).await?;
    let containers = pod.data["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(containers
        .into_iter()
        .find(|c| c["name"] == name)
        .unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn data_pods_scale_up_and_down() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("scale-data").await?;
    scene.pipeline("demo", json!({})).await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    ensure!(scene.redis(&master.name, &["SET", "key", "value"]).await? == "OK");
    for replicas in [5, 2, 1, 3] {
        scene
            .pipeline("demo", json!({ "pipeline": { "replicas": replicas } }))
            .await?;
        let master = scene.settled("demo", replicas, 2 * SETTLE).await?;
        ensure!(
            scene.redis(&master.name, &["GET", "key"]).await? == "value",
            "at {replicas}"
        );
        ensure!(scene.view("demo").await?.replicas == format!("{replicas}/{replicas}"));
    }
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_the_master_away_hands_over_first() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("scale-master").await?;
    scene.pipeline("demo", json!({})).await?;
    let first = scene.settled("demo", 3, SETTLE).await?;
    ensure!(scene.redis(&first.name, &["SET", "key", "value"]).await? == "OK");
    // Move the master to the highest ordinal, which scaling in removes first.
    let mut master = first;
    for _ in 0..6 {
        if master.name == "pipeline-demo-2" {
            break;
        }
        bed.kill_server(&scene, &master.name).await?;
        let former = master.name.clone();
        eventually("a failover", SETTLE, async || {
            let view = scene.view("demo").await?;
            ensure!(!view.master.is_empty() && view.master != former, "{view:?}");
            Ok(())
        })
        .await?;
        master = scene.settled("demo", 3, SETTLE).await?;
    }
    scene
        .pipeline("demo", json!({ "pipeline": { "replicas": 1 } }))
        .await?;
    let now = scene.settled("demo", 1, 2 * SETTLE).await?;
    ensure!(now.name == "pipeline-demo-0", "{} is left", now.name);
    ensure!(
        scene.redis(&now.name, &["GET", "key"]).await? == "value",
        "the data is gone"
    );
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn dukes_scale_up_and_down() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("scale-dukes").await?;
    scene.pipeline("demo", json!({})).await?;
    scene.client_pod().await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    for (count, usable) in [
        (5, "5 usable"),
        (3, "3 usable"),
        (1, "1 usable"),
        (3, "3 usable"),
    ] {
        scene
            .pipeline("demo", json!({ "duke": { "replicas": count } }))
            .await?;
        scene.ready("demo", 2 * SETTLE).await?;
        eventually(&format!("{count} Dukes agree"), SETTLE, async || {
            ensure!(scene.view("demo").await?.dukes == format!("{count}/{count}"));
            let answer = scene
                .ask("duke-demo", 26379, &["SENTINEL", "CKQUORUM", "mymaster"])
                .await?;
            ensure!(answer.contains(usable), "{answer}");
            Ok(())
        })
        .await?;
    }
    let now = scene.settled("demo", 3, SETTLE).await?;
    ensure!(
        now.uid == master.uid,
        "the master changed though only Dukes did"
    );
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_configuration_is_applied_live_where_the_server_allows() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("custom").await?;
    scene.pipeline("demo", json!({})).await?;
    scene.client_pod().await?;
    scene.settled("demo", 3, SETTLE).await?;
    let before = scene.pods("demo", "pipeline").await?;
    let dukes = scene.pods("demo", "duke").await?;
    scene
        .pipeline("demo", json!({
            "pipeline": { "customConfig": ["maxmemory 50mb", "maxmemory-policy allkeys-lru"] },
            "duke": { "customConfig": ["down-after-milliseconds 2000", "failover-timeout 20000"] },
        }))
        .await?;
    scene.settled("demo", 3, SETTLE).await?;
    eventually(
        "every server and Duke has the new values",
        SETTLE,
        async || {
            for pod in &before {
                let value = scene
                    .redis(&pod.name, &["CONFIG", "GET", "maxmemory"])
                    .await?;
                ensure!(
                    value.lines().nth(1) == Some("52428800"),
                    "{}: {value}",
                    pod.name
                );
            }
            for duke in &dukes {
                let answer = scene
                    .ask(&duke.ip, 26379, &["SENTINEL", "MASTER", "mymaster"])
                    .await?;
                let mut lines = answer
                    .lines()
                    .skip_while(|line| *line != "down-after-milliseconds");
                ensure!(lines.nth(1) == Some("2000"), "{}: {answer}", duke.name);
            }
            Ok(())
        },
    )
    .await?;
    let after = scene.pods("demo", "pipeline").await?;
    ensure!(
        before == after,
        "data pods were restarted for settings they take live"
    );
    let after = scene.pods("demo", "duke").await?;
    ensure!(
        dukes == after,
        "Dukes were restarted for settings they take live"
    );
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_configuration_that_needs_a_restart_rolls_the_pods() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("custom-roll").await?;
    scene.pipeline("demo", json!({})).await?;
    scene.settled("demo", 3, SETTLE).await?;
    let before = scene.pods("demo", "pipeline").await?;
    let dukes = scene.pods("demo", "duke").await?;
    scene
        .pipeline(
            "demo",
            json!({ "pipeline": { "customConfig": ["databases 4"] } }),
        )
        .await?;
    eventually(
        "every server was restarted with it",
        2 * SETTLE,
        async || {
            let now = scene.pods("demo", "pipeline").await?;
            ensure!(
                now.len() == 3
                    && now
                        .iter()
                        .all(|pod| before.iter().all(|old| old.uid != pod.uid))
            );
            for pod in &now {
                let value = scene
                    .redis(&pod.name, &["CONFIG", "GET", "databases"])
                    .await?;
                ensure!(value.lines().nth(1) == Some("4"), "{}: {value}", pod.name);
            }
            Ok(())
        },
    )
    .await?;
    scene.settled("demo", 3, SETTLE).await?;
    let after = scene.pods("demo", "duke").await?;
    ensure!(
        dukes
            .iter()
            .map(|pod| &pod.uid)
            .eq(after.iter().map(|pod| &pod.uid)),
        "Dukes were replaced for settings they take live"
    );
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_the_pods_rolls_them_with_the_data_kept() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("roll").await?;
    scene.pipeline("demo", json!({})).await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    ensure!(scene.redis(&master.name, &["SET", "key", "value"]).await? == "OK");
    let before = scene.pods("demo", "pipeline").await?;
    let dukes = scene.pods("demo", "duke").await?;
    let resources = json!({ "requests": { "cpu": "11m", "memory": "33Mi" } });
    let toleration = json!({ "key": "roll", "operator": "Exists", "effect": "NoSchedule" });
    scene
        .pipeline(
            "demo",
            json!({
                "pipeline": { "resources": resources, "tolerations": [toleration] },
                "duke": { "resources": resources, "tolerations": [toleration] },
            }),
        )
        .await?;
    eventually("every pod is of the new revision", 2 * SETTLE, async || {
        for (component, old) in [("pipeline", &before), ("duke", &dukes)] {
            let now = scene.pods("demo", component).await?;
            ensure!(
                now.len() == 3 && now.iter().all(|pod| pod.ready),
                "{component}: not all ready"
            );
            ensure!(
                now.iter()
                    .all(|pod| old.iter().all(|other| other.uid != pod.uid)),
                "{component}"
            );
            let found = container(&scene, component, component).await?;
            ensure!(
                found["resources"]["requests"]["cpu"] == "11m",
                "{component}: {found}"
            );
        }
        Ok(())
    })
    .await?;
    let now = scene.settled("demo", 3, SETTLE).await?;
    ensure!(
        scene.redis(&now.name, &["GET", "key"]).await? == "value",
        "the roll lost data"
    );
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_changes_by_a_roll() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("image").await?;
    scene.pipeline("demo", json!({})).await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    ensure!(scene.redis(&master.name, &["SET", "key", "value"]).await? == "OK");
    let image = json!({ "pipeline": { "image": "docker.io/library/redis:8.0" } });
    scene.pipeline("demo", image).await?;
    eventually("every server is the newer one", 2 * SETTLE, async || {
        for pod in scene.pods("demo", "pipeline").await? {
            let info = scene.redis(&pod.name, &["INFO", "server"]).await?;
            ensure!(info.contains("redis_version:8."), "{} is older", pod.name);
        }
        Ok(())
    })
    .await?;
    let now = scene.settled("demo", 3, SETTLE).await?;
    ensure!(
        scene.redis(&now.name, &["GET", "key"]).await? == "value",
        "the roll lost data"
    );
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_switched_off_again_leaves_no_trace() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("exporter").await?;
    scene.pipeline("demo", json!({})).await?;
    scene.client_pod().await?;
    scene.settled("demo", 3, SETTLE).await?;
    let service = scene.kind("", "v1", "Service").await?;
    let before = service.get("pipeline-demo").await?.data["spec"]["ports"].clone();

    scene
        .pipeline(
            "demo",
            json!({ "pipeline": { "exporter": { "enabled": true } } }),
        )
        .await?;
    eventually(
        "the metrics are scraped through the Service",
        2 * SETTLE,
        async || {
            let text = bed.fetch(&scene, "pipeline-demo", 9121, "/metrics").await?;
            ensure!(
                text.contains("redis_up 1"),
                "the exporter does not reach its server"
            );
            Ok(())
        },
    )
    .await?;
    scene.settled("demo", 3, SETTLE).await?;

    scene
        .pipeline(
            "demo",
            json!({ "pipeline": { "exporter": { "enabled": false } } }),
        )
        .await?;
    eventually("no trace is left", 2 * SETTLE, async || {
        ensure!(
            service.get("pipeline-demo").await?.data["spec"]["ports"] == before,
            "a port is"
        );
        let slices = scene
            .kind("discovery.k8s.io", "v1", "EndpointSlice")
            .await?;
        ensure!(
            slices.get_opt("pipeline-demo-metrics").await?.is_none(),
            "a slice is"
        );
        for pod in scene.pods("demo", "pipeline").await? {
            let live = scene.kind("", "v1", "Pod").await?.get(&pod.name).await?;
            let containers = live.data["spec"]["containers"].as_array();
            let exporter = containers
                .context("a pod has containers")?
                .iter()
                .find(|container| container["name"] == "exporter");
            ensure!(exporter.is_none(), "{} has one", pod.name);
        }
        Ok(())
    })
    .await?;
    scene.settled("demo", 3, SETTLE).await?;
    scene.close().await
}

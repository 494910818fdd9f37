//! What a new Pipeline consists of, and how its clients find the master.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bed::{Bed, SETTLE, with_each_server};

/// Kind, group, version, name: every object of a Pipeline called `demo`.
const OBJECTS: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "ConfigMap", "pipeline-demo"),
    ("apps", "v1", "StatefulSet", "pipeline-demo"),
    ("", "v1", "Service", "pipeline-demo"),
    ("", "v1", "Service", "pipeline-demo-replicas"),
    ("", "v1", "Service", "pipeline-demo-pods"),
    ("", "v1", "Secret", "pipeline-demo-users"),
    ("policy", "v1", "PodDisruptionBudget", "pipeline-demo"),
    ("", "v1", "ConfigMap", "duke-demo"),
    ("apps", "v1", "Deployment", "duke-demo"),
    ("", "v1", "Service", "duke-demo"),
    ("policy", "v1", "PodDisruptionBudget", "duke-demo"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_spec_becomes_a_group_that_clients_can_use() -> Result<()> {
    let bed = Bed::get().await?;
    with_each_server(async |name, image| {
        let scene = bed.scene(&format!("discover-{name}")).await?;
        let spec = if name == "redis-7" {
            json!({})
        } else {
            json!({ "pipeline": { "image": image } })
        };
        scene.pipeline("demo", spec).await?;
        scene.client_pod().await?;
        let master = scene.settled("demo", 3, SETTLE).await?;

        for (group, version, kind, object) in OBJECTS {
            let found = scene.kind(group, version, kind).await?.get(object).await?;
            let owners = found.metadata.owner_references.unwrap_or_default();
            ensure!(
                owners.iter().any(|owner| owner.kind == "Pipeline"),
                "{kind} {object} is unowned"
            );
        }
        let view = scene.view("demo").await?;
        ensure!(
            view.master == master.name && view.replicas == "3/3" && view.dukes == "3/3",
            "{view:?}"
        );

        for host in ["duke-demo", "pipeline-demo"] {
            let answer = scene
                .ask(
                    host,
                    26379,
                    &["SENTINEL", "get-master-addr-by-name", "mymaster"],
                )
                .await?;
            ensure!(
                answer.lines().next() == Some(&master.ip),
                "{host} says {answer:?}"
            );
        }
        ensure!(
            scene
                .ask("pipeline-demo", 6379, &["SET", "key", "value"])
                .await?
                == "OK"
        );
        ensure!(
            scene.redis(&master.name, &["GET", "key"]).await? == "value",
            "not at the master"
        );
        // One acknowledgement of each replica: they replicate.
        ensure!(
            scene
                .ask("pipeline-demo", 6379, &["SET", "other", "one"])
                .await?
                == "OK"
        );
        for pod in scene.pods("demo", "pipeline").await? {
            integration::scene::eventually("the write is replicated", SETTLE, async || {
                ensure!(
                    scene.redis(&pod.name, &["GET", "other"]).await? == "one",
                    "not at {}",
                    pod.name
                );
                Ok(())
            })
            .await?;
        }
        scene.close().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_prints_the_agreed_columns() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("columns").await?;
    scene.pipeline("demo", json!({})).await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    let table = bed
        .kubectl(&["get", "pipeline", "--namespace", "columns"])
        .await?;
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    ensure!(
        lines.next() == Some(vec!["NAME", "MASTER", "REPLICAS", "DUKES", "STATUS", "AGE"]),
        "{table}"
    );
    let row = lines.next().unwrap_or_default();
    ensure!(
        row.get(..5) == Some(&["demo", &master.name, "3/3", "3/3", "Ready"][..]),
        "{table}"
    );
    let short = bed
        .kubectl(&["get", "pl", "--namespace", "columns"])
        .await?;
    ensure!(short.contains("demo"), "{short}");
    let all = bed
        .kubectl(&["get", "all", "--namespace", "columns"])
        .await?;
    ensure!(
        !all.contains("kubernetes.lol"),
        "`kubectl delete all --all` would delete it: {all}"
    );
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_do_not_notice_each_other() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("neighbours").await?;
    let elsewhere = bed.scene("neighbours-too").await?;
    scene.pipeline("demo", json!({})).await?;
    scene
        .pipeline("other", json!({ "pipeline": { "replicas": 2 } }))
        .await?;
    elsewhere
        .pipeline("demo", json!({ "pipeline": { "replicas": 2 } }))
        .await?;
    let first = scene.settled("demo", 3, SETTLE).await?;
    let second = scene.settled("other", 2, SETTLE).await?;
    let third = elsewhere.settled("demo", 2, SETTLE).await?;
    for (scene, master, value) in [
        (&scene, &first, "a"),
        (&scene, &second, "b"),
        (&elsewhere, &third, "c"),
    ] {
        ensure!(scene.redis(&master.name, &["SET", "who", value]).await? == "OK");
    }
    let untouched = (scene.view("other").await?, elsewhere.view("demo").await?);
    bed.kill_server(&scene, &first.name).await?;
    integration::scene::eventually("the first group fails over", SETTLE, async || {
        let view = scene.view("demo").await?;
        ensure!(
            !view.master.is_empty() && view.master != first.name,
            "{view:?}"
        );
        Ok(())
    })
    .await?;
    let now = scene.settled("demo", 3, SETTLE).await?;
    ensure!(scene.redis(&now.name, &["GET", "who"]).await? == "a");
    ensure!(scene.redis(&second.name, &["GET", "who"]).await? == "b");
    ensure!(elsewhere.redis(&third.name, &["GET", "who"]).await? == "c");
    ensure!(untouched == (scene.view("other").await?, elsewhere.view("demo").await?));
    elsewhere.close().await?;
    scene.close().await
}

//! Every field of a living Pipeline's spec that has no story of its own takes effect on its pods, and
//! taken out again leaves nothing behind.

use anyhow::{Context, Result, ensure};
use integration::scene::{Scene, eventually};
use serde_json::{Value, json};

use crate::bed::{Bed, SETTLE};

/// A spec that says something in every field that shapes pods.
fn spec() -> Value {
    let toleration =
        |key: &str| json!({ "key": key, "operator": "Exists", "effect": "NoSchedule" });
    let linux = json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 7,
        "preference": { "matchExpressions": [
            { "key": "kubernetes.io/os", "operator": "In", "values": ["linux"] },
        ] },
    }] });
    json!({
        "hardAntiAffinity": true,
        "nodeAffinity": linux,
        "tolerations": [toleration("everywhere")],
        "pipeline": {
            "imagePullPolicy": "Never",
            "command": ["redis-server", "/etc/pipeline/redis.conf", "--loglevel", "verbose"],
            "exporter": { "enabled": true, "disableProbes": true, "imagePullPolicy": "Never",
                          "resources": { "requests": { "cpu": "13m" } } },
            "shutdownConfigMap": "farewell",
            "terminationGracePeriodSeconds": 17,
            "storage": { "emptyDir": { "sizeLimit": "99Mi" } },
            "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 9,
                "preference": { "matchExpressions": [
                    { "key": "kubernetes.io/os", "operator": "Exists" },
                ] },
            }] } },
        },
        "duke": {
            "imagePullPolicy": "Never",
            "command": ["/duke", "/etc/duke/duke.conf", "--sentinel", "announce-ip", "$(POD_IP)",
                        "--maxclients", "5000"],
            "quorum": 3,
            "tolerations": [toleration("dukes-only")],
            "hardAntiAffinity": false,
        },
    })
}

/// Where a field shows in a pod, as a JSON pointer below the pod's spec, and what is there.
type Trace = (&'static str, &'static str);

/// On every data pod; the server's container is the first.
const DATA: &[Trace] = &[
    ("/containers/0/imagePullPolicy", r#""Never""#),
    ("/containers/0/command/3", r#""verbose""#),
    ("/containers/1/imagePullPolicy", r#""Never""#),
    ("/containers/1/resources/requests/cpu", r#""13m""#),
    ("/containers/1/livenessProbe", "null"),
    ("/terminationGracePeriodSeconds", "17"),
    (
        "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight",
        "9",
    ),
    (
        "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/topologyKey",
        r#""kubernetes.io/hostname""#,
    ),
    ("/tolerations/0/key", r#""everywhere""#),
];

/// On every Duke.
const DUKE: &[Trace] = &[
    ("/containers/0/imagePullPolicy", r#""Never""#),
    ("/containers/0/command/6", r#""5000""#),
    (
        "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight",
        "7",
    ),
    (
        "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
        "null",
    ),
    ("/tolerations/0/key", r#""dukes-only""#),
];

/// The specs of all pods of a component.
async fn pod_specs(scene: &Scene, component: &str) -> Result<Vec<(String, Value)>> {
    let pods = scene.kind("", "v1", "Pod").await?;
    let mut specs = Vec::new();
    for pod in scene.pods("demo", component).await? {
        let live = pods.get(&pod.name).await?;
        specs.push((pod.name, live.data["spec"].clone()));
    }
    Ok(specs)
}

/// Whether the traces are all there (`wanted`) or none of them is.
async fn look(scene: &Scene, component: &str, traces: &[Trace], wanted: bool) -> Result<()> {
    let specs = pod_specs(scene, component).await?;
    ensure!(specs.len() == 3, "{} pods of {component}", specs.len());
    for (name, spec) in specs {
        for (pointer, expected) in traces {
            let expected: Value = serde_json::from_str(expected)?;
            let found = spec.pointer(pointer).unwrap_or(&Value::Null);
            // What is expected to be absent is no trace.
            let is_right = (*found == expected) == wanted || (!wanted && expected.is_null());
            ensure!(is_right, "{name}: {pointer} is {found}");
        }
        let text = spec.to_string();
        for word in ["farewell", "99Mi"] {
            let is_there = text.contains(word);
            let may_be = wanted && component == "pipeline";
            ensure!(is_there == may_be, "{name}: {word} is there: {is_there}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_field_takes_effect_and_leaves_again() -> Result<()> {
    let bed = Bed::get().await?;
    let scene = bed.scene("fields").await?;
    scene
        .apply(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: farewell }\n\
             data: { shutdown.sh: 'redis-cli -p 6379 save' }\n",
        )
        .await?;
    scene.pipeline("demo", json!({})).await?;
    scene.client_pod().await?;
    let master = scene.settled("demo", 3, SETTLE).await?;
    ensure!(scene.redis(&master.name, &["SET", "key", "value"]).await? == "OK");

    for (wanted, spec, quorum) in [(true, spec(), "3"), (false, json!({}), "2")] {
        scene.pipeline("demo", spec).await?;
        eventually("every pod shows it", 2 * SETTLE, async || {
            look(&scene, "pipeline", DATA, wanted).await?;
            look(&scene, "duke", DUKE, wanted).await
        })
        .await?;
        let master = scene.settled("demo", 3, 2 * SETTLE).await?;
        let kept = scene.redis(&master.name, &["GET", "key"]).await?;
        ensure!(kept == "value", "a roll lost data");
        eventually("the quorum is told", SETTLE, async || {
            let question = ["SENTINEL", "MASTER", "mymaster"];
            let answer = scene.ask("duke-demo", 26379, &question).await?;
            let mut lines = answer.lines().skip_while(|line| *line != "quorum");
            let told = lines.nth(1).context("there is a quorum")?;
            ensure!(told == quorum, "it is {told}");
            Ok(())
        })
        .await?;
    }
    scene.close().await
}

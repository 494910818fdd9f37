//! Dukes and data pods that are replaced one by one while clients ask and write.

use anyhow::{Result, ensure};
use integration::scene::patiently;
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, SOME, figure, nothing_lost},
};

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_discover_notice_no_restart_of_the_dukes() -> Result<()> {
    let bed = Bed::alone().await?;
    let group = Group::whole(&bed, "dukes-roll", &json!({})).await?;
    let namespace = group.scene.namespace.clone();
    for _ in 0..Bed::often(1, 5) {
        let discoverer = group.discoverer().await?;
        let restart = [
            "rollout",
            "restart",
            "deployment/duke-demo",
            "-n",
            &namespace,
        ];
        bed.kubectl(&restart).await?;
        let status = [
            "rollout",
            "status",
            "deployment/duke-demo",
            "-n",
            &namespace,
        ];
        bed.kubectl(&[&status[..], &["--timeout=180s"]].concat())
            .await?;
        group.settled().await?;
        let answers = discoverer.stop().await?;
        figure("Dukes' roll: questions asked", answers.asked);
        figure("Dukes' roll: slowest, ms", answers.slowest_ms);
        ensure!(
            answers.failed.is_empty() && answers.hung == 0,
            "{} of {} questions failed, {} hung: {:?}",
            answers.failed.len(),
            answers.asked,
            answers.hung,
            answers.failed
        );
    }
    group.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_of_the_data_pods_loses_no_write() -> Result<()> {
    let bed = Bed::alone().await?;
    let group = Group::whole(&bed, "data-roll", &json!({})).await?;
    group.fill(SOME).await?;
    let sentinel = group.writes_by_sentinel(200).await?;
    let service = group.writes_by_service(200).await?;
    for round in 1..=Bed::often(1, 10) {
        let before = group.data().await?;
        let cpu = format!("{}m", 10_usize.saturating_add(round));
        let resources = json!({ "requests": { "cpu": cpu, "memory": "32Mi" } });
        group
            .change(&json!({ "pipeline": { "resources": resources } }))
            .await?;
        patiently("every data pod is new", 2 * SETTLE, async || {
            let now = group.data().await?;
            let is_old = |uid: &str| before.iter().any(|old| old.uid == uid);
            let left = now.iter().filter(|pod| is_old(&pod.uid)).count();
            ensure!(
                now.len() == 3 && left == 0,
                "{left} are old: {}",
                group.said().await?
            );
            Ok(())
        })
        .await?;
        group.settled().await?;
    }
    let (sentinel, service) = (sentinel.stop().await?, service.stop().await?);
    for (who, report) in [("Sentinel", &sentinel), ("the Service", &service)] {
        figure(&format!("data roll: gap by {who}, ms"), report.gap_ms);
        figure(&format!("data roll: lost by {who}"), report.lost);
    }
    group.has_kept(SOME).await?;
    nothing_lost("a Sentinel client", &sentinel)?;
    nothing_lost("a Service client", &service)?;
    group.end().await
}

//! The Secret of the system users is deleted while no operator runs: nobody knows the passwords any more but
//! those who were started with them.

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, MASTERLESS, SOME, nothing_lost},
};

/// The Secret.
const SECRET: &str = "pipeline-demo-users";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_secret_lost_while_no_operator_ran_is_told_of_and_locks_nobody_out() -> Result<()> {
    let bed = Bed::alone().await?;
    let group = Group::whole(&bed, "secret-lost", &json!({})).await?;
    group.fill(SOME).await?;
    let service = group.writes_by_service(50).await?;
    let secrets = group.scene.kind("", "v1", "Secret").await?;
    let mut backup = secrets.get(SECRET).await?;
    bed.scale_operator(0).await?;
    let deleted = secrets.delete(SECRET, &DeleteParams::default()).await;
    bed.scale_operator(2).await?;
    deleted?;
    group.says(&[SECRET], SETTLE).await?;
    let report = service.stop().await?;
    nothing_lost("a Service client", &report)?;
    ensure!(report.gap_ms < 2_000, "no write for {} ms", report.gap_ms);
    // Who was started with the old passwords goes on with them: the Dukes replace a lost master, and its
    // server comes back.
    let master = group.scene.view("demo").await?.master;
    let master = if master.is_empty() {
        let data = group.data().await?;
        let labelled = data.into_iter().find(|pod| pod.role == "master");
        labelled.context("no pod is labelled as master")?.name
    } else {
        master
    };
    bed.kill_server(&group.scene, &master).await?;
    group.has_master(MASTERLESS).await?;
    // What a person does who is told: puts the Secret back.
    backup.metadata.resource_version = None;
    backup.metadata.uid = None;
    if secrets.get_opt(SECRET).await?.is_some() {
        secrets.delete(SECRET, &DeleteParams::default()).await?;
    }
    secrets.create(&PostParams::default(), &backup).await?;
    group.has_kept(SOME).await?;
    group.end().await
}

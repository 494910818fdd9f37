//! The master and the Dukes that could replace it are lost at the same moment.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    stories::{Group, MASTERLESS, SOME, figure},
};

/// Deletes the master and so many Dukes by force, all at once.
async fn fall(bed: &Bed, namespace: &str, spec: &Value, lost: usize) -> Result<()> {
    let group = Group::whole(bed, namespace, spec).await?;
    group.fill(SOME).await?;
    let master = group.settled().await?;
    let dukes = group.dukes().await?;
    let writer = group.writes_by_sentinel(200).await?;
    let victims = dukes.iter().take(lost).chain([&master]);
    try_join_all(victims.map(|pod| group.scene.delete_pod(&pod.name, true))).await?;
    group.has_master(MASTERLESS).await?;
    group.has_kept(SOME).await?;
    let report = writer.stop().await?;
    figure(&format!("{namespace}: no write for, ms"), report.gap_ms);
    // The master was killed: what no replica had yet may be gone, and is not asked for.
    ensure!(
        u128::from(report.gap_ms) <= MASTERLESS.as_millis(),
        "no write for {} ms",
        report.gap_ms
    );
    group.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_lost_with_two_of_three_dukes_has_a_successor_with_all_keys() -> Result<()> {
    let bed = Bed::get().await?;
    for _ in 0..Bed::often(1, 5) {
        fall(&bed, "fall-two", &json!({}), 2).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_lost_with_all_dukes_has_a_successor_with_all_keys() -> Result<()> {
    let bed = Bed::get().await?;
    for _ in 0..Bed::often(1, 5) {
        fall(&bed, "fall-three", &json!({}), 3).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_lost_with_the_only_duke_has_a_successor_with_all_keys() -> Result<()> {
    let bed = Bed::get().await?;
    let one = json!({ "duke": { "replicas": 1 } });
    for _ in 0..Bed::often(1, 5) {
        fall(&bed, "fall-only", &one, 1).await?;
    }
    Ok(())
}

//! `kubectl delete pod` of the master, again and again, while clients of both kinds write.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::{client::listen::now_us, scene::patiently};
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, SOME, figure, nothing_lost},
};

/// The longest that 95 of 100 deletions may keep a Sentinel client from writing, in milliseconds.
const SENTINEL_P95: u64 = 100;
/// The same for a client of the Service, whose proxies look once a second.
const SERVICE_P95: u64 = 1_400;

/// From so many values on 95 of 100 can be told from the greatest.
const MANY: usize = 20;

/// The value that 95 of 100 do not exceed; of a handful the middle one, since its greatest tells more of the machine
/// than of the group.
fn p95_or_median(mut values: Vec<u64>) -> Result<u64> {
    values.sort_unstable();
    let share = if values.len() < MANY { 50 } else { 95 };
    let rank = (values.len() * share).div_ceil(100).saturating_sub(1);
    values.get(rank).copied().context("nothing was measured")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_masters_pod_hands_over_without_losing_a_write() -> Result<()> {
    let bed = Bed::alone().await?;
    let group = Group::whole(&bed, "deletions", &json!({})).await?;
    group.fill(SOME).await?;
    let sentinel = group.writes_by_sentinel(200).await?;
    let service = group.writes_by_service(200).await?;
    let mut times = Vec::new();
    for _ in 0..Bed::often(3, 50) {
        let master = group.settled().await?;
        let from = now_us();
        group.scene.delete_pod(&master.name, false).await?;
        patiently("another pod is master", SETTLE, async || {
            let view = group.scene.view("demo").await?;
            ensure!(
                !view.master.is_empty() && view.master != master.name,
                "{}",
                view.master
            );
            Ok(())
        })
        .await?;
        group.settled().await?;
        times.push((from, now_us()));
    }
    let (sentinel, service) = (sentinel.stop().await?, service.stop().await?);
    let gaps = |report: &integration::client::probe::Report| -> Vec<u64> {
        let each = times.iter();
        each.map(|(from, to)| report.gap_between(*from, *to))
            .collect()
    };
    figure(
        "deletions: gaps by Sentinel, ms",
        format!("{:?}", gaps(&sentinel)),
    );
    figure(
        "deletions: gaps by the Service, ms",
        format!("{:?}", gaps(&service)),
    );
    figure("deletions: lost by Sentinel", sentinel.lost);
    figure("deletions: lost by the Service", service.lost);
    group.has_kept(SOME).await?;
    nothing_lost("a Sentinel client", &sentinel)?;
    nothing_lost("a Service client", &service)?;
    let found = p95_or_median(gaps(&sentinel))?;
    ensure!(found <= SENTINEL_P95, "Sentinel clients: {found} ms");
    let found = p95_or_median(gaps(&service))?;
    ensure!(found <= SERVICE_P95, "Service clients: {found} ms");
    ensure!(
        sentinel.acknowledged > 0 && Duration::from_millis(sentinel.gap_ms) < SETTLE,
        "writes flowed"
    );
    group.end().await
}

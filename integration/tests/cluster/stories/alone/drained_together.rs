//! A node is drained that holds the master and with it two of three Dukes, one of three, or the only one.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    stories::{Group, MASTERLESS, SOME, figure, nothing_lost},
};

/// The spec of a group whose only Duke is on a node, if it can be.
fn only_duke(node: &str) -> Value {
    let term = json!({ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": "In", "values": [node] },
    ] });
    let preferred = json!([{ "weight": 100, "preference": term }]);
    json!({ "duke": { "replicas": 1, "affinity": { "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": preferred,
    } } } })
}

/// How many Dukes of a group are on a node.
async fn dukes_on(group: &Group<'_>, node: &str) -> Result<usize> {
    let dukes = group.dukes().await?;
    Ok(dukes.iter().filter(|duke| duke.node == node).count())
}

/// What came of the group whose master and so many Dukes were on the drained node.
async fn check(group: &Group<'_>, report: &integration::client::probe::Report) -> Result<()> {
    let namespace = &group.scene.namespace;
    figure(&format!("{namespace}: no write for, ms"), report.gap_ms);
    figure(&format!("{namespace}: lost"), report.lost);
    group.has_kept(SOME).await?;
    ensure!(
        u128::from(report.gap_ms) <= MASTERLESS.as_millis(),
        "no write for {} ms",
        report.gap_ms
    );
    // Without a single Duke nobody can take the master over before its server stops.
    if group.dukes().await?.len() > 1 {
        nothing_lost("a Sentinel client", report)?;
    }
    Ok(())
}

/// A group that has two of three Dukes on a node, one of three, or (0) its only one; and a client elsewhere.
async fn placed<'a>(bed: &'a Bed, dukes: usize, node: &str) -> Result<Group<'a>> {
    let group = match dukes {
        2 => {
            // With a node less one node has two Dukes.
            let made = async || Group::whole(bed, "drain-two", &json!({})).await;
            bed.cordoned(&["node-3"], made).await?
        }
        1 => Group::whole(bed, "drain-one", &json!({})).await?,
        _ => Group::whole(bed, "drain-only", &only_duke(node)).await?,
    };
    group.scene.client_pod_on(Some("node-3")).await?;
    Ok(group)
}

/// Drains the node that has the master and these Dukes, as [`placed`] counts them.
async fn drained(bed: &Bed, dukes: usize) -> Result<()> {
    let group = placed(bed, dukes, "node-1").await?;
    let wanted = dukes.max(1);
    let node = if dukes_on(&group, "node-1").await? == wanted {
        "node-1"
    } else {
        "node-2"
    };
    let there = dukes_on(&group, node).await?;
    ensure!(there == wanted, "{there} Dukes are on {node}, not {wanted}");
    group.master_on(node).await?;
    group.fill(SOME).await?;
    let writer = group.writes_by_sentinel(100).await?;
    bed.drain(node).await?;
    group.has_master(MASTERLESS).await?;
    check(&group, &writer.stop().await?).await?;
    group.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_with_the_master_and_two_dukes_costs_no_write() -> Result<()> {
    drained(&Bed::alone().await?, 2).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_drained_node_with_the_master_and_one_duke_of_three_costs_no_write() -> Result<()> {
    drained(&Bed::alone().await?, 1).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_drained_node_with_the_master_and_the_only_duke_costs_no_replicated_key() -> Result<()> {
    drained(&Bed::alone().await?, 0).await
}

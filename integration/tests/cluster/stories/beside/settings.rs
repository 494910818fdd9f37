//! Settings that servers refuse, in groups whose servers then die.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use integration::scene::{PodView, patiently};

use crate::{
    bed::{Bed, SETTLE},
    stories::{Group, figure, with_config},
};

/// What is in a snapshot when things go wrong.
const KEYS: usize = 3_000;
/// Snapshots a second after a change.
const SNAPSHOTS: &str = "save 1 1";

/// A group whose servers all have everything on disk.
async fn saved<'a>(bed: &'a Bed, namespace: &str) -> Result<Group<'a>> {
    let group = Group::whole(bed, namespace, &with_config(&[SNAPSHOTS])).await?;
    group.fill(KEYS).await?;
    group.has_saved().await?;
    Ok(group)
}

/// The spec's mistake is taken back: everybody is there again, with everything.
async fn mended(group: &Group<'_>) -> Result<()> {
    let begun = Instant::now();
    group.change(&with_config(&[SNAPSHOTS])).await?;
    group.has_kept(KEYS).await?;
    let namespace = &group.scene.namespace;
    figure(
        &format!("{namespace}: whole after the fix, s"),
        begun.elapsed().as_secs(),
    );
    Ok(())
}

/// Kills the server of each of these pods and waits until its container was started again, or tried to.
async fn crash(group: &Group<'_>, pods: &[&PodView]) -> Result<()> {
    try_join_all(
        pods.iter()
            .map(|pod| group.bed.kill_server(&group.scene, &pod.name)),
    )
    .await?;
    for before in pods {
        patiently(
            &format!("{} was started again", before.name),
            SETTLE,
            async || {
                let pod = group.scene.pod(&before.name).await?;
                ensure!(
                    pod.uid != before.uid || pod.restarts > before.restarts,
                    "{pod:?}"
                );
                Ok(())
            },
        )
        .await?;
    }
    Ok(())
}

/// A module that is not there: no server can start with the line.
async fn missing_module(bed: &Bed) -> Result<()> {
    let group = saved(bed, "module").await?;
    let before = group.data().await?;
    group
        .change(&with_config(&[SNAPSHOTS, "loadmodule /nowhere"]))
        .await?;
    let victim = patiently("one pod tries the line", SETTLE, async || {
        let data = group.data().await?;
        let tries =
            |pod: &&PodView| !before.iter().any(|old| old.uid == pod.uid) && pod.restarts > 0;
        let found = data.iter().find(tries).cloned();
        found.context("no pod of a new revision was restarted")
    })
    .await?;
    group.says(&["loadmodule", &victim.name], SETTLE).await?;
    let others: Vec<&PodView> = before
        .iter()
        .filter(|pod| pod.name != victim.name)
        .collect();
    crash(&group, &others).await?;
    mended(&group).await?;
    group.end().await
}

/// A value that no server takes, with a setting that needs a restart; the master crashes twice.
async fn impossible_value(bed: &Bed) -> Result<()> {
    let group = saved(bed, "value").await?;
    let foreign = with_config(&[SNAPSHOTS, "maxmemory 1Gi", "databases 21"]);
    let refusal = group.change(&foreign).await.err();
    let refusal = format!("{:#}", refusal.context("Kubernetes' spelling was taken")?);
    ensure!(refusal.contains("1gb"), "no remedy: {refusal}");
    let wrong = with_config(&[SNAPSHOTS, "maxmemory-policy sometimes", "databases 21"]);
    group.change(&wrong).await?;
    group.says(&["maxmemory-policy"], SETTLE).await?;
    for _ in 0..2 {
        let data = group.data().await?;
        let master = group.scene.view("demo").await?.master;
        let master = data.iter().find(|pod| pod.name == master);
        // Where there is none any more, whoever is there crashes.
        let victim = master
            .or_else(|| data.first())
            .context("there is a data pod")?;
        crash(&group, &[victim]).await?;
    }
    mended(&group).await?;
    group.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_not_there_costs_no_key_when_servers_crash() -> Result<()> {
    missing_module(&Bed::get().await?).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_value_that_no_server_takes_costs_no_key_when_the_master_crashes() -> Result<()> {
    impossible_value(&Bed::get().await?).await
}

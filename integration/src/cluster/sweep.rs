//! Takes clusters away: processes, namespaces, control groups, files.
//!
//! Finds what is left by name and membership, not by the manifest, so that it works after a crash at any point: a
//! process belongs to a cluster when its network namespace or its control group does. Mounts live in the processes'
//! own mount namespaces and vanish with them.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::process::Command;

use super::{
    cgroup,
    manifest::Manifest,
    name::{ClusterName, PREFIX},
};
use crate::{
    place,
    process::{self, Identity, eventually, pids},
};

/// Removes everything of a cluster, whatever state it is in; nothing when nothing is there.
///
/// # Errors
/// Names what could not be removed.
pub(crate) async fn remove(cluster: &ClusterName) -> Result<()> {
    let prefix = cluster.prefix();
    let namespaces = namespaces(&prefix)?;
    let inodes: BTreeSet<u64> = namespaces
        .iter()
        .filter_map(|path| Some(fs::metadata(path).ok()?.ino()))
        .collect();
    // Something may be started while we look; what is killed starts nothing more.
    eventually(Duration::from_secs(20), || {
        let found = members(&inodes, &prefix);
        for process in &found {
            // One that may not be signalled shows as not ending.
            process.signal(Signal::KILL).ok();
        }
        found.is_empty()
    })
    .await
    .with_context(|| format!("killing the processes of cluster {cluster}"))?;
    cgroup::remove(&prefix).await?;
    for namespace in &namespaces {
        let name = namespace.file_name().unwrap_or_default();
        process::run(Command::new("ip").args(["netns", "delete"]).arg(name)).await?;
    }
    let folder = place::clusters()?.join(cluster.as_str());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// Every cluster of which anything is there: a folder, a namespace or a control group.
///
/// # Errors
/// When the cache folder cannot be read.
pub(crate) fn existing() -> Result<BTreeSet<ClusterName>> {
    let mut found = BTreeSet::new();
    let folder = place::clusters()?;
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry.context("reading an entry")?;
        if entry.path().is_dir()
            && let Some(name) = entry.file_name().to_str()
            && let Ok(name) = ClusterName::new(name)
        {
            found.insert(name);
        }
    }
    for path in namespaces(PREFIX)? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        found.extend(ClusterName::owner(name));
    }
    found.extend(
        cgroup::names(PREFIX)?
            .iter()
            .filter_map(|name| ClusterName::owner(name)),
    );
    Ok(found)
}

/// Removes every cluster that is there but not whole, unless somebody is just bringing it up.
///
/// # Errors
/// As [`remove`].
pub(crate) async fn dead() -> Result<Vec<ClusterName>> {
    let mut removed = Vec::new();
    for cluster in existing()? {
        let folder = place::clusters()?;
        let path = folder.join(format!("{cluster}.lock"));
        let lock = fs::File::create(&path).with_context(|| format!("making {}", path.display()))?;
        if lock.try_lock().is_err() {
            continue;
        }
        let manifest = Manifest::read(&folder.join(cluster.as_str()));
        if !manifest.is_some_and(|manifest| manifest.alive()) {
            remove(&cluster).await?;
            removed.push(cluster);
        }
    }
    Ok(removed)
}

/// The named network namespaces whose names begin so.
fn namespaces(prefix: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new("/run/netns");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).context("reading the network namespaces")?;
    Ok(entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(prefix))
        })
        .map(|entry| entry.path())
        .collect())
}

/// The living processes in one of the namespaces or in a control group of the cluster.
fn members(namespaces: &BTreeSet<u64>, prefix: &str) -> Vec<Identity> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    pids()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let inside = fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|namespace| namespaces.contains(&namespace.ino()));
            inside
                || fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| {
                    groups.lines().any(|line| {
                        let path = line.splitn(3, ':').nth(2).unwrap_or_default();
                        path.trim_start_matches('/').starts_with(prefix)
                    })
                })
        })
        .filter_map(Identity::of)
        .collect()
}

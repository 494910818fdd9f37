//! The control groups of a cluster's nodes, on hosts with hierarchies of version 1, 2 or both.
//!
//! Each node has one group in every hierarchy, which its kubelet takes as its root.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::process::eventually;

/// The mount points of all hierarchies of this machine, and whether each is of version 2.
fn hierarchies() -> Result<BTreeSet<(PathBuf, bool)>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    Ok(mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let point = fields.nth(1)?;
            let kind = fields.next()?;
            (kind == "cgroup" || kind == "cgroup2").then(|| (point.into(), kind == "cgroup2"))
        })
        .collect())
}

/// Whether the machine has only version 2, as every newer distribution.
pub(crate) fn unified() -> Result<bool> {
    let found = hierarchies()?;
    Ok(!found.is_empty() && found.iter().all(|(_, second)| *second))
}

/// Makes the group `name` in every hierarchy.
pub(crate) fn create(name: &str) -> Result<()> {
    let unified = unified()?;
    for (point, second) in hierarchies()? {
        let group = point.join(name);
        fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
        if second && unified {
            delegate(&point)?;
            delegate(&group)?;
        }
        // In version 1 a new group has no processor and no memory node until it is given some.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if !second && point.join(file).exists() {
                let value =
                    fs::read(point.join(file)).with_context(|| format!("reading {file}"))?;
                fs::write(group.join(file), value).with_context(|| format!("filling {file}"))?;
            }
        }
    }
    Ok(())
}

/// Hands a group's controllers on to its children.
fn delegate(group: &Path) -> Result<()> {
    let list = group.join("cgroup.controllers");
    let available =
        fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let control = group.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    for controller in ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"] {
        let named = |list: &str| list.split_whitespace().any(|word| word == controller);
        if named(&available) && !named(&enabled) {
            fs::write(&control, format!("+{controller}")).with_context(|| {
                format!(
                    "handing {controller} on in {}: on a host with cgroup v2 run the testbed where \
                     the root group may be divided (not inside a container's own group)",
                    group.display()
                )
            })?;
        }
    }
    Ok(())
}

/// The names of all groups at the top of any hierarchy that begin with `prefix`.
pub(crate) fn names(prefix: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (point, _) in hierarchies()? {
        let Ok(entries) = fs::read_dir(&point) else {
            continue;
        };
        found.extend(
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| name.starts_with(prefix)),
        );
    }
    Ok(found)
}

/// Removes the groups that begin with `prefix`, whose processes are gone.
pub(crate) async fn remove(prefix: &str) -> Result<()> {
    for (point, _) in hierarchies()? {
        for name in names(prefix)? {
            let group = point.join(&name);
            // A killed process leaves its group a moment after it has left /proc.
            eventually(Duration::from_secs(10), || {
                prune(&group);
                !group.exists()
            })
            .await
            .with_context(|| format!("removing {}", group.display()))?;
        }
    }
    Ok(())
}

/// Removes a group and those below it, as far as they are empty.
fn prune(group: &Path) {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            prune(&entry.path());
        }
    }
    // What is not empty yet is tried again by the caller.
    fs::remove_dir(group).ok();
}

//! A machine of the cluster: a network namespace, a mount namespace and the process holding it.
//!
//! The mount namespace gives each machine its own `/run`, `/var/lib`, `/var/log` and resolver, so that fixed paths
//! (`/run/containerd`, `/var/lib/kubelet`, `/var/lib/cni`) of several nodes do not meet, and every mount vanishes
//! with the machine's last process. Entered with nsenter: `ip netns exec` would hide the cgroup mounts.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::mount::mount_bind;
use tokio::process::Command;

use super::name::{ClusterName, namespace_path};
use crate::{
    place,
    process::{self, Identity, eventually},
};

/// Kernel settings of every machine: it routes for its pods, whatever the distribution's defaults.
const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
];

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its network namespace's name.
    pub(crate) namespace: String,
    /// The process that holds its mount namespace.
    pub(crate) anchor: Identity,
}

impl Machine {
    /// Makes the machine in its existing network namespace, with its folders below `folder`.
    pub(crate) async fn start(
        cluster: &ClusterName,
        machine: &str,
        folder: &Path,
        log: &Path,
    ) -> Result<Self> {
        for part in ["run/netns", "lib", "log"] {
            place::folder(folder.join(part))?;
        }
        let namespace = cluster.namespace(machine);
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", namespace_path(&namespace).display()))
            // "slave": a namespace unmounted outside is unmounted in here, too, and so can die.
            .args(["unshare", "--mount", "--propagation", "slave"])
            .arg(place::program()?)
            .arg("enter")
            .arg(folder)
            .stdin(Stdio::null());
        let anchor = process::spawn(&mut command, log)?;
        let name = PathBuf::from(format!("/proc/{}/comm", anchor.pid));
        let mut ended = false;
        eventually(Duration::from_secs(10), || {
            ended = !anchor.alive();
            ended || fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep")
        })
        .await
        .with_context(|| format!("entering {namespace}: see {}", log.display()))?;
        if ended {
            bail!("entering {namespace} failed: see {}", log.display());
        }
        Ok(Self { namespace, anchor })
    }

    /// A command that runs inside the machine, in its root folder.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!(
                "--net={}",
                namespace_path(&self.namespace).display()
            ))
            .arg(format!("--mount=/proc/{}/ns/mnt", self.anchor.pid))
            .arg("--")
            .arg(program)
            .stdin(Stdio::null());
        command
    }
}

/// What `testbed enter FOLDER` does, inside new namespaces: puts the machine's folders in place and becomes the
/// process that holds them.
///
/// # Errors
/// When a folder cannot be put in place. Returns only then.
pub fn enter(folder: &Path) -> Result<()> {
    for (key, value) in SYSCTLS {
        let path = Path::new("/proc/sys").join(key);
        fs::write(&path, value).with_context(|| format!("setting {key}"))?;
    }
    let cluster = folder
        .parent()
        .context("a machine lies in its cluster's folder")?;
    let resolver = cluster.join("resolv.conf");
    // A link into /run leads to our own /run from now on.
    let current =
        fs::canonicalize("/etc/resolv.conf").unwrap_or_else(|_| "/etc/resolv.conf".into());
    if let Ok(below) = current.strip_prefix("/run") {
        let copy = folder.join("run").join(below);
        place::folder(copy.parent().unwrap_or(folder).to_owned())?;
        fs::copy(&resolver, &copy).context("placing the resolver's file")?;
    } else {
        bind(&resolver, &current)?;
    }
    bind(&folder.join("lib"), Path::new("/var/lib"))?;
    bind(&folder.join("log"), Path::new("/var/log"))?;
    bind(&folder.join("run"), Path::new("/run"))?;
    let error = std::process::Command::new("sleep").arg("infinity").exec();
    Err(error).context("becoming the anchor")
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount_bind(source, target)
        .with_context(|| format!("binding {} to {}", source.display(), target.display()))
}

//! The Debian packages a cluster of ours needs from the machine.
//!
//! Installs what is missing when it may (root, apt), and else names it. Starts no service.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{process, progress};

/// A package and a file of it whose presence says that it is installed.
struct Package {
    name: &'static str,
    /// Any of these, since distributions differ in the folder.
    files: &'static [&'static str],
}

/// What runs a node, and makes networks and archives.
const NEEDED: &[Package] = &[
    Package {
        name: "containerd",
        files: &["/usr/bin/containerd"],
    },
    Package {
        name: "runc",
        files: &["/usr/sbin/runc", "/usr/bin/runc"],
    },
    Package {
        name: "containernetworking-plugins",
        files: &["/usr/lib/cni/ptp"],
    },
    Package {
        name: "nftables",
        files: &["/usr/sbin/nft"],
    },
    Package {
        name: "iproute2",
        files: &["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"],
    },
    Package {
        name: "conntrack",
        files: &["/usr/sbin/conntrack"],
    },
    Package {
        name: "util-linux",
        files: &["/usr/bin/nsenter"],
    },
    Package {
        name: "mount",
        files: &["/usr/bin/mount", "/bin/mount"],
    },
    Package {
        name: "tar",
        files: &["/usr/bin/tar", "/bin/tar"],
    },
    Package {
        name: "ca-certificates",
        files: &["/etc/ssl/certs/ca-certificates.crt"],
    },
];

/// Makes sure that every needed package is installed.
///
/// # Errors
/// Names what is missing when it cannot be installed from here.
pub async fn ensure() -> Result<()> {
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|package| !package.files.iter().any(|file| Path::new(file).exists()))
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let listed = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() || !rustix::process::geteuid().is_root() {
        bail!("this machine lacks what a cluster needs: install (Debian's names) {listed}");
    }
    let what = format!("installing {listed}");
    progress::step(&what, async {
        if install(&missing).await.is_err() {
            // The lists may be too old to name files that are still there.
            process::run(Command::new("apt-get").args(["update", "--quiet"])).await?;
            install(&missing).await?;
        }
        anyhow::Ok(())
    })
    .await
    .with_context(|| format!("install by hand: apt-get install {listed}"))
}

async fn install(packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    // A fresh containerd package starts a service of its own on machines with systemd: ours is
    // another process with other folders, so the policy that forbids starting it is enough.
    command.env("RUNLEVEL", "1");
    process::run(&mut command).await.map(drop)
}

//! The Debian packages that clusters and tests need from the machine.
//!
//! Installs what is missing when it may (root, apt), and else names it. Starts no service: what a package
//! would start on its own is forbidden while it is installed.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{process, progress};

/// A package and a file of it whose presence says that it is installed.
struct Package {
    name: &'static str,
    /// Any of these, since distributions differ in the folder.
    files: &'static [&'static str],
}

/// What runs a node, makes networks and archives, and stands in for data servers in tests of Duke's process.
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
        name: "redis-server",
        files: &["/usr/bin/redis-server"],
    },
    // What Duke is compared with.
    Package {
        name: "redis-sentinel",
        files: &["/usr/bin/redis-sentinel"],
    },
    Package {
        name: "util-linux",
        files: &["/usr/bin/nsenter"],
    },
    Package {
        name: "mount",
        files: &["/usr/bin/mount", "/bin/mount"],
    },
    // For the Sentinel tests of Redis and Valkey: their language, and how their sources are packed.
    Package {
        name: "tcl",
        files: &["/usr/bin/tclsh"],
    },
    Package {
        name: "xz-utils",
        files: &["/usr/bin/xz"],
    },
    Package {
        name: "procps",
        files: &["/usr/bin/ps", "/bin/ps"],
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
    let _quiet = NoServices::begin()?;
    let mut command = Command::new("apt-get");
    command
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    process::run(&mut command).await.map(drop)
}

/// Where Debian asks whether a package may start its service (`invoke-rc.d`, `deb-systemd-invoke`).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// "Forbidden" to every question.
const FORBID: &str =
    "#!/bin/sh\n# Made by the testbed for the time of one installation.\nexit 101\n";

/// While it lives, installed packages start no service. A policy of the machine's own is left as it is.
#[derive(Debug)]
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn begin() -> Result<Self> {
        let path = PathBuf::from(POLICY);
        match fs::read_to_string(&path) {
            // Ours, of a run that crashed.
            Ok(text) if text == FORBID => {}
            Ok(_) => return Ok(Self(None)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::write(&path, FORBID).with_context(|| format!("writing {POLICY}"))?;
            }
            Err(error) => return Err(error).with_context(|| format!("reading {POLICY}")),
        }
        let made = Self(Some(path.clone()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {POLICY} executable"))?;
        Ok(made)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        let Some(path) = self.0.take() else { return };
        if let Err(error) = fs::remove_file(&path) {
            progress::say(&format!("could not remove {}: {error}", path.display()));
        }
    }
}

//! Container images made on this machine, under the names the operator deploys by default.
//!
//! Decides what is in them: Debian's packages with the user, paths and entrypoint habits of the real images, a pause
//! program, and the project's own binaries. Every archive lies in the cache under the hash of what it is made from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::{
    build::{Programs, short},
    cluster::Machine,
    debian::pick::{self, Selection},
    place, process, progress,
};

pub(crate) mod archive;
mod project;

pub use project::{ensure as ensure_project, programs};

use archive::{Config, Layer};

/// The image of the process that holds a pod's namespaces.
pub(crate) const PAUSE: &str = "registry.k8s.io/pause:3.10";
/// Changes whenever what this module puts into images does.
const FORMAT: u32 = 1;
/// containerd's socket inside a node.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Small programs that tests and preStop scripts may use in a data pod.
const SHELL: &[&str] = &[
    "bash", "cat", "chmod", "chown", "cp", "cut", "date", "env", "find", "grep", "head", "id",
    "kill", "ln", "ls", "mkdir", "mv", "rm", "sed", "seq", "setpriv", "sh", "sleep", "sort",
    "stat", "tail", "test", "timeout", "touch", "tr", "true", "wc",
];
/// The packages they are in; `kill` and `ps` come with procps.
const SHELL_PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "procps",
    "sed",
    "util-linux",
];

/// A data server's image and where Debian has it.
#[derive(Debug, Clone, Copy)]
struct Server {
    tag: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
    /// `redis` or `valkey`: begins the programs' names and is the user's.
    family: &'static str,
}

/// The data servers.
const SERVERS: &[Server] = &[
    Server {
        tag: "docker.io/library/redis:7.0",
        suite: "bookworm",
        packages: &["redis-server", "redis-tools"],
        family: "redis",
    },
    Server {
        tag: "docker.io/library/redis:8.0",
        suite: "trixie",
        packages: &["redis-server", "redis-tools"],
        family: "redis",
    },
    Server {
        tag: "docker.io/valkey/valkey:8.1",
        suite: "trixie",
        packages: &["valkey-server", "valkey-tools"],
        family: "valkey",
    },
];

/// The metrics exporter.
const EXPORTER: &str = "docker.io/oliver006/redis_exporter:v1.45.0";

/// An image in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The name pods use.
    pub tag: String,
    /// A docker archive.
    pub path: PathBuf,
}

impl Archive {
    /// Name and file, as a cluster's manifest has them.
    pub(crate) fn entry(&self) -> (String, PathBuf) {
        (self.tag.clone(), self.path.clone())
    }
}

/// Makes sure that every image but the project's own is in the cache.
///
/// # Errors
/// When packages cannot be fetched or unpacked.
pub async fn ensure(programs: &Programs) -> Result<Vec<Archive>> {
    let mut archives = vec![pause(programs)?];
    for server in SERVERS {
        archives.push(data_server(server).await?);
    }
    archives.push(exporter().await?);
    Ok(archives)
}

fn pause(programs: &Programs) -> Result<Archive> {
    let program = fs::read(&programs.pause).context("reading the pause program")?;
    let archive = located(PAUSE, &[&program])?;
    if !archive.path.exists() {
        let mut layer = Layer::default();
        layer.file("pause", 0o755, program);
        let config = Config {
            entrypoint: &["/pause"],
            user: "65535:65535",
            ..Config::default()
        };
        archive::write(&archive, layer, &config)?;
    }
    Ok(archive)
}

async fn data_server(server: &Server) -> Result<Archive> {
    let family = server.family;
    let script = entrypoint(family);
    let shell = SHELL.join(" ");
    let parts = [server.suite, &server.packages.join(" "), &script, &shell];
    let archive = located(server.tag, &parts.map(str::as_bytes))?;
    if archive.path.exists() {
        return Ok(archive);
    }
    progress::step(&format!("making image {}", server.tag), async {
        let names = ["server", "cli", "benchmark"].map(|part| format!("{family}-{part}"));
        let selection = Selection {
            suite: server.suite,
            packages: &[server.packages, SHELL_PACKAGES].concat(),
            programs: &SHELL
                .iter()
                .map(|&name| (name.to_owned(), format!("usr/bin/{name}")))
                .chain(names.map(|name| (name.clone(), format!("usr/local/bin/{name}"))))
                .collect::<Vec<_>>(),
        };
        let mut layer = pick::layer(&selection).await?;
        layer.merged_usr();
        layer.accounts(family);
        layer.file(
            "usr/local/bin/docker-entrypoint.sh",
            0o755,
            script.into_bytes(),
        );
        for part in ["sentinel", "check-aof", "check-rdb"] {
            layer.link(
                &format!("usr/local/bin/{family}-{part}"),
                &format!("{family}-server"),
            );
        }
        if family == "valkey" {
            for part in [
                "server",
                "cli",
                "benchmark",
                "sentinel",
                "check-aof",
                "check-rdb",
            ] {
                layer.link(
                    &format!("usr/local/bin/redis-{part}"),
                    &format!("valkey-{part}"),
                );
            }
        }
        layer.folder("data", 0o755, 999);
        layer.folder("tmp", 0o1777, 0);
        let server_program = format!("{family}-server");
        let config = Config {
            entrypoint: &["docker-entrypoint.sh"],
            command: &[&server_program],
            folder: "/data",
            volume: Some("/data"),
            port: Some(6379),
            ..Config::default()
        };
        archive::write(&archive, layer, &config)
    })
    .await?;
    Ok(archive)
}

/// What starts the server in the real images does this: options alone are the server's, and root is left behind.
fn entrypoint(family: &str) -> String {
    format!(
        r#"#!/bin/sh
# Bare options and configuration files are meant for the server, which never runs as root.
set -e
case "${{1:-}}" in
-* | *.conf) set -- {family}-server "$@" ;;
esac
if [ "$1" = {family}-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user {family} -exec chown {family} {{}} +
    exec setpriv --reuid={family} --regid={family} --clear-groups "$0" "$@"
fi
# What the server writes is its own business.
[ "$(umask)" != 0022 ] || umask 0077
exec "$@"
"#
    )
}

async fn exporter() -> Result<Archive> {
    let archive = located(EXPORTER, &[b"bookworm"])?;
    if archive.path.exists() {
        return Ok(archive);
    }
    progress::step(&format!("making image {EXPORTER}"), async {
        let selection = Selection {
            suite: "bookworm",
            packages: &["prometheus-redis-exporter"],
            programs: &[(
                "prometheus-redis-exporter".to_owned(),
                "redis_exporter".to_owned(),
            )],
        };
        let mut layer = pick::layer(&selection).await?;
        layer.merged_usr();
        let config = Config {
            entrypoint: &["/redis_exporter"],
            user: "59000:59000",
            port: Some(9121),
            ..Config::default()
        };
        archive::write(&archive, layer, &config)
    })
    .await?;
    Ok(archive)
}

/// Where an image made from these parts lies, or will lie, in the cache.
fn located(tag: &str, parts: &[&[u8]]) -> Result<Archive> {
    let mut digest = Sha256::new();
    digest.update(FORMAT.to_le_bytes());
    digest.update(tag);
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    let name = tag.rsplit('/').next().unwrap_or(tag).replace(':', "-");
    let folder = place::folder(place::cache()?.join("image"))?;
    let path = folder.join(format!("{name}-{}.tar", short(&digest.finalize())));
    Ok(Archive {
        tag: tag.to_owned(),
        path,
    })
}

/// Brings images onto a node.
pub(crate) async fn load(machine: &Machine, archives: &[Archive]) -> Result<()> {
    for archive in archives {
        load_one(machine, &archive.path)
            .await
            .with_context(|| format!("bringing {} onto {}", archive.tag, machine.namespace))?;
    }
    Ok(())
}

async fn load_one(machine: &Machine, path: &Path) -> Result<()> {
    let mut command: Command = machine.command("ctr");
    command
        .args([
            "--address",
            SOCKET,
            "--namespace",
            "k8s.io",
            "images",
            "import",
        ])
        .arg(path);
    process::run(&mut command).await.map(drop)
}

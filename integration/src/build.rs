//! Builds the programs of a cluster from pinned Go modules, once.
//!
//! What is built lies in the cache under the hash of everything it is built from: module files,
//! sources, flags and the compiler's version. Touches nothing but the cache and Go's own caches.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::{place, process, progress};

/// The Kubernetes version of a cluster that does not ask for another.
pub const KUBERNETES: &str = "1.37.2";

/// The six programs that make a Kubernetes.
const KUBERNETES_PROGRAMS: &[&str] = &[
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-proxy",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubectl",
    "k8s.io/kubernetes/cmd/kubelet",
];

/// One module of ours below `integration/go` and what is built in it.
#[derive(Debug, Clone)]
struct Recipe {
    /// The folder below `integration/go`.
    folder: String,
    /// Go packages; the programs are named after their last element.
    packages: &'static [&'static str],
    /// The programs' names.
    programs: &'static [&'static str],
    /// For the linker.
    flags: String,
}

/// Where the programs of a cluster lie.
#[derive(Debug, Clone)]
pub struct Programs {
    /// etcd.
    pub etcd: PathBuf,
    /// The API server.
    pub apiserver: PathBuf,
    /// The controller-manager.
    pub controller_manager: PathBuf,
    /// The scheduler.
    pub scheduler: PathBuf,
    /// The kubelet.
    pub kubelet: PathBuf,
    /// kube-proxy.
    pub proxy: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
    /// `CoreDNS`.
    pub coredns: PathBuf,
    /// helm.
    pub helm: PathBuf,
    /// The process that holds a pod's namespaces.
    pub pause: PathBuf,
    /// A cable that takes its time.
    pub delay: PathBuf,
}

/// Kubernetes versions there is a module for.
///
/// # Errors
/// When the folder of modules cannot be read.
pub fn versions() -> Result<Vec<String>> {
    let folder = modules();
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut versions: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("kubernetes-").map(str::to_owned)
        })
        .collect();
    versions.sort();
    Ok(versions)
}

/// Makes sure that everything a cluster of this Kubernetes version runs is built.
///
/// # Errors
/// When there is no module for the version, no Go compiler, or a build fails.
pub async fn ensure_programs(kubernetes: &str) -> Result<Programs> {
    let known = versions()?;
    ensure!(
        known.iter().any(|version| version == kubernetes),
        "Kubernetes {kubernetes} has no folder in integration/go; there are {}",
        known.join(", ")
    );
    let minor = kubernetes.split('.').nth(1).unwrap_or_default();
    let version = "k8s.io/component-base/version";
    let built = ensure_built(&Recipe {
        folder: format!("kubernetes-{kubernetes}"),
        packages: KUBERNETES_PROGRAMS,
        programs: &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ],
        flags: format!(
            "-s -w -X {version}.gitVersion=v{kubernetes} -X {version}.gitMajor=1 \
             -X {version}.gitMinor={minor}"
        ),
    })
    .await?;
    let etcd = simple("etcd", &["go.etcd.io/etcd/server/v3"], &["etcd"]).await?;
    let coredns = simple("coredns", &["."], &["coredns"]).await?;
    let helm = simple("helm", &["helm.sh/helm/v4/cmd/helm"], &["helm"]).await?;
    let pause = simple("pause", &["."], &["pause"]).await?;
    let delay = simple("delay", &["."], &["delay"]).await?;
    Ok(Programs {
        etcd: etcd.join("etcd"),
        apiserver: built.join("kube-apiserver"),
        controller_manager: built.join("kube-controller-manager"),
        scheduler: built.join("kube-scheduler"),
        kubelet: built.join("kubelet"),
        proxy: built.join("kube-proxy"),
        kubectl: built.join("kubectl"),
        coredns: coredns.join("coredns"),
        helm: helm.join("helm"),
        pause: pause.join("pause"),
        delay: delay.join("delay"),
    })
}

fn modules() -> PathBuf {
    place::workspace().join("integration/go")
}

async fn simple(
    folder: &str,
    packages: &'static [&'static str],
    programs: &'static [&'static str],
) -> Result<PathBuf> {
    let flags = "-s -w".to_owned();
    ensure_built(&Recipe {
        folder: folder.to_owned(),
        packages,
        programs,
        flags,
    })
    .await
}

/// Builds a recipe unless its result lies in the cache; returns the folder of the programs.
async fn ensure_built(recipe: &Recipe) -> Result<PathBuf> {
    let source = modules().join(&recipe.folder);
    let compiler = process::run(Command::new("go").arg("version").current_dir(&source))
        .await
        .context("building a cluster's programs needs Go (https://go.dev/dl) on the path")?;
    let hash = fingerprint(recipe, &source, compiler.trim())?;
    let programs = place::folder(place::cache()?.join("program"))?;
    let name = format!("{}-{hash}", recipe.folder);
    let target = programs.join(&name);
    if target.is_dir() {
        return Ok(target);
    }
    let what = format!("building {}", recipe.folder);
    progress::step(&what, async {
        // Another testbed may be at it; locking blocks this thread only for that long.
        let lock_folder = programs.clone();
        let lock_name = recipe.folder.clone();
        let lock =
            tokio::task::spawn_blocking(move || place::lock(&lock_folder, &lock_name)).await??;
        if !target.is_dir() {
            let partial = programs.join(format!("{name}.partial"));
            compile(recipe, &source, &partial).await?;
            fs::rename(&partial, &target)
                .with_context(|| format!("moving {} into place", target.display()))?;
        }
        drop(lock);
        Ok(target)
    })
    .await
}

async fn compile(recipe: &Recipe, source: &Path, output: &Path) -> Result<()> {
    if output.exists() {
        fs::remove_dir_all(output).with_context(|| format!("removing {}", output.display()))?;
    }
    place::folder(output.to_owned())?;
    // One program may take another name than its package's last element, as etcd's does.
    let single = match (recipe.packages, recipe.programs) {
        ([_], [program]) => Some(output.join(program)),
        _ => None,
    };
    let mut command = Command::new("go");
    command
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &recipe.flags,
            "-o",
        ])
        .arg(single.as_deref().unwrap_or(output))
        .args(recipe.packages);
    process::run(&mut command).await?;
    for program in recipe.programs {
        ensure!(output.join(program).is_file(), "go build left no {program}");
    }
    Ok(())
}

/// The hash of what a build depends on.
fn fingerprint(recipe: &Recipe, source: &Path, compiler: &str) -> Result<String> {
    let mut digest = Sha256::new();
    let mut files: Vec<PathBuf> = fs::read_dir(source)
        .with_context(|| format!("reading {}", source.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        digest.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(content.len().to_le_bytes());
        digest.update(content);
    }
    digest.update(&recipe.flags);
    for package in recipe.packages {
        digest.update(package);
    }
    digest.update(compiler);
    Ok(short(&digest.finalize()))
}

/// The first twelve hexadecimal digits: enough to tell versions apart.
pub(crate) fn short(digest: &[u8]) -> String {
    hexadecimal(digest.get(..6).unwrap_or(digest))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

//! Takes programs and the libraries they need out of Debian's packages, for an image.
//!
//! Touches nothing but a workshop in the cache.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::fetch::Workshop;
use crate::{image::archive::Layer, place, process};

/// What is taken.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// Debian's suite.
    pub(crate) suite: &'a str,
    /// Packages; what they depend on is fetched as well.
    pub(crate) packages: &'a [&'a str],
    /// A program's name and its path in the image.
    pub(crate) programs: &'a [(String, String)],
}

/// Fetches, unpacks and picks.
pub(crate) async fn layer(selection: &Selection<'_>) -> Result<Layer> {
    let first = selection
        .packages
        .first()
        .context("a selection has packages")?;
    let workshop = Workshop::new(selection.suite, first)?;
    let archives = workshop.packages(selection.packages).await?;
    let root = unpack(&archives, workshop.folder()).await?;
    pick(selection, &root).await
}

/// Unpacks all packages into one root folder.
pub(super) async fn unpack(archives: &Path, work: &Path) -> Result<PathBuf> {
    let root = place::folder(work.join("root"))?;
    for name in ["bin", "lib", "lib64", "sbin"] {
        place::folder(root.join("usr").join(name))?;
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))
            .with_context(|| format!("linking {name}"))?;
    }
    let entries = fs::read_dir(archives).context("reading the fetched packages")?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            unpack_one(&path, &root)
                .await
                .with_context(|| format!("unpacking {}", path.display()))?;
        }
    }
    Ok(root)
}

async fn unpack_one(package: &Path, root: &Path) -> Result<()> {
    let mut source = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting dpkg-deb")?;
    let pipe: Stdio = source
        .stdout
        .take()
        .context("its output is piped")?
        .try_into()?;
    let status = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--directory"])
        .arg(root)
        .stdin(pipe)
        .status()
        .await
        .context("starting tar")?;
    let source = source.wait().await.context("waiting for dpkg-deb")?;
    ensure!(status.success() && source.success(), "it is damaged");
    Ok(())
}

/// Collects the wanted programs and every library they load.
async fn pick(selection: &Selection<'_>, root: &Path) -> Result<Layer> {
    let mut layer = Layer::default();
    let mut libraries: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (name, target) in selection.programs {
        let path = resolve(root, &Path::new("/usr/bin").join(name))?;
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if content.starts_with(b"\x7fELF") {
            libraries.extend(needed(root, name).await?);
        }
        layer.file(target, 0o755, content);
    }
    for (target, path) in libraries {
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        layer.file(&target, 0o755, content);
    }
    Ok(layer)
}

/// The libraries of a program, its loader among them: path in the image → file.
async fn needed(root: &Path, program: &str) -> Result<BTreeMap<String, PathBuf>> {
    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
    let mut command = Command::new("chroot");
    command
        .arg(root)
        .args([LOADER, "--list", &format!("/usr/bin/{program}")]);
    let listing = match process::run(&mut command).await {
        Ok(listing) => listing,
        // What the loader says of a program that needs none.
        Err(error) if error.to_string().contains("statically linked") => String::new(),
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    for line in listing.lines() {
        // "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)" or "/lib64/ld-linux… (0x…)".
        let path = line.split(" => ").last().unwrap_or_default().trim();
        let path = path.split(" (").next().unwrap_or_default();
        if path.contains("not found") {
            bail!("{program}: {line}");
        }
        if path.starts_with('/') {
            // The image has Debian's links from /lib to /usr/lib.
            let below = path.trim_start_matches("/usr").trim_start_matches('/');
            found.insert(format!("usr/{below}"), resolve(root, Path::new(path))?);
        }
    }
    Ok(found)
}

/// The file that a path inside `root` leads to, following links as if `root` were the root.
fn resolve(root: &Path, path: &Path) -> Result<PathBuf> {
    let mut pending: Vec<PathBuf> = vec![path.to_owned()];
    let mut current = PathBuf::new();
    let mut links = 0;
    while let Some(next) = pending.pop() {
        let mut components = next.components();
        let Some(first) = components.next() else {
            continue;
        };
        let rest = components.as_path().to_owned();
        if !rest.as_os_str().is_empty() {
            pending.push(rest);
        }
        match first {
            Component::RootDir | Component::Prefix(_) => current = PathBuf::new(),
            Component::CurDir => {}
            Component::ParentDir => {
                current.pop();
            }
            Component::Normal(name) => {
                current.push(name);
                if let Ok(target) = fs::read_link(root.join(&current)) {
                    links += 1;
                    ensure!(links < 40, "{} leads in circles", path.display());
                    current.pop();
                    pending.push(target);
                }
            }
        }
    }
    let found = root.join(&current);
    ensure!(found.is_file(), "the packages have no {}", path.display());
    Ok(found)
}

//! Takes programs and the libraries they need out of Debian's packages, of any suite.
//!
//! Uses apt with a configuration of its own, so that the machine's lists, packages and sources are neither read
//! nor changed, but for the addresses of its mirrors. Works in a folder of the cache that it removes again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::archive::Layer;
use crate::{place, process};

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

/// Where the machine has no sources of its own, as in another distribution.
const MIRROR: &str = "http://deb.debian.org/debian";

/// Fetches, unpacks and picks.
pub(crate) async fn layer(selection: &Selection<'_>) -> Result<Layer> {
    ensure!(
        Path::new("/usr/bin/apt-get").exists() && Path::new("/usr/bin/dpkg-deb").exists(),
        "images are made of Debian's packages: apt and dpkg are needed"
    );
    let first = selection
        .packages
        .first()
        .context("a selection has packages")?;
    let work = place::cache()?
        .join("apt")
        .join(format!("{}-{first}", selection.suite));
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    place::folder(work.clone())?;
    let archives = fetch(selection, &work).await?;
    let root = unpack(&archives, &work).await?;
    let layer = pick(selection, &root).await?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    Ok(layer)
}

/// Downloads the packages and what they depend on; returns the folder of the .deb files.
async fn fetch(selection: &Selection<'_>, work: &Path) -> Result<PathBuf> {
    let shared = place::cache()?
        .join("apt")
        .join(format!("lists-{}", selection.suite));
    let lists = place::folder(shared)?;
    place::folder(lists.join("partial"))?;
    let archives = work.join("archives");
    place::folder(archives.join("partial"))?;
    let sources = place::folder(work.join("sources"))?;
    fs::write(sources.join("debian.list"), source_lines(selection.suite))
        .context("writing the sources")?;
    // An empty status: nothing is installed, so everything needed is fetched.
    fs::write(work.join("status"), "").context("writing the status")?;
    let apt = || {
        let mut command = Command::new("apt-get");
        for (key, value) in [
            ("Dir::Etc::sourcelist", Path::new("/dev/null")),
            ("Dir::Etc::sourceparts", &sources),
            ("Dir::State::lists", &lists),
            ("Dir::State::status", &work.join("status")),
            ("Dir::Cache", work),
            ("Dir::Cache::archives", &archives),
        ] {
            command.arg(format!("--option={key}={}", value.display()));
        }
        command.args([
            "--option=APT::Sandbox::User=root",
            "--option=APT::Architecture=amd64",
            "--option=Acquire::Languages=none",
            "--option=Acquire::Retries=3",
            "--quiet",
            "--yes",
        ]);
        command
    };
    process::run(apt().arg("update"))
        .await
        .context("fetching the lists of packages")?;
    process::run(
        apt()
            .args(["install", "--download-only", "--no-install-recommends"])
            .args(selection.packages),
    )
    .await
    .context("fetching packages")?;
    Ok(archives)
}

/// The machine's own Debian mirrors, with the wanted suite in place of its own.
fn source_lines(suite: &str) -> String {
    let own = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or_default()
        .to_owned();
    let mut lines = Vec::new();
    let folder = Path::new("/etc/apt/sources.list.d");
    let files = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for file in files.chain([PathBuf::from("/etc/apt/sources.list")]) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if file
            .extension()
            .is_some_and(|extension| extension == "sources")
        {
            for stanza in text.split("\n\n") {
                lines.extend(translated(stanza, &own, suite));
            }
        } else {
            lines.extend(
                text.lines()
                    .filter_map(|line| translated_line(line, &own, suite)),
            );
        }
    }
    if lines.is_empty() {
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        lines.push(format!("deb [signed-by={key}] {MIRROR} {suite} main"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The suite of the same kind: `bookworm-updates` → `trixie-updates`; `None` for a stranger's.
fn same_kind(found: &str, own: &str, wanted: &str) -> Option<String> {
    let rest = found.strip_prefix(own)?;
    (!own.is_empty() && (rest.is_empty() || rest.starts_with('-')))
        .then(|| format!("{wanted}{rest}"))
}

/// A one-line source of the machine, for the wanted suite.
fn translated_line(line: &str, own: &str, wanted: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?;
    let suite = rest
        .split_whitespace()
        .find_map(|word| same_kind(word, own, wanted).map(|suite| (word.to_owned(), suite)))?;
    Some(format!("deb {}", rest.replacen(&suite.0, &suite.1, 1)))
}

/// A source of several lines, for the wanted suite, one line per suite.
fn translated(stanza: &str, own: &str, wanted: &str) -> Vec<String> {
    let field = |name: &str| {
        stanza
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    let (Some(types), Some(addresses), Some(suites)) =
        (field("Types"), field("URIs"), field("Suites"))
    else {
        return Vec::new();
    };
    if !types.split_whitespace().any(|word| word == "deb") {
        return Vec::new();
    }
    let signed = field("Signed-By")
        .map(|key| format!("[signed-by={key}] "))
        .unwrap_or_default();
    let components = field("Components").unwrap_or("main");
    let suites: Vec<String> = suites
        .split_whitespace()
        .filter_map(|suite| same_kind(suite, own, wanted))
        .collect();
    addresses
        .split_whitespace()
        .flat_map(|address| {
            suites
                .iter()
                .map(|suite| format!("deb {signed}{address} {suite} {components}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Unpacks all packages into one root folder.
async fn unpack(archives: &Path, work: &Path) -> Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_translated_to_another_suite_and_strangers_are_left_out() {
        let own = "Types: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm \
                   bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n";
        assert_eq!(
            translated(own, "bookworm", "trixie"),
            [
                "deb [signed-by=/k.gpg] http://mirror/debian trixie main",
                "deb [signed-by=/k.gpg] http://mirror/debian trixie-updates main",
            ]
        );
        let line = "deb [signed-by=/k.gpg] http://mirror/debian bookworm main";
        assert_eq!(
            translated_line(line, "bookworm", "bookworm").as_deref(),
            Some(line),
            "the same suite stays"
        );
        let stranger = "deb https://elsewhere/apt cloud-sdk-bookworm main";
        assert_eq!(translated_line(stranger, "bookworm", "trixie"), None);
    }
}

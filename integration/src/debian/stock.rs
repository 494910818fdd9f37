//! Stock servers and sentinels of other Debian releases than the machine's, with their own Sentinel tests.
//!
//! Unpacked once into the cache, never installed: a small script starts each with the libraries it was built for.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::{fetch::Workshop, pick};
use crate::{place, process, progress};

/// Changes whenever what this module unpacks, or how, does.
const FORMAT: u32 = 1;
/// Where Debian has a release's loader and libraries.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// One release of a stock server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// What it is called here.
    pub name: &'static str,
    /// `redis` or `valkey`: begins the programs' names, and is the sources'.
    pub family: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
}

/// All there are.
pub const STOCK: &[Stock] = &[
    Stock {
        name: "redis-8.0",
        family: "redis",
        suite: "trixie",
        packages: &["redis-server", "redis-sentinel", "redis-tools"],
    },
    Stock {
        name: "valkey-8.1",
        family: "valkey",
        suite: "trixie",
        packages: &["valkey-server", "valkey-sentinel", "valkey-tools"],
    },
];

/// Where an unpacked one lies.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The programs, under the names they are installed under.
    pub programs: PathBuf,
    /// The `tests` folder of its sources.
    pub tests: PathBuf,
}

impl Stock {
    /// The one that is called so.
    ///
    /// # Errors
    /// When none is; the message names those there are.
    pub fn named(name: &str) -> Result<Self> {
        let known: Vec<&str> = STOCK.iter().map(|stock| stock.name).collect();
        let found = STOCK.iter().find(|stock| stock.name == name);
        found.copied().with_context(|| {
            format!(
                "no stock server is called {name:?}: there are {}",
                known.join(", ")
            )
        })
    }

    /// Fetches and unpacks it, unless it lies in the cache already.
    ///
    /// # Errors
    /// When packages cannot be fetched or unpacked.
    pub async fn ensure(self) -> Result<Unpacked> {
        let all = place::folder(place::cache()?.join("stock"))?;
        let _lock = place::lock(&all, self.name)?;
        let folder = all.join(format!("{}-{FORMAT}", self.name));
        if !folder.exists() {
            let what = format!("unpacking {} and its tests", self.name);
            progress::step(&what, self.unpack(&folder)).await?;
        }
        Ok(Unpacked {
            programs: folder.join("bin"),
            tests: folder.join("source").join("tests"),
        })
    }

    async fn unpack(self, folder: &Path) -> Result<()> {
        let workshop = Workshop::new(self.suite, self.name)?;
        let archives = workshop.packages(self.packages).await?;
        let published = workshop.source(self.family).await?;
        // Made aside and renamed: what is there is whole.
        let made = folder.with_file_name(format!("{}.new", self.name));
        if made.exists() {
            fs::remove_dir_all(&made).with_context(|| format!("removing {}", made.display()))?;
        }
        let source = place::folder(made.join("source"))?;
        let mut command = Command::new("tar");
        command
            .arg("--directory")
            .arg(&source)
            .arg("--file")
            .arg(&published)
            .args(["--extract", "--strip-components=1"])
            .args(["--wildcards", "*/tests/*"]);
        process::run(&mut command).await?;
        let root = pick::unpack(&archives, &made).await?;
        self.scripts(&made, &folder.join("root"), &root)?;
        fs::rename(&made, folder).with_context(|| format!("making {}", folder.display()))
    }

    /// Writes what starts each program, for when `root` has become `later`.
    fn scripts(self, made: &Path, later: &Path, root: &Path) -> Result<()> {
        let scripts = place::folder(made.join("bin"))?;
        let begins = format!("{}-", self.family);
        let entries = fs::read_dir(root.join("usr/bin")).context("reading the programs")?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(&begins));
        let mut count = 0;
        for name in names {
            let libraries = later.join(LIBRARIES);
            let text = format!(
                "#!/bin/sh\nexec {libraries}/ld-linux-x86-64.so.2 --library-path {libraries} {} \"$@\"\n",
                later.join("usr/bin").join(&name).display(),
                libraries = libraries.display(),
            );
            script(&scripts.join(name), &text)?;
            count += 1;
        }
        ensure!(count > 0, "the packages have no {begins}…");
        Ok(())
    }
}

/// Writes a program that is a text.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("making {} executable", path.display()))
}

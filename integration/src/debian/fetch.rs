//! Downloads Debian's packages, of any suite, with a configuration of its own.
//!
//! The machine's lists, packages and sources are neither read nor changed, but for the addresses of its mirrors. Works in
//! a folder of the cache that goes away with the value that stands for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{place, process};

/// Where the machine has no sources of its own, as in another distribution.
const MIRROR: &str = "http://deb.debian.org/debian";

/// A folder in which packages of one suite are fetched and unpacked; removed when it goes out of scope.
#[derive(Debug)]
pub(super) struct Workshop {
    suite: String,
    folder: PathBuf,
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Whoever comes next removes it as well.
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Workshop {
    /// An empty one. `name` tells it from others of the same suite.
    pub(super) fn new(suite: &str, name: &str) -> Result<Self> {
        ensure!(
            Path::new("/usr/bin/apt-get").exists() && Path::new("/usr/bin/dpkg-deb").exists(),
            "images and stock programs are made of Debian's packages: apt and dpkg are needed"
        );
        let folder = place::cache()?.join("apt").join(format!("{suite}-{name}"));
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("removing {}", folder.display()))?;
        }
        place::folder(folder.join("archives").join("partial"))?;
        place::folder(folder.join("sources"))?;
        // An empty status: nothing is installed, so everything needed is fetched.
        fs::write(folder.join("status"), "").context("writing the status")?;
        Ok(Self {
            suite: suite.to_owned(),
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Downloads packages and what they depend on; returns the folder of the .deb files.
    pub(super) async fn packages(&self, names: &[&str]) -> Result<PathBuf> {
        self.update("deb").await?;
        let mut command = self.apt("deb")?;
        command
            .args(["install", "--download-only", "--no-install-recommends"])
            .args(names);
        process::run(&mut command)
            .await
            .context("fetching packages")?;
        Ok(self.folder.join("archives"))
    }

    /// Downloads a package's sources; returns the archive of what its authors published.
    ///
    /// Nothing else is asked for: that archive outlives Debian's own changes to it, of which a mirror
    /// may lack the newest for a while.
    pub(super) async fn source(&self, name: &str) -> Result<PathBuf> {
        self.update("deb-src").await?;
        let mut command = self.apt("deb-src")?;
        command
            .current_dir(&self.folder)
            .args(["source", "--download-only", "--tar-only", name]);
        process::run(&mut command)
            .await
            .with_context(|| format!("fetching the sources of {name}"))?;
        let entries = fs::read_dir(&self.folder).context("reading the fetched sources")?;
        let paths = entries.flatten().map(|entry| entry.path());
        let published = paths.filter(|path| {
            let shown = path.to_string_lossy();
            shown.contains(".orig.tar.") && !shown.ends_with(".asc")
        });
        published
            .last()
            .with_context(|| format!("the sources of {name} have no .orig.tar"))
    }

    async fn update(&self, kind: &str) -> Result<()> {
        let mut lines = source_lines(&self.suite);
        if kind == "deb-src" {
            lines = of_sources(&lines, &self.suite);
        }
        let sources = self.folder.join("sources").join("debian.list");
        fs::write(sources, lines).context("writing the sources")?;
        process::run(self.apt(kind)?.arg("update"))
            .await
            .context("fetching the lists of packages")
            .map(drop)
    }

    fn apt(&self, kind: &str) -> Result<Command> {
        let shared = place::cache()?
            .join("apt")
            .join(format!("lists-{}-{kind}", self.suite));
        let lists = place::folder(shared)?;
        place::folder(lists.join("partial"))?;
        let mut command = Command::new("apt-get");
        for (key, value) in [
            ("Dir::Etc::sourcelist", Path::new("/dev/null")),
            ("Dir::Etc::sourceparts", &self.folder.join("sources")),
            ("Dir::State::lists", &lists),
            ("Dir::State::status", &self.folder.join("status")),
            ("Dir::Cache", &self.folder),
            ("Dir::Cache::archives", &self.folder.join("archives")),
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
        Ok(command)
    }
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

/// The same for sources. Without updates of the suite: what the authors published is in each of them.
fn of_sources(lines: &str, suite: &str) -> String {
    let main = lines
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == suite));
    main.map(|line| line.replacen("deb ", "deb-src ", 1) + "\n")
        .collect()
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
        assert_eq!(
            of_sources(
                "deb http://m trixie main\ndeb http://m trixie-updates main",
                "trixie"
            ),
            "deb-src http://m trixie main\n"
        );
        let stranger = "deb https://elsewhere/apt cloud-sdk-bookworm main";
        assert_eq!(translated_line(stranger, "bookworm", "trixie"), None);
    }
}

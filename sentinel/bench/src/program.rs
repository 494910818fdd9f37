//! Which programs are compared, and where they are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{Choice, say};

/// One of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    Duke,
    Stock,
}

impl Kind {
    /// In the order of their turns.
    pub(crate) const BOTH: [Self; 2] = [Self::Duke, Self::Stock];

    /// As tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Duke => "Duke",
            Self::Stock => "stock",
        }
    }
}

/// The programs of one run.
#[derive(Debug)]
pub(crate) struct Programs {
    duke: PathBuf,
    stock: PathBuf,
    server: PathBuf,
}

impl Programs {
    /// Finds them, and builds Duke if none is given.
    ///
    /// # Errors
    /// When one is missing; the message says how to get it.
    pub(crate) fn find(choice: &Choice) -> Result<Self> {
        let duke = match &choice.duke {
            Some(path) => path.clone(),
            None => build()?,
        };
        let stock = |role: &str| match &choice.stock {
            None => Ok(PathBuf::from(format!("redis-{role}"))),
            Some(folder) => ["redis", "valkey"]
                .map(|family| folder.join(format!("{family}-{role}")))
                .into_iter()
                .find(|path| path.exists())
                .with_context(|| format!("{} has no stock {role}", folder.display())),
        };
        let programs = Self {
            duke,
            stock: stock("sentinel")?,
            server: stock("server")?,
        };
        say(&format!(
            "Duke: {}\nstock: {}\n",
            version(&programs.duke)?,
            version(&programs.stock)?
        ));
        Ok(programs)
    }

    /// The sentinel of this kind.
    pub(crate) fn sentinel(&self, kind: Kind) -> &Path {
        match kind {
            Kind::Duke => &self.duke,
            Kind::Stock => &self.stock,
        }
    }

    /// The data server, the same for both.
    pub(crate) fn server(&self) -> &Path {
        &self.server
    }
}

pub(crate) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| {
            format!(
                "cannot run {}; Debian's packages redis-server and redis-sentinel have the stock ones, \
                 and --stock names a folder with others",
                program.display()
            )
        })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Builds Duke as it is shipped.
fn build() -> Result<PathBuf> {
    let arguments = ["build", "--release", "--locked", "--package", "duke"];
    let status = Command::new("cargo").args(arguments).status()?;
    ensure!(status.success(), "building Duke failed");
    // The program stands beside this one's folder: target/PROFILE/duke-bench.
    let own = std::env::current_exe()?;
    let target = own
        .parent()
        .and_then(Path::parent)
        .context("this program is in no target folder; name Duke with --duke")?;
    Ok(target.join("release/duke"))
}

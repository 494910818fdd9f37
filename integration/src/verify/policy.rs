//! `testbed policy`: holds the dependencies against `.deny.toml` with cargo-deny.
//!
//! Installs the pinned version of cargo-deny into the cache folder when it is not there. The check for advisories is
//! left out: it needs a copy of the advisory database, which is no package of a registry.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::progress;

/// The version of cargo-deny; a change installs the new one beside the old.
const VERSION: &str = "0.20.2";

/// Checks bans, licences and sources of every dependency of the workspace at `root`.
///
/// # Errors
/// When cargo-deny cannot be installed, or a dependency breaks the policy.
pub fn check(root: &Path, cache: &Path) -> Result<()> {
    let home = cache.join(format!("cargo-deny-{VERSION}"));
    let program = home.join("bin/cargo-deny");
    if !program.is_file() {
        progress::say(&format!("installing cargo-deny {VERSION}, once"));
        let status = Command::new("cargo")
            .args([
                "install",
                "cargo-deny",
                "--locked",
                "--quiet",
                "--version",
                VERSION,
                "--root",
            ])
            .arg(&home)
            .status()
            .context("starting cargo install")?;
        ensure!(
            status.success(),
            "cargo-deny {VERSION} could not be installed"
        );
    }
    let status = Command::new(&program)
        .args([
            "--config",
            ".deny.toml",
            "check",
            "bans",
            "licenses",
            "sources",
        ])
        .current_dir(root)
        .status()
        .context("starting cargo-deny")?;
    ensure!(
        status.success(),
        "a dependency breaks the policy in .deny.toml"
    );
    Ok(())
}

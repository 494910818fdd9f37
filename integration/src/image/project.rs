//! The project's own image: nothing but `/pipeline-operator`, `/duke` and `/duke-agent`, all static.
//!
//! Builds them with cargo in a target folder of their own, so that builds for development are not disturbed.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};
use pipeline_operator::api::image::OPERATOR;
use tokio::process::Command;

use super::{
    Archive,
    archive::{self, Config, Layer},
    located,
};
use crate::{place, process, progress};

/// Proc-macros cannot be built statically, so the target has to be named although it is the machine's own.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The build profile, named in the workspace's `Cargo.toml`.
const PROFILE: &str = "testbed";
const PROGRAMS: &[&str] = &["pipeline-operator", "duke", "duke-agent"];

/// Builds the programs as they are in the source tree now, and makes the image.
///
/// # Errors
/// When they do not compile.
pub async fn ensure() -> Result<Archive> {
    let folder = programs().await?;
    let programs: Vec<Vec<u8>> = PROGRAMS
        .iter()
        .map(|program| {
            let path = folder.join(program);
            fs::read(&path).with_context(|| format!("reading {}", path.display()))
        })
        .collect::<Result<_>>()?;
    let parts: Vec<&[u8]> = programs.iter().map(Vec::as_slice).collect();
    let archive = located(OPERATOR, &parts)?;
    if !archive.path.exists() {
        let mut layer = Layer::default();
        for (name, content) in PROGRAMS.iter().zip(programs) {
            layer.file(name, 0o755, content);
        }
        let config = Config {
            entrypoint: &["/pipeline-operator"],
            user: "65532:65532",
            ..Config::default()
        };
        archive::write(&archive, layer, &config)?;
    }
    Ok(archive)
}

/// Builds the programs; returns the folder they lie in.
///
/// # Errors
/// When they do not compile.
pub async fn programs() -> Result<PathBuf> {
    let target = place::folder(target_folder()?)?;
    let mut command = Command::new("cargo");
    process::by_hand(&mut command)
        .current_dir(place::workspace())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", &target)
        .args([
            "build",
            "--profile",
            PROFILE,
            "--locked",
            "--target",
            TARGET,
        ]);
    for program in PROGRAMS {
        command.args(["--package", program]);
    }
    progress::step(
        "building the operator, Duke and the agent",
        process::run(&mut command),
    )
    .await?;
    Ok(target.join(TARGET).join(PROFILE))
}

/// Below the folder that cargo builds this workspace in.
fn target_folder() -> Result<PathBuf> {
    let base = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| place::workspace().join("target"), PathBuf::from);
    let base = std::path::absolute(base).context("finding the target folder")?;
    Ok(base.join("image"))
}

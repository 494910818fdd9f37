//! Where things lie: the user's cache, the source tree, this program.
//!
//! Only names paths and makes folders; what goes into them is decided elsewhere.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// The project's folder below the user's cache: `$XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// When neither variable is set, or the folder cannot be made.
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where the cache folder is")?;
    folder(base.join("pipeline-operator"))
}

/// The folder of all clusters' states.
///
/// # Errors
/// As [`cache`].
pub fn clusters() -> Result<PathBuf> {
    folder(cache()?.join("clusters"))
}

/// Makes a folder and those above it, if they are not there.
///
/// # Errors
/// When it cannot be made.
pub fn folder(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    Ok(path)
}

/// The root of the source tree this program was built from.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The `testbed` program: this one, or its neighbour when a test runs.
///
/// # Errors
/// When the neighbour is not built.
pub fn program() -> Result<PathBuf> {
    let current = env::current_exe().context("asking for this program's path")?;
    if current.file_name().is_some_and(|name| name == "testbed") {
        return Ok(current);
    }
    // A test lies in target/debug/deps, what it tests in target/debug.
    let neighbour = current
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("testbed"))
        .find(|path| path.is_file());
    neighbour.with_context(|| {
        format!(
            "no program testbed near {}: cargo build --package integration",
            current.display()
        )
    })
}

/// Waits until no other process makes what is called `name`, and keeps others waiting until the
/// returned file is dropped.
///
/// # Errors
/// When the lock's file cannot be made or locked.
pub fn lock(folder: &Path, name: &str) -> Result<File> {
    ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let path = folder.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    file.lock()
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

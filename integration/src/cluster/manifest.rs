//! What a cluster's folder remembers: its settings, its machines' anchors, its daemons.
//!
//! Written whole and renamed into place after every start of a process, so that a testbed killed
//! half-way leaves a true record. Removal does not depend on it: see `sweep`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::Identity;

/// The file in the cluster's folder.
const FILE: &str = "cluster.json";

/// A long-running program of the cluster and how to start it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// The machine it runs on: `host`, `node-1`, ….
    pub machine: String,
    /// Its absolute path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The process, unless it was stopped on purpose.
    pub process: Option<Identity>,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The cluster's name.
    pub name: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// Its Kubernetes version.
    pub kubernetes: String,
    /// The port on 127.0.0.1 that leads to its API server.
    pub port: u16,
    /// Whether it came up to its end.
    pub complete: bool,
    /// The file that each image on the nodes came from, by the image's name.
    #[serde(default)]
    pub images: BTreeMap<String, PathBuf>,
    /// The process that holds each machine's mount namespace.
    pub anchors: BTreeMap<String, Identity>,
    /// Every daemon by name: `apiserver`, `kubelet-1`, ….
    pub daemons: BTreeMap<String, Daemon>,
}

impl Manifest {
    /// Reads the record of the cluster in `folder`; `None` when there is none that can be read.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Writes the record.
    ///
    /// # Errors
    /// When the folder does not take it.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("writing the manifest down")?;
        let partial = folder.join(format!("{FILE}.partial"));
        fs::write(&partial, text).with_context(|| format!("writing {}", partial.display()))?;
        fs::rename(&partial, folder.join(FILE)).context("moving the manifest into place")
    }

    /// Whether the cluster came up and its machines still run, though programs may be stopped.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.complete && self.anchors.values().all(|anchor| anchor.alive())
    }

    /// Whether the cluster came up and nothing of it has died or was stopped since.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.alive()
            && self
                .daemons
                .values()
                .all(|daemon| daemon.process.is_some_and(Identity::alive))
    }
}

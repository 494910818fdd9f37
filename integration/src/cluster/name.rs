//! What everything of a cluster is called, and its addresses.
//!
//! Pure. Every name begins with the cluster's prefix, so that leftovers are found by name alone.
//! Addresses may be the same in every cluster: each has an outer network namespace without uplink.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Begins the name of every namespace and cgroup of ours.
pub(crate) const PREFIX: &str = "pltb.";

/// The network namespace that stands for the machine of the control plane and the wire between nodes.
pub(crate) const HOST: &str = "host";
/// The host's address: API server, `CoreDNS`.
pub(crate) const HOST_ADDRESS: &str = "100.64.0.1";
/// The port of the API server.
pub(crate) const API_PORT: u16 = 6443;
/// All pods of all nodes.
pub(crate) const POD_RANGE: &str = "100.64.128.0/17";
/// All `ClusterIP`s.
pub(crate) const SERVICE_RANGE: &str = "100.65.0.0/16";
/// The `ClusterIP` of the API server, first of its range.
pub(crate) const API_SERVICE: &str = "100.65.0.1";

/// A cluster's name: lower-case letters, digits and hyphens, short enough for paths of sockets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName(String);

impl ClusterName {
    /// Checks a name.
    ///
    /// # Errors
    /// Says what a name looks like.
    pub fn new(name: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.len() <= 20 && name.chars().all(allowed),
            "{name:?} is no cluster name: at most 20 lower-case letters, digits and hyphens"
        );
        Ok(Self(name.to_owned()))
    }

    /// The bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Begins the names of this cluster's namespaces and cgroups; no other cluster's begin so.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{PREFIX}{}.", self.0)
    }

    /// The network namespace of a machine (`host`, `node-1`, …).
    #[must_use]
    pub fn namespace(&self, machine: &str) -> String {
        format!("{}{machine}", self.prefix())
    }

    /// The cluster that a namespace or cgroup of this name belongs to.
    #[must_use]
    pub fn owner(name: &str) -> Option<Self> {
        let (cluster, _) = name.strip_prefix(PREFIX)?.split_once('.')?;
        Self::new(cluster).ok()
    }
}

impl std::fmt::Display for ClusterName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the node with this number, counted from 1.
#[must_use]
pub fn node(number: usize) -> String {
    format!("node-{number}")
}

/// A node's address on the wire.
pub(crate) fn node_address(number: usize) -> String {
    format!("100.64.0.{}", number + 10)
}

/// The range of a node's pods.
pub(crate) fn pod_range(number: usize) -> String {
    format!("100.64.{}.0/24", number + 127)
}

/// Where a namespace has its name.
pub(crate) fn namespace_path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_cluster_and_no_other() -> Result<()> {
        let short = ClusterName::new("a")?;
        let long = ClusterName::new("a-1")?;
        assert_eq!(
            ClusterName::owner(&short.namespace("node-1")),
            Some(short.clone())
        );
        assert_eq!(
            ClusterName::owner(&long.namespace(HOST)),
            Some(long.clone())
        );
        assert!(!long.namespace(HOST).starts_with(&short.prefix()));
        assert_eq!(ClusterName::owner("cni-5e1"), None);
        assert!(ClusterName::new("A").is_err());
        Ok(())
    }
}

//! Faults, as verbs: what can go wrong with a process, a pod, a cable, a machine's program.
//!
//! Everything here acts from outside, as real trouble does: signals to a container's process without
//! a word to Kubernetes, packets dropped on a node's cable. Nothing outside the cluster's own
//! namespaces is touched.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};

use crate::{
    cluster::{Cluster, node_name},
    process,
};

/// The table of packet filters that holds a node's cuts, so that healing is removing it.
const TABLE: &str = "testbed_cut";

/// One direction of a node's cable, as the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// What others send to it and to its pods is lost.
    In,
    /// What it and its pods send to others is lost.
    Out,
}

/// Faults of processes in containers.
impl Cluster {
    /// Kills the first process of a data pod's server, or of any other container: signal 9.
    ///
    /// # Errors
    /// When there is no such pod, or its container does not run.
    pub async fn kill_server(&self, namespace: &str, pod: &str) -> Result<()> {
        self.signal(namespace, pod, "SIGKILL").await
    }

    /// Stops a pod's server from being run, as a frozen machine would.
    ///
    /// # Errors
    /// When there is no such pod, or its container does not run.
    pub async fn freeze_server(&self, namespace: &str, pod: &str) -> Result<()> {
        self.signal(namespace, pod, "SIGSTOP").await
    }

    /// Lets a stopped server go on.
    ///
    /// # Errors
    /// When there is no such pod, or its container does not run.
    pub async fn thaw_server(&self, namespace: &str, pod: &str) -> Result<()> {
        self.signal(namespace, pod, "SIGCONT").await
    }

    /// Kills a pod's server after emptying its emptyDirs, so that it comes back without memory.
    ///
    /// # Errors
    /// When there is no such pod, or its container does not run.
    pub async fn empty_server(&self, namespace: &str, pod: &str) -> Result<()> {
        let (node, _, uid) = self.container(namespace, pod).await?;
        let volumes = format!("/var/lib/kubelet/pods/{uid}/volumes");
        // Frozen first: it writes nothing more, and is not restarted before its files are gone.
        self.freeze_server(namespace, pod).await?;
        let below = format!("{volumes}/kubernetes.io~empty-dir/*/*");
        let words = ["find", &volumes, "-depth", "-path", &below, "-delete"];
        let emptied = self.run_in_node(&node, &words).await.map(drop);
        self.kill_server(namespace, pod).await?;
        emptied
    }

    /// Sends a signal to the first process of a pod's first container.
    async fn signal(&self, namespace: &str, pod: &str, signal: &str) -> Result<()> {
        let (node, id, _) = self.container(namespace, pod).await?;
        let words = [
            "ctr",
            "--namespace",
            "k8s.io",
            "tasks",
            "kill",
            "--signal",
            signal,
            &id,
        ];
        self.run_in_node(&node, &words).await.map(drop)
    }

    /// The node of a pod, the id of its first container, and the pod's own.
    async fn container(&self, namespace: &str, pod: &str) -> Result<(String, String, String)> {
        let pods: Api<Pod> = Api::namespaced(self.client().await?, namespace);
        let found = pods
            .get(pod)
            .await
            .with_context(|| format!("looking for pod {pod}"))?;
        let uid = found.metadata.uid.context("a pod has an identity")?;
        let spec = found.spec.context("a pod has a spec")?;
        let node = spec
            .node_name
            .with_context(|| format!("{pod} is on no node yet"))?;
        let main = spec
            .containers
            .first()
            .context("a pod has a container")?
            .name
            .clone();
        let statuses = found.status.and_then(|status| status.container_statuses);
        let id = statuses
            .unwrap_or_default()
            .into_iter()
            .find(|status| status.name == main)
            .and_then(|status| status.container_id)
            .with_context(|| format!("container {main} of {pod} has not started"))?;
        let id = id
            .strip_prefix("containerd://")
            .context("the runtime is containerd")?;
        Ok((node, id.to_owned(), uid))
    }

    /// Deletes a pod; by force, without waiting for its node.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn delete_pod(&self, namespace: &str, pod: &str, force: bool) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client().await?, namespace);
        let mut parameters = DeleteParams::default();
        if force {
            parameters.grace_period_seconds = Some(0);
        }
        pods.delete(pod, &parameters).await?;
        Ok(())
    }
}

/// Faults of the network.
impl Cluster {
    /// Cuts a node off: nothing passes its cable in either direction.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn cut(&self, node: &str) -> Result<()> {
        self.filter(node, &[Direction::In, Direction::Out], "drop")
            .await
    }

    /// Cuts one direction of a node's cable.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn cut_direction(&self, node: &str, direction: Direction) -> Result<()> {
        self.filter(node, &[direction], "drop").await
    }

    /// Loses a share of what passes a node's cable, in percent.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn drop_packets(&self, node: &str, percent: u8) -> Result<()> {
        ensure!(
            percent <= 100,
            "a loss of {percent} % is more than everything"
        );
        let rule = format!("numgen random mod 100 < {percent} drop");
        self.filter(node, &[Direction::In, Direction::Out], &rule)
            .await
    }

    /// Undoes everything done to a node's cable. Does nothing when there is none.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn heal(&self, node: &str) -> Result<()> {
        self.filter(node, &[], "accept").await?;
        self.shorten_cable(node).await
    }

    /// Replaces the rules at a node's cable, all at once: nft carries out a whole text or nothing of it.
    async fn filter(&self, node: &str, directions: &[Direction], rule: &str) -> Result<()> {
        // Declaring the table first makes its deletion succeed either way.
        let mut rules = format!("add table netdev {TABLE}\ndelete table netdev {TABLE}\n");
        if !directions.is_empty() {
            writeln!(rules, "add table netdev {TABLE}")?;
        }
        for direction in directions {
            let (chain, hook) = match direction {
                Direction::In => ("incoming", "ingress"),
                Direction::Out => ("outgoing", "egress"),
            };
            // At the device itself, before and behind everything else that filters or translates.
            writeln!(
                rules,
                "add chain netdev {TABLE} {chain} {{ type filter hook {hook} device eth0 priority 0 ; }}\n\
                 add rule netdev {TABLE} {chain} {rule}"
            )?;
        }
        let mut command = self.command_in_node(node, "nft")?;
        process::feed(command.args(["-f", "-"]), &rules)
            .await
            .map(drop)
            .with_context(|| format!("changing the cable of {node}"))
    }

    /// Heals every node.
    ///
    /// # Errors
    /// When one of them cannot be healed.
    pub async fn heal_all(&self) -> Result<()> {
        for number in 1..=self.nodes() {
            self.heal(&node_name(number)).await?;
        }
        Ok(())
    }

    /// Delays what passes a node's cable, in each direction.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn delay_packets(&self, node: &str, milliseconds: u32) -> Result<()> {
        self.lengthen_cable(node, milliseconds).await
    }
}

//! What the API server says of a pod, reduced to what a plan looks at. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use crate::api::label;

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// It has ended, well or not, and will not run again.
    Over,
    /// It waits for a node, an image, a volume.
    Pending,
    /// Its containers were started.
    Running,
    /// Its node does not tell.
    Unknown,
}

/// The facts of one pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// What tells it from a later pod of the same name.
    pub uid: String,
    /// The version that a deletion carries as its precondition.
    pub resource_version: String,
    /// Its address, once it has one.
    pub ip: Option<IpAddr>,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether all its probes pass.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The StatefulSet revision it was made from, empty for other pods.
    pub revision: String,
    /// The role in its label.
    pub role: Option<String>,
    /// Why it does not start, if the API server says so.
    pub trouble: Option<String>,
}

impl PodFacts {
    /// Reads a pod; `None` for one without a name or uid, which the API server never sends.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let status = pod.status.as_ref();
        let label = |key: &str| {
            meta.labels
                .as_ref()
                .and_then(|labels| labels.get(key))
                .cloned()
        };
        let condition = |kind: &str| {
            status
                .and_then(|status| status.conditions.as_ref())
                .and_then(|all| all.iter().find(|condition| condition.type_ == kind))
        };
        Some(Self {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            ip: status.and_then(|status| status.pod_ip.as_ref()?.parse().ok()),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            phase: match status.and_then(|status| status.phase.as_deref()) {
                Some("Running") => Phase::Running,
                Some("Succeeded" | "Failed") => Phase::Over,
                Some("Unknown") => Phase::Unknown,
                Some(_) | None => Phase::Pending,
            },
            ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
            terminating: meta.deletion_timestamp.is_some(),
            revision: label("controller-revision-hash").unwrap_or_default(),
            role: label(label::ROLE),
            trouble: condition("PodScheduled")
                .filter(|condition| condition.status == "False")
                .and_then(|condition| condition.message.clone())
                .or_else(|| waiting(pod)),
        })
    }

    /// Whether its processes are gone for good, so that its address may be someone else's.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it may be counted on: running and not on its way out.
    #[must_use]
    pub fn is_living(&self) -> bool {
        self.phase == Phase::Running && !self.terminating
    }
}

/// Why a container waits, when the kubelet names a lasting reason.
fn waiting(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone()?;
        let lasting = !matches!(reason.as_str(), "ContainerCreating" | "PodInitializing");
        lasting.then(|| format!("container {} waits: {reason}", container.name))
    })
}

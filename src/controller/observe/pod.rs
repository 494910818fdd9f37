//! What the API server says of a pod, reduced to what a plan looks at. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::trouble;
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

/// How far the main container of a pod, the data server's or the Duke's, has ever come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MainContainer {
    /// It was never started: there is nothing in this pod that could be lost with it.
    NeverRan,
    /// It ran before and does not run now.
    Stopped,
    /// It runs.
    Running,
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
    /// How far its main container has come.
    pub main: MainContainer,
    /// The claim of its volume, by name, if it has one of its own, which stays when the pod goes.
    pub claim: Option<String>,
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
            trouble: trouble::of(pod),
            main: main_container(main_status(pod)),
            claim: claim(pod),
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

/// A restart in place keeps an emptyDir, so that a pod whose server ran once may hold data for as
/// long as the pod exists, whatever state its container is in now.
fn main_container(status: Option<&ContainerStatus>) -> MainContainer {
    match status {
        Some(status) if is_running(status) => MainContainer::Running,
        Some(status) if ran_before(status) => MainContainer::Stopped,
        Some(_) | None => MainContainer::NeverRan,
    }
}

/// The main container bears the name of the pod's component.
fn main_status(pod: &Pod) -> Option<&ContainerStatus> {
    let component = pod.metadata.labels.as_ref()?.get(label::COMPONENT)?;
    let mut all = pod.status.as_ref()?.container_statuses.iter().flatten();
    all.find(|status| status.name == *component)
}

fn is_running(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state.is_some_and(|state| state.running.is_some())
}

fn is_terminated(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state.is_some_and(|state| state.terminated.is_some())
}

fn ran_before(status: &ContainerStatus) -> bool {
    let before = status.last_state.as_ref();
    status.restart_count > 0
        || before.is_some_and(|state| state.terminated.is_some() || state.running.is_some())
        || is_terminated(status)
}

fn claim(pod: &Pod) -> Option<String> {
    let mut volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    volumes.find_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
}

/// Whether the kubelet saw the main container's process end for good before the pod was removed. A pod
/// that was removed by force, without its kubelet, still says that it runs.
#[must_use]
pub fn has_ended(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && main_status(pod).is_some_and(is_terminated)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(status: &Value, volumes: &Value) -> PodFacts {
        let pod = json!({
            "metadata": { "name": "pipeline-tea-0", "uid": "u", "labels": {
                "kubernetes.lol/component": "pipeline",
            } },
            "spec": { "containers": [], "volumes": volumes },
            "status": status,
        });
        PodFacts::of(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn container(name: &str, restarts: i32, state: &Value, before: &Value) -> Value {
        json!({ "containerStatuses": [{
            "name": name, "image": "x", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state, "lastState": before,
        }] })
    }

    #[test]
    fn a_server_that_ran_once_may_have_left_data() {
        let waits = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let ended = json!({ "terminated": { "exitCode": 1 } });
        let runs = json!({ "running": { "startedAt": "2026-11-28T09:00:00Z" } });
        let none = json!({});
        let (never, stopped) = (MainContainer::NeverRan, MainContainer::Stopped);
        for (status, wanted) in [
            (none.clone(), never),
            (container("pipeline", 0, &waits, &none), never),
            (container("exporter", 3, &waits, &ended), never),
            (
                container("pipeline", 0, &runs, &none),
                MainContainer::Running,
            ),
            (container("pipeline", 0, &ended, &none), stopped),
            (container("pipeline", 0, &waits, &ended), stopped),
            (container("pipeline", 2, &waits, &none), stopped),
        ] {
            assert_eq!(facts(&status, &json!([])).main, wanted, "{status}");
        }
    }

    #[test]
    fn only_a_claim_outlives_its_pod() {
        let directory = json!([{ "name": "data", "emptyDir": {} }]);
        assert!(facts(&json!({}), &directory).claim.is_none());
        let claim = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "c" } }]);
        assert!(facts(&json!({}), &claim).claim.is_some());
    }
}

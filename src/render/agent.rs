//! The agent beside each data server: its container, and what the kubelet asks of it.
//!
//! A data pod is ready when its agent says that the server is a master or in sync, and its server is
//! not stopped before the agent has had its mastership handed over. The agent has no probes of its
//! own: without its answers the server's container is not ready, and a restart would hand a healthy
//! master over.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Container, HTTPGetAction, LifecycleHandler, Probe, ResourceRequirements, Volume,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

use super::{pod, user::Identity};
use crate::api::{AGENT_PORT, DUKE_PORT, PullPolicy, REDIS_PORT, resolved};

/// Name of the agent's container, of its port and of its volume.
pub const NAME: &str = "agent";
/// Where the agent finds its password.
const USERS_FOLDER: &str = "/etc/agent";
/// What the agent is given at least, and at most; it never comes near either.
const CPU: &str = "5m";
const MEMORY: &str = "8Mi";
const MEMORY_MAX: &str = "32Mi";
/// What it is given when requests and limits have to be the same: enough to start without a delay.
const CPU_GUARANTEED: &str = "50m";

/// The container. Its image is the operator's, whatever image the Pipeline's Dukes have: a Duke of
/// another image, or of one that is not there, is no reason to take a data pod away.
#[must_use]
pub fn container(resolved: &resolved::Resolved) -> Container {
    let data = &resolved.data;
    let words = [
        "/duke-agent",
        "--announce-ip",
        "$(POD_IP)",
        "--dukes",
        &format!("{}:{DUKE_PORT}", resolved.names.duke()),
        "--grace-period",
        &data.grace_period.to_string(),
        "--port",
        &AGENT_PORT.to_string(),
        "--server",
        &format!("127.0.0.1:{REDIS_PORT}"),
        "--users",
        USERS_FOLDER,
    ];
    let program = resolved::Container {
        image: data.agent_image.clone(),
        pull_policy: PullPolicy::default(),
        command: words.map(str::to_owned).to_vec(),
        resources: resources(&data.container.resources),
    };
    let mut container = pod::container(NAME, &program);
    container.env = Some(vec![pod::own_address()]);
    container.ports = Some(vec![pod::port(NAME, AGENT_PORT)]);
    container.volume_mounts = Some(vec![pod::mount(NAME, USERS_FOLDER, true)]);
    container
}

/// The volume with the agent's password, and nobody else's.
#[must_use]
pub fn volume(resolved: &resolved::Resolved) -> Volume {
    let keys = [Identity::Agent.key()];
    pod::secret_volume(NAME, resolved.names.users_secret(), &keys)
}

/// The readiness of the server's container: two answers a second apart, since one may be late.
#[must_use]
pub fn readiness() -> Probe {
    Probe {
        failure_threshold: Some(2),
        http_get: Some(get("/ready")),
        period_seconds: Some(1),
        timeout_seconds: Some(1),
        ..Probe::default()
    }
}

/// What is waited for before the server's container is stopped, unless the user has a script for it.
#[must_use]
pub fn before_stop() -> LifecycleHandler {
    LifecycleHandler {
        http_get: Some(get("/stopping")),
        ..LifecycleHandler::default()
    }
}

fn get(path: &str) -> HTTPGetAction {
    HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::Int(i32::from(AGENT_PORT)),
        ..HTTPGetAction::default()
    }
}

/// Little. Where the server's requests and limits are the same, the agent's are, too: a pod is of
/// the class *Guaranteed* only if that holds for all its containers.
fn resources(server: &ResourceRequirements) -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        let quantity = |(name, text): &(&str, &str)| ((*name).to_owned(), Quantity((*text).into()));
        pairs.iter().map(quantity).collect()
    };
    let (requests, limits) = if is_guaranteed(server) {
        let same = quantities(&[("cpu", CPU_GUARANTEED), ("memory", MEMORY_MAX)]);
        (same.clone(), same)
    } else {
        (
            quantities(&[("cpu", CPU), ("memory", MEMORY)]),
            quantities(&[("memory", MEMORY_MAX)]),
        )
    };
    ResourceRequirements {
        limits: Some(limits),
        requests: Some(requests),
        ..ResourceRequirements::default()
    }
}

/// Whether CPU and memory have limits, and no other requests: what is limited alone is requested, too.
fn is_guaranteed(resources: &ResourceRequirements) -> bool {
    let of = |quantities: &Option<BTreeMap<String, Quantity>>, name: &str| {
        quantities.as_ref().and_then(|all| all.get(name)).cloned()
    };
    ["cpu", "memory"].into_iter().all(|name| {
        let limit = of(&resources.limits, name);
        let request = of(&resources.requests, name);
        limit.is_some() && (request.is_none() || request == limit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> bool {
        let quantities = |pairs: &[(&str, &str)]| {
            let quantity =
                |(name, text): &(&str, &str)| ((*name).to_owned(), Quantity((*text).to_owned()));
            Some(pairs.iter().map(quantity).collect())
        };
        let made = resources(&ResourceRequirements {
            limits: quantities(limits),
            requests: quantities(requests),
            ..ResourceRequirements::default()
        });
        made.requests == made.limits
    }

    #[test]
    fn a_guaranteed_pod_stays_guaranteed() {
        let (one, two) = ([("cpu", "1"), ("memory", "1Gi")], [("cpu", "2")]);
        assert!(class(&one, &one));
        assert!(class(&[], &one), "limits alone are requests, too");
        assert!(!class(&one, &[]));
        assert!(!class(&one, &two));
        assert!(!class(&two, &one));
        assert!(!class(&[], &[]));
    }
}

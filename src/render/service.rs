//! The Services of a Pipeline.
//!
//! All of them select pods by labels, so that a pod that dies leaves them while no operator runs.
//!
//! `pipeline-<NAME>` selects the master by its role label, and has ports besides that lead to other
//! pods. The target ports have names: where a selected pod has no port of that name, Kubernetes
//! leaves this port out of the slices it makes. The ports of the Dukes and the exporters have
//! targets that no pod has, so that they lead only where our own slices say ([`super::slice`]).

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::metadata;
use crate::api::{
    DUKE_PORT, METRICS_PORT, REDIS_PORT,
    label::{self, Component},
    resolved::Resolved,
};

/// Name of the port of the data servers.
pub const REDIS: &str = "redis";
/// Name of the port of the Dukes.
pub const DUKE: &str = "duke";
/// Name of the port of the exporters.
pub const METRICS: &str = "metrics";

/// The target of the Dukes' port of `pipeline-<NAME>`: a name that no container's port has.
const NO_POD_DUKE: &str = "no-pod-duke";
/// The same for the exporters' port: the master's pod has a port `metrics` and would be there twice.
const NO_POD_METRICS: &str = "no-pod-metrics";

/// The one address of the whole group.
#[must_use]
pub fn data(resolved: &Resolved) -> Service {
    let to = |target: &str, port: ServicePort| ServicePort {
        target_port: Some(IntOrString::String(target.to_owned())),
        ..port
    };
    let mut ports = vec![
        to(REDIS, port(REDIS, REDIS_PORT)),
        to(NO_POD_DUKE, port(DUKE, DUKE_PORT)),
    ];
    if resolved.data.exporter.is_some() {
        ports.push(to(NO_POD_METRICS, port(METRICS, METRICS_PORT)));
    }
    service(
        resolved,
        Component::Data,
        resolved.names.data(),
        ServiceSpec {
            ports: Some(ports),
            selector: Some(label::role_selector(&resolved.name, label::ROLE_MASTER)),
            ..ServiceSpec::default()
        },
    )
}

/// The replicas, by their role label. One that is not in sync is not ready, and left out.
#[must_use]
pub fn replicas(resolved: &Resolved) -> Service {
    let selector = label::role_selector(&resolved.name, label::ROLE_REPLICA);
    by_label(
        resolved,
        Component::Data,
        resolved.names.replicas_service(),
        selector,
    )
}

/// The Dukes. Those without memory of their group are not ready and left out.
#[must_use]
pub fn duke(resolved: &Resolved) -> Service {
    let selector = label::selector(&resolved.name, Component::Duke);
    by_label(resolved, Component::Duke, resolved.names.duke(), selector)
}

/// The data pods' own names, ready or not: a peer is found by its name before it is ready.
#[must_use]
pub fn pods(resolved: &Resolved) -> Service {
    service(
        resolved,
        Component::Data,
        resolved.names.pods_service(),
        ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![port(REDIS, REDIS_PORT)]),
            publish_not_ready_addresses: Some(true),
            selector: Some(label::selector(&resolved.name, Component::Data)),
            ..ServiceSpec::default()
        },
    )
}

fn by_label(
    resolved: &Resolved,
    component: Component,
    name: String,
    selector: BTreeMap<String, String>,
) -> Service {
    let ports = match component {
        Component::Data => vec![port(REDIS, REDIS_PORT)],
        Component::Duke => vec![port(DUKE, DUKE_PORT)],
    };
    service(
        resolved,
        component,
        name,
        ServiceSpec {
            ports: Some(ports),
            selector: Some(selector),
            ..ServiceSpec::default()
        },
    )
}

fn service(
    resolved: &Resolved,
    component: Component,
    name: String,
    mut spec: ServiceSpec,
) -> Service {
    spec.type_ = Some("ClusterIP".to_owned());
    Service {
        metadata: metadata(resolved, component, name),
        spec: Some(spec),
        ..Service::default()
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(number))),
        ..ServicePort::default()
    }
}

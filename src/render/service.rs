//! The Services of a Pipeline.
//!
//! `pipeline-<NAME>` has no selector: its endpoints are ours to write, so that they follow the
//! Dukes' word at once. The others select by labels and need nobody to run.

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

/// The one address of the whole group.
#[must_use]
pub fn data(resolved: &Resolved) -> Service {
    let mut ports = vec![port(REDIS, REDIS_PORT), port(DUKE, DUKE_PORT)];
    if resolved.data.exporter.is_some() {
        ports.push(port(METRICS, METRICS_PORT));
    }
    service(
        resolved,
        Component::Data,
        resolved.names.data(),
        ServiceSpec {
            ports: Some(ports),
            ..ServiceSpec::default()
        },
    )
}

/// The master, by its role label.
#[must_use]
pub fn master(resolved: &Resolved) -> Service {
    let selector = label::role_selector(&resolved.name, label::ROLE_MASTER);
    by_label(
        resolved,
        Component::Data,
        resolved.names.master_service(),
        selector,
    )
}

/// The replicas, by their role label.
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

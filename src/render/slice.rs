//! Our endpoint slices of the Service `pipeline-<NAME>`: the Dukes and the exporters.
//!
//! The master is selected by its label, so that a dead one leaves the Service while no operator
//! runs; see [`super::service`]. A slice of ours that leads to it is rendered only to keep the one of
//! a former version right until the selector has taken over.
//!
//! A pod that is being deleted is left out at once: its address may soon be somebody else's.

use std::net::IpAddr;

use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Service},
        discovery::v1::{
            Endpoint as SliceEndpoint, EndpointConditions, EndpointPort, EndpointSlice,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{hash, metadata, service};
use crate::api::{
    DUKE_PORT, FIELD_MANAGER, METRICS_PORT, REDIS_PORT,
    label::{self, Component},
    resolved::Resolved,
};

/// The kind of addresses in a slice. It cannot be changed in a slice that exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressFamily {
    /// Addresses like 10.0.0.1.
    V4,
    /// Addresses like `fd00::1`.
    V6,
}

impl AddressFamily {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// The family of a Service that the API server has accepted: its first one.
    #[must_use]
    pub fn of_service(service: &Service) -> Option<Self> {
        match service
            .spec
            .as_ref()?
            .ip_families
            .as_ref()?
            .first()?
            .as_str()
        {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }

    /// The word in a slice.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// A pod that an endpoint can lead to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The pod's name.
    pub pod: String,
    /// The pod's identity.
    pub uid: String,
    /// The node it runs on.
    pub node: Option<String>,
    /// Its address.
    pub address: IpAddr,
    /// Whether the kubelet finds it ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// The endpoint slices of a Pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Slices {
    /// Leads to the master.
    pub redis: Option<EndpointSlice>,
    /// Leads to the Dukes.
    pub duke: EndpointSlice,
    /// Leads to the exporters of all data pods, when there are exporters.
    pub metrics: Option<EndpointSlice>,
}

/// Renders the slices for the pods of the moment.
///
/// `family` is that of the Service ([`AddressFamily::of_service`]); pods of another one are left
/// out. `master` is the master, if a slice of ours leads to it: it is ready because the Dukes say
/// so, whatever the kubelet finds.
#[must_use]
pub fn slices(
    resolved: &Resolved,
    family: AddressFamily,
    master: Option<Option<&Endpoint>>,
    dukes: &[Endpoint],
    data: &[Endpoint],
) -> Slices {
    let names = &resolved.names;
    let ready = |pod: &Endpoint| Endpoint {
        ready: true,
        ..pod.clone()
    };
    let make = |name: String, port: &str, number: u16, pods: &[Endpoint]| {
        hash::stamp(slice(resolved, family, name, (port, number), pods))
    };
    Slices {
        redis: master.map(|master| {
            let pods: Vec<Endpoint> = master.map(ready).into_iter().collect();
            make(names.redis_slice(), service::REDIS, REDIS_PORT, &pods)
        }),
        duke: make(names.duke_slice(), service::DUKE, DUKE_PORT, dukes),
        metrics: resolved
            .data
            .exporter
            .is_some()
            .then(|| make(names.metrics_slice(), service::METRICS, METRICS_PORT, data)),
    }
}

fn slice(
    resolved: &Resolved,
    family: AddressFamily,
    name: String,
    (port, number): (&str, u16),
    pods: &[Endpoint],
) -> EndpointSlice {
    let mut metadata: ObjectMeta = metadata(resolved, Component::Data, name);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(label::SERVICE_NAME.to_owned(), resolved.names.data());
    labels.insert(label::SLICE_MANAGER.to_owned(), FIELD_MANAGER.to_owned());
    let mut pods: Vec<&Endpoint> = pods
        .iter()
        .filter(|pod| !pod.terminating && AddressFamily::of(pod.address) == family)
        .collect();
    pods.sort_by(|left, right| left.pod.cmp(&right.pod));
    EndpointSlice {
        address_type: family.as_str().to_owned(),
        endpoints: Some(
            pods.into_iter()
                .map(|pod| endpoint(&resolved.namespace, pod))
                .collect(),
        ),
        metadata,
        ports: Some(vec![EndpointPort {
            name: Some(port.to_owned()),
            port: Some(i32::from(number)),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn endpoint(namespace: &str, pod: &Endpoint) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![pod.address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(pod.ready),
            serving: Some(pod.ready),
            terminating: Some(false),
        }),
        node_name: pod.node.clone(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(pod.pod.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        }),
        ..SliceEndpoint::default()
    }
}

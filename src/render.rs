//! From a resolved Pipeline to the objects it has. Pure: the same input makes the same bytes.
//!
//! Every object carries its owner, its labels and the hash of itself ([`hash`]), so that it is
//! applied only when it differs. Each is built whole, from nothing: what is not rendered is removed
//! by server-side apply. Endpoint slices follow the pods of the moment and are made apart, by
//! [`slice::slices`].

use std::fmt;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{ConfigMap, Secret, Service},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

pub mod agent;
pub mod budget;
pub mod deployment;
pub mod duke_config;
pub mod hash;
pub mod pod;
pub mod server_config;
pub mod service;
pub mod slice;
pub mod stateful_set;
pub mod user;

pub use slice::{AddressFamily, Endpoint, Slices, slices};
pub use user::{Passwords, RANDOM_BYTES};

use self::server_config::Files;
use crate::api::{
    label::{self, Component},
    resolved::Resolved,
};

/// All objects of a Pipeline that do not follow the pods of the moment, in an order in which they
/// can be made: what is mounted stands before what mounts it.
#[derive(Clone, PartialEq)]
pub struct Objects {
    /// The system users' passwords and what is made from them.
    pub users: Secret,
    /// The data servers' configuration.
    pub data_config: ConfigMap,
    /// The Dukes' configuration.
    pub duke_config: ConfigMap,
    /// The one address of the whole group: the master by its role label, the others by our slices.
    pub data_service: Service,
    /// Leads to the replicas by their role label.
    pub replicas_service: Service,
    /// Governs the data pods' names.
    pub pods_service: Service,
    /// Leads to the Dukes.
    pub duke_service: Service,
    /// How many data pods may be evicted at once.
    pub data_budget: PodDisruptionBudget,
    /// How many Dukes may be evicted at once.
    pub duke_budget: PodDisruptionBudget,
    /// The data pods.
    pub stateful_set: StatefulSet,
    /// The Dukes.
    pub deployment: Deployment,
}

impl fmt::Debug for Objects {
    /// Names them only: one of them holds passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("stateful_set", &self.stateful_set.metadata.name)
            .field("deployment", &self.deployment.metadata.name)
            .finish_non_exhaustive()
    }
}

/// Renders all objects of a Pipeline.
#[must_use]
pub fn objects(resolved: &Resolved, passwords: &Passwords) -> Objects {
    Objects {
        users: hash::stamp(user::secret(resolved, passwords)),
        data_config: hash::stamp(server_config::config_map(
            resolved,
            &Files::of(&resolved.data, resolved.data.replicas),
        )),
        duke_config: hash::stamp(duke_config::config_map(resolved)),
        data_service: hash::stamp(service::data(resolved)),
        replicas_service: hash::stamp(service::replicas(resolved)),
        pods_service: hash::stamp(service::pods(resolved)),
        duke_service: hash::stamp(service::duke(resolved)),
        data_budget: hash::stamp(budget::data(resolved, None)),
        duke_budget: hash::stamp(budget::duke(resolved)),
        stateful_set: hash::stamp(stateful_set::stateful_set(resolved)),
        deployment: hash::stamp(deployment::deployment(resolved)),
    }
}

/// The metadata of an owned object.
fn metadata(resolved: &Resolved, component: Component, name: String) -> ObjectMeta {
    ObjectMeta {
        labels: Some(label::all(&resolved.name, component)),
        name: Some(name),
        namespace: Some(resolved.namespace.clone()),
        owner_references: Some(vec![resolved.owner()]),
        ..ObjectMeta::default()
    }
}

/// The same metadata with what the user asked of the pods that are made from the object.
fn made_for(mut metadata: ObjectMeta, asked: &str) -> ObjectMeta {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(label::MADE_FOR.to_owned(), asked.to_owned());
    metadata
}

#[cfg(test)]
mod tests;

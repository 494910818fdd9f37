//! One type for every kind of object a Pipeline owns, so that plan, apply and caches can speak of
//! them alike. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{ConfigMap, Secret, Service},
        discovery::v1::EndpointSlice,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;

use crate::api::label;

/// The kinds of objects a Pipeline owns.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Configuration files.
    ConfigMap,
    /// The Dukes.
    Deployment,
    /// How many pods may be taken down at once.
    DisruptionBudget,
    /// Where a Service leads.
    EndpointSlice,
    /// Passwords.
    Secret,
    /// Addresses for clients.
    Service,
    /// The data pods.
    StatefulSet,
}

impl Kind {
    /// The kind's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Deployment => "Deployment",
            Self::DisruptionBudget => "PodDisruptionBudget",
            Self::EndpointSlice => "EndpointSlice",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// An object of one of those kinds, wanted or live.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// See [`Kind::ConfigMap`].
    ConfigMap(Arc<ConfigMap>),
    /// See [`Kind::Deployment`].
    Deployment(Arc<Deployment>),
    /// See [`Kind::DisruptionBudget`].
    DisruptionBudget(Arc<PodDisruptionBudget>),
    /// See [`Kind::EndpointSlice`].
    EndpointSlice(Arc<EndpointSlice>),
    /// See [`Kind::Secret`].
    Secret(Arc<Secret>),
    /// See [`Kind::Service`].
    Service(Arc<Service>),
    /// See [`Kind::StatefulSet`].
    StatefulSet(Arc<StatefulSet>),
}

/// An object's place within one Pipeline's namespace.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// Runs the same expression on whatever kind the object is.
macro_rules! for_kind {
    ($object:expr, $inner:ident => $body:expr) => {
        match $object {
            Object::ConfigMap($inner) => $body,
            Object::Deployment($inner) => $body,
            Object::DisruptionBudget($inner) => $body,
            Object::EndpointSlice($inner) => $body,
            Object::Secret($inner) => $body,
            Object::Service($inner) => $body,
            Object::StatefulSet($inner) => $body,
        }
    };
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Deployment(_) => Kind::Deployment,
            Self::DisruptionBudget(_) => Kind::DisruptionBudget,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Secret(_) => Kind::Secret,
            Self::Service(_) => Kind::Service,
            Self::StatefulSet(_) => Kind::StatefulSet,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        for_kind!(self, inner => &inner.metadata)
    }

    /// The same object, to be written over one live object only.
    #[must_use]
    pub fn over(mut self, uid: Option<String>) -> Self {
        for_kind!(&mut self, inner => Arc::make_mut(inner).metadata.uid = uid);
        self
    }

    /// Its kind and name.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        ObjectId {
            kind: self.kind(),
            name: self.meta().name.clone().unwrap_or_default(),
        }
    }

    /// It as the API server reads it.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which types of the API always can.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        for_kind!(self, inner => serde_json::to_value(inner.as_ref()))
    }

    /// The hash in its annotation, empty if there is none.
    #[must_use]
    pub fn hash(&self) -> &str {
        self.meta()
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(label::HASH))
            .map_or("", String::as_str)
    }

    /// The version at which it was read, empty for a wanted one.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }
}

//! The steps that are requests to the API server, one each; what was written is in the caches at once.

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::DeserializeGuard,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Error, Hands,
    error::{is_conflict, is_gone},
};
use crate::{
    api::{FIELD_MANAGER, Pipeline, PipelineStatus, label},
    controller::{
        cache::Cache,
        caches::Caches,
        object::{Kind, Object},
        ownership::Standing,
    },
};

/// A version that no object ever has: an application that names it can only make an object, and
/// meets a conflict if there is one of the name already.
const NEVER: &str = "1";

/// Runs the same method on whatever kind the object is, with the cache of that kind.
macro_rules! on_kind {
    ($hands:ident, $object:expr, $method:ident $(, $argument:expr)*) => {{
        let Caches {
            pipelines: _,
            pods: _,
            claims: _,
            ended: _,
            config_maps,
            deployments,
            budgets,
            slices,
            secrets,
            services,
            stateful_sets,
        } = $hands.caches;
        match $object {
            Object::ConfigMap(it) => $hands.$method(config_maps, it.as_ref() $(, $argument)*).await,
            Object::Deployment(it) => $hands.$method(deployments, it.as_ref() $(, $argument)*).await,
            Object::DisruptionBudget(it) => $hands.$method(budgets, it.as_ref() $(, $argument)*).await,
            Object::EndpointSlice(it) => $hands.$method(slices, it.as_ref() $(, $argument)*).await,
            Object::Secret(it) => $hands.$method(secrets, it.as_ref() $(, $argument)*).await,
            Object::Service(it) => $hands.$method(services, it.as_ref() $(, $argument)*).await,
            Object::StatefulSet(it) => $hands.$method(stateful_sets, it.as_ref() $(, $argument)*).await,
        }
    }};
}

/// An object of a kind that a Pipeline owns.
trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Owned for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

impl Hands<'_> {
    /// Deletes exactly the pod that was decided on.
    pub(super) async fn delete_pod(
        &self,
        name: &str,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), Error> {
        let parameters = exactly(uid, resource_version);
        let deleted = self.api::<Pod>().delete(name, &parameters).await;
        deleted
            .map(drop)
            .map_err(|source| refused("DeletePod", name, source))
    }

    /// Applies an object of ours whole, taking over fields that others have changed.
    pub(super) async fn apply(&self, object: &Object) -> Result<(), Error> {
        on_kind!(self, object, apply_to)
    }

    async fn apply_to<K: Owned>(&self, cache: &Cache<K>, wanted: &K) -> Result<(), Error> {
        let name = wanted.meta().name.clone().unwrap_or_default();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self
            .api::<K>()
            .patch(&name, &parameters, &Patch::Apply(wanted))
            .await
            .map_err(|source| refused("Apply", &target::<K>(&name), source))?;
        cache.remember_changed(applied);
        Ok(())
    }

    /// Makes an object. One of the name that is ours although the watch does not tell of it gets
    /// its labels back; somebody else's is an error and is never written.
    ///
    /// When it `is_foreign`, which was found out before, that is asked again first.
    pub(super) async fn create(&self, object: &Object, is_foreign: bool) -> Result<(), Error> {
        on_kind!(self, object, create_in, is_foreign)
    }

    async fn create_in<K: Owned>(
        &self,
        cache: &Cache<K>,
        wanted: &K,
        is_foreign: bool,
    ) -> Result<(), Error> {
        let name = wanted.meta().name.clone().unwrap_or_default();
        let refused = |source| refused("Create", &target::<K>(&name), source);
        let conflict = if is_foreign {
            None
        } else {
            match self.make(cache, wanted).await {
                Ok(()) => return Ok(()),
                Err(source) if is_conflict(&source) => Some(source),
                Err(source) => return Err(refused(source)),
            }
        };
        // Metadata only: what is in somebody else's Secret is none of our business.
        let found = match self.api::<K>().get_metadata(&name).await {
            Ok(found) => found.metadata,
            Err(source) if is_gone(&source) && is_foreign => {
                return self.make(cache, wanted).await.map_err(refused);
            }
            Err(source) => return Err(refused(source)),
        };
        match (self.owner().standing(&found), conflict) {
            (Standing::Foreign(why), _) => Err(Error::Foreign {
                target: target::<K>(&name),
                why,
            }),
            // It is going away, and is made when it is gone.
            (_, Some(source)) if found.deletion_timestamp.is_some() => Err(refused(source)),
            (Standing::Ours | Standing::Lost, _) => {
                let uid = found.uid.unwrap_or_default();
                let version = found.resource_version.unwrap_or_default();
                self.take_back(cache, wanted, &uid, &version).await
            }
        }
    }

    /// Makes an object that does not exist.
    ///
    /// By server-side apply, so that what is not rendered any more later is removed then.
    async fn make<K: Owned>(&self, cache: &Cache<K>, wanted: &K) -> Result<(), kube::Error> {
        let mut wanted = wanted.clone();
        wanted.meta_mut().resource_version = Some(NEVER.to_owned());
        let name = wanted.meta().name.clone().unwrap_or_default();
        let parameters = PatchParams::apply(FIELD_MANAGER);
        let made = self
            .api::<K>()
            .patch(&name, &parameters, &Patch::Apply(&wanted))
            .await?;
        cache.remember_created(made);
        Ok(())
    }

    /// Takes back an object that lost its owner. What is in it stays: passwords above all.
    pub(super) async fn adopt(
        &self,
        object: &Object,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), Error> {
        on_kind!(self, object, take_back, uid, resource_version)
    }

    async fn take_back<K: Owned>(
        &self,
        cache: &Cache<K>,
        wanted: &K,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), Error> {
        let name = wanted.meta().name.clone().unwrap_or_default();
        let patch = json!({ "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": wanted.meta().labels,
            "ownerReferences": wanted.meta().owner_references,
        } });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let taken = self
            .api::<K>()
            .patch(&name, &parameters, &Patch::Merge(&patch))
            .await
            .map_err(|source| refused("Adopt", &target::<K>(&name), source))?;
        cache.remember_created(taken);
        Ok(())
    }

    pub(super) async fn delete(
        &self,
        kind: Kind,
        name: &str,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), Error> {
        let caches = self.caches;
        match kind {
            Kind::ConfigMap => {
                self.delete_from(&caches.config_maps, name, uid, resource_version)
                    .await
            }
            Kind::Deployment => {
                self.delete_from(&caches.deployments, name, uid, resource_version)
                    .await
            }
            Kind::DisruptionBudget => {
                self.delete_from(&caches.budgets, name, uid, resource_version)
                    .await
            }
            Kind::EndpointSlice => {
                self.delete_from(&caches.slices, name, uid, resource_version)
                    .await
            }
            Kind::Secret => {
                self.delete_from(&caches.secrets, name, uid, resource_version)
                    .await
            }
            Kind::Service => {
                self.delete_from(&caches.services, name, uid, resource_version)
                    .await
            }
            Kind::StatefulSet => {
                self.delete_from(&caches.stateful_sets, name, uid, resource_version)
                    .await
            }
        }
    }

    async fn delete_from<K>(
        &self,
        cache: &Cache<K>,
        name: &str,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let parameters = exactly(uid, resource_version);
        self.api::<K>()
            .delete(name, &parameters)
            .await
            .map_err(|source| refused("DeleteObject", name, source))?;
        cache.forget(self.namespace, name);
        Ok(())
    }

    pub(super) async fn label(
        &self,
        name: &str,
        uid: &str,
        role: Option<&str>,
    ) -> Result<(), Error> {
        // The uid makes the server refuse when a new pod has taken the name meanwhile.
        let patch = json!({ "metadata": { "uid": uid, "labels": { (label::ROLE): role } } });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let labelled = self
            .api::<Pod>()
            .patch(name, &parameters, &Patch::Merge(&patch))
            .await
            .map_err(|source| refused("LabelPod", name, source))?;
        self.caches.pods.remember_changed(labelled);
        Ok(())
    }

    /// Writes the whole status over a version of the Pipeline.
    ///
    /// # Errors
    /// When the API server refuses, above all because the Pipeline has changed meanwhile.
    pub async fn write_status(
        &self,
        step: &'static str,
        status: &PipelineStatus,
        resource_version: &str,
    ) -> Result<Pipeline, Error> {
        let patch = json!({
            "metadata": { "resourceVersion": resource_version },
            "status": status,
        });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = self
            .api::<Pipeline>()
            .patch_status(self.name, &parameters, &Patch::Merge(&patch))
            .await
            .map_err(|source| refused(step, self.name, source))?;
        self.caches
            .pipelines
            .remember_changed(DeserializeGuard(Ok(written.clone())));
        Ok(written)
    }

    /// Takes a human's order off the Pipeline, if it is still the one that was answered.
    ///
    /// # Errors
    /// When the API server refuses, above all because the Pipeline has changed meanwhile.
    pub async fn take_order_off(&self, value: &str) -> Result<(), Error> {
        let known = self.caches.pipelines.get(self.namespace, self.name);
        let Some(version) = known
            .as_ref()
            .and_then(|known| known.0.as_ref().ok())
            .filter(|known| {
                let order = known.annotations().get(label::ACCEPT_DATA_LOSS);
                order.map(String::as_str) == Some(value)
            })
            .and_then(|known| known.metadata.resource_version.as_ref())
        else {
            return Ok(());
        };
        let patch = json!({ "metadata": {
            "resourceVersion": version,
            "annotations": { (label::ACCEPT_DATA_LOSS): null },
        } });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = self
            .api::<Pipeline>()
            .patch(self.name, &parameters, &Patch::Merge(&patch))
            .await
            .map_err(|source| refused("TakeOrderOff", self.name, source))?;
        self.caches
            .pipelines
            .remember_changed(DeserializeGuard(Ok(written)));
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }
}

/// The kind and name of an object, as people write them.
fn target<K: Resource<DynamicType = ()>>(name: &str) -> String {
    format!("{}/{name}", K::kind(&()))
}

fn refused(step: &'static str, target: &str, source: kube::Error) -> Error {
    Error::Api {
        step,
        target: target.to_owned(),
        source: Box::new(source),
    }
}

/// Only this very object in this very version: what was decided on may have changed since.
fn exactly(uid: &str, resource_version: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(resource_version.to_owned()),
        }),
        ..DeleteParams::default()
    }
}

//! The steps that are requests to the API server, one each; what was written is in the caches at once.

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::DeserializeGuard,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Error, Hands};
use crate::{
    api::{FIELD_MANAGER, Pipeline, PipelineStatus, label},
    controller::{
        cache::Cache,
        caches::Caches,
        object::{Kind, Object},
    },
};

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

    /// Applies an object whole, taking over fields that others have changed.
    pub(super) async fn apply(&self, object: &Object) -> Result<(), Error> {
        let Caches {
            pipelines: _,
            pods: _,
            claims: _,
            config_maps,
            deployments,
            budgets,
            slices,
            secrets,
            services,
            stateful_sets,
        } = self.caches;
        match object {
            Object::ConfigMap(wanted) => self.apply_to(config_maps, wanted.as_ref()).await,
            Object::Deployment(wanted) => self.apply_to(deployments, wanted.as_ref()).await,
            Object::DisruptionBudget(wanted) => self.apply_to(budgets, wanted.as_ref()).await,
            Object::EndpointSlice(wanted) => self.apply_to(slices, wanted.as_ref()).await,
            Object::Secret(wanted) => self.apply_to(secrets, wanted.as_ref()).await,
            Object::Service(wanted) => self.apply_to(services, wanted.as_ref()).await,
            Object::StatefulSet(wanted) => self.apply_to(stateful_sets, wanted.as_ref()).await,
        }
    }

    async fn apply_to<K>(&self, cache: &Cache<K>, wanted: &K) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let name = wanted.meta().name.clone().unwrap_or_default();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let existed = cache.get(self.namespace, &name).is_some();
        let applied = self
            .api::<K>()
            .patch(&name, &parameters, &Patch::Apply(wanted))
            .await
            .map_err(|source| refused("Apply", &format!("{}/{name}", K::kind(&())), source))?;
        if existed {
            cache.remember_changed(applied);
        } else {
            cache.remember_created(applied);
        }
        Ok(())
    }

    /// Makes the Secret; one that exists already keeps its passwords.
    pub(super) async fn create(&self, object: &Object) -> Result<(), Error> {
        let Object::Secret(secret) = object else {
            return Ok(());
        };
        let name = secret.metadata.name.clone().unwrap_or_default();
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = self
            .api()
            .create(&parameters, secret.as_ref())
            .await
            .map_err(|source| refused("CreateSecret", &name, source))?;
        self.caches.secrets.remember_created(made);
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

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }
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

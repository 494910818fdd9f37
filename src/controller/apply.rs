//! Carries out a plan's steps, one request each, in order.
//!
//! Steps stand alone unless they are the foundation of others, so one unreachable pod holds up
//! nobody else. Every request can be repeated: objects are applied whole, deletions and labels
//! carry the uid they were decided on, a seeding the version of the Pipeline. A crash between any
//! two steps therefore leaves something that the next pass goes on from.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use futures::future::join_all;
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::DeserializeGuard,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::{debug, info, warn};

use super::{
    cache::Cache,
    caches::Caches,
    memory::{Memory, Setting, Tried},
    object::{Kind, Object},
    observe::ANSWER_LIMIT,
    plan::step::{Action, Step},
};
use crate::{
    api::{FIELD_MANAGER, Pipeline, PipelineStatus, label},
    metrics::{Metrics, Outcome},
    redis::{self, Credentials, duke, node},
};

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("{step} {target} was not accepted")]
    Api {
        /// The kind of step.
        step: &'static str,
        /// What it was about.
        target: String,
        /// The API server's words.
        source: Box<kube::Error>,
    },
    /// There are no credentials yet to talk to servers with.
    #[error("{step} needs credentials that do not exist yet")]
    NoCredentials {
        /// The kind of step.
        step: &'static str,
    },
    /// A data node or Duke refused, or could not be reached.
    #[error("{step} was not accepted")]
    Server {
        /// The kind of step.
        step: &'static str,
        /// What the server said or did.
        source: redis::Error,
    },
}

impl Error {
    /// One word for metrics and backoff.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api { source, .. } if is_conflict(source) => "Conflict",
            Self::Api { source, .. } if is_gone(source) => "Gone",
            Self::Api { .. } => "ApiRefused",
            Self::NoCredentials { .. } => "NoCredentials",
            Self::Server { source, .. } => source.reason(),
        }
    }

    /// Whether the server did not even answer.
    fn is_deaf(&self) -> bool {
        match self {
            Self::Server { source, .. } => source.answer().is_none(),
            Self::Api { .. } | Self::NoCredentials { .. } => false,
        }
    }

    /// Whether the world merely moved on since it was observed: look again, nothing is wrong.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Api { source, .. } => is_conflict(source) || is_gone(source),
            Self::NoCredentials { .. } | Self::Server { .. } => false,
        }
    }
}

/// Whether a step may be taken together with its neighbours.
fn may_overlap(step: &Step) -> bool {
    step.action.server().is_some() && !step.action.is_foundation()
}

fn complain(step: &Step, error: &Error) {
    let name = step.action.name();
    if error.is_stale() {
        debug!(step = name, why = step.why, %error, "looked at something stale");
    } else {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        warn!(step = name, why = step.why, %error, cause, "failed to take a step");
    }
}

fn status_code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error {
        Some(status.code)
    } else {
        None
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    status_code(error) == Some(409)
}

fn is_gone(error: &kube::Error) -> bool {
    status_code(error) == Some(404)
}

/// Everything that a step needs to be carried out.
pub struct Hands<'a> {
    /// A client with a time-out and without retries of its own.
    pub client: &'a Client,
    /// Told of what we wrote.
    pub caches: &'a Caches,
    /// Counts the steps.
    pub metrics: &'a Metrics,
    /// The Pipeline's namespace.
    pub namespace: &'a str,
    /// The Pipeline's name.
    pub name: &'a str,
    /// The operator's user at data nodes and Dukes.
    pub credentials: Option<&'a Credentials>,
}

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hands({}/{})", self.namespace, self.name)
    }
}

impl Hands<'_> {
    /// Takes all steps; returns the errors of those that failed.
    ///
    /// Requests to the API server go one after the other. Orders to servers that stand next to each
    /// other go to all servers at once, so that one that does not answer delays nobody else.
    pub async fn take(&self, steps: &[Step], memory: &mut Memory, at: Instant) -> Vec<Error> {
        let mut errors = Vec::new();
        for batch in steps.chunk_by(|one, next| may_overlap(one) && may_overlap(next)) {
            let mut holds = true;
            for (step, outcome) in self.take_batch(batch).await {
                learn(memory, &step.action, outcome.as_ref().err(), at);
                let name = step.action.name();
                let counted = if outcome.is_ok() {
                    Outcome::Success
                } else {
                    Outcome::Error
                };
                self.metrics.stepped(name, counted);
                match outcome {
                    Ok(()) => info!(step = name, why = step.why, "took a step"),
                    Err(error) => {
                        complain(step, &error);
                        holds &= !step.action.is_foundation();
                        errors.push(error);
                    }
                }
            }
            if !holds {
                break;
            }
        }
        errors
    }

    /// Takes steps of different servers at once, those of one server in order.
    async fn take_batch<'s>(&self, batch: &'s [Step]) -> Vec<(&'s Step, Result<(), Error>)> {
        let mut by_server: BTreeMap<Option<SocketAddr>, Vec<&Step>> = BTreeMap::new();
        for step in batch {
            by_server
                .entry(step.action.server())
                .or_default()
                .push(step);
        }
        let taken = join_all(by_server.into_values().map(|steps| async move {
            let mut outcomes = Vec::new();
            for step in steps {
                let outcome = self.take_one(&step.action).await;
                let is_deaf = outcome.as_ref().is_err_and(Error::is_deaf);
                outcomes.push((step, outcome));
                if is_deaf {
                    // Whoever does not answer this will not answer the rest.
                    break;
                }
            }
            outcomes
        }))
        .await;
        taken.into_iter().flatten().collect()
    }

    async fn take_one(&self, action: &Action) -> Result<(), Error> {
        match action {
            Action::Apply(object) => self.apply(object).await,
            Action::CreateSecret(object) => self.create(object).await,
            Action::DeleteObject {
                id,
                uid,
                resource_version,
            } => self.delete(id.kind, &id.name, uid, resource_version).await,
            Action::DeletePod {
                name,
                uid,
                resource_version,
            } => {
                let parameters = exactly(uid, resource_version);
                let deleted = self.api::<Pod>().delete(name, &parameters).await;
                deleted
                    .map(drop)
                    .map_err(|source| refused("DeletePod", name, source))
            }
            Action::LabelPod { name, uid, role } => self.label(name, uid, role).await,
            Action::RecordSeed {
                status,
                resource_version,
            } => self
                .write_status("RecordSeed", status, resource_version)
                .await
                .map(drop),
            Action::FailOver { .. }
            | Action::Promote { .. }
            | Action::SeedDuke { .. }
            | Action::SetDuke { .. }
            | Action::SetNode { .. }
            | Action::TellMembers { .. }
            | Action::TellNodes { .. } => self.order(action).await,
        }
    }

    /// Steps at data nodes and Dukes.
    async fn order(&self, action: &Action) -> Result<(), Error> {
        let step = action.name();
        let user = self.credentials.ok_or(Error::NoCredentials { step })?;
        let limit = ANSWER_LIMIT;
        let ordered = match action {
            Action::FailOver { duke } => duke::fail_over(*duke, user, limit).await,
            Action::Promote { node } => node::promote(*node, user, limit).await,
            Action::SeedDuke { duke, seed } => duke::seed(*duke, user, *seed, limit).await,
            Action::SetDuke {
                duke,
                option,
                value,
            } => duke::set(*duke, user, option, value, limit).await,
            Action::SetNode {
                node,
                run_id: _,
                directive,
                value,
            } => node::set_config(*node, user, directive, value, limit).await,
            Action::TellMembers {
                duke,
                size,
                quorum,
                members,
            } => duke::tell_members(*duke, user, *size, *quorum, members, limit).await,
            Action::TellNodes { duke, nodes } => duke::tell_nodes(*duke, user, nodes, limit).await,
            Action::Apply(_)
            | Action::CreateSecret(_)
            | Action::DeleteObject { .. }
            | Action::DeletePod { .. }
            | Action::LabelPod { .. }
            | Action::RecordSeed { .. } => Ok(()),
        };
        ordered.map_err(|source| Error::Server { step, source })
    }

    /// Applies an object whole, taking over fields that others have changed.
    async fn apply(&self, object: &Object) -> Result<(), Error> {
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
    async fn create(&self, object: &Object) -> Result<(), Error> {
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

    async fn delete(
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

    async fn label(&self, name: &str, uid: &str, role: &str) -> Result<(), Error> {
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

/// Keeps in mind what a step's outcome means for the next pass.
fn learn(memory: &mut Memory, action: &Action, error: Option<&Error>, at: Instant) {
    match action {
        Action::Apply(object) => {
            let id = object.id().to_string();
            match error {
                Some(Error::Api { source, .. }) if !error.is_some_and(Error::is_stale) => {
                    memory
                        .failures
                        .insert(id.clone(), format!("{id}: {source}"));
                }
                Some(_) | None => {
                    memory.failures.remove(&id);
                }
            }
        }
        Action::FailOver { .. } => memory.failover_asked = Some(at),
        Action::SetNode {
            node: _,
            run_id,
            directive,
            value,
        } => {
            // A server that could not be reached is asked again; one that refused is not.
            let refusal = error.map(|error| match error {
                Error::Server { source, .. } => source.answer().map(str::to_owned),
                Error::Api { .. } | Error::NoCredentials { .. } => None,
            });
            if refusal != Some(None) {
                let setting = Setting {
                    run_id: run_id.clone(),
                    directive: directive.clone(),
                };
                let tried = Tried {
                    value: value.clone(),
                    refusal: refusal.flatten(),
                };
                memory.tried.insert(setting, tried);
            }
        }
        Action::CreateSecret(_)
        | Action::DeleteObject { .. }
        | Action::DeletePod { .. }
        | Action::LabelPod { .. }
        | Action::Promote { .. }
        | Action::RecordSeed { .. }
        | Action::SeedDuke { .. }
        | Action::SetDuke { .. }
        | Action::TellMembers { .. }
        | Action::TellNodes { .. } => {}
    }
}

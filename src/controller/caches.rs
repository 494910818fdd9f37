//! All watch caches of the operator, and who is told when something in them changes.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use futures::{FutureExt as _, Stream, StreamExt as _, future::try_join_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service},
    discovery::v1::EndpointSlice,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{reflector::ObjectRef, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::task::TaskTracker;

use self::ended::Ended;
use super::{
    cache::{Cache, Touched},
    object::Object,
    ownership::{Owner, Standing},
};
use crate::api::{Pipeline, label};

pub mod ended;

/// A Pipeline that may not be readable.
pub type Guarded = DeserializeGuard<Pipeline>;

/// Selects what we own: nothing else is ever watched, Secrets above all.
const OWNED: &str = "app.kubernetes.io/managed-by=pipeline-operator";

/// What the names of all volume claims of data pods have in them: `<template>-pipeline-<NAME>-<N>`.
/// Their labels say nothing: a StatefulSet sets none on a claim that exists, such as a restored one.
const CLAIMS: &str = "-pipeline-";

/// What is known of a volume claim.
pub type Claim = PartialObjectMeta<PersistentVolumeClaim>;

/// The caches.
#[derive(Clone, Debug)]
pub struct Caches {
    /// The Pipelines themselves.
    pub pipelines: Cache<Guarded>,
    /// Data pods and Dukes.
    pub pods: Cache<Pod>,
    /// The data pods' volume claims, which outlive Pipelines.
    pub claims: Cache<Claim>,
    /// Data pods whose end a kubelet has confirmed.
    pub ended: Ended,
    /// Owned objects.
    pub config_maps: Cache<ConfigMap>,
    /// Owned objects.
    pub deployments: Cache<Deployment>,
    /// Owned objects.
    pub budgets: Cache<PodDisruptionBudget>,
    /// Owned objects.
    pub slices: Cache<EndpointSlice>,
    /// Owned objects.
    pub secrets: Cache<Secret>,
    /// Owned objects.
    pub services: Cache<Service>,
    /// Owned objects.
    pub stateful_sets: Cache<StatefulSet>,
}

/// Where watches come from and where their news go.
pub struct Source<'a> {
    /// A client without time-outs: a watch is silent while nothing happens.
    pub client: Client,
    /// The only namespace to look at, all if there is none.
    pub namespace: Option<String>,
    /// Told of every Pipeline that something of it changed.
    pub wake: UnboundedSender<ObjectRef<Guarded>>,
    /// Runs the watches.
    pub tasks: &'a TaskTracker,
}

impl Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Source<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Starts one watch of owned objects.
    fn owned<K>(&self, pipelines: &Cache<Guarded>) -> Cache<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let config = watcher::Config::default().labels(OWNED);
        let (cache, stream) = Cache::watch(self.api::<K>(), config);
        self.follow(stream, pipelines);
        cache
    }

    /// Starts the watch of the volume claims: all are listed, metadata only, and of those that may be
    /// a data pod's what is looked at is kept.
    fn claims(&self, pipelines: &Cache<Guarded>) -> Cache<Claim> {
        let config = watcher::Config::default();
        let (cache, stream) = Cache::watch_some(self.api::<Claim>(), config, claim);
        let (wake, all) = (self.wake.clone(), pipelines.clone());
        self.tasks.spawn(stream.for_each(move |touched| {
            match touched {
                Touched::Changed(claim) | Touched::Gone(claim) => {
                    for owner in owners_of(&claim) {
                        tell(&wake, owner);
                    }
                }
                Touched::Anything => all
                    .references()
                    .into_iter()
                    .for_each(|one| tell(&wake, one)),
            }
            std::future::ready(())
        }));
        cache
    }

    /// Starts the watch of the pods, and notes whose end was confirmed.
    fn pods(&self, pipelines: &Cache<Guarded>, ended: &Ended) -> Cache<Pod> {
        let (cache, stream) =
            Cache::watch(self.api::<Pod>(), watcher::Config::default().labels(OWNED));
        let ended = ended.clone();
        let noting = stream.inspect(move |touched| match touched {
            Touched::Changed(pod) | Touched::Gone(pod) => ended.note(pod),
            Touched::Anything => {}
        });
        self.follow(noting, pipelines);
        cache
    }

    /// Wakes the Pipelines that the watched objects name in their label.
    fn follow<K: Resource>(
        &self,
        stream: impl Stream<Item = Touched<K>> + Send + 'static,
        pipelines: &Cache<Guarded>,
    ) {
        let (wake, pipelines) = (self.wake.clone(), pipelines.clone());
        self.tasks.spawn(stream.for_each(move |touched| {
            match touched {
                Touched::Changed(object) | Touched::Gone(object) => {
                    if let Some(owner) = owner(&object) {
                        tell(&wake, owner);
                    }
                }
                Touched::Anything => {
                    for reference in pipelines.references() {
                        tell(&wake, reference);
                    }
                }
            }
            std::future::ready(())
        }));
    }
}

/// What is kept of a volume claim: its name, age and labels, if it may be a data pod's.
fn claim(mut claim: Claim) -> Option<Claim> {
    claim.metadata.name.as_ref()?.contains(CLAIMS).then(|| {
        claim.metadata.annotations = None;
        claim.metadata.managed_fields = None;
        claim
    })
}

/// The Pipelines whose data pod a claim may belong to, by its name.
fn owners_of(claim: &Claim) -> Vec<ObjectRef<Guarded>> {
    let (Some(name), Some(namespace)) = (&claim.metadata.name, &claim.metadata.namespace) else {
        return Vec::new();
    };
    let name = name.rsplit_once('-').map_or("", |(name, _ordinal)| name);
    name.match_indices(CLAIMS)
        .filter_map(|(at, _)| name.get(at.saturating_add(CLAIMS.len())..))
        .map(|pipeline| ObjectRef::new(pipeline).within(namespace))
        .collect()
}

/// A receiver that is gone means that the process is shutting down.
fn tell(wake: &UnboundedSender<ObjectRef<Guarded>>, pipeline: ObjectRef<Guarded>) {
    if wake.send(pipeline).is_err() {
        tracing::debug!("dropped a wake-up during shutdown");
    }
}

/// The Pipeline that an object names in its label.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef<Guarded>> {
    let name = object.meta().labels.as_ref()?.get(label::PIPELINE)?;
    Some(ObjectRef::new(name).within(object.meta().namespace.as_deref()?))
}

impl Caches {
    /// Starts all watches.
    #[must_use]
    pub fn watch(source: &Source<'_>) -> Self {
        let (pipelines, stream) = Cache::<Guarded>::watch(source.api(), watcher::Config::default());
        let (wake, all) = (source.wake.clone(), pipelines.clone());
        let mut known = HashMap::new();
        source.tasks.spawn(stream.for_each(move |touched| {
            match touched {
                Touched::Changed(pipeline) => {
                    // A new status alone, which we write ourselves, is no news.
                    let reference = ObjectRef::from_obj(&pipeline);
                    let meta = pipeline.meta();
                    let order = meta.annotations.as_ref();
                    let order = order.and_then(|all| all.get(label::ACCEPT_DATA_LOSS));
                    let spec = (
                        meta.uid.clone(),
                        meta.generation,
                        meta.annotations.clone(),
                        meta.deletion_timestamp.clone(),
                        order.cloned(),
                    );
                    if known.insert(reference.clone(), spec.clone()) != Some(spec) {
                        tell(&wake, reference);
                    }
                }
                Touched::Gone(pipeline) => {
                    let reference = ObjectRef::from_obj(&pipeline);
                    known.remove(&reference);
                    tell(&wake, reference);
                }
                Touched::Anything => {
                    for reference in all.references().into_iter().chain(known.keys().cloned()) {
                        tell(&wake, reference);
                    }
                    known.clear();
                }
            }
            std::future::ready(())
        }));
        let ended = Ended::default();
        Self {
            pods: source.pods(&pipelines, &ended),
            ended,
            claims: source.claims(&pipelines),
            config_maps: source.owned(&pipelines),
            deployments: source.owned(&pipelines),
            budgets: source.owned(&pipelines),
            slices: source.owned(&pipelines),
            secrets: source.owned(&pipelines),
            services: source.owned(&pipelines),
            stateful_sets: source.owned(&pipelines),
            pipelines,
        }
    }

    /// Waits until every cache has its first complete list.
    pub async fn ready(&self) {
        let Self {
            pipelines,
            pods,
            claims,
            ended: _,
            config_maps,
            deployments,
            budgets,
            slices,
            secrets,
            services,
            stateful_sets,
        } = self;
        let lists = [
            pipelines.ready().boxed(),
            pods.ready().boxed(),
            claims.ready().boxed(),
            config_maps.ready().boxed(),
            deployments.ready().boxed(),
            budgets.ready().boxed(),
            slices.ready().boxed(),
            secrets.ready().boxed(),
            services.ready().boxed(),
            stateful_sets.ready().boxed(),
        ];
        if let Err(error) = try_join_all(lists).await {
            tracing::error!(%error, "lost a watch before its first list");
        }
    }

    /// The objects of one Pipeline that stand as `standing` says.
    #[must_use]
    pub fn objects(&self, namespace: &str, owner: Owner<'_>, standing: &Standing) -> Vec<Object> {
        let mut all = Vec::new();
        let place = Belongs {
            namespace,
            owner,
            standing,
        };
        let Self {
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
        } = self;
        all.extend(place.of(config_maps).map(Object::ConfigMap));
        all.extend(place.of(deployments).map(Object::Deployment));
        all.extend(place.of(budgets).map(Object::DisruptionBudget));
        all.extend(place.of(slices).map(Object::EndpointSlice));
        all.extend(place.of(secrets).map(Object::Secret));
        all.extend(place.of(services).map(Object::Service));
        all.extend(place.of(stateful_sets).map(Object::StatefulSet));
        all
    }
}

struct Belongs<'a> {
    namespace: &'a str,
    owner: Owner<'a>,
    standing: &'a Standing,
}

impl Belongs<'_> {
    fn of<K: Resource<DynamicType = ()> + Clone + 'static>(
        &self,
        cache: &Cache<K>,
    ) -> impl Iterator<Item = Arc<K>> + use<K> {
        cache
            .select(|object| {
                let meta = object.meta();
                let label = meta
                    .labels
                    .as_ref()
                    .and_then(|labels| labels.get(label::PIPELINE));
                meta.namespace.as_deref() == Some(self.namespace)
                    && label.is_some_and(|name| name == self.owner.pipeline)
                    && self.owner.standing(meta) == *self.standing
            })
            .into_iter()
    }
}

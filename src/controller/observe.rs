//! Reads the cluster from the watch caches and asks every data node and every Duke, all at once.
//!
//! Returns plain data. A pod that does not answer is data as well: nobody here waits longer than
//! [`ANSWER_LIMIT`] for anyone, and no answer of one keeps the others' from counting.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{join, join_all};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::ResourceExt as _;

use super::{
    caches::Caches,
    object::{Object, ObjectId},
    ownership::{Owner, Standing},
};
use crate::{
    api::{
        DUKE_PORT, Pipeline, PipelineStatus, REDIS_PORT,
        label::{self, Component},
        names::Names,
    },
    redis::{
        Credentials, Error,
        duke::{self, DukeReport},
        node::{self, NodeReport},
    },
    render::service,
};

pub use claim::ClaimFacts;
pub use kubelet::{Kubelet, ask as ask_kubelets};
pub use pod::{MainContainer, Phase, PodFacts, has_ended};

pub mod complaint;

mod claim;
mod kubelet;
mod pod;
mod trouble;

/// How long a server may take for one answer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long Dukes may take when one of them has just published a new master.
const URGENT_LIMIT: Duration = Duration::from_millis(120);

/// What came back from a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer<T> {
    /// It answered.
    Given(T),
    /// It was asked and did not answer; the error says how.
    Missing(Error),
    /// It was not asked: no address, not running, or no credentials yet.
    NotAsked,
}

impl<T> Answer<T> {
    /// The answer, if there is one.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(answer) => Some(answer),
            Self::Missing(_) | Self::NotAsked => None,
        }
    }
}

/// One data pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataPod {
    /// What the API server says of it.
    pub facts: PodFacts,
    /// Its place in the StatefulSet.
    pub ordinal: u16,
    /// What its server says.
    pub answer: Answer<NodeReport>,
}

/// One Duke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DukePod {
    /// What the API server says of its pod.
    pub facts: PodFacts,
    /// What it says itself.
    pub answer: Answer<DukeReport>,
}

impl DataPod {
    /// Where its server listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.facts.ip.map(|ip| SocketAddr::new(ip, REDIS_PORT))
    }
}

impl DukePod {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.facts.ip.map(|ip| SocketAddr::new(ip, DUKE_PORT))
    }
}

/// Everything a plan is made from.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When it was taken, for measuring how long something has lasted.
    pub at: Instant,
    /// When it was taken, for timestamps that people read.
    pub time: Timestamp,
    /// The generation of the Pipeline's spec.
    pub spec_generation: Option<i64>,
    /// The Pipeline's status as it stands.
    pub status: PipelineStatus,
    /// The Pipeline's version, which a seeding carries as its precondition.
    pub resource_version: Option<String>,
    /// The owned objects as they stand.
    pub live: BTreeMap<ObjectId, Object>,
    /// Objects that were the Pipeline's and lost their owner.
    pub lost: BTreeMap<ObjectId, Object>,
    /// What the cluster's controllers complain of, as sentences.
    pub complaints: Vec<String>,
    /// The data pods, by ordinal.
    pub data: Vec<DataPod>,
    /// The Dukes, by name.
    pub dukes: Vec<DukePod>,
    /// The volume claims that carry the names of data pods' claims, by ordinal.
    pub claims: BTreeMap<u16, ClaimFacts>,
    /// The uids of data nodes of record whose pods were stopped by their kubelets, and are gone.
    pub ended: BTreeSet<String>,
    /// The kubelets of nodes where data nodes of record vanished; asked only when a seeding needs it.
    pub kubelets: BTreeMap<String, Kubelet>,
    /// The pod that a human chose, accepting that data is lost.
    pub order: Option<String>,
    /// Whether Kubernetes' own slices of the Service `pipeline-<NAME>` lead to a master.
    pub selector_leads: bool,
}

impl Observation {
    /// The live StatefulSet.
    #[must_use]
    pub fn stateful_set(&self, names: &Names) -> Option<&StatefulSet> {
        let id = ObjectId {
            kind: super::object::Kind::StatefulSet,
            name: names.data(),
        };
        match self.live.get(&id)? {
            Object::StatefulSet(live) => Some(live),
            Object::ConfigMap(_)
            | Object::Deployment(_)
            | Object::DisruptionBudget(_)
            | Object::EndpointSlice(_)
            | Object::Secret(_)
            | Object::Service(_) => None,
        }
    }

    /// The data pod at an address, the one that is not ended if there are several.
    #[must_use]
    pub fn data_at(&self, ip: IpAddr) -> Option<&DataPod> {
        self.data
            .iter()
            .find(|pod| pod.facts.ip == Some(ip) && !pod.facts.is_over())
    }

    /// Whether any server answers: one has accepted the operator's password then.
    #[must_use]
    pub fn anyone_answers(&self) -> bool {
        self.data.iter().any(|pod| pod.answer.given().is_some())
            || self.dukes.iter().any(|pod| pod.answer.given().is_some())
    }

    /// The same Observation with the plan's own objects taken out, to print.
    #[must_use]
    pub fn summary(&self) -> String {
        let answered = |given: bool| if given { '+' } else { '-' };
        let data: String = self
            .data
            .iter()
            .map(|pod| answered(pod.answer.given().is_some()))
            .collect();
        let dukes: String = self
            .dukes
            .iter()
            .map(|pod| answered(pod.answer.given().is_some()))
            .collect();
        format!("data {data}, dukes {dukes}, {} objects", self.live.len())
    }
}

/// Who to ask, and what.
#[derive(Clone, Debug)]
pub struct Questions {
    /// The operator's user; without it nobody can be asked.
    pub credentials: Option<Credentials>,
    /// The configuration keys whose values the plan needs.
    pub config_keys: BTreeSet<String>,
}

/// Observes everything.
pub async fn observe(caches: &Caches, pipeline: &Pipeline, questions: &Questions) -> Observation {
    let mut seen = read(caches, pipeline);
    let credentials = questions.credentials.as_ref();
    let keys = &questions.config_keys;
    let data = join_all(seen.data.iter().map(|pod| async move {
        let (Some(address), Some(credentials)) = (askable(&pod.facts, pod.address()), credentials)
        else {
            return Answer::NotAsked;
        };
        answer(node::look(address, credentials, keys, ANSWER_LIMIT).await)
    }));
    let dukes = ask_dukes(&seen.dukes, credentials, ANSWER_LIMIT);
    let (data, dukes) = join(data, dukes).await;
    for (pod, answer) in seen.data.iter_mut().zip(data) {
        pod.answer = answer;
    }
    for (pod, answer) in seen.dukes.iter_mut().zip(dukes) {
        pod.answer = answer;
    }
    seen
}

/// Observes only what is needed to follow a switch: the caches, and the Dukes that answer at once.
pub async fn observe_urgently(
    caches: &Caches,
    pipeline: &Pipeline,
    questions: &Questions,
) -> Observation {
    let mut seen = read(caches, pipeline);
    let answers = ask_dukes(&seen.dukes, questions.credentials.as_ref(), URGENT_LIMIT).await;
    for (pod, answer) in seen.dukes.iter_mut().zip(answers) {
        pod.answer = answer;
    }
    seen
}

async fn ask_dukes(
    dukes: &[DukePod],
    credentials: Option<&Credentials>,
    limit: Duration,
) -> Vec<Answer<DukeReport>> {
    join_all(dukes.iter().map(|pod| async move {
        let (Some(address), Some(credentials)) = (askable(&pod.facts, pod.address()), credentials)
        else {
            return Answer::NotAsked;
        };
        // Connecting and asking have a limit each; urgent questions need one for both.
        let asked = tokio::time::timeout(limit, duke::look(address, credentials, limit)).await;
        answer(asked.unwrap_or(Err(Error::Silent { address, limit })))
    }))
    .await
}

fn answer<T>(result: Result<T, Error>) -> Answer<T> {
    match result {
        Ok(report) => Answer::Given(report),
        Err(error) => Answer::Missing(error),
    }
}

fn askable(facts: &PodFacts, address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.filter(|_| facts.phase == Phase::Running)
}

/// What the caches say, with nobody asked yet.
fn read(caches: &Caches, pipeline: &Pipeline) -> Observation {
    let namespace = pipeline.metadata.namespace.clone().unwrap_or_default();
    let names = Names::new(pipeline.metadata.name.as_deref().unwrap_or_default());
    let owner = Owner {
        pipeline: names.pipeline(),
        uid: pipeline.metadata.uid.as_deref().unwrap_or_default(),
    };
    let objects = |standing: Standing| {
        caches
            .objects(&namespace, owner, &standing)
            .into_iter()
            .map(|object| (object.id(), object))
            .collect()
    };
    let mut data: Vec<DataPod> = pods(caches, &namespace, &names, Component::Data)
        .iter()
        .filter_map(|pod| {
            let facts = PodFacts::of(pod)?;
            let ordinal = names.ordinal(&facts.name)?;
            Some(DataPod {
                facts,
                ordinal,
                answer: Answer::NotAsked,
            })
        })
        .collect();
    data.sort_by_key(|pod| pod.ordinal);
    let dukes = pods(caches, &namespace, &names, Component::Duke)
        .iter()
        .filter_map(|pod| {
            Some(DukePod {
                facts: PodFacts::of(pod)?,
                answer: Answer::NotAsked,
            })
        })
        .filter(|pod| !pod.facts.is_over())
        .collect();
    let status = pipeline.status.clone().unwrap_or_default();
    let recorded = status.data_nodes.iter().map(|node| node.uid.as_str());
    let recorded: Vec<&str> = recorded.collect();
    Observation {
        at: Instant::now(),
        time: Timestamp::now(),
        spec_generation: pipeline.metadata.generation,
        resource_version: pipeline.metadata.resource_version.clone(),
        live: objects(Standing::Ours),
        lost: objects(Standing::Lost),
        complaints: Vec::new(),
        data,
        dukes,
        claims: claim::of(caches, pipeline, &names),
        ended: caches.ended.among(&recorded),
        kubelets: BTreeMap::new(),
        order: pipeline
            .annotations()
            .get(label::ACCEPT_DATA_LOSS)
            .map(|order| order.trim().to_owned()),
        selector_leads: selector_leads(caches, &namespace, &names),
        status,
    }
}

/// Whether the EndpointSlice controller has found a ready pod for the master's port.
fn selector_leads(caches: &Caches, namespace: &str, names: &Names) -> bool {
    let service = names.data();
    let found = caches.slices.select(|slice| {
        let labels = slice.metadata.labels.as_ref();
        let is = |key: &str, value: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
                == Some(value)
        };
        slice.metadata.namespace.as_deref() == Some(namespace)
            && is(label::SERVICE_NAME, &service)
            && is(label::SLICE_MANAGER, label::SLICE_CONTROLLER)
    });
    found.iter().any(|slice| {
        let mut ports = slice.ports.iter().flatten();
        let mut endpoints = slice.endpoints.iter().flatten();
        ports.any(|port| port.name.as_deref() == Some(service::REDIS))
            && endpoints.any(|endpoint| {
                let conditions = endpoint.conditions.as_ref();
                conditions.is_some_and(|conditions| conditions.ready == Some(true))
            })
    })
}

fn pods(caches: &Caches, namespace: &str, names: &Names, component: Component) -> Vec<Arc<Pod>> {
    let wanted = label::selector(names.pipeline(), component);
    caches.pods.select(|pod| {
        let labels = pod.metadata.labels.as_ref();
        pod.metadata.namespace.as_deref() == Some(namespace)
            && wanted
                .iter()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

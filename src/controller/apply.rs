//! Carries out a plan's steps, one request each, in order.
//!
//! Steps stand alone unless they are the foundation of others, so one unreachable pod holds up
//! nobody else. Every request can be repeated: objects are applied whole, deletions and labels
//! carry the uid they were decided on, a seeding the version of the Pipeline. A crash between any
//! two steps therefore leaves something that the next pass goes on from. A request that was not
//! accepted is repeated with growing pauses, whatever the answer was.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use futures::future::join_all;
use kube::Client;
use tracing::{debug, info, warn};

use super::{
    backoff::{self, Refusal},
    caches::Caches,
    memory::{Memory, Setting, Tried},
    object::{Kind, Object},
    observe::ANSWER_LIMIT,
    ownership::Owner,
    plan::step::{Action, Step},
};
use crate::{
    metrics::{Metrics, Outcome},
    redis::{Credentials, duke, node},
};

mod error;
mod write;

pub use error::Error;

/// Whether a step may be taken together with its neighbours.
fn may_overlap(step: &Step) -> bool {
    step.action.server().is_some() && !step.action.is_foundation()
}

/// Whether the steps that build upon one that failed must not be taken.
fn is_undermined(action: &Action, error: &Error) -> bool {
    // A former master whose pod is gone has no label any more.
    let is_gone = matches!(action, Action::LabelPod { .. }) && error.is_stale();
    action.is_foundation() && !is_gone
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

/// What became of a plan's steps.
#[derive(Debug, Default)]
pub struct Taken<'a> {
    /// Those that were taken.
    pub done: Vec<&'a Step>,
    /// Why others were not.
    pub errors: Vec<Error>,
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
    /// The Pipeline's identity.
    pub uid: &'a str,
    /// The operator's user at data nodes and Dukes.
    pub credentials: Option<&'a Credentials>,
}

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hands({}/{})", self.namespace, self.name)
    }
}

impl Hands<'_> {
    /// Takes all steps; says which of them are done, and what became of the others.
    ///
    /// Requests to the API server go one after the other, and those that have to wait are left out.
    /// Orders to servers that stand next to each other go to all servers at once, so that one that
    /// does not answer delays nobody else.
    pub async fn take<'s>(&self, steps: &'s [Step], memory: &mut Memory, at: Instant) -> Taken<'s> {
        forget_refusals(memory, steps);
        let mut taken = Taken::default();
        let mut lacks_mounts = false;
        for batch in steps.chunk_by(|one, next| may_overlap(one) && may_overlap(next)) {
            let mut holds = true;
            if let [step] = batch
                && (has_to_wait(step, memory, at) || lacks_mounts && mounts_files(step))
            {
                if waits_for_good(step, memory) {
                    break;
                }
                lacks_mounts |= makes_files(step);
                continue;
            }
            for (step, outcome) in self.take_batch(batch, memory).await {
                lacks_mounts |= outcome.is_err() && makes_files(step);
                learn(memory, &step.action, outcome.as_ref().err(), at);
                let name = step.action.name();
                let counted = if outcome.is_ok() {
                    Outcome::Success
                } else {
                    Outcome::Error
                };
                self.metrics.stepped(name, counted);
                match outcome {
                    Ok(()) => {
                        info!(step = name, why = step.why, "took a step");
                        taken.done.push(step);
                    }
                    Err(error) => {
                        complain(step, &error);
                        holds &= !is_undermined(&step.action, &error);
                        taken.errors.push(error);
                    }
                }
            }
            if !holds {
                break;
            }
        }
        taken
    }

    /// Takes steps of different servers at once, those of one server in order.
    async fn take_batch<'s>(
        &self,
        batch: &'s [Step],
        memory: &Memory,
    ) -> Vec<(&'s Step, Result<(), Error>)> {
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
                let outcome = self.take_one(&step.action, memory).await;
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

    async fn take_one(&self, action: &Action, memory: &Memory) -> Result<(), Error> {
        match action {
            Action::Adopt {
                object,
                uid,
                resource_version,
            } => self.adopt(object, uid, resource_version).await,
            Action::Apply(object) => self.apply(object).await,
            Action::Create(object) => self.create(object, memory.is_foreign(&object.id())).await,
            Action::DeleteObject {
                id,
                uid,
                resource_version,
            } => self.delete(id.kind, &id.name, uid, resource_version).await,
            Action::DeletePod {
                name,
                uid,
                resource_version,
            } => self.delete_pod(name, uid, resource_version).await,
            Action::LabelPod {
                name,
                uid,
                role,
                deposes: _,
            } => self.label(name, uid, *role).await,
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
            Action::FailOver { duke, from } => duke::hand_over(*duke, user, *from, limit).await,
            Action::Promote { node, expected } => node::promote(*node, user, expected, limit).await,
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
            Action::Adopt { .. }
            | Action::Apply(_)
            | Action::Create(_)
            | Action::DeleteObject { .. }
            | Action::DeletePod { .. }
            | Action::LabelPod { .. }
            | Action::RecordSeed { .. } => Ok(()),
        };
        ordered.map_err(|source| Error::Server { step, source })
    }

    fn owner(&self) -> Owner<'_> {
        Owner {
            pipeline: self.name,
            uid: self.uid,
        }
    }
}

/// Forgets refusals of what nobody asks for any more.
fn forget_refusals(memory: &mut Memory, steps: &[Step]) {
    let asked: Vec<String> = steps
        .iter()
        .filter_map(|step| Some(step.action.request()?.0))
        .collect();
    memory.refusals.retain(|target, _| asked.contains(target));
}

/// Whether a request was refused so recently that it is not repeated yet.
fn has_to_wait(step: &Step, memory: &Memory, at: Instant) -> bool {
    step.action.request().is_some_and(|(target, content)| {
        memory
            .refusals
            .get(&target)
            .is_some_and(|refusal| refusal.content == content && at < refusal.until)
    })
}

/// Whether what waits is the foundation of later steps. A label that may merely have met a pod that is
/// gone is none.
fn waits_for_good(step: &Step, memory: &Memory) -> bool {
    let target = step.action.request().map(|(target, _)| target);
    let refusal = target.and_then(|target| memory.refusals.get(&target));
    let is_certain = refusal.is_none_or(|refusal| refusal.message.is_some());
    let is_label = matches!(step.action, Action::LabelPod { .. });
    step.action.is_foundation() && (is_certain || !is_label)
}

/// Whether a step makes what pods mount: somebody else's object of its name must not be mounted.
fn makes_files(step: &Step) -> bool {
    let kind = step.action.object().map(Object::kind);
    matches!(step.action, Action::Create(_)) && matches!(kind, Some(Kind::ConfigMap | Kind::Secret))
}

/// Whether a step makes pods that mount files.
fn mounts_files(step: &Step) -> bool {
    let kind = step.action.object().map(Object::kind);
    matches!(step.action, Action::Create(_))
        && matches!(kind, Some(Kind::Deployment | Kind::StatefulSet))
}

/// Keeps in mind when a request to the API server may be sent again.
fn learn_request(memory: &mut Memory, action: &Action, error: Option<&Error>, at: Instant) {
    /// After so many conflicts in a row it is not the watch that is late.
    const CONFLICTS_MAX: u32 = 5;
    let Some((target, content)) = action.request() else {
        return;
    };
    let Some(error) = error else {
        memory.refusals.remove(&target);
        return;
    };
    let before = memory.refusals.get(&target);
    let failures = before
        .filter(|refusal| refusal.content == content)
        .map_or(0, |refusal| refusal.failures)
        .saturating_add(1);
    let is_foreign = matches!(error, Error::Foreign { .. });
    let pause = if is_foreign {
        // That it is somebody else's is certain; all that can be waited for is that it goes.
        backoff::pause(backoff::LONGEST, failures, rand::random())
    } else if error.is_stale() {
        backoff::pause(backoff::STALE, failures, rand::random())
    } else {
        backoff::pause(backoff::REFUSED, failures, rand::random())
    };
    let is_news = !error.is_stale() || failures > CONFLICTS_MAX;
    let refusal = Refusal {
        content,
        failures,
        until: at + pause,
        message: is_news.then(|| error.told()),
        is_foreign,
    };
    memory.refusals.insert(target, refusal);
}

/// Keeps in mind what a step's outcome means for the next pass.
fn learn(memory: &mut Memory, action: &Action, error: Option<&Error>, at: Instant) {
    learn_request(memory, action, error, at);
    match action {
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
                Error::Api { .. } | Error::Foreign { .. } | Error::NoCredentials { .. } => None,
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
        Action::Adopt { .. }
        | Action::Apply(_)
        | Action::Create(_)
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

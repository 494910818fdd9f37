//! Keeps every Pipeline as it should be: observe → resolve → plan → apply → report.
//!
//! This file holds who wakes whom and what is tried again when; their order is in `pass`. A pass
//! reads from watch caches, asks servers, and writes only what differs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use kube::{
    Client, Resource as _,
    runtime::{
        controller::{self, Action},
        events::{Recorder, Reporter},
        reflector::ObjectRef,
    },
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, debug, info_span, warn};

use self::{
    caches::{Caches, Guarded, Source},
    memory::Memory,
    pass::pass,
    resolve::Defaults,
    sketch::Kept,
};
use crate::{
    api::FIELD_MANAGER,
    metrics::{Metrics, Outcome},
    redis::listen::{Listeners, Wake},
};

pub mod apply;
pub mod backoff;
pub mod cache;
pub mod caches;
pub mod drift;
pub mod memory;
pub mod object;
pub mod observe;
pub mod ownership;
mod pass;
pub mod plan;
pub mod report;
pub mod resolve;
pub mod sketch;

/// How many Pipelines are worked on at once.
const CONCURRENCY: u16 = 16;

/// The longest pause after a failed pass: a failed pass may have left a server unasked.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Namespace and name of a Pipeline.
type Key = (String, String);

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Some steps could not be taken; each was logged.
    #[error("{} of {steps} steps failed, first {}", .errors.len(), .errors.first().map_or("none", |error| error.reason()))]
    Incomplete {
        /// How many steps there were.
        steps: usize,
        /// What went wrong.
        errors: Vec<apply::Error>,
    },
    /// The status could not be written.
    #[error("the status was not accepted")]
    Report {
        /// Why not.
        source: apply::Error,
    },
    /// The object cannot be read as a Pipeline at all.
    #[error("the object is no Pipeline")]
    Unreadable {
        /// What is wrong with it.
        source: Box<kube::core::error_boundary::InvalidObject>,
    },
}

impl Error {
    /// Whether the pass merely looked at something that has changed meanwhile.
    fn is_stale(&self) -> bool {
        match self {
            Self::Incomplete { errors, .. } => errors.iter().all(apply::Error::is_stale),
            Self::Report { source } => source.is_stale(),
            Self::Unreadable { .. } => false,
        }
    }
}

/// What the passes of one Pipeline share.
#[derive(Debug, Default)]
struct Group {
    memory: Mutex<Memory>,
    switched: Mutex<Option<Instant>>,
    passwords: Mutex<Option<Kept>>,
    wake: Notify,
}

impl Group {
    fn switched(&self) -> MutexGuard<'_, Option<Instant>> {
        self.switched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passwords(&self) -> MutexGuard<'_, Option<Kept>> {
        self.passwords
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Groups = Mutex<BTreeMap<Key, Arc<Group>>>;

fn group(groups: &Groups, key: &Key) -> Arc<Group> {
    let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(groups.entry(key.clone()).or_default())
}

/// What all passes share.
struct Context {
    client: Client,
    caches: Caches,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    groups: Arc<Groups>,
    listeners: Listeners<Key>,
    defaults: Defaults,
}

/// What the controller needs from outside.
pub struct Setup {
    /// For requests: with a time-out, without retries of its own.
    pub requests: Client,
    /// For watches: without a time-out.
    pub watches: Client,
    /// The only namespace to work in, all if there is none.
    pub namespace: Option<String>,
    /// What specs leave open.
    pub defaults: Defaults,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// This process's name in events.
    pub instance: String,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Works until `stop` is cancelled; running passes are finished then.
pub async fn run(setup: Setup, stop: CancellationToken) {
    let Setup {
        requests,
        watches,
        namespace,
        defaults,
        metrics,
        instance,
    } = setup;
    let (wake, woken) = mpsc::unbounded_channel();
    let tasks = TaskTracker::new();
    let source = Source {
        client: watches,
        namespace,
        wake: wake.clone(),
        tasks: &tasks,
    };
    let caches = Caches::watch(&source);
    let reporter = Reporter {
        controller: FIELD_MANAGER.into(),
        instance: Some(instance),
    };
    let groups: Arc<Groups> = Arc::default();
    let context = Arc::new(Context {
        recorder: Recorder::new(requests.clone(), reporter),
        client: requests,
        listeners: listeners(wake, Arc::clone(&groups)),
        metrics,
        groups,
        defaults,
        caches: caches.clone(),
    });
    tokio::select! {
        () = stop.cancelled() => return,
        () = caches.ready() => {}
    }
    let queue = UnboundedReceiverStream::new(woken)
        .take_until(stop.cancelled_owned())
        .map(Ok::<ObjectRef<Guarded>, std::convert::Infallible>);
    let passes = controller::applier(
        |pipeline, context| Box::pin(reconcile(pipeline, context)),
        |pipeline, error, context| retry(&pipeline, error, &context),
        Arc::clone(&context),
        caches.pipelines.store(),
        queue,
        controller::Config::default().concurrency(CONCURRENCY),
    );
    passes
        .for_each(|ended| {
            match ended {
                Ok(_) => {}
                Err(controller::Error::ObjectNotFound(gone)) => {
                    context.forget(&(gone.namespace.unwrap_or_default(), gone.name));
                }
                Err(error) => debug!(%error, "ended a pass with an error"),
            }
            std::future::ready(())
        })
        .await;
}

/// Listeners whose events wake the reconcile of their Pipeline.
fn listeners(
    wake: mpsc::UnboundedSender<ObjectRef<Guarded>>,
    groups: Arc<Groups>,
) -> Listeners<Key> {
    Listeners::new(move |key: &Key, event| {
        match event {
            Wake::Switched => {
                let group = group(&groups, key);
                group.switched().get_or_insert_with(Instant::now);
                group.wake.notify_one();
            }
            Wake::Look => {}
        }
        let (namespace, name) = key;
        if wake.send(ObjectRef::new(name).within(namespace)).is_err() {
            debug!("dropped a wake-up during shutdown");
        }
    })
}

impl Context {
    fn forget(&self, key: &Key) {
        let (namespace, name) = key;
        self.listeners.retain(|other| other != key);
        self.groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        self.metrics.forget(namespace, name);
    }
}

/// One pass, or two when a switch happens during it.
async fn reconcile(guarded: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let meta = guarded.meta();
    let key = (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    );
    let span = info_span!("pass", pipeline = %format!("{}/{}", key.0, key.1));
    let started = Instant::now();
    let ended = pass(&key, &context).instrument(span).await;
    let outcome = if ended.is_ok() {
        Outcome::Success
    } else {
        Outcome::Error
    };
    context.metrics.reconciled(outcome, started.elapsed());
    let group = group(&context.groups, &key);
    let mut memory = group.memory();
    memory.failed_passes = match &ended {
        Ok(_) => 0,
        Err(_) => memory.failed_passes.saturating_add(1),
    };
    drop(memory);
    ended
}

/// When to try again after a failed pass: soon at first, then ever more seldom.
fn retry(pipeline: &Guarded, error: &Error, context: &Context) -> Action {
    if let Error::Unreadable { source } = error {
        warn!(error = %source, "left a Pipeline alone that cannot be read");
        return Action::await_change();
    }
    let meta = pipeline.meta();
    let key = (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    );
    let failed = group(&context.groups, &key).memory().failed_passes;
    let first = if error.is_stale() {
        backoff::STALE
    } else {
        backoff::REFUSED
    };
    let pause = backoff::pause(first, failed, rand::random());
    Action::requeue(pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests;

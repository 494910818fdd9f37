//! Keeps every Pipeline as it should be: observe → resolve → plan → apply → report.
//!
//! This file holds their order and who wakes whom, nothing else. A pass reads from watch caches,
//! asks servers, and writes only what differs. A Duke's `+switch-master` interrupts a pass that is
//! still asking, so that slices, labels and status follow a switch at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
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
    apply::Hands,
    caches::{Caches, Guarded, Source},
    memory::Memory,
    plan::{Plan, step::Step},
    report::Voice,
    resolve::Defaults,
    sketch::{Refused, Sketch},
};
use crate::{
    api::{FIELD_MANAGER, Pipeline},
    metrics::{Metrics, Outcome},
    redis::{
        Credentials,
        listen::{Listeners, Targets, Wake},
    },
};

pub mod apply;
pub mod cache;
pub mod caches;
pub mod drift;
pub mod memory;
pub mod object;
pub mod observe;
pub mod plan;
pub mod report;
pub mod resolve;
pub mod sketch;

/// How many Pipelines are worked on at once.
const CONCURRENCY: u16 = 16;

/// The shortest and longest pause after a failed pass.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The pause after a pass that looked at something stale.
const STALE: Duration = Duration::from_millis(50);

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
    secret: Mutex<Option<Arc<Secret>>>,
    wake: Notify,
}

impl Group {
    fn switched(&self) -> MutexGuard<'_, Option<Instant>> {
        self.switched.lock().unwrap_or_else(PoisonError::into_inner)
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

async fn pass(key: &Key, context: &Context) -> Result<Action, Error> {
    let group = group(&context.groups, key);
    loop {
        let switched = group.switched().take();
        let Some(pipeline) = newest(key, context)? else {
            return Ok(Action::await_change());
        };
        let work = Work {
            key,
            context,
            group: &group,
            pipeline: &pipeline,
        };
        if let Some(since) = switched {
            work.follow_switch().await?;
            context.metrics.announced(since.elapsed());
            continue;
        }
        let ended = work.look_at_everything().await?;
        if let Some(action) = ended.filter(|_| group.switched().is_none()) {
            return Ok(action);
        }
    }
}

/// The newest version of a Pipeline; none once it is being deleted.
fn newest(key: &Key, context: &Context) -> Result<Option<Pipeline>, Error> {
    let (namespace, name) = key;
    let Some(found) = context.caches.pipelines.get(namespace, name) else {
        return Ok(None);
    };
    let pipeline = found.0.clone().map_err(|source| Error::Unreadable {
        source: Box::new(source),
    })?;
    Ok(Some(pipeline).filter(|pipeline| pipeline.metadata.deletion_timestamp.is_none()))
}

/// One Pipeline at one moment.
struct Work<'a> {
    key: &'a Key,
    context: &'a Context,
    group: &'a Group,
    pipeline: &'a Pipeline,
}

impl Work<'_> {
    fn sketch(&self) -> Result<Sketch, Box<Refused>> {
        let mut kept = self
            .group
            .secret
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Sketch::of(
            self.pipeline,
            &self.context.caches,
            &self.context.defaults,
            &mut kept,
        )
    }

    /// Slices, labels and status after a switch.
    async fn follow_switch(&self) -> Result<(), Error> {
        match self.sketch() {
            Ok(sketch) => {
                let questions = sketch.questions();
                self.announce_master(&sketch.wanted, &questions, &sketch)
                    .await
            }
            Err(refused) => {
                let questions = refused.questions();
                self.announce_master(&refused.wanted, &questions, &*refused)
                    .await
            }
        }
    }

    async fn announce_master(
        &self,
        wanted: &plan::Wanted,
        questions: &observe::Questions,
        drawing: &impl plan::SliceDrawing,
    ) -> Result<(), Error> {
        let seen = observe::observe_urgently(&self.context.caches, self.pipeline, questions).await;
        let plan = {
            let mut memory = self.group.memory();
            plan::announce(wanted, &seen, drawing, &mut memory)
        };
        self.announce(&plan).await
    }

    /// Writes slices, labels and status at the same time: each is right by itself, and clients wait
    /// for the first two.
    async fn announce(&self, plan: &Plan) -> Result<(), Error> {
        let hands = self.hands(None);
        let is_label = |step: &Step| step.action.name() == "LabelPod";
        let (labels, slices): (Vec<Step>, Vec<Step>) =
            plan.steps.iter().cloned().partition(is_label);
        let (mut one, mut other) = (Memory::default(), Memory::default());
        let at = Instant::now();
        let (mut errors, more, reported) = futures::join!(
            hands.take(&slices, &mut one, at),
            hands.take(&labels, &mut other, at),
            self.report(&hands, plan),
        );
        errors.extend(more);
        reported?;
        complete(plan, errors)
    }

    /// A whole pass; nothing if a switch interrupted it.
    async fn look_at_everything(&self) -> Result<Option<Action>, Error> {
        let caches = &self.context.caches;
        let sketch = match self.sketch() {
            Ok(sketch) => sketch,
            Err(refused) => return self.refuse(&refused).await.map(Some),
        };
        let questions = sketch.questions();
        let seen = tokio::select! {
            biased;
            () = self.group.wake.notified() => return Ok(None),
            seen = observe::observe(caches, self.pipeline, &questions) => seen,
        };
        debug!(seen = seen.summary(), "observed");
        self.listen(&seen, questions.credentials.as_ref());
        let plan = {
            let mut memory = self.group.memory();
            plan::plan(&sketch.wanted, &seen, &sketch, &mut memory)
        };
        let requeue = plan.requeue;
        self.carry_out(&plan, questions.credentials.as_ref())
            .await?;
        Ok(Some(Action::requeue(requeue)))
    }

    /// Says what is wrong with a spec, and goes on serving the group that exists.
    async fn refuse(&self, refused: &Refused) -> Result<Action, Error> {
        let questions = refused.questions();
        let seen = observe::observe(&self.context.caches, self.pipeline, &questions).await;
        self.listen(&seen, questions.credentials.as_ref());
        let plan = {
            let mut memory = self.group.memory();
            let Refused { wanted, errors, .. } = refused;
            plan::refuse(wanted, &seen, refused, errors, &mut memory)
        };
        let requeue = plan.requeue;
        self.carry_out(&plan, questions.credentials.as_ref())
            .await?;
        Ok(Action::requeue(requeue))
    }

    /// Follows the events of all Dukes that have an address.
    fn listen(&self, seen: &observe::Observation, credentials: Option<&Credentials>) {
        let Some(credentials) = credentials else {
            return;
        };
        let dukes = seen
            .dukes
            .iter()
            .filter(|pod| pod.facts.is_living())
            .filter_map(observe::DukePod::address)
            .collect();
        let targets = Targets {
            dukes,
            credentials: credentials.clone(),
        };
        self.context.listeners.follow(self.key, targets);
    }

    /// Applies a plan and reports it.
    async fn carry_out(&self, plan: &Plan, credentials: Option<&Credentials>) -> Result<(), Error> {
        let hands = self.hands(credentials);
        // The memory is not locked while requests are under way.
        let mut memory = self.group.memory().clone();
        let errors = hands.take(&plan.steps, &mut memory, Instant::now()).await;
        *self.group.memory() = memory;
        // A seeding has written the status that goes with it.
        if !plan.records_seed() {
            self.report(&hands, plan).await?;
        }
        if errors.is_empty() {
            let subject = self.pipeline.object_ref(&());
            let voice = Voice {
                recorder: &self.context.recorder,
                subject: &subject,
            };
            report::tell_steps(&voice, &plan.steps).await;
        }
        complete(plan, errors)
    }

    fn hands<'h>(&'h self, credentials: Option<&'h Credentials>) -> Hands<'h> {
        let (namespace, name) = self.key;
        Hands {
            client: &self.context.client,
            caches: &self.context.caches,
            metrics: &self.context.metrics,
            namespace,
            name,
            credentials,
        }
    }

    async fn report(&self, hands: &Hands<'_>, plan: &Plan) -> Result<(), Error> {
        let subject = self.pipeline.object_ref(&());
        let voice = Voice {
            recorder: &self.context.recorder,
            subject: &subject,
        };
        let before = self.pipeline.status.clone().unwrap_or_default();
        let version = self
            .pipeline
            .metadata
            .resource_version
            .as_deref()
            .unwrap_or_default();
        report::report(hands, &voice, &before, version, plan)
            .await
            .map_err(|source| Error::Report { source })
    }
}

fn complete(plan: &Plan, errors: Vec<apply::Error>) -> Result<(), Error> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Error::Incomplete {
        steps: plan.steps.len(),
        errors,
    })
}

/// When to try again after a failed pass: soon at first, then ever more seldom.
fn retry(pipeline: &Guarded, error: &Error, context: &Context) -> Action {
    if let Error::Unreadable { source } = error {
        warn!(error = %source, "left a Pipeline alone that cannot be read");
        return Action::await_change();
    }
    if error.is_stale() {
        return Action::requeue(STALE);
    }
    let meta = pipeline.meta();
    let key = (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    );
    let failed = group(&context.groups, &key).memory().failed_passes.min(10);
    let (shortest, longest) = BACKOFF;
    let pause = shortest.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
    Action::requeue(pause.min(longest))
}

#[cfg(test)]
mod tests;

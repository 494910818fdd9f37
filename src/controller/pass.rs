//! One pass over one Pipeline: looks, plans, and has the plan carried out and reported.
//!
//! A Duke's `+switch-master` interrupts a pass that is still asking: slices, labels and status follow
//! the switch at once, and the pass begins anew.

use std::time::{Duration, Instant};

use kube::{Resource as _, runtime::controller::Action};
use tracing::debug;

use super::{
    Context, Error, Group, Key,
    apply::{self, Hands, Taken},
    group,
    observe::{self, complaint},
    plan::{self, Plan, step::Step},
    report::{self, Voice},
    sketch::{Kept, Refused, Sketch},
};
use crate::{
    api::Pipeline,
    redis::{Credentials, listen::Targets},
};

/// How long what a kubelet's Lease said is not asked for again; it is renewed every ten seconds.
const KUBELET_PAUSE: Duration = Duration::from_secs(1);

/// Passes until there is nothing more to follow; says when to look again.
pub(super) async fn pass(key: &Key, context: &Context) -> Result<Action, Error> {
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
        let mut kept = self.group.passwords();
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
        // What they learn is forgotten: the pass that follows asks for the same and learns it again.
        let memory = || self.group.memory().clone();
        let (mut one, mut other) = (memory(), memory());
        let at = Instant::now();
        let (written, labelled, reported) = futures::join!(
            hands.take(&slices, &mut one, at),
            hands.take(&labels, &mut other, at),
            self.report(&hands, plan),
        );
        let mut errors = written.errors;
        errors.extend(labelled.errors);
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
        let seen = self.hear_complaints(&sketch.wanted, seen).await;
        let seen = self.ask_kubelets(&sketch.wanted, seen).await;
        debug!(seen = seen.summary(), "observed");
        if seen.anyone_answers() {
            Kept::have_worked(&mut self.group.passwords());
        }
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

    /// Looks for what the cluster's controllers complain of, while pods are missing or do not start.
    async fn hear_complaints(
        &self,
        wanted: &plan::Wanted,
        mut seen: observe::Observation,
    ) -> observe::Observation {
        let subjects = complaint::subjects(&seen, &wanted.names);
        let known = std::mem::take(&mut self.group.memory().complaints);
        if subjects.is_empty() {
            return seen;
        }
        let (namespace, _) = self.key;
        let client = &self.context.client;
        let known = complaint::ask(client, namespace, &subjects, &known, seen.at).await;
        seen.complaints = complaint::told(&subjects, &known);
        self.group.memory().complaints = known;
        seen
    }

    /// Asks about nodes from which data pods have vanished, if that decides on a seeding.
    async fn ask_kubelets(
        &self,
        wanted: &plan::Wanted,
        mut seen: observe::Observation,
    ) -> observe::Observation {
        let nodes = plan::seeding::nodes_to_ask(wanted, &seen);
        if nodes.is_empty() {
            return seen;
        }
        let known = self.group.memory().kubelets.clone();
        let fresh = known.filter(|(at, found)| {
            at.elapsed() < KUBELET_PAUSE && nodes.iter().all(|node| found.contains_key(node))
        });
        seen.kubelets = if let Some((_, found)) = fresh {
            found
        } else {
            let found = observe::ask_kubelets(&self.context.client, &nodes).await;
            self.group.memory().kubelets = Some((Instant::now(), found.clone()));
            found
        };
        seen
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
        let Taken { done, errors } = hands.take(&plan.steps, &mut memory, Instant::now()).await;
        *self.group.memory() = memory;
        let subject = self.pipeline.object_ref(&());
        let voice = Voice {
            recorder: &self.context.recorder,
            subject: &subject,
        };
        // Each was done whatever became of the others, and of the status.
        report::tell_steps(&voice, &done).await;
        // A seeding has written the status that goes with it.
        if !plan.records_seed() {
            self.report(&hands, plan).await?;
            if let Some(answer) = &plan.answer {
                self.answer(&hands, answer).await?;
            }
        }
        complete(plan, errors)
    }

    /// Answers a human's order when the status says what came of it, and takes it away.
    async fn answer(
        &self,
        hands: &Hands<'_>,
        answer: &plan::seeding::order::Answer,
    ) -> Result<(), Error> {
        hands
            .take_order_off(&answer.order)
            .await
            .map_err(|source| Error::Report { source })?;
        let subject = self.pipeline.object_ref(&());
        let voice = Voice {
            recorder: &self.context.recorder,
            subject: &subject,
        };
        report::tell_answer(&voice, answer).await;
        Ok(())
    }

    fn hands<'h>(&'h self, credentials: Option<&'h Credentials>) -> Hands<'h> {
        let (namespace, name) = self.key;
        Hands {
            client: &self.context.client,
            caches: &self.context.caches,
            metrics: &self.context.metrics,
            namespace,
            name,
            uid: self.pipeline.metadata.uid.as_deref().unwrap_or_default(),
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

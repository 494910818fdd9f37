//! What the operator counts. Labels are enums or names of Pipelines, so the number of series is
//! bounded by the number of objects; the series of a deleted Pipeline go with it.

use std::{fmt::Write as _, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// How something ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// It could not be done.
    Error,
    /// It was done.
    Success,
}

/// How reconciles ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Ended {
    outcome: Outcome,
}

/// A step of a plan, by kind.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Taken {
    step: &'static str,
    outcome: Outcome,
}

/// One Pipeline.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    namespace: String,
    pipeline: String,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    leading: Gauge,
    reconciles: Family<Ended, Counter>,
    duration: Histogram,
    steps: Family<Taken, Counter>,
    master_changes: Family<Of, Counter>,
    announce: Histogram,
    ready: Family<Of, Gauge>,
    epoch: Family<Of, Gauge<u64, AtomicU64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let mut metrics = Self {
            registry: Registry::with_prefix("pipeline_operator"),
            leading: Gauge::default(),
            reconciles: Family::default(),
            duration: Histogram::new(buckets),
            steps: Family::default(),
            master_changes: Family::default(),
            announce: Histogram::new(buckets),
            ready: Family::default(),
            epoch: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register(
            "leading",
            "1 on the replica that works, 0 on a standby",
            self.leading.clone(),
        );
        to.register(
            "reconciles",
            "Reconciles by how they ended",
            self.reconciles.clone(),
        );
        to.register(
            "reconcile_duration_seconds",
            "How long a reconcile takes, questions to servers included",
            self.duration.clone(),
        );
        to.register(
            "steps",
            "Steps carried out, by kind and outcome",
            self.steps.clone(),
        );
        to.register(
            "master_changes",
            "Changes of a group's master that were recorded",
            self.master_changes.clone(),
        );
        to.register(
            "announce_duration_seconds",
            "From a Duke's +switch-master to slices, labels and status",
            self.announce.clone(),
        );
        to.register(
            "pipeline_ready",
            "1 while a Pipeline is Ready, ideally always",
            self.ready.clone(),
        );
        to.register(
            "pipeline_epoch",
            "The epoch of a Pipeline's master",
            self.epoch.clone(),
        );
    }

    /// Whether this replica works.
    pub fn lead(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// A reconcile has ended.
    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.reconciles.get_or_create(&Ended { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// A step was tried.
    pub fn stepped(&self, step: &'static str, outcome: Outcome) {
        self.steps.get_or_create(&Taken { step, outcome }).inc();
    }

    /// A new master is in slices, labels and status.
    pub fn announced(&self, took: Duration) {
        self.announce.observe(took.as_secs_f64());
    }

    /// Another master was recorded.
    pub fn master_changed(&self, namespace: &str, pipeline: &str) {
        self.master_changes
            .get_or_create(&of(namespace, pipeline))
            .inc();
    }

    /// The state of one Pipeline.
    pub fn show(&self, namespace: &str, pipeline: &str, ready: bool, epoch: u64) {
        let of = of(namespace, pipeline);
        self.ready.get_or_create(&of).set(i64::from(ready));
        self.epoch.get_or_create(&of).set(epoch);
    }

    /// Forgets a deleted Pipeline.
    pub fn forget(&self, namespace: &str, pipeline: &str) {
        let of = of(namespace, pipeline);
        self.ready.remove(&of);
        self.epoch.remove(&of);
        self.master_changes.remove(&of);
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            text.clear();
            let written = write!(text, "# the metrics could not be encoded: {error}");
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        text
    }
}

fn of(namespace: &str, pipeline: &str) -> Of {
    Of {
        namespace: namespace.to_owned(),
        pipeline: pipeline.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_pipeline_leaves_no_series() {
        let metrics = Metrics::new();
        metrics.show("tea", "oolong", true, 7);
        metrics.master_changed("tea", "oolong");
        assert!(
            metrics
                .text()
                .contains("pipeline_ready{namespace=\"tea\",pipeline=\"oolong\"} 1")
        );
        metrics.forget("tea", "oolong");
        assert!(!metrics.text().contains("oolong"));
    }

    #[test]
    fn counters_carry_bounded_labels() {
        let metrics = Metrics::new();
        metrics.stepped("SeedDuke", Outcome::Success);
        metrics.reconciled(Outcome::Error, Duration::from_millis(3));
        metrics.lead(true);
        let text = metrics.text();
        assert!(
            text.contains("steps_total{step=\"SeedDuke\",outcome=\"Success\"} 1"),
            "{text}"
        );
        assert!(text.contains("reconciles_total{outcome=\"Error\"} 1"));
        assert!(text.contains("pipeline_operator_leading 1"));
    }
}

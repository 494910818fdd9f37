//! Disruption budgets: an eviction never takes two pods of a kind at once.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::metadata;
use crate::api::{
    label::{self, Component},
    resolved::Resolved,
};

/// The budget of the data pods.
#[must_use]
pub fn data(resolved: &Resolved) -> PodDisruptionBudget {
    budget(resolved, Component::Data, resolved.names.data())
}

/// The budget of the Dukes.
#[must_use]
pub fn duke(resolved: &Resolved) -> PodDisruptionBudget {
    budget(resolved, Component::Duke, resolved.names.duke())
}

fn budget(resolved: &Resolved, component: Component, name: String) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(resolved, component, name),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(label::selector(&resolved.name, component)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

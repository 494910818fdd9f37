//! Disruption budgets: an eviction never takes two pods of a kind at once.
//!
//! A data pod is ready when it is in sync, so that whoever drains nodes one after the other waits
//! for the copies. Besides, the budget of the data pods is closed while the operator sees that no
//! pod may be lost. Pods that are not ready are evicted only while the rest is complete, which is
//! what Kubernetes does unless told otherwise: one that is not in sync may still have what others
//! lack.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::metadata;
use crate::api::{
    label::{self, Component},
    resolved::Resolved,
};

/// The budget of the data pods; `closed` says why nobody may be evicted now, if so.
#[must_use]
pub fn data(resolved: &Resolved, closed: Option<&str>) -> PodDisruptionBudget {
    let allowed = i32::from(closed.is_none());
    let mut budget = budget(resolved, Component::Data, resolved.names.data(), allowed);
    budget.metadata.annotations =
        closed.map(|why| [(label::CLOSED_BECAUSE.to_owned(), why.to_owned())].into());
    budget
}

/// The budget of the Dukes.
#[must_use]
pub fn duke(resolved: &Resolved) -> PodDisruptionBudget {
    budget(resolved, Component::Duke, resolved.names.duke(), 1)
}

fn budget(
    resolved: &Resolved,
    component: Component,
    name: String,
    allowed: i32,
) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(resolved, component, name),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(allowed)),
            selector: Some(LabelSelector {
                match_labels: Some(label::selector(&resolved.name, component)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

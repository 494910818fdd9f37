//! Labels and annotations, and which of them selectors may use.
//!
//! Selectors use [`PIPELINE`], [`COMPONENT`] and [`ROLE`] only. They never change for the life of
//! a Pipeline and are never taken from the user, so no change of a spec meets an immutable selector.

use std::collections::BTreeMap;

/// Who looks after an object; [`MANAGER`] for ours.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] of everything that this operator makes.
pub const MANAGER: &str = "pipeline-operator";
/// The Pipeline an object belongs to, by its name.
pub const PIPELINE: &str = "kubernetes.lol/pipeline";
/// Which half of a Pipeline an object belongs to.
pub const COMPONENT: &str = "kubernetes.lol/component";
/// The role of a data pod, [`ROLE_MASTER`] or [`ROLE_REPLICA`]; absent until it is known.
pub const ROLE: &str = "kubernetes.lol/role";
/// The value of [`ROLE`] of the one pod that takes writes.
pub const ROLE_MASTER: &str = "master";
/// The value of [`ROLE`] of the others.
pub const ROLE_REPLICA: &str = "replica";

/// Annotation of owned objects: the hash of what was rendered.
pub const HASH: &str = "kubernetes.lol/hash";
/// Annotation of the data ConfigMap: the uid that the pod with the candidate had when it got it.
pub const CANDIDATE: &str = "kubernetes.lol/candidate";
/// Annotation of the data ConfigMap: the uids of pods that may have started with a former text.
pub const OUTDATED: &str = "kubernetes.lol/outdated";
/// Annotation of the data ConfigMap: the names of the custom directives it holds that a running
/// server takes live, so that one taken out of the spec later can be put back to its default.
pub const LIVE_DIRECTIVES: &str = "kubernetes.lol/live-directives";

/// Annotation of StatefulSet and Deployment: the hash of what the user asked of these pods when
/// their template was rendered.
pub const MADE_FOR: &str = "kubernetes.lol/made-for";
/// Annotation of StatefulSet and Deployment: their pods' template as it was rendered, which stays in
/// force until the user asks for something else.
pub const TEMPLATE: &str = "kubernetes.lol/template";
/// Annotation of a Pipeline, and then of its pods: when the user asked for their restart. The same
/// that `kubectl rollout restart` writes.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Annotation of a disruption budget that allows nothing: why.
pub const CLOSED_BECAUSE: &str = "kubernetes.lol/closed-because";
/// Annotation of a Pipeline, set by a human and removed by the operator: the data pod that becomes
/// master of a group that has none, or goes on as its master, although data is lost by it.
pub const ACCEPT_DATA_LOSS: &str = "kubernetes.lol/accept-data-loss";

/// Label of an EndpointSlice: its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of an EndpointSlice: who writes it.
pub const SLICE_MANAGER: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of [`SLICE_MANAGER`] of the slices that Kubernetes makes from a Service's selector.
pub const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// The two halves of a Pipeline.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Component {
    /// The data pods and what belongs to them.
    Data,
    /// The Dukes and what belongs to them.
    Duke,
}

impl Component {
    /// The value of the label [`COMPONENT`], which is also the name of the main container.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "pipeline",
            Self::Duke => "duke",
        }
    }
}

/// The labels that select the pods of one half of a Pipeline.
#[must_use]
pub fn selector(pipeline: &str, component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([
        (PIPELINE.to_owned(), pipeline.to_owned()),
        (COMPONENT.to_owned(), component.as_str().to_owned()),
    ])
}

/// The labels that select the data pods of one role.
#[must_use]
pub fn role_selector(pipeline: &str, role: &str) -> BTreeMap<String, String> {
    let mut labels = selector(pipeline, Component::Data);
    labels.insert(ROLE.to_owned(), role.to_owned());
    labels
}

/// All labels of an owned object or pod.
#[must_use]
pub fn all(pipeline: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector(pipeline, component);
    for (key, value) in [
        ("app.kubernetes.io/component", component.as_str()),
        (MANAGED_BY, MANAGER),
        ("app.kubernetes.io/name", pipeline),
        ("app.kubernetes.io/part-of", "pipeline"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// A selector as the API's query text, `a=b,c=d`.
#[must_use]
pub fn query(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_part_of_all_labels() {
        for component in [Component::Data, Component::Duke] {
            let all = all("shop", component);
            for (key, value) in selector("shop", component) {
                assert_eq!(all.get(&key), Some(&value));
            }
        }
    }

    #[test]
    fn a_query_is_what_the_api_reads() {
        assert_eq!(
            query(&role_selector("shop", ROLE_MASTER)),
            "kubernetes.lol/component=pipeline,kubernetes.lol/pipeline=shop,kubernetes.lol/role=master"
        );
    }
}

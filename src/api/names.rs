//! The names of a Pipeline's objects: the only place that spells `pipeline-<NAME>` and
//! `duke-<NAME>`.
//!
//! Promises that no two Pipelines of one namespace share a name, given that the API server refuses
//! the endings in [`RESERVED_ENDINGS`], and that every name and label value is short enough when
//! the Pipeline's is at most [`NAME_MAX`] characters.

/// The longest name a Pipeline may have.
///
/// The longest thing made from it is the label that a StatefulSet puts on its pods,
/// `pipeline-<NAME>-<10 characters>`, which may have 63 characters.
pub const NAME_MAX: usize = 40;

/// Endings a Pipeline's name may not have: `a-pods` would own the Service `pipeline-a-pods`, which
/// belongs to Pipeline `a`. No object of ours ends in `-master`, but those of former versions do.
pub const RESERVED_ENDINGS: [&str; 3] = ["-master", "-replicas", "-pods"];

/// The names of one Pipeline's objects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    pipeline: String,
}

impl Names {
    /// The names for the Pipeline called `pipeline`.
    #[must_use]
    pub fn new(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
        }
    }

    /// The Pipeline's own name.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// ConfigMap, StatefulSet, Service and disruption budget of the data pods.
    #[must_use]
    pub fn data(&self) -> String {
        format!("pipeline-{}", self.pipeline)
    }

    /// ConfigMap, Deployment, Service and disruption budget of the Dukes.
    #[must_use]
    pub fn duke(&self) -> String {
        format!("duke-{}", self.pipeline)
    }

    /// The Service that selects the replicas by their role label.
    #[must_use]
    pub fn replicas_service(&self) -> String {
        format!("{}-replicas", self.data())
    }

    /// The headless Service that governs the StatefulSet.
    #[must_use]
    pub fn pods_service(&self) -> String {
        format!("{}-pods", self.data())
    }

    /// The Secret with the system users' passwords.
    #[must_use]
    pub fn users_secret(&self) -> String {
        format!("{}-users", self.data())
    }

    /// The EndpointSlice of former versions that points to the master.
    #[must_use]
    pub fn redis_slice(&self) -> String {
        format!("{}-redis", self.data())
    }

    /// The EndpointSlice that points to the Dukes.
    #[must_use]
    pub fn duke_slice(&self) -> String {
        format!("{}-duke", self.data())
    }

    /// The EndpointSlice that points to the exporters of all data pods.
    #[must_use]
    pub fn metrics_slice(&self) -> String {
        format!("{}-metrics", self.data())
    }

    /// The data pod of an ordinal.
    #[must_use]
    pub fn pod(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.data())
    }

    /// The ordinal of a data pod, by its name; `None` when it is none of this Pipeline's.
    #[must_use]
    pub fn ordinal(&self, pod: &str) -> Option<u16> {
        let digits = pod.strip_prefix(&self.data())?.strip_prefix('-')?;
        let ordinal = digits.parse().ok()?;
        (self.pod(ordinal) == pod).then_some(ordinal)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn services(pipeline: &str) -> BTreeSet<String> {
        let names = Names::new(pipeline);
        BTreeSet::from([
            names.data(),
            names.duke(),
            names.replicas_service(),
            names.pods_service(),
        ])
    }

    #[test]
    fn only_reserved_endings_make_services_collide() {
        for ending in RESERVED_ENDINGS {
            let collides = !services("shop").is_disjoint(&services(&format!("shop{ending}")));
            assert_eq!(collides, ending != "-master", "{ending}");
        }
        for other in ["shop-redis", "shop-users", "shop-0", "shopmaster", "master"] {
            assert!(services("shop").is_disjoint(&services(other)), "{other}");
        }
    }

    #[test]
    fn the_longest_name_leaves_room_for_every_suffix() {
        let names = Names::new(&"n".repeat(NAME_MAX));
        assert!(names.replicas_service().len() <= 63);
        assert!(names.data().len() + "-1234567890".len() <= 63);
    }

    #[test]
    fn an_ordinal_is_read_from_a_pods_name_only() {
        let names = Names::new("shop");
        assert_eq!(names.ordinal("pipeline-shop-12"), Some(12));
        for pod in [
            "pipeline-shop",
            "pipeline-shop-",
            "pipeline-shop-0-0",
            "pipeline-shop-01",
            "x",
        ] {
            assert_eq!(names.ordinal(pod), None, "{pod}");
        }
    }
}

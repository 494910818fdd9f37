//! What the operator answers in a Pipeline's status.
//!
//! Facts that it observed, never orders to itself, with one exception: [`PipelineStatus::generation`]
//! is raised before a group is seeded, so that of two operators only one can.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The observed state of a Pipeline.
// What is absent is written as `null`: a merge patch takes nothing away that it does not name.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineStatus {
    /// The generation of the object that this status speaks of.
    pub observed_generation: Option<i64>,

    /// How often the group was seeded. Whatever is of an older generation is refused by everyone.
    pub generation: Option<i64>,

    /// The epoch in which the present master was elected.
    pub epoch: Option<i64>,

    /// The master's pod; absent while nobody is master.
    pub master: Option<String>,

    /// The master's address, `ip:port`; absent while nobody is master.
    pub master_address: Option<String>,

    /// The master that the group had last, which may be gone. Never cleared: after a loss of
    /// everything it says where the newest data lay.
    pub last_master: Option<LastMaster>,

    /// Data pods ready and wanted, for the column, as `3/3`.
    pub replicas: Option<String>,

    /// Dukes ready and wanted, for the column, as `3/3`.
    pub dukes: Option<String>,

    /// Data pods that are ready.
    pub ready_replicas: Option<i32>,

    /// Data pods that exist.
    pub total_replicas: Option<i32>,

    /// Dukes that are ready.
    pub ready_dukes: Option<i32>,

    /// Dukes that exist.
    pub total_dukes: Option<i32>,

    /// Selects the data pods, for the scale subresource.
    pub selector: Option<String>,

    /// One word for humans; programs read the conditions.
    #[schemars(with = "Option<String>")]
    pub phase: Option<Phase>,

    /// What keeps the phase from being `Ready`, and what to do about it; a sentence for humans.
    pub phase_reason: Option<String>,

    /// What holds and what does not, by type.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The last change of master.
    pub last_failover: Option<LastFailover>,

    /// The data nodes of record: the pods that hold, or held last, the group's data. Written when
    /// one of them is replaced, falls out of sync or is back in sync, and only while there is a master.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pod".into()]))]
    pub data_nodes: Vec<DataNode>,

    /// The names of the streams of writes (`master_replid`) that made the group's data, the newest
    /// first: servers that were started anew are compared by them.
    #[serde(default)]
    pub histories: Vec<String>,

    /// Whether the master was ever seen with a key: a group that had data is not seeded empty
    /// without a word.
    pub had_data: Option<bool>,
}

/// A data node of record.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataNode {
    /// Its pod.
    pub pod: String,

    /// Tells it from a later pod of the same name.
    pub uid: String,

    /// The Kubernetes node that it runs on.
    pub node: String,

    /// Where its server listens, `ip:port`.
    pub address: String,

    /// The uid of its volume claim, if its data outlives the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,

    /// Whether it had everything that the master had when both were seen last.
    #[serde(default)]
    pub in_sync: bool,
}

/// A master of the past or the present.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastMaster {
    /// Its pod.
    pub pod: String,

    /// Its address, `ip:port`.
    pub address: String,
}

/// A change of master.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailover {
    /// The pod that was master before; empty when it is not known.
    #[serde(default)]
    pub from: String,

    /// The pod that became master.
    pub to: String,

    /// The epoch in which it was elected.
    pub epoch: i64,

    /// When the operator learned of it.
    pub time: Time,
}

/// The state of a Pipeline in a word, worst first.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Phase {
    /// The spec cannot be followed; the condition `SpecAccepted` says why.
    Invalid,
    /// It was not ready since it was made.
    #[default]
    Pending,
    /// There is no master now; the Dukes are replacing it.
    FailingOver,
    /// Something is not as wanted and does not come right by itself, or data was lost.
    Degraded,
    /// Pods are being replaced or their number changed, and nothing stands in the way.
    Updating,
    /// Everything is as wanted.
    Ready,
    /// It is being deleted.
    Deleting,
    /// A word of a newer operator.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// The word in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::Pending => "Pending",
            Self::FailingOver => "FailingOver",
            Self::Degraded => "Degraded",
            Self::Updating => "Updating",
            Self::Ready => "Ready",
            Self::Deleting => "Deleting",
            Self::Unknown => "Unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_a_newer_operator_is_readable() {
        let text = r#"{"phase": "Teleporting", "moons": 3}"#;
        let status: PipelineStatus = serde_json::from_str(text).unwrap();
        assert_eq!(status.phase, Some(Phase::Unknown));
    }

    /// A merge patch takes nothing away that it does not name.
    #[test]
    fn what_is_absent_is_written_too() {
        let absent = serde_json::to_value(PipelineStatus::default()).unwrap();
        let fields = serde_json::to_value(schemars::schema_for!(PipelineStatus)).unwrap();
        let fields = fields["properties"].as_object().unwrap();
        assert!(!fields.is_empty());
        for field in fields.keys() {
            assert!(absent.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn a_phase_is_written_as_its_word() {
        for phase in [
            Phase::Invalid,
            Phase::Pending,
            Phase::FailingOver,
            Phase::Ready,
        ] {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
    }
}

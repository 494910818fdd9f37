//! What a user may write into a Pipeline.
//!
//! Every field has a default, so that `spec: {}` is a whole Pipeline. Defaults that may change with
//! the operator's version (images, resources) are not written into the schema: they would stick to
//! stored objects. Checks that need one field stand beside it; their texts are in [`rule`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EmptyDirVolumeSource, NodeAffinity, PersistentVolumeClaimSpec, ResourceRequirements,
    Toleration,
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{rule, status::PipelineStatus};

/// What a Pipeline is to be; `{}` is three data pods and three Dukes.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "kubernetes.lol",
    version = "v1",
    kind = "Pipeline",
    plural = "pipeline",
    shortname = "pl",
    namespaced,
    status = "PipelineStatus",
    derive = "PartialEq",
    doc = "A highly available Redis or Valkey replication group with its own failover sentinels.",
    scale(
        spec_replicas_path = ".spec.pipeline.replicas",
        status_replicas_path = ".status.totalReplicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Master", type_ = "string", json_path = ".status.master"),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.replicas"),
    printcolumn(name = "Dukes", type_ = "string", json_path = ".status.dukes"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.phaseReason",
        priority = 1
    ),
    validation = rule::name_length(),
    validation = rule::name_shape(),
    validation = rule::name_ending()
)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSpec {
    /// The data pods.
    #[serde(default)]
    pub pipeline: DataSpec,

    /// The Dukes, which watch the data pods and replace a dead master.
    #[serde(default)]
    pub duke: DukeSpec,

    /// Whether two pods of the same kind (data, Duke) may never share a node. Otherwise they are
    /// kept apart only while there are nodes enough. A section's own field takes precedence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hard_anti_affinity: bool,

    /// Which nodes pods may run on. A section's `affinity.nodeAffinity` takes precedence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,

    /// Which taints pods tolerate. A section's own list takes precedence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

/// The data pods: Redis or Valkey servers, one master and its replicas.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule::claim_kind_is_fixed(), validation = rule::claim_is_fixed())]
pub struct DataSpec {
    /// How many data pods there are, the master included.
    #[serde(default = "three")]
    #[x_kube(validation = rule::data_replicas())]
    pub replicas: i32,

    /// The server's image, a Redis from 7.0 or a Valkey, with its tag or digest.
    #[schemars(length(min = 1, max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// When the image is pulled; `IfNotPresent` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Requests and limits of the server's container; small requests and no limits unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Lines of redis.conf, one directive each. Applied to running servers where they take them,
    /// by restarting the pods one by one where they do not.
    #[schemars(length(max = 128), inner(length(max = 1024)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(
        validation = rule::line_shape("pipeline"),
        validation = rule::data_directives(),
        validation = rule::data_sizes()
    )]
    pub custom_config: Vec<String>,

    /// The command that starts the server, instead of `redis-server /etc/pipeline/redis.conf` (or
    /// `valkey-server`). It must read that file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,

    /// The metrics exporter beside every server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter: Option<ExporterSpec>,

    /// A ConfigMap of this namespace whose key `shutdown.sh` is run with `/bin/sh` before a server
    /// is stopped. The master is handed over meanwhile; a script that ends before that is done lets
    /// the server be stopped as a master.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_config_map: Option<String>,

    /// How long a pod may take to stop, the shutdown script included; 30 seconds unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rule::grace_period())]
    pub termination_grace_period_seconds: Option<i64>,

    /// Where the data lies; in an empty directory that goes with its pod unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,

    /// Placement of the data pods. Its parts replace ours: `nodeAffinity` that of the spec,
    /// `podAntiAffinity` the preference for nodes without another data pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Which taints the data pods tolerate, instead of the spec's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Toleration>>,

    /// Whether two data pods may never share a node, instead of the spec's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_anti_affinity: Option<bool>,
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            replicas: three(),
            image: None,
            image_pull_policy: None,
            resources: None,
            custom_config: Vec::new(),
            command: Vec::new(),
            exporter: None,
            shutdown_config_map: None,
            termination_grace_period_seconds: None,
            storage: None,
            affinity: None,
            tolerations: None,
            hard_anti_affinity: None,
        }
    }
}

/// The Dukes: they agree by majority on who is master.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule::quorum())]
pub struct DukeSpec {
    /// How many Dukes there are. Odd numbers make sense: a majority of four is three, so four bear
    /// no more losses than three. Two bear none at all and are refused.
    #[serde(default = "three")]
    #[x_kube(validation = rule::duke_replicas())]
    pub replicas: i32,

    /// The image with `/duke` in it; the operator's own unless given.
    #[schemars(length(min = 1, max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// When the image is pulled; `IfNotPresent` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Requests and limits of a Duke's container; small requests and no limits unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Settings of `SENTINEL SET mymaster`, one `option value` per line, applied without a restart:
    /// `down-after-milliseconds`, `failover-timeout`, `parallel-syncs`.
    #[schemars(length(max = 32), inner(length(max = 256)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(
        validation = rule::line_shape("duke"),
        validation = rule::duke_directives()
    )]
    pub custom_config: Vec<String>,

    /// The command that starts a Duke, instead of `/duke /etc/duke/duke.conf --sentinel announce-ip
    /// $(POD_IP)`. It must read that file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,

    /// How many Dukes must find the master down before one of them may be elected to replace it;
    /// more than half of them unless given. The election itself always takes a majority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<i32>,

    /// Placement of the Dukes; its parts replace ours as they do for data pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Which taints the Dukes tolerate, instead of the spec's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Toleration>>,

    /// Whether two Dukes may never share a node, instead of the spec's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_anti_affinity: Option<bool>,
}

impl Default for DukeSpec {
    fn default() -> Self {
        Self {
            replicas: three(),
            image: None,
            image_pull_policy: None,
            resources: None,
            custom_config: Vec::new(),
            command: Vec::new(),
            quorum: None,
            affinity: None,
            tolerations: None,
            hard_anti_affinity: None,
        }
    }
}

/// The metrics exporter: a container beside every server, port 9121 of the Service
/// `pipeline-<NAME>`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExporterSpec {
    /// Whether there is one.
    #[serde(default)]
    pub enabled: bool,

    /// Its image, with tag or digest.
    #[schemars(length(min = 1, max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// When the image is pulled; `IfNotPresent` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Requests and limits of its container; small requests and no limits unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Leaves its probes out, for an exporter under a load that makes them fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disable_probes: bool,
}

/// Where a data pod keeps its data: on an empty directory, or on a volume of its own.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule::one_storage())]
pub struct StorageSpec {
    /// Whether the volumes outlive the Pipeline. They do unless this is `false`.
    #[serde(default = "yes")]
    pub keep_after_deletion: bool,

    /// An empty directory with these settings. Gone with its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirVolumeSource>,

    /// A volume per pod, made from this template. The template cannot be changed later, because
    /// Kubernetes cannot change it in a StatefulSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimTemplate>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self {
            keep_after_deletion: yes(),
            empty_dir: None,
            persistent_volume_claim: None,
        }
    }
}

/// A template for the volume claim of a data pod.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule::claim_size())]
pub struct ClaimTemplate {
    /// Name, labels and annotations of the claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ClaimMetadata>,

    /// What is claimed.
    pub spec: PersistentVolumeClaimSpec,
}

/// What a claim template may say of the claims' metadata.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimMetadata {
    /// The volume's name; a claim is called `<name>-pipeline-<NAME>-<N>`. `data` unless given.
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// Further labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,

    /// Further annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never; the image must be on the node.
    Never,
}

impl PullPolicy {
    /// The word in a pod's specification.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

fn three() -> i32 {
    3
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_spec_is_a_whole_pipeline() {
        let spec: PipelineSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec, PipelineSpec::default());
        assert_eq!((spec.pipeline.replicas, spec.duke.replicas), (3, 3));
        assert!(
            spec.pipeline
                .storage
                .unwrap_or_default()
                .keep_after_deletion
        );
    }

    #[test]
    fn a_spec_is_written_as_it_was_read() {
        let text = serde_json::json!({
            "hardAntiAffinity": true,
            "pipeline": {
                "replicas": 5,
                "customConfig": ["maxmemory 10mb"],
                "exporter": { "enabled": true, "disableProbes": true },
                "storage": { "keepAfterDeletion": false, "emptyDir": { "medium": "Memory" } },
            },
            "duke": { "replicas": 1, "quorum": 1 },
        });
        let spec: PipelineSpec = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), text);
    }
}

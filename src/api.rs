//! The Pipeline API: what a user may write, what the operator answers, and every name and label
//! that others rely on.
//!
//! Pure data. The CRD is generated from [`spec`] and [`status`]; [`rule`] holds what the API server
//! checks before the operator ever sees an object, [`directive`] what may stand in a custom
//! configuration. [`names`] is the only place that spells the names of a Pipeline's objects,
//! [`image`] the only one that names an image.

pub mod condition;
pub mod crd;
pub mod directive;
pub mod image;
pub mod label;
pub mod names;
pub mod resolved;
pub mod rule;
#[expect(
    unreachable_pub,
    reason = "the derive of KubeSchema repeats the type inside a function"
)]
pub mod spec;
#[expect(
    unreachable_pub,
    reason = "the derive of KubeSchema repeats the type inside a function"
)]
pub mod status;

pub use crd::crd_yaml;
pub use spec::{
    ClaimMetadata, ClaimTemplate, DataSpec, DukeSpec, ExporterSpec, Pipeline, PipelineSpec,
    PullPolicy, StorageSpec,
};
pub use status::{DataNode, LastFailover, LastMaster, Phase, PipelineStatus};

/// The API group.
pub const GROUP: &str = "kubernetes.lol";
/// The API version.
pub const VERSION: &str = "v1";
/// The name of the group that the Dukes watch, as Sentinel clients ask for it.
pub const MASTER_NAME: &str = "mymaster";
/// The manager of fields in server-side apply, and of EndpointSlices.
pub const FIELD_MANAGER: &str = "pipeline-operator";

/// The port of the data servers.
pub const REDIS_PORT: u16 = 6379;
/// The port on which Dukes speak Sentinel's protocol.
pub const DUKE_PORT: u16 = 26379;
/// The port on which a Duke listens only while it has memory of its group.
pub const DUKE_READY_PORT: u16 = 26380;
/// The port on which the agent beside a data server answers the kubelet.
pub const AGENT_PORT: u16 = 26381;
/// The port of the metrics exporter.
pub const METRICS_PORT: u16 = 9121;

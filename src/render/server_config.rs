//! The data servers' configuration file and its ConfigMap.
//!
//! A server starts as a replica of nothing (its own loopback, where nobody listens) and stays so
//! until a Duke gives it a role: an empty one that comes back can never be taken for the master.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{hash, metadata};
use crate::api::{
    REDIS_PORT,
    directive::value::OURS,
    label::{self, Component},
    resolved::{Data, Resolved},
};

/// The key of the ConfigMap.
pub const FILE: &str = "redis.conf";
/// Where the Secret of users is mounted.
pub const USERS_FOLDER: &str = "/etc/pipeline-users";
/// Where the data lies.
pub const DATA_FOLDER: &str = "/data";

/// The text of redis.conf.
#[must_use]
pub fn text(data: &Data) -> String {
    let head = format!(
        "# Made by the pipeline-operator, which overwrites changes. Servers start as replicas of\n\
         # nothing; the Dukes give them their roles.\n\
         port {REDIS_PORT}\n\
         protected-mode no\n\
         dir {DATA_FOLDER}\n\
         replicaof 127.0.0.1 1\n\
         aclfile {USERS_FOLDER}/users.acl\n\
         include {USERS_FOLDER}/replication.conf\n"
    );
    let is_custom = |name: &str| data.custom.iter().any(|directive| directive.name == name);
    let ours = OURS
        .iter()
        .filter(|(name, _)| !is_custom(name))
        .map(|(name, value)| format!("{name} {value}\n"));
    let title = "# From spec.pipeline.customConfig.\n".to_owned();
    let title = (!data.custom.is_empty()).then_some(title);
    let custom = data
        .custom
        .iter()
        .map(|directive| format!("{}\n", directive.line));
    std::iter::once(head)
        .chain(ours)
        .chain(title)
        .chain(custom)
        .collect()
}

/// The ConfigMap of the data servers.
#[must_use]
pub fn config_map(resolved: &Resolved) -> ConfigMap {
    let mut metadata = metadata(resolved, Component::Data, resolved.names.data());
    let live: Vec<String> = resolved.data.live().into_keys().collect();
    metadata.annotations = Some(BTreeMap::from([(
        label::LIVE_DIRECTIVES.to_owned(),
        live.join(" "),
    )]));
    ConfigMap {
        data: Some(BTreeMap::from([(FILE.to_owned(), text(&resolved.data))])),
        metadata,
        ..ConfigMap::default()
    }
}

/// The hash of what only a restart brings into force; `None` when there is nothing of the kind.
///
/// Of the custom directives alone: what the operator itself puts into the file waits for the next
/// start, so that a new version of the operator rolls no pods.
#[must_use]
pub fn restart_hash(data: &Data) -> Option<String> {
    let lines: Vec<&str> = data
        .at_start()
        .iter()
        .map(|directive| directive.line.as_str())
        .collect();
    (!lines.is_empty()).then(|| hash::digest(lines.join("\n").as_bytes()))
}

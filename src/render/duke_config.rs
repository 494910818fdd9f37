//! The Dukes' configuration file and its ConfigMap.
//!
//! It never changes who is in the group: members and data nodes are told to Dukes on the wire. All
//! settings in it are taken live, too, so a change of it restarts nobody.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::api::{
    DUKE_PORT, DUKE_READY_PORT, MASTER_NAME, label::Component, resolved::Duke, resolved::Resolved,
};

/// The key of the ConfigMap.
pub const FILE: &str = "duke.conf";
/// Where the Dukes' passwords are mounted.
pub const USERS_FOLDER: &str = "/etc/duke-users";
/// Where a Duke keeps its memory.
pub const DATA_FOLDER: &str = "/data";

/// The text of duke.conf.
#[must_use]
pub fn text(duke: &Duke) -> String {
    let head = format!(
        "# Made by the pipeline-operator, which overwrites changes.\n\
         port {DUKE_PORT}\n\
         dir {DATA_FOLDER}\n\
         duke group {MASTER_NAME}\n\
         duke state {DATA_FOLDER}/duke.state\n\
         duke users {USERS_FOLDER}\n\
         duke ready-port {DUKE_READY_PORT}\n"
    );
    let settings = duke
        .settings
        .iter()
        .map(|(option, value)| format!("sentinel {option} {MASTER_NAME} {value}\n"));
    std::iter::once(head).chain(settings).collect()
}

/// The ConfigMap of the Dukes.
#[must_use]
pub fn config_map(resolved: &Resolved) -> ConfigMap {
    ConfigMap {
        data: Some(BTreeMap::from([(FILE.to_owned(), text(&resolved.duke))])),
        metadata: metadata(resolved, Component::Duke, resolved.names.duke()),
        ..ConfigMap::default()
    }
}

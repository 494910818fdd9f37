//! The data servers' configuration files and the ConfigMap that holds them.
//!
//! A server starts as a replica of nothing (its own loopback, where nobody listens) and stays so
//! until a Duke gives it a role: an empty one that comes back can never be taken for the master.
//!
//! Each pod has a key of its own in the ConfigMap, which includes one of two texts: the one with
//! which servers are known to start, or a changed one that a single pod tries first. Each text names
//! itself by what only a start brings into force, so that a running server can be asked what it was
//! started with.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;

use super::{hash, metadata};
use crate::api::{
    REDIS_PORT,
    directive::{self, value::OURS},
    label::{self, Component},
    names::Names,
    resolved::{Data, Resolved},
};

/// The key of the text with which servers are known to start.
pub const PROVEN: &str = "redis.conf";
/// The key of the text that one pod tries.
pub const CANDIDATE: &str = "candidate.conf";
/// Where the whole ConfigMap is mounted.
pub const CONFIG_FOLDER: &str = "/etc/pipeline-config";
/// Where a pod's own file is mounted.
pub const CONFIG_FILE: &str = "/etc/pipeline/redis.conf";
/// Where the Secret of users is mounted.
pub const USERS_FOLDER: &str = "/etc/pipeline-users";
/// Where the data lies.
pub const DATA_FOLDER: &str = "/data";
/// The directive that holds a text's name: a server that is no member of a cluster tells it and
/// makes no other use of it, and nobody can change it while the server runs.
pub const NAME_DIRECTIVE: &str = "cluster-config-file";

/// What the data pods start with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Files {
    /// The text with which servers are known to start.
    pub proven: String,
    /// The names of the custom directives in it that running servers take.
    pub live: String,
    /// The pod that tries another text.
    pub candidate: Option<Candidate>,
    /// Pods that did not answer when their text was changed: they may have started with the former
    /// one. By uid.
    pub outdated: BTreeSet<String>,
    /// How many pods have a file.
    pub pods: u16,
}

/// A text that one pod tries.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Candidate {
    /// The pod that has it in its file.
    pub pod: String,
    /// The pod's uid when it got it: a later pod of the name has started with it.
    pub uid: String,
    /// The text.
    pub text: String,
}

impl Files {
    /// The same text for all pods.
    #[must_use]
    pub fn of(data: &Data, pods: u16) -> Self {
        let live: Vec<String> = data.live().into_keys().collect();
        Self {
            proven: text(data),
            live: live.join(" "),
            pods,
            ..Self::default()
        }
    }

    /// What a ConfigMap says; nothing if it has no text.
    #[must_use]
    pub fn read(names: &Names, config_map: &ConfigMap) -> Option<Self> {
        let data = config_map.data.as_ref()?;
        let annotation = |key: &str| {
            let annotations = config_map.metadata.annotations.as_ref();
            let value = annotations.and_then(|annotations| annotations.get(key));
            value.cloned().unwrap_or_default()
        };
        let candidate = data.get(CANDIDATE).and_then(|text| {
            let tried = include(CANDIDATE);
            let pod = data.iter().find(|(_, include)| **include == tried)?.0;
            Some(Candidate {
                pod: pod.strip_suffix(SUFFIX)?.to_owned(),
                uid: annotation(label::CANDIDATE),
                text: text.clone(),
            })
        });
        let own = (0..u16::MAX).take_while(|ordinal| data.contains_key(&key(&names.pod(*ordinal))));
        Some(Self {
            proven: data.get(PROVEN)?.clone(),
            live: annotation(label::LIVE_DIRECTIVES),
            candidate,
            outdated: annotation(label::OUTDATED)
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            pods: u16::try_from(own.count()).unwrap_or(u16::MAX),
        })
    }

    /// The text in a pod's file.
    #[must_use]
    pub fn text_of(&self, pod: &str) -> &str {
        match &self.candidate {
            Some(candidate) if candidate.pod == pod => &candidate.text,
            Some(_) | None => &self.proven,
        }
    }

    /// Writes it into a ConfigMap.
    pub fn write(&self, names: &Names, config_map: &mut ConfigMap) {
        let Self {
            proven,
            live,
            candidate,
            outdated,
            pods,
        } = self;
        let own = (0..*pods).map(|ordinal| {
            let pod = names.pod(ordinal);
            let tries = candidate.as_ref().is_some_and(|tried| tried.pod == pod);
            (key(&pod), include(if tries { CANDIDATE } else { PROVEN }))
        });
        let mut data: BTreeMap<String, String> = own.collect();
        data.insert(PROVEN.to_owned(), proven.clone());
        let mut annotations = BTreeMap::from([(label::LIVE_DIRECTIVES.to_owned(), live.clone())]);
        if let Some(Candidate { pod: _, uid, text }) = candidate {
            data.insert(CANDIDATE.to_owned(), text.clone());
            annotations.insert(label::CANDIDATE.to_owned(), uid.clone());
        }
        if !outdated.is_empty() {
            let uids: Vec<&str> = outdated.iter().map(String::as_str).collect();
            annotations.insert(label::OUTDATED.to_owned(), uids.join(" "));
        }
        config_map.data = Some(data);
        config_map.metadata.annotations = Some(annotations);
    }
}

/// What the key of a pod's own file ends in.
const SUFFIX: &str = ".conf";

fn key(pod: &str) -> String {
    format!("{pod}{SUFFIX}")
}

fn include(key: &str) -> String {
    format!("include {CONFIG_FOLDER}/{key}\n")
}

/// The name of a text: the same for all texts with the same directives that only a start brings
/// into force.
#[must_use]
pub fn name_of(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| directive::parse(line).ok().flatten())
        .filter(|directive| directive::needs_restart(&directive.name))
        .map(|directive| directive.line)
        .collect();
    format!("start-{}.conf", hash::digest(lines.join("\n").as_bytes()))
}

/// The name that a server tells, if it was started with a text that has one.
#[must_use]
pub fn told_name(config: &BTreeMap<String, String>) -> Option<&str> {
    let name = config.get(NAME_DIRECTIVE)?;
    name.starts_with("start-").then_some(name)
}

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
    let text: String = std::iter::once(head)
        .chain(ours)
        .chain(title)
        .chain(custom)
        .collect();
    format!("{text}{NAME_DIRECTIVE} {}\n", name_of(&text))
}

/// The ConfigMap of the data servers.
#[must_use]
pub fn config_map(resolved: &Resolved, files: &Files) -> ConfigMap {
    let mut config_map = ConfigMap {
        metadata: metadata(resolved, Component::Data, resolved.names.data()),
        ..ConfigMap::default()
    };
    files.write(&resolved.names, &mut config_map);
    config_map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_were_written() {
        let names = Names::new("tea");
        let plain = Files {
            proven: "databases 4\n".to_owned(),
            live: "maxmemory save".to_owned(),
            pods: 3,
            ..Files::default()
        };
        let trying = Files {
            candidate: Some(Candidate {
                pod: names.pod(2),
                uid: "u2".to_owned(),
                text: "databases 5\n".to_owned(),
            }),
            outdated: ["u0", "u1"].map(str::to_owned).into(),
            ..plain.clone()
        };
        for files in [plain, trying] {
            let mut config_map = ConfigMap::default();
            files.write(&names, &mut config_map);
            assert_eq!(Files::read(&names, &config_map), Some(files));
        }
    }

    #[test]
    fn a_text_is_named_by_what_needs_a_start_alone() {
        let name = name_of("databases 4\nmaxmemory 1mb\n");
        assert_eq!(name, name_of("maxmemory 2mb\nsave 1 1\n databases 4\n"));
        assert_ne!(name, name_of("databases 5\n"));
        assert_ne!(name, name_of(""));
        let config = BTreeMap::from([(NAME_DIRECTIVE.to_owned(), name.clone())]);
        assert_eq!(told_name(&config), Some(name.as_str()));
        let config = BTreeMap::from([(NAME_DIRECTIVE.to_owned(), "nodes.conf".to_owned())]);
        assert_eq!(told_name(&config), None);
    }
}

//! A Pipeline with every default filled in and every text parsed.
//!
//! What is rendered and planned is made from this and never from a spec, so later code cannot meet
//! a bad one. `controller::resolve` is the only maker.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        EmptyDirVolumeSource, NodeAffinity, PersistentVolumeClaimSpec, PodAffinity,
        PodAntiAffinity, ResourceRequirements, Toleration,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};

use super::{
    GROUP, VERSION,
    directive::{self, Directive},
    names::Names,
    spec::PullPolicy,
};

/// A Pipeline that can be followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The Pipeline's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its identity.
    pub uid: String,
    /// The generation of the object that was resolved.
    pub generation: Option<i64>,
    /// What the user asked of its pods.
    pub asked: Asked,
    /// When the user asked for a restart of all pods, in the user's spelling.
    pub restarted_at: Option<String>,
    /// The names of its objects.
    pub names: Names,
    /// The data pods.
    pub data: Data,
    /// The Dukes.
    pub duke: Duke,
}

impl Resolved {
    /// What makes an object go away with its Pipeline.
    #[must_use]
    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            block_owner_deletion: Some(true),
            controller: Some(true),
            kind: "Pipeline".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }
}

/// What a user asked of pods, as hashes: a pod template stays in force while they stay the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Of the data pods.
    pub data: String,
    /// Of the Dukes.
    pub duke: String,
}

/// The data pods, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// How many there are, at least one.
    pub replicas: u16,
    /// What runs in the server's container.
    pub container: Container,
    /// The custom directives, in the order in which they were written.
    pub custom: Vec<Directive>,
    /// The exporter's container, when there is one.
    pub exporter: Option<Exporter>,
    /// The image of the agent beside the server.
    pub agent_image: String,
    /// The ConfigMap with the shutdown script.
    pub shutdown: Option<String>,
    /// How long a pod may take to stop, in seconds.
    pub grace_period: i64,
    /// Where the data lies.
    pub storage: Storage,
    /// Where the pods may run.
    pub placement: Placement,
}

impl Data {
    /// The custom directives that a running server takes, each once, with its whole value: what to
    /// `CONFIG SET`.
    #[must_use]
    pub fn live(&self) -> BTreeMap<String, String> {
        let mut live = BTreeMap::<String, String>::new();
        for Directive {
            name,
            value,
            line: _,
        } in self.custom_of(false)
        {
            match live.get_mut(name) {
                // As in a file, where `save ""` forgets the lines before it.
                Some(present)
                    if directive::value::CUMULATIVE.contains(&name.as_str())
                        && !present.is_empty()
                        && !value.is_empty() =>
                {
                    present.push(' ');
                    present.push_str(value);
                }
                _ => {
                    live.insert(name.clone(), value.clone());
                }
            }
        }
        live
    }

    /// The custom directives that a server reads at its start only, as they were written.
    #[must_use]
    pub fn at_start(&self) -> Vec<&Directive> {
        self.custom_of(true).collect()
    }

    /// Whether a server that is stopped in order finds its data again: it has a volume of its own,
    /// and writes its data there.
    #[must_use]
    pub fn persists(&self) -> bool {
        let has_volume = matches!(self.storage, Storage::Claim(_));
        let live = self.live();
        let value = |name: &str| live.get(name).map(String::as_str);
        // Unless the spec says otherwise we render save points (`directive::value::OURS`).
        let snapshots = value("save").is_none_or(|points| !points.is_empty());
        has_volume
            && (snapshots
                || value("appendonly").is_some_and(|value| value.eq_ignore_ascii_case("yes")))
    }

    fn custom_of(&self, at_start: bool) -> impl Iterator<Item = &Directive> {
        self.custom
            .iter()
            .filter(move |directive| directive::needs_restart(&directive.name) == at_start)
    }
}

/// The Dukes, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Duke {
    /// How many there are, at least one.
    pub replicas: u16,
    /// How many must find the master down.
    pub quorum: u16,
    /// What runs in a Duke's container.
    pub container: Container,
    /// What `SENTINEL SET` takes, by option, whole: defaults and custom settings.
    pub settings: BTreeMap<&'static str, u64>,
    /// Where the pods may run.
    pub placement: Placement,
}

/// What runs in a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The image.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// The command, with its arguments.
    pub command: Vec<String>,
    /// Requests and limits.
    pub resources: ResourceRequirements,
}

/// The metrics exporter, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Exporter {
    /// What runs in its container; the command is the image's own.
    pub container: Container,
    /// Whether the kubelet probes it.
    pub probes: bool,
}

/// Where the data of a pod lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// In a directory that goes with the pod.
    EmptyDir(EmptyDirVolumeSource),
    /// On a volume of the pod's own.
    Claim(Box<Claim>),
}

/// A template for volume claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The volume's name.
    pub name: String,
    /// The claims' labels, without ours.
    pub labels: BTreeMap<String, String>,
    /// The claims' annotations.
    pub annotations: BTreeMap<String, String>,
    /// What is claimed.
    pub spec: PersistentVolumeClaimSpec,
    /// Whether the volumes outlive the Pipeline.
    pub keep: bool,
}

/// Where pods may run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Which nodes are fit.
    pub node_affinity: Option<NodeAffinity>,
    /// What to be near to.
    pub pod_affinity: Option<PodAffinity>,
    /// What to be far from, instead of our preference for nodes without a pod of the same kind.
    pub pod_anti_affinity: Option<PodAntiAffinity>,
    /// Whether two pods of the same kind may never share a node.
    pub hard_anti_affinity: bool,
    /// Which taints are tolerated.
    pub tolerations: Vec<Toleration>,
}

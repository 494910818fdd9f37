//! What the pods of both kinds have in common: confinement, placement, volumes.
//!
//! Every pod passes Pod Security *restricted*, has a read-only root and no token of the API server.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort,
        EmptyDirVolumeSource, EnvVar, EnvVarSource, KeyToPath, ObjectFieldSelector,
        PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, Probe, SeccompProfile,
        SecretVolumeSource, SecurityContext, TCPSocketAction, TopologySpreadConstraint, Volume,
        VolumeMount, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::api::{
    label::{self, Component},
    resolved::{self, Placement},
};

/// The label of a node that is its own.
const HOST: &str = "kubernetes.io/hostname";
/// The label of a node that names its failure zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Readable for the owner and the pod's group, writable for nobody.
const SECRET_MODE: i32 = 0o440;

/// A pod of one kind, without containers and volumes.
#[must_use]
pub fn spec(pipeline: &str, component: Component, placement: &Placement, user: i64) -> PodSpec {
    PodSpec {
        affinity: Some(affinity(pipeline, component, placement)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            fs_group: Some(user),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            run_as_group: Some(user),
            run_as_non_root: Some(true),
            run_as_user: Some(user),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        tolerations: (!placement.tolerations.is_empty()).then(|| placement.tolerations.clone()),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            label_selector: Some(select(pipeline, component)),
            max_skew: 1,
            topology_key: ZONE.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            ..TopologySpreadConstraint::default()
        }]),
        ..PodSpec::default()
    }
}

/// Where a pod may run.
///
/// Pods of a kind avoid each other's nodes, unless the user said what else to avoid; if they must
/// never share one, that is required besides whatever the user said.
fn affinity(pipeline: &str, component: Component, placement: &Placement) -> Affinity {
    let Placement {
        node_affinity,
        pod_affinity,
        pod_anti_affinity,
        hard_anti_affinity,
        tolerations: _,
    } = placement;
    let apart = PodAffinityTerm {
        label_selector: Some(select(pipeline, component)),
        topology_key: HOST.to_owned(),
        ..PodAffinityTerm::default()
    };
    let mut anti = pod_anti_affinity.clone();
    if *hard_anti_affinity {
        anti.get_or_insert_default()
            .required_during_scheduling_ignored_during_execution
            .get_or_insert_default()
            .push(apart);
    } else if anti.is_none() {
        anti = Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    pod_affinity_term: apart,
                    weight: 100,
                },
            ]),
            ..PodAntiAffinity::default()
        });
    }
    Affinity {
        node_affinity: node_affinity.clone(),
        pod_affinity: pod_affinity.clone(),
        pod_anti_affinity: anti,
    }
}

/// Selects the pods of a kind.
#[must_use]
pub fn select(pipeline: &str, component: Component) -> LabelSelector {
    LabelSelector {
        match_labels: Some(label::selector(pipeline, component)),
        ..LabelSelector::default()
    }
}

/// A confined container with its image, command and resources.
#[must_use]
pub fn container(name: &str, resolved: &resolved::Container) -> Container {
    let resolved::Container {
        image,
        pull_policy,
        command,
        resources,
    } = resolved;
    Container {
        command: (!command.is_empty()).then(|| command.clone()),
        image: Some(image.clone()),
        image_pull_policy: Some(pull_policy.as_str().to_owned()),
        name: name.to_owned(),
        resources: Some(resources.clone()),
        // What a process says last before it ends badly is the reason that the status gives.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// The environment variable `POD_IP`, for a program that has to tell others its address.
#[must_use]
pub fn own_address() -> EnvVar {
    EnvVar {
        name: "POD_IP".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "status.podIP".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// A named port of a container.
#[must_use]
pub fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        container_port: i32::from(number),
        name: Some(name.to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// A probe that opens a connection every `period` seconds and gives up after `failures`.
#[must_use]
pub fn tcp_probe(port: u16, period: i32, failures: i32) -> Probe {
    Probe {
        failure_threshold: Some(failures),
        period_seconds: Some(period),
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::Int(i32::from(port)),
            ..TCPSocketAction::default()
        }),
        timeout_seconds: Some(period.min(5)),
        ..Probe::default()
    }
}

/// A volume from a ConfigMap.
#[must_use]
pub fn config_volume(name: &str, config_map: String) -> Volume {
    Volume {
        config_map: Some(ConfigMapVolumeSource {
            name: config_map,
            ..Default::default()
        }),
        name: name.to_owned(),
        ..Volume::default()
    }
}

/// A volume from some keys of a Secret.
#[must_use]
pub fn secret_volume(name: &str, secret: String, keys: &[&str]) -> Volume {
    let items = keys.iter().map(|key| KeyToPath {
        key: (*key).to_owned(),
        path: (*key).to_owned(),
        ..KeyToPath::default()
    });
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            default_mode: Some(SECRET_MODE),
            items: Some(items.collect()),
            secret_name: Some(secret),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// An empty directory.
#[must_use]
pub fn empty_volume(name: &str, source: EmptyDirVolumeSource) -> Volume {
    Volume {
        empty_dir: Some(source),
        name: name.to_owned(),
        ..Volume::default()
    }
}

/// A place in a container where a volume appears.
#[must_use]
pub fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        mount_path: path.to_owned(),
        name: volume.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The annotations of a pod: which container `kubectl logs` and `kubectl exec` mean, and when the
/// user asked for its restart.
#[must_use]
pub fn annotations(component: Component, restarted_at: Option<&str>) -> BTreeMap<String, String> {
    let key = "kubectl.kubernetes.io/default-container";
    let restart = restarted_at.map(|at| (label::RESTARTED_AT.to_owned(), at.to_owned()));
    [(key.to_owned(), component.as_str().to_owned())]
        .into_iter()
        .chain(restart)
        .collect()
}

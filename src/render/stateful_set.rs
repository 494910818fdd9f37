//! The data pods.
//!
//! The operator replaces them itself, one by one and the master last (`OnDelete`); they start all
//! at once (`Parallel`), for none needs another to be there first.

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            Container, EnvVar, EnvVarSource, ExecAction, HTTPGetAction, Lifecycle,
            LifecycleHandler, ObjectFieldSelector, PersistentVolumeClaim, PodTemplateSpec, Probe,
            Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{agent, made_for, metadata, pod, server_config, service, user};
use crate::api::{
    DUKE_PORT, METRICS_PORT, REDIS_PORT,
    label::{self, Component},
    resolved::{Claim, Exporter, Resolved, Storage},
};

/// The user of the servers' images, whose data they own.
const USER: i64 = 999;
/// Name of the exporter's container.
pub const EXPORTER: &str = "exporter";
/// Where the exporter finds its password.
const EXPORTER_FOLDER: &str = "/etc/exporter";
/// Where the user's shutdown script is mounted.
const SHUTDOWN_FOLDER: &str = "/pipeline-shutdown";
/// The key of the user's ConfigMap that is run.
const SHUTDOWN_FILE: &str = "shutdown.sh";

/// The StatefulSet of the data pods.
#[must_use]
pub fn stateful_set(resolved: &Resolved) -> StatefulSet {
    let data = &resolved.data;
    let (retention, claims) = match &data.storage {
        Storage::EmptyDir(_) => (None, None),
        Storage::Claim(claim) => (
            Some(retention(claim.keep)),
            Some(vec![claim_template(claim)]),
        ),
    };
    let metadata = metadata(resolved, Component::Data, resolved.names.data());
    StatefulSet {
        metadata: made_for(metadata, &resolved.asked.data),
        spec: StatefulSetSpec {
            persistent_volume_claim_retention_policy: retention,
            pod_management_policy: Some("Parallel".to_owned()),
            replicas: Some(i32::from(data.replicas)),
            selector: pod::select(&resolved.name, Component::Data),
            service_name: Some(resolved.names.pods_service()),
            template: template(resolved),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            volume_claim_templates: claims,
            ..StatefulSetSpec::default()
        },
        ..StatefulSet::default()
    }
}

/// Volumes go with the Pipeline only if the spec says so, and never by scaling in alone.
fn retention(keep: bool) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let deleted = if keep { "Retain" } else { "Delete" };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(deleted.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

/// The template of the volume claims. It cannot be changed in a StatefulSet, so nothing of ours is
/// in it; Kubernetes itself labels the claims with the selector's labels.
fn claim_template(claim: &Claim) -> PersistentVolumeClaim {
    let Claim {
        name,
        labels,
        annotations,
        spec,
        keep: _,
    } = claim;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            annotations: (!annotations.is_empty()).then(|| annotations.clone()),
            labels: (!labels.is_empty()).then(|| labels.clone()),
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(spec.clone()),
        ..PersistentVolumeClaim::default()
    }
}

fn template(resolved: &Resolved) -> PodTemplateSpec {
    let data = &resolved.data;
    let annotations = pod::annotations(Component::Data, resolved.restarted_at.as_deref());
    let mut spec = pod::spec(&resolved.name, Component::Data, &data.placement, USER);
    spec.containers = vec![server(resolved)];
    if let Some(wanted) = &data.exporter {
        spec.containers.push(exporter(wanted));
    }
    spec.containers.push(agent::container(resolved));
    spec.termination_grace_period_seconds = Some(data.grace_period);
    spec.volumes = Some(volumes(resolved));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            annotations: Some(annotations),
            labels: Some(label::all(&resolved.name, Component::Data)),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    }
}

fn server(resolved: &Resolved) -> Container {
    let data = &resolved.data;
    let volume = match &data.storage {
        Storage::EmptyDir(_) => "data",
        Storage::Claim(claim) => &claim.name,
    };
    let mut container = pod::container(Component::Data.as_str(), &data.container);
    container.ports = Some(vec![pod::port(service::REDIS, REDIS_PORT)]);
    // A server listens while it loads its data: opening a connection tells that the process lives,
    // and never more than that. The rest is for the agent to say.
    container.liveness_probe = Some(pod::tcp_probe(REDIS_PORT, 10, 6));
    container.readiness_probe = Some(agent::readiness());
    container.lifecycle = Some(Lifecycle {
        pre_stop: Some(agent::before_stop()),
        ..Lifecycle::default()
    });
    let mut mounts = vec![
        pod::mount("config", server_config::CONFIG_FOLDER, true),
        own_file(),
        pod::mount("users", server_config::USERS_FOLDER, true),
        pod::mount(volume, server_config::DATA_FOLDER, false),
    ];
    let mut variables = vec![own_name()];
    if data.shutdown.is_some() {
        mounts.push(pod::mount("shutdown", SHUTDOWN_FOLDER, true));
        variables.extend(shutdown_variables(resolved));
        // The agent hands the master over meanwhile; the script may be over before that is.
        container.lifecycle = Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(vec![
                        "/bin/sh".to_owned(),
                        format!("{SHUTDOWN_FOLDER}/{SHUTDOWN_FILE}"),
                    ]),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        });
    }
    container.env = Some(variables);
    container.volume_mounts = Some(mounts);
    container
}

/// The variable by which a pod finds its own file.
const POD_NAME: &str = "POD_NAME";

fn own_name() -> EnvVar {
    EnvVar {
        name: POD_NAME.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "metadata.name".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// The pod's own key of the ConfigMap, at the path that the server's command names.
fn own_file() -> VolumeMount {
    VolumeMount {
        sub_path_expr: Some(format!("$({POD_NAME}).conf")),
        ..pod::mount("config", server_config::CONFIG_FILE, true)
    }
}

/// What a shutdown script needs to find the group.
fn shutdown_variables(resolved: &Resolved) -> Vec<EnvVar> {
    [
        ("PIPELINE_NAME", resolved.name.clone()),
        ("DUKE_HOST", resolved.names.duke()),
        ("DUKE_PORT", DUKE_PORT.to_string()),
    ]
    .map(|(name, value)| variable(name, value))
    .to_vec()
}

/// The exporter. It has no readiness probe, so that a broken exporter never takes a data pod out of
/// Services.
fn exporter(exporter: &Exporter) -> Container {
    let mut container = pod::container(EXPORTER, &exporter.container);
    container.env = Some(vec![
        variable("REDIS_ADDR", format!("redis://localhost:{REDIS_PORT}")),
        variable("REDIS_USER", user::Identity::Exporter.key().to_owned()),
        variable(
            "REDIS_PASSWORD_FILE",
            format!("{EXPORTER_FOLDER}/{}", user::EXPORTER_JSON),
        ),
    ]);
    container.ports = Some(vec![pod::port(service::METRICS, METRICS_PORT)]);
    container.volume_mounts = Some(vec![pod::mount("exporter", EXPORTER_FOLDER, true)]);
    container.liveness_probe = exporter.probes.then(|| Probe {
        failure_threshold: Some(3),
        http_get: Some(HTTPGetAction {
            path: Some("/".to_owned()),
            port: IntOrString::Int(i32::from(METRICS_PORT)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(10),
        timeout_seconds: Some(5),
        ..Probe::default()
    });
    container
}

fn variable(name: &str, value: String) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    }
}

fn volumes(resolved: &Resolved) -> Vec<Volume> {
    let data = &resolved.data;
    let secret = || resolved.names.users_secret();
    let mut volumes = vec![
        pod::config_volume("config", resolved.names.data()),
        pod::secret_volume(
            "users",
            secret(),
            &[user::USERS_ACL, user::REPLICATION_CONF],
        ),
    ];
    volumes.push(agent::volume(resolved));
    if let Storage::EmptyDir(source) = &data.storage {
        volumes.push(pod::empty_volume("data", source.clone()));
    }
    if let Some(config_map) = &data.shutdown {
        volumes.push(pod::config_volume("shutdown", config_map.clone()));
    }
    if data.exporter.is_some() {
        volumes.push(pod::secret_volume(
            "exporter",
            secret(),
            &[user::EXPORTER_JSON],
        ));
    }
    volumes
}

//! The Dukes.
//!
//! Never more than wanted and at most one less while they are replaced: a new Duke is ready only
//! when a majority has told it what it must remember.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Container, EmptyDirVolumeSource, Lifecycle, LifecycleHandler, PodTemplateSpec,
            SleepAction,
        },
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{duke_config, made_for, metadata, pod, service, user::Identity};
use crate::api::{
    DUKE_PORT, DUKE_READY_PORT,
    label::{self, Component},
    resolved::Resolved,
};

/// The user of the Duke image.
const USER: i64 = 65_532;
/// How long a Duke goes on answering after it was told to stop, in seconds.
///
/// kube-proxy follows the endpoints of a Service once a second: a client that it still leads here must
/// not find nobody, and wait for an answer that never comes.
const LINGER: i64 = 3;
/// How long a Duke may take to stop, in seconds. It has nothing to finish.
const GRACE_PERIOD: i64 = LINGER + 5;

/// Lets all Dukes of a group that never had a master be replaced at once: none remembers anything,
/// and none is ever ready as long as too few of them can start.
pub fn replace_at_once(deployment: &mut Deployment) {
    let strategy = deployment.spec.strategy.as_mut();
    if let Some(rolling) = strategy.and_then(|strategy| strategy.rolling_update.as_mut()) {
        rolling.max_unavailable = deployment.spec.replicas.map(IntOrString::Int);
    }
}

/// The Deployment of the Dukes.
#[must_use]
pub fn deployment(resolved: &Resolved) -> Deployment {
    let duke = &resolved.duke;
    let mut spec = pod::spec(&resolved.name, Component::Duke, &duke.placement, USER);
    spec.containers = vec![container(resolved)];
    spec.termination_grace_period_seconds = Some(GRACE_PERIOD);
    spec.volumes = Some(vec![
        pod::config_volume("config", resolved.names.duke()),
        pod::secret_volume(
            "users",
            resolved.names.users_secret(),
            &[
                Identity::Duke,
                Identity::Operator,
                Identity::Peer,
                Identity::Agent,
            ]
            .map(Identity::key),
        ),
        pod::empty_volume("data", EmptyDirVolumeSource::default()),
    ]);
    let metadata = metadata(resolved, Component::Duke, resolved.names.duke());
    let annotations = pod::annotations(Component::Duke, resolved.restarted_at.as_deref());
    Deployment {
        metadata: made_for(metadata, &resolved.asked.duke),
        spec: DeploymentSpec {
            replicas: Some(i32::from(duke.replicas)),
            selector: pod::select(&resolved.name, Component::Duke),
            strategy: Some(DeploymentStrategy {
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(0)),
                    max_unavailable: Some(IntOrString::Int(1)),
                }),
                type_: Some("RollingUpdate".to_owned()),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    annotations: Some(annotations),
                    labels: Some(label::all(&resolved.name, Component::Duke)),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    }
}

fn container(resolved: &Resolved) -> Container {
    let mut container = pod::container(Component::Duke.as_str(), &resolved.duke.container);
    container.env = Some(vec![pod::own_address()]);
    container.ports = Some(vec![pod::port(service::DUKE, DUKE_PORT)]);
    container.liveness_probe = Some(pod::tcp_probe(DUKE_PORT, 10, 3));
    container.readiness_probe = Some(pod::tcp_probe(DUKE_READY_PORT, 1, 2));
    container.lifecycle = Some(Lifecycle {
        pre_stop: Some(LifecycleHandler {
            // The kubelet's own sleep: there is no shell in the image.
            sleep: Some(SleepAction { seconds: LINGER }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    });
    container.volume_mounts = Some(vec![
        pod::mount("config", "/etc/duke", true),
        pod::mount("users", duke_config::USERS_FOLDER, true),
        pod::mount("data", duke_config::DATA_FOLDER, false),
    ]);
    container
}

//! What is rendered: one golden file per example, and the promises that hold for all of them.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use k8s_openapi::{api::core::v1::PodSpec, apimachinery::pkg::util::intstr::IntOrString};
use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::Pipeline,
    controller::resolve::{Defaults, resolve},
    render::slice::{AddressFamily, Endpoint},
};

/// Every Pipeline in a file of `example/`, by the file's name.
fn examples() -> Vec<(String, Pipeline, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("example");
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "operator" || path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for document in text.split("\n---\n") {
            let written: Value = serde_saphyr::from_str(document).unwrap();
            if written["kind"] == "Pipeline" {
                let mut pipeline: Pipeline = serde_json::from_value(written.clone()).unwrap();
                pipeline.metadata.namespace = Some("market".to_owned());
                pipeline.metadata.uid = Some("0b5e55ed".to_owned());
                found.push((name.clone(), pipeline, written));
            }
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    assert!(found.len() >= 10, "{} examples", found.len());
    found
}

fn resolved(spec: Value) -> Resolved {
    let mut pipeline = Pipeline::new("shop", serde_json::from_value(spec).unwrap());
    pipeline.metadata.namespace = Some("market".to_owned());
    pipeline.metadata.uid = Some("0b5e55ed".to_owned());
    resolve(&pipeline, &Defaults::default()).unwrap()
}

fn passwords() -> Passwords {
    let mut random = [0; RANDOM_BYTES];
    for (index, byte) in random.iter_mut().enumerate() {
        *byte = u8::try_from(index).unwrap();
    }
    Passwords::complete(None, None, &random)
}

fn render(spec: Value) -> Objects {
    objects(&resolved(spec), &passwords())
}

/// All objects as values, in their order.
fn values(objects: &Objects) -> Vec<Value> {
    fn value<K: Serialize>(object: &K) -> Value {
        serde_json::to_value(object).unwrap()
    }
    let Objects {
        users,
        data_config,
        duke_config,
        data_service,
        replicas_service,
        pods_service,
        duke_service,
        data_budget,
        duke_budget,
        stateful_set,
        deployment,
    } = objects;
    let mut users_in_clear = value(users);
    let data = users.data.clone().unwrap_or_default();
    users_in_clear["data"] = data
        .into_iter()
        .map(|(key, bytes)| (key, Value::String(String::from_utf8(bytes.0).unwrap())))
        .collect();
    vec![
        users_in_clear,
        value(data_config),
        value(duke_config),
        value(data_service),
        value(replicas_service),
        value(pods_service),
        value(duke_service),
        value(data_budget),
        value(duke_budget),
        value(stateful_set),
        value(deployment),
    ]
}

fn pods(objects: &Objects) -> [&PodSpec; 2] {
    [
        objects.stateful_set.spec.template.spec.as_ref().unwrap(),
        objects.deployment.spec.template.spec.as_ref().unwrap(),
    ]
}

/// Whether everything that was written has been read.
fn is_within(written: &Value, read: &Value) -> bool {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written
            .iter()
            .all(|(key, value)| read.get(key).is_some_and(|other| is_within(value, other))),
        (Value::Array(written), Value::Array(read)) => {
            written.len() == read.len()
                && written
                    .iter()
                    .zip(read)
                    .all(|(left, right)| is_within(left, right))
        }
        _ => written == read,
    }
}

#[test]
fn every_example_renders_as_reviewed() {
    for (name, pipeline, _) in examples() {
        let resolved = resolve(&pipeline, &Defaults::default()).unwrap();
        let text: Vec<String> = values(&objects(&resolved, &passwords()))
            .iter()
            .map(|object| serde_saphyr::to_string(object).unwrap())
            .collect();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, text.join("---\n"));
        });
    }
}

#[test]
fn nothing_in_an_example_is_unknown_to_the_api() {
    for (name, pipeline, written) in examples() {
        let read = serde_json::to_value(&pipeline.spec).unwrap();
        assert!(
            is_within(&written["spec"], &read),
            "{name}: {written} was read as {read}"
        );
    }
}

#[test]
fn examples_have_names_of_their_own() {
    let mut names: Vec<String> = examples()
        .into_iter()
        .map(|(_, pipeline, _)| pipeline.metadata.name.unwrap())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn objects_have_the_promised_names() {
    let names: Vec<String> = values(&render(json!({})))
        .iter()
        .map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', ""))
        .collect();
    assert_eq!(
        names,
        [
            "Secret/pipeline-shop-users",
            "ConfigMap/pipeline-shop",
            "ConfigMap/duke-shop",
            "Service/pipeline-shop",
            "Service/pipeline-shop-replicas",
            "Service/pipeline-shop-pods",
            "Service/duke-shop",
            "PodDisruptionBudget/pipeline-shop",
            "PodDisruptionBudget/duke-shop",
            "StatefulSet/pipeline-shop",
            "Deployment/duke-shop",
        ]
    );
}

#[test]
fn every_object_is_owned_labelled_and_stamped() {
    for object in values(&render(json!({}))) {
        let metadata = &object["metadata"];
        assert_eq!(
            metadata["ownerReferences"][0]["uid"], "0b5e55ed",
            "{object}"
        );
        assert_eq!(
            metadata["ownerReferences"][0]["controller"], true,
            "{object}"
        );
        assert_eq!(metadata["namespace"], "market", "{object}");
        assert_eq!(metadata["labels"][label::PIPELINE], "shop", "{object}");
        assert!(metadata["annotations"][label::HASH].is_string(), "{object}");
    }
}

#[test]
fn selectors_use_our_fixed_labels_only() {
    let fixed = [label::PIPELINE, label::COMPONENT, label::ROLE];
    for object in values(&render(json!({}))) {
        let selector = &object["spec"]["selector"];
        let labels = selector.get("matchLabels").unwrap_or(selector);
        for key in labels
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::keys)
        {
            assert!(fixed.contains(&key.as_str()), "{key} in {object}");
        }
    }
}

#[test]
fn every_pod_is_restricted_with_a_read_only_root() {
    for (name, pipeline, _) in examples() {
        let objects = objects(
            &resolve(&pipeline, &Defaults::default()).unwrap(),
            &passwords(),
        );
        for pod in pods(&objects) {
            let context = pod.security_context.as_ref().unwrap();
            assert_eq!(context.run_as_non_root, Some(true), "{name}");
            assert!(context.run_as_user.is_some_and(|user| user > 0), "{name}");
            assert_eq!(
                context.seccomp_profile.as_ref().unwrap().type_,
                "RuntimeDefault",
                "{name}"
            );
            assert_eq!(pod.automount_service_account_token, Some(false), "{name}");
            for container in &pod.containers {
                let context = container.security_context.as_ref().unwrap();
                assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
                assert_eq!(context.read_only_root_filesystem, Some(true), "{name}");
                let capabilities = context.capabilities.as_ref().unwrap();
                assert_eq!(
                    capabilities.drop.as_deref(),
                    Some(&["ALL".to_owned()][..]),
                    "{name}"
                );
                assert!(container.resources.is_some(), "{name}");
            }
        }
    }
}

#[test]
fn every_mount_has_its_volume() {
    for (name, pipeline, _) in examples() {
        let objects = objects(
            &resolve(&pipeline, &Defaults::default()).unwrap(),
            &passwords(),
        );
        let claims = objects
            .stateful_set
            .spec
            .volume_claim_templates
            .iter()
            .flatten();
        let claims: Vec<String> = claims
            .map(|claim| claim.metadata.name.clone().unwrap())
            .collect();
        for pod in pods(&objects) {
            let volumes = pod
                .volumes
                .iter()
                .flatten()
                .map(|volume| volume.name.clone());
            let volumes: Vec<String> = volumes.chain(claims.clone()).collect();
            for mount in pod
                .containers
                .iter()
                .flat_map(|c| c.volume_mounts.iter().flatten())
            {
                assert!(volumes.contains(&mount.name), "{name}: {}", mount.name);
            }
        }
    }
}

#[test]
fn no_password_leaves_the_secret() {
    let passwords = passwords();
    for (name, pipeline, _) in examples() {
        let objects = objects(
            &resolve(&pipeline, &Defaults::default()).unwrap(),
            &passwords,
        );
        for object in values(&objects)
            .iter()
            .filter(|object| object["kind"] != "Secret")
        {
            let text = object.to_string();
            for identity in user::Identity::ALL {
                assert!(
                    !text.contains(passwords.of(identity)),
                    "{name}: {}",
                    object["kind"]
                );
            }
        }
        assert!(!format!("{objects:?}").contains(passwords.of(user::Identity::Duke)));
    }
}

#[test]
fn what_is_applied_live_touches_no_pod() {
    let plain = render(json!({}));
    let tuned = render(json!({
        "pipeline": { "customConfig": ["maxmemory 50mb", "save \"\""] },
        "duke": { "customConfig": ["down-after-milliseconds 2000"], "quorum": 3 },
    }));
    assert_eq!(plain.stateful_set, tuned.stateful_set);
    assert_eq!(plain.deployment, tuned.deployment);
    assert_ne!(plain.data_config, tuned.data_config);
    assert_ne!(plain.duke_config, tuned.duke_config);
}

#[test]
fn no_directive_stands_in_the_pod_template() {
    let template = |custom: Value| {
        let objects = render(json!({ "pipeline": { "customConfig": custom } }));
        objects.stateful_set.spec.template
    };
    let plain = template(json!([]));
    for custom in [json!(["databases 4"]), json!(["maxmemory 1mb"])] {
        assert_eq!(plain, template(custom.clone()), "{custom}");
    }
}

#[test]
fn a_duke_reads_what_is_rendered_for_it() {
    for (name, pipeline, _) in examples() {
        let resolved = resolve(&pipeline, &Defaults::default()).unwrap();
        let settings = duke_core::config::parse(&duke_config::text(&resolved.duke)).unwrap();
        assert_eq!(settings.group, crate::api::MASTER_NAME, "{name}");
        assert_eq!(settings.port, crate::api::DUKE_PORT, "{name}");
        assert_eq!(
            settings.ready_port,
            Some(crate::api::DUKE_READY_PORT),
            "{name}"
        );
        assert_eq!(
            settings.users,
            Path::new(duke_config::USERS_FOLDER),
            "{name}"
        );
        assert!(
            settings.state.starts_with(duke_config::DATA_FOLDER),
            "{name}"
        );
        assert_eq!(
            BTreeMap::from(settings.master.pairs()),
            resolved.duke.settings,
            "{name}"
        );
    }
}

#[test]
fn a_custom_directive_replaces_ours() {
    let text = |custom: Value| {
        server_config::text(&resolved(json!({ "pipeline": { "customConfig": custom } })).data)
    };
    let plain = text(json!([]));
    assert!(plain.contains("\nsave 900 1 300 10\n") && plain.contains("\ntcp-keepalive 60\n"));
    let tuned = text(json!(["SAVE 60 1", "maxmemory 5mb"]));
    assert!(
        !tuned.contains("save 900") && tuned.contains("\nSAVE 60 1\nmaxmemory 5mb\n"),
        "{tuned}"
    );
}

#[test]
fn an_exporter_switched_off_leaves_no_trace() {
    let never = render(json!({}));
    let off = render(json!({ "pipeline": { "exporter": { "enabled": false } } }));
    let on = render(json!({ "pipeline": { "exporter": { "enabled": true } } }));
    assert_eq!(never, off);
    assert_ne!(on.data_service, off.data_service);
    let probes = |objects: &Objects| {
        pods(objects)[0]
            .containers
            .iter()
            .find(|container| container.name == stateful_set::EXPORTER)
            .map(|container| container.liveness_probe.is_some())
    };
    assert_eq!(probes(&on), Some(true));
    let bare = json!({ "pipeline": { "exporter": { "enabled": true, "disableProbes": true } } });
    assert_eq!(probes(&render(bare)), Some(false));
}

#[test]
fn a_data_pod_sees_no_password_but_what_its_containers_need() {
    let objects = render(json!({ "pipeline": { "exporter": { "enabled": true } } }));
    let [data, _] = pods(&objects);
    let mut seen: Vec<(String, Vec<String>)> = Vec::new();
    for container in &data.containers {
        let mounts = container.volume_mounts.iter().flatten();
        let keys = mounts.flat_map(|mount| {
            let volume = data.volumes.iter().flatten().find(|v| v.name == mount.name);
            let items = volume.and_then(|volume| volume.secret.as_ref()?.items.clone());
            items.into_iter().flatten().map(|item| item.key)
        });
        seen.push((container.name.clone(), keys.collect()));
    }
    let named = |name: &str, keys: &[&str]| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        (name.to_owned(), keys)
    };
    assert_eq!(
        seen,
        [
            named("pipeline", &[user::USERS_ACL, user::REPLICATION_CONF]),
            named("exporter", &[user::EXPORTER_JSON]),
            named("agent", &["agent"]),
        ]
    );
}

#[test]
fn another_image_of_the_dukes_touches_no_data_pod() {
    let plain = render(json!({}));
    let other = render(json!({ "duke": { "image": "mirror/duke:2" } }));
    assert_ne!(plain.deployment, other.deployment);
    assert_eq!(plain.stateful_set, other.stateful_set);
}

#[test]
fn a_script_of_the_users_takes_the_place_of_the_agents_word() {
    let hook = |spec: Value| {
        let objects = render(spec);
        let server = &pods(&objects)[0].containers[0];
        let hook = server.lifecycle.clone().unwrap().pre_stop.unwrap();
        (hook.http_get.is_some(), hook.exec.is_some())
    };
    assert_eq!(hook(json!({})), (true, false));
    let script = json!({ "pipeline": { "shutdownConfigMap": "careful" } });
    assert_eq!(hook(script), (false, true));
}

#[test]
fn volumes_outlive_a_pipeline_unless_told_otherwise() {
    let retention = |keep: Value| {
        let mut storage = json!({ "persistentVolumeClaim": { "spec": {
            "resources": { "requests": { "storage": "1Gi" } },
        } } });
        storage
            .as_object_mut()
            .unwrap()
            .extend(keep.as_object().unwrap().clone());
        let set = render(json!({ "pipeline": { "storage": storage } }))
            .stateful_set
            .spec;
        let claim = &set.volume_claim_templates.as_ref().unwrap()[0];
        assert_eq!(claim.metadata.owner_references, None);
        let retention = set.persistent_volume_claim_retention_policy.unwrap();
        assert_eq!(retention.when_scaled.as_deref(), Some("Retain"));
        retention.when_deleted.unwrap()
    };
    assert_eq!(retention(json!({})), "Retain");
    assert_eq!(retention(json!({ "keepAfterDeletion": false })), "Delete");
}

#[test]
fn pods_of_a_kind_avoid_each_other_as_hard_as_told() {
    let terms = |spec: Value| {
        let anti = pods(&render(spec))[0]
            .affinity
            .clone()
            .unwrap()
            .pod_anti_affinity
            .unwrap();
        (
            anti.required_during_scheduling_ignored_during_execution
                .map_or(0, |terms| terms.len()),
            anti.preferred_during_scheduling_ignored_during_execution
                .map_or(0, |terms| terms.len()),
        )
    };
    assert_eq!(terms(json!({})), (0, 1));
    assert_eq!(terms(json!({ "hardAntiAffinity": true })), (1, 0));
    let own = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
        { "topologyKey": "zone", "labelSelector": { "matchLabels": { "noisy": "yes" } } },
    ] } });
    assert_eq!(terms(json!({ "pipeline": { "affinity": own } })), (1, 0));
    let both = json!({ "pipeline": { "affinity": own, "hardAntiAffinity": true } });
    assert_eq!(terms(both), (2, 0));
}

/// Kubernetes leaves a port out of its slices when the selected pod has no port of that name.
#[test]
fn the_selected_master_is_behind_its_own_port_only() {
    for (name, pipeline, _) in examples() {
        let objects = objects(
            &resolve(&pipeline, &Defaults::default()).unwrap(),
            &passwords(),
        );
        let [data, _] = pods(&objects);
        let ports = data.containers.iter().flat_map(|one| one.ports.iter());
        let ports: Vec<_> = ports.flatten().filter_map(|one| one.name.clone()).collect();
        let service = objects.data_service.spec.as_ref().unwrap();
        let role = &service.selector.as_ref().unwrap()[label::ROLE];
        assert_eq!(role, label::ROLE_MASTER, "{name}");
        for port in service.ports.iter().flatten() {
            let Some(IntOrString::String(target)) = &port.target_port else {
                panic!("{name}: {port:?} has no named target");
            };
            assert!(
                target.len() <= 15,
                "the API server allows no more: {target}"
            );
            let is_master = port.name.as_deref() == Some(service::REDIS);
            assert_eq!(ports.contains(target), is_master, "{name}: {target}");
        }
    }
}

#[test]
fn a_closed_budget_says_why() {
    let resolved = resolved(json!({}));
    let open = serde_json::to_value(budget::data(&resolved, None)).unwrap();
    assert_eq!(open["spec"]["maxUnavailable"], 1);
    assert_eq!(open["metadata"]["annotations"], Value::Null);
    let closed = serde_json::to_value(budget::data(&resolved, Some("a copy is missing"))).unwrap();
    assert_eq!(closed["spec"]["maxUnavailable"], 0);
    let why = &closed["metadata"]["annotations"][label::CLOSED_BECAUSE];
    assert_eq!(why, "a copy is missing");
}

fn endpoint(pod: &str, address: &str) -> Endpoint {
    Endpoint {
        pod: pod.to_owned(),
        uid: format!("uid-of-{pod}"),
        node: Some("node-1".to_owned()),
        address: address.parse::<IpAddr>().unwrap(),
        ready: true,
        terminating: false,
    }
}

fn addresses(slice: &k8s_openapi::api::discovery::v1::EndpointSlice) -> BTreeMap<String, String> {
    let endpoints = slice.endpoints.iter().flatten();
    endpoints
        .map(|endpoint| {
            let target = endpoint.target_ref.as_ref().unwrap();
            (target.name.clone().unwrap(), endpoint.addresses.join(","))
        })
        .collect()
}

#[test]
fn slices_lead_to_the_master_the_dukes_and_the_exporters() {
    let resolved = resolved(json!({ "pipeline": { "exporter": { "enabled": true } } }));
    let data = [
        endpoint("pipeline-shop-1", "10.1.0.1"),
        endpoint("pipeline-shop-0", "10.1.0.2"),
    ];
    let dukes = [endpoint("duke-shop-x", "10.1.0.3")];
    let unready = Endpoint {
        ready: false,
        ..data[0].clone()
    };
    let made = slices(
        &resolved,
        AddressFamily::V4,
        Some(Some(&unready)),
        &dukes,
        &data,
    );
    let value = serde_json::to_value(&made.redis).unwrap();
    assert_eq!(value["metadata"]["name"], "pipeline-shop-redis");
    assert_eq!(
        value["metadata"]["labels"][label::SERVICE_NAME],
        "pipeline-shop"
    );
    assert_eq!(
        value["metadata"]["labels"][label::SLICE_MANAGER],
        "pipeline-operator"
    );
    assert_eq!(value["addressType"], "IPv4");
    assert_eq!(
        value["ports"],
        json!([{ "name": "redis", "port": 6379, "protocol": "TCP" }])
    );
    assert_eq!(
        value["endpoints"],
        json!([{
            "addresses": ["10.1.0.1"],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": "node-1",
            "targetRef": {
                "kind": "Pod", "name": "pipeline-shop-1", "namespace": "market",
                "uid": "uid-of-pipeline-shop-1",
            },
        }])
    );
    assert_eq!(addresses(&made.duke).len(), 1);
    let metrics = addresses(&made.metrics.unwrap());
    assert_eq!(
        metrics.keys().collect::<Vec<_>>(),
        ["pipeline-shop-0", "pipeline-shop-1"]
    );
}

#[test]
fn a_pod_that_is_being_deleted_is_in_no_slice() {
    let resolved = resolved(json!({}));
    let leaving = Endpoint {
        terminating: true,
        ..endpoint("pipeline-shop-0", "10.1.0.1")
    };
    let made = slices(&resolved, AddressFamily::V4, Some(Some(&leaving)), &[], &[]);
    let value = serde_json::to_value(&made.redis).unwrap();
    assert_eq!(
        value["endpoints"],
        json!([]),
        "older API servers ask for the empty list"
    );
    assert_eq!(made.metrics, None);
}

#[test]
fn a_slice_holds_addresses_of_its_family_only() {
    let resolved = resolved(json!({}));
    let dukes = [
        endpoint("duke-a", "fd00::a"),
        endpoint("duke-b", "10.1.0.1"),
    ];
    let made = slices(&resolved, AddressFamily::V6, None, &dukes, &[]);
    assert_eq!(made.duke.address_type, "IPv6");
    assert_eq!(
        addresses(&made.duke),
        BTreeMap::from([("duke-a".into(), "fd00::a".into())])
    );
    let mut service = service::data(&resolved);
    assert_eq!(AddressFamily::of_service(&service), None);
    service.spec.as_mut().unwrap().ip_families = Some(vec!["IPv6".into(), "IPv4".into()]);
    assert_eq!(AddressFamily::of_service(&service), Some(AddressFamily::V6));
}

#[test]
fn the_same_slices_whatever_order_pods_come_in() {
    let resolved = resolved(json!({}));
    let mut dukes = vec![
        endpoint("duke-a", "10.1.0.1"),
        endpoint("duke-b", "10.1.0.2"),
    ];
    let forward = slices(&resolved, AddressFamily::V4, None, &dukes, &[]);
    dukes.reverse();
    assert_eq!(
        forward,
        slices(&resolved, AddressFamily::V4, None, &dukes, &[])
    );
}

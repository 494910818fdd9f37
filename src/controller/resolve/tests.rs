//! What specs resolve to, and what is said of those that do not.

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use serde_json::{Value, json};

use super::*;

fn pipeline(spec: Value) -> Pipeline {
    let mut pipeline = Pipeline::new("shop", serde_json::from_value(spec).unwrap());
    pipeline.metadata.namespace = Some("market".to_owned());
    pipeline.metadata.uid = Some("7a1e".to_owned());
    pipeline
}

fn good(spec: Value) -> Resolved {
    resolve(&pipeline(spec), &Defaults::default()).unwrap()
}

fn problems(spec: Value) -> Vec<String> {
    let error = resolve(&pipeline(spec), &Defaults::default()).unwrap_err();
    error.problems.iter().map(Problem::to_string).collect()
}

#[test]
fn an_empty_spec_has_all_defaults() {
    let resolved = good(json!({}));
    assert_eq!(
        (
            resolved.data.replicas,
            resolved.duke.replicas,
            resolved.duke.quorum
        ),
        (3, 3, 2)
    );
    assert_eq!(resolved.data.container.image, image::REDIS);
    assert_eq!(
        resolved.data.container.command,
        ["redis-server", SERVER_CONFIG]
    );
    assert_eq!(
        resolved.duke.container.command.first().map(String::as_str),
        Some("/duke")
    );
    assert_eq!(resolved.duke.settings, BTreeMap::from(DUKE_DEFAULTS));
    assert_eq!(
        resolved.data.storage,
        Storage::EmptyDir(EmptyDirVolumeSource::default())
    );
    assert_eq!(resolved.data.exporter, None);
    assert_eq!(resolved.owner().uid, "7a1e");
}

#[test]
fn the_program_and_the_duke_image_follow_image_and_environment() {
    let spec = json!({ "pipeline": { "image": "docker.io/valkey/valkey:8.1" } });
    let defaults = Defaults {
        duke_image: "mirror/duke:1".to_owned(),
    };
    let resolved = resolve(&pipeline(spec), &defaults).unwrap();
    assert_eq!(
        resolved.data.container.command,
        ["valkey-server", SERVER_CONFIG]
    );
    assert_eq!(resolved.duke.container.image, "mirror/duke:1");
}

#[test]
fn all_problems_are_told_at_once_with_their_fields() {
    let found = problems(json!({
        "pipeline": {
            "replicas": 0,
            "customConfig": ["maxmemory 1mb", "PORT 7000", "save \"1", "tls-port 1"],
            "storage": { "persistentVolumeClaim": { "spec": {} } },
        },
        "duke": { "replicas": 2, "quorum": 3, "customConfig": ["quorum 2", "parallel-syncs 0"] },
    }));
    let fields: Vec<&str> = found
        .iter()
        .map(|problem| problem.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "spec.pipeline.replicas",
            "spec.pipeline.customConfig[1]",
            "spec.pipeline.customConfig[2]",
            "spec.pipeline.customConfig[3]",
            "spec.pipeline.storage.persistentVolumeClaim.spec.resources.requests.storage",
            "spec.duke.replicas",
            "spec.duke.quorum",
            "spec.duke.customConfig[0]",
            "spec.duke.customConfig[1]",
        ]
    );
    assert!(found[1].contains("port may not be set"), "{}", found[1]);
}

#[test]
fn a_size_in_kubernetes_spelling_is_refused_with_the_servers_spelling() {
    let found = problems(json!({ "pipeline": { "customConfig": ["maxmemory 1Gi"] } }));
    assert_eq!(
        found,
        ["spec.pipeline.customConfig[0]: servers cannot read the size 1Gi of maxmemory; write 1gb"]
    );
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    for name in ["shop-master", "shop.eu", "", &"s".repeat(41)] {
        let mut pipeline = pipeline(json!({}));
        pipeline.metadata.name = Some(name.to_owned());
        let error = resolve(&pipeline, &Defaults::default()).unwrap_err();
        assert!(
            error.to_string().starts_with("metadata.name: "),
            "{name}: {error}"
        );
    }
}

#[test]
fn custom_directives_are_sorted_into_live_and_at_start() {
    let resolved = good(json!({ "pipeline": { "customConfig": [
        "# ours", "databases 4", "save \"\"", "save 60 1", "save 10 9", "maxmemory 1mb",
        "maxmemory 2mb", "loadmodule /m.so",
    ] } }));
    let live = resolved.data.live();
    let live: Vec<(&str, &str)> = live.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(live, [("maxmemory", "2mb"), ("save", "60 1 10 9")]);
    let at_start: Vec<&str> = resolved
        .data
        .at_start()
        .iter()
        .map(|directive| directive.line.as_str())
        .collect();
    assert_eq!(at_start, ["databases 4", "loadmodule /m.so"]);
}

#[test]
fn a_section_overrides_the_common_placement_part_by_part() {
    let zone = |zone: &str| {
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "zone", "operator": "In", "values": [zone] }] },
        ] } })
    };
    let toleration = json!({ "key": "spot", "operator": "Exists" });
    let resolved = good(json!({
        "hardAntiAffinity": true,
        "nodeAffinity": zone("a"),
        "tolerations": [toleration],
        "duke": {
            "hardAntiAffinity": false,
            "affinity": { "nodeAffinity": zone("b") },
            "tolerations": [],
        },
    }));
    let (data, duke) = (&resolved.data.placement, &resolved.duke.placement);
    assert!(data.hard_anti_affinity && !duke.hard_anti_affinity);
    assert_eq!((data.tolerations.len(), duke.tolerations.len()), (1, 0));
    assert!(format!("{:?}", data.node_affinity).contains("\"a\""));
    assert!(format!("{:?}", duke.node_affinity).contains("\"b\""));
}

#[test]
fn a_claim_is_kept_and_named_data_unless_told_otherwise() {
    let claim = |extra: Value| {
        let mut storage = json!({ "persistentVolumeClaim": { "spec": {
            "resources": { "requests": { "storage": "1Gi" } },
        } } });
        storage
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        match good(json!({ "pipeline": { "storage": storage } }))
            .data
            .storage
        {
            Storage::Claim(claim) => *claim,
            Storage::EmptyDir(_) => panic!("an empty directory"),
        }
    };
    let kept = claim(json!({}));
    assert!(kept.keep);
    assert_eq!(kept.name, "data");
    assert_eq!(
        kept.spec.access_modes.as_deref(),
        Some(&["ReadWriteOnce".to_owned()][..])
    );
    assert!(!claim(json!({ "keepAfterDeletion": false })).keep);
}

//! What a user asked of pods, as hashes: whether a pod template was made for the present spec.
//!
//! A template is rendered anew only when what the user wrote about its pods changes, never because
//! another version of the operator renders it otherwise. So only the user's own words count here,
//! before any default is filled in, and nothing that is applied without a new template: numbers of
//! pods, directives that running servers take, settings of living Dukes.
//!
//! A field that is added to the spec later must be left out of JSON when it is not given, or every
//! hash changes and every Pipeline is rolled by the upgrade.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    api::{
        DataSpec, DukeSpec, PipelineSpec,
        directive::{self, Directive},
        resolved::Asked,
    },
    render::hash,
};

/// The hashes of a spec and of the order to restart all pods, if there is one.
pub(super) fn of(spec: &PipelineSpec, restarted_at: Option<&str>) -> Asked {
    let PipelineSpec {
        pipeline,
        duke,
        hard_anti_affinity,
        node_affinity,
        tolerations,
    } = spec;
    let placement = (hard_anti_affinity, node_affinity, tolerations);
    Asked {
        data: digest(&(of_data(pipeline), placement, restarted_at)),
        duke: digest(&(of_dukes(duke), placement, restarted_at)),
    }
}

fn of_data(spec: &DataSpec) -> (DataSpec, BTreeSet<String>) {
    let at_start = |line: &Directive| directive::needs_restart(&line.name);
    let lines = spec.custom_config.iter();
    let restarting = lines
        .filter_map(|line| directive::parse(line).ok().flatten())
        .filter(at_start)
        .map(|directive| directive.line)
        .collect();
    let mut spec = spec.clone();
    spec.replicas = 0;
    spec.custom_config.clear();
    // An exporter that is switched off is none.
    spec.exporter = spec.exporter.filter(|exporter| exporter.enabled);
    // Kept or not after deletion is a field of the StatefulSet, not of its pods.
    if let Some(storage) = &mut spec.storage {
        storage.keep_after_deletion = true;
    }
    (spec, restarting)
}

fn of_dukes(spec: &DukeSpec) -> DukeSpec {
    let mut spec = spec.clone();
    spec.replicas = 0;
    spec.custom_config.clear();
    spec.quorum = None;
    spec
}

fn digest(asked: &impl Serialize) -> String {
    match serde_json::to_vec(asked) {
        Ok(bytes) => hash::digest(&bytes),
        Err(error) => unreachable!("a spec is plain data: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(spec: Value) -> Asked {
        of(&serde_json::from_value(spec).unwrap(), None)
    }

    #[test]
    fn what_needs_no_new_pods_asks_for_none() {
        let plain = asked(json!({}));
        for spec in [
            json!({ "pipeline": { "replicas": 5 }, "duke": { "replicas": 5, "quorum": 4 } }),
            json!({ "pipeline": { "customConfig": ["maxmemory 5mb", "# databases 4"] } }),
            json!({ "duke": { "customConfig": ["down-after-milliseconds 2000"] } }),
        ] {
            assert_eq!(asked(spec.clone()), plain, "{spec}");
        }
        let off = json!({ "pipeline": { "exporter": { "enabled": false, "image": "x" } } });
        assert_eq!(asked(off), plain);
        let kept = |keep: bool| {
            asked(json!({ "pipeline": { "storage": {
                "keepAfterDeletion": keep, "emptyDir": {},
            } } }))
        };
        assert_eq!(kept(true), kept(false));
    }

    #[test]
    fn what_changes_pods_asks_for_new_ones_of_their_kind() {
        let plain = asked(json!({}));
        for (spec, data, duke) in [
            (json!({ "pipeline": { "image": "redis:8.0" } }), true, false),
            (
                json!({ "pipeline": { "customConfig": ["databases 4"] } }),
                true,
                false,
            ),
            (
                json!({ "pipeline": { "exporter": { "enabled": true } } }),
                true,
                false,
            ),
            (
                json!({ "duke": { "resources": { "limits": { "cpu": "1" } } } }),
                false,
                true,
            ),
            (json!({ "duke": { "image": "duke:2" } }), false, true),
            (json!({ "hardAntiAffinity": true }), true, true),
        ] {
            let now = asked(spec.clone());
            let changed = (now.data != plain.data, now.duke != plain.duke);
            assert_eq!(changed, (data, duke), "{spec}");
        }
        let restarted = of(&PipelineSpec::default(), Some("2026-11-28T09:00:00Z"));
        assert!(restarted.data != plain.data && restarted.duke != plain.duke);
    }

    /// Written down from the version that introduced them. Another value here means that an upgrade
    /// to this version rolls every pod of every Pipeline.
    #[test]
    fn the_hashes_of_specs_that_exist_stay_what_they_are() {
        let plain = asked(json!({}));
        let rich = asked(json!({
            "pipeline": {
                "replicas": 2, "image": "redis:7.2", "customConfig": ["databases 4"],
                "resources": { "limits": { "memory": "1Gi" } },
                "exporter": { "enabled": true },
                "storage": { "persistentVolumeClaim": { "spec": {
                    "resources": { "requests": { "storage": "1Gi" } },
                } } },
            },
            "duke": { "image": "mirror/duke:1" },
            "tolerations": [{ "key": "a", "operator": "Exists" }],
        }));
        let all = [plain.data, plain.duke, rich.data, rich.duke];
        assert_eq!(
            all,
            [
                "d3734c24c016252a",
                "6d3c6d0b7d350ea0",
                "4296481a8e61ed00",
                "c560dd372de932e7",
            ]
        );
    }
}

//! Which volume claims are a Pipeline's, and whether their volumes may hold data.
//!
//! Found by name, `<template>-pipeline-<NAME>-<N>`: that is how a StatefulSet finds them. Labels it
//! sets only on those that it makes, so a restored one carries other labels or none.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        Pipeline,
        label::{self, Component},
        names::Names,
    },
    controller::caches::{Caches, Claim},
};

/// A volume claim, as far as it tells of data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimFacts {
    /// Its name.
    pub name: String,
    /// What tells it from a later claim of the same name.
    pub uid: String,
    /// Whether it may hold data from before this Pipeline: it is older, or its StatefulSet did not make
    /// it, as with a volume that was restored.
    pub inherited: bool,
}

/// The claims of a Pipeline's data pods, by ordinal.
pub(super) fn of(caches: &Caches, pipeline: &Pipeline, names: &Names) -> BTreeMap<u16, ClaimFacts> {
    let namespace = pipeline.metadata.namespace.as_deref();
    let born = pipeline.metadata.creation_timestamp.as_ref();
    caches
        .claims
        .select(|claim| {
            claim.metadata.namespace.as_deref() == namespace && ordinal(claim, names).is_some()
        })
        .iter()
        .filter_map(|claim| Some((ordinal(claim, names)?, facts(claim, names, born)?)))
        .collect()
}

fn ordinal(claim: &Claim, names: &Names) -> Option<u16> {
    let middle = format!("-{}-", names.data());
    let (_, ordinal) = claim.metadata.name.as_ref()?.rsplit_once(&middle)?;
    ordinal.parse().ok()
}

fn facts(claim: &Claim, names: &Names, born: Option<&Time>) -> Option<ClaimFacts> {
    let made = claim.metadata.creation_timestamp.as_ref();
    let labels = claim.metadata.labels.as_ref();
    // A StatefulSet gives the claims that it makes the labels of its selector.
    let is_foreign = label::selector(names.pipeline(), Component::Data)
        .iter()
        .any(|(key, value)| labels.and_then(|labels| labels.get(key)) != Some(value));
    Some(ClaimFacts {
        name: claim.metadata.name.clone()?,
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        inherited: is_foreign || made < born,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(name: &str, made: &str, labels: &Value) -> Claim {
        serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name, "namespace": "tea", "uid": "u", "creationTimestamp": made, "labels": labels,
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_claim_is_found_by_its_name_whatever_its_labels_say() {
        let names = Names::new("oolong");
        for (name, found) in [
            ("data-pipeline-oolong-2", Some(2)),
            ("my-data-pipeline-oolong-0", Some(0)),
            ("a-pipeline-b-pipeline-oolong-1", Some(1)),
            ("data-pipeline-oolong-x", None),
            ("data-pipeline-oolong", None),
            ("data-pipeline-oolong-2-1", None),
            ("data-pipeline-green-2", None),
        ] {
            let claim = claim(name, "2026-11-28T09:00:00Z", &json!({}));
            assert_eq!(ordinal(&claim, &names), found, "{name}");
        }
    }

    #[test]
    fn a_volume_may_hold_data_when_it_is_older_or_not_made_for_this_group() {
        let names = Names::new("oolong");
        let ours = json!({
            "kubernetes.lol/pipeline": "oolong", "kubernetes.lol/component": "pipeline",
        });
        let born: Time = serde_json::from_value(json!("2026-11-28T09:00:00Z")).unwrap();
        for (made, labels, inherited) in [
            ("2026-11-28T09:00:00Z", &ours, false),
            ("2026-11-28T09:00:01Z", &ours, false),
            ("2026-11-28T08:59:59Z", &ours, true),
            (
                "2026-11-28T09:00:01Z",
                &json!({ "velero.io/restore-name": "x" }),
                true,
            ),
            ("2026-11-28T09:00:01Z", &Value::Null, true),
        ] {
            let claim = claim("data-pipeline-oolong-0", made, labels);
            let facts = facts(&claim, &names, Some(&born)).unwrap();
            assert_eq!(facts.inherited, inherited, "{made} {labels}");
        }
    }
}

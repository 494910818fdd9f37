//! Whose an object is that has a name of ours: this Pipeline's, lost by it, or somebody else's. Pure.
//!
//! Ours is what names the Pipeline as its owner. An object with our labels and without an owner was
//! ours and lost it: its Pipeline was deleted with `--cascade=orphan`, or a backup was restored. It
//! is adopted, with what is in it. Everything else is somebody else's and is never written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api::{GROUP, label};

/// Whose an object is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// The Pipeline's.
    Ours,
    /// The Pipeline's or its predecessor's, and nobody owns it now.
    Lost,
    /// Somebody else's; a clause that says why.
    Foreign(String),
}

/// A Pipeline as an owner.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its name.
    pub pipeline: &'a str,
    /// Its identity.
    pub uid: &'a str,
}

impl Owner<'_> {
    /// Whose an object is.
    #[must_use]
    pub fn standing(&self, meta: &ObjectMeta) -> Standing {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        if owners.iter().any(|owner| owner.uid == self.uid) {
            return Standing::Ours;
        }
        match owners.iter().find(|owner| owner.controller == Some(true)) {
            Some(owner) if self.is_predecessor(owner) => Standing::Lost,
            Some(OwnerReference { kind, name, .. }) => {
                Standing::Foreign(format!("it belongs to {kind} {name}"))
            }
            None if self.is_labelled(meta) => Standing::Lost,
            None => Standing::Foreign(match value(meta, label::MANAGED_BY) {
                Some(manager) if manager != label::MANAGER => format!("{manager} manages it"),
                Some(_) | None => "it does not carry this Pipeline's labels".to_owned(),
            }),
        }
    }

    /// Whether an owner was a Pipeline of the same name: the garbage collector may not have come by
    /// yet, or a backup was restored.
    fn is_predecessor(&self, owner: &OwnerReference) -> bool {
        let group = owner.api_version.split('/').next();
        owner.kind == "Pipeline" && owner.name == self.pipeline && group == Some(GROUP)
    }

    fn is_labelled(&self, meta: &ObjectMeta) -> bool {
        value(meta, label::MANAGED_BY) == Some(label::MANAGER)
            && value(meta, label::PIPELINE) == Some(self.pipeline)
    }
}

fn value<'m>(meta: &'m ObjectMeta, label: &str) -> Option<&'m str> {
    meta.labels.as_ref()?.get(label).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'_> = Owner {
        pipeline: "tea",
        uid: "7a1e",
    };

    fn owned_by(kind: &str, name: &str, uid: &str) -> ObjectMeta {
        ObjectMeta {
            owner_references: Some(vec![OwnerReference {
                api_version: "kubernetes.lol/v1".to_owned(),
                controller: Some(true),
                kind: kind.to_owned(),
                name: name.to_owned(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..labelled("pipeline-operator", "tea")
        }
    }

    fn labelled(manager: &str, pipeline: &str) -> ObjectMeta {
        let labels = [(label::MANAGED_BY, manager), (label::PIPELINE, pipeline)];
        ObjectMeta {
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_object_is_ours_lost_or_somebody_elses() {
        let foreign = |why: &str| Standing::Foreign(why.to_owned());
        let unlabelled = "it does not carry this Pipeline's labels";
        for (meta, standing) in [
            (owned_by("Pipeline", "tea", "7a1e"), Standing::Ours),
            (owned_by("Pipeline", "tea", "before"), Standing::Lost),
            (labelled("pipeline-operator", "tea"), Standing::Lost),
            (
                owned_by("Pipeline", "coffee", "c0ffee"),
                foreign("it belongs to Pipeline coffee"),
            ),
            (
                owned_by("Deployment", "tea", "d"),
                foreign("it belongs to Deployment tea"),
            ),
            (labelled("pipeline-operator", "coffee"), foreign(unlabelled)),
            (labelled("Helm", "tea"), foreign("Helm manages it")),
            (ObjectMeta::default(), foreign(unlabelled)),
        ] {
            assert_eq!(OWNER.standing(&meta), standing, "{meta:?}");
        }
    }
}

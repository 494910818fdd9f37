//! Keeps pod templates as they were rendered until the user asks for other pods. Pure.
//!
//! Every version of the operator may render pods otherwise: other default images, another probe.
//! An upgrade must roll nobody by itself. So a StatefulSet and a Deployment carry, as annotations,
//! the template that was rendered for them and the hash of what the user had asked for then. While
//! that is what the user asks for now, this very template is applied again, so that what others
//! have changed in it is still put right, and all else of the object is as rendered now.
//!
//! Objects of a version without these annotations keep the template that they have, unless their
//! Pipeline was changed since it was looked at last.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::{
    api::label::{MADE_FOR, TEMPLATE},
    controller::{
        drift,
        object::{Kind, Object},
        observe::Observation,
    },
    render::hash,
};

/// Puts the templates that stay in force into the objects as they were drawn; says which kinds of
/// objects have a newer one waiting.
pub fn keep(objects: &mut [Object], seen: &Observation) -> Vec<Kind> {
    let mut behind = Vec::new();
    for object in objects {
        let (Some(drawn), Some(asked)) = (template(object).cloned(), made_for(object)) else {
            continue;
        };
        let live = seen
            .live
            .get(&object.id())
            .filter(|live| match made_for(live) {
                Some(then) => then == asked,
                None => seen.status.observed_generation == seen.spec_generation,
            });
        let kept = match live.map(in_force) {
            Some(InForce::Rendered(kept)) => {
                if kept != drawn {
                    behind.push(object.kind());
                }
                kept
            }
            Some(InForce::Found(kept)) => {
                if drift::difference(&value(&drawn), &value(&kept)).is_some() {
                    behind.push(object.kind());
                }
                kept
            }
            None => drawn,
        };
        set(object, kept);
    }
    behind
}

/// What the user asked of the pods when an object's template was rendered.
fn made_for(object: &Object) -> Option<&str> {
    annotation(object, MADE_FOR)
}

/// The template that is in force.
enum InForce {
    /// As it was rendered.
    Rendered(PodTemplateSpec),
    /// As it stands, with what the API server and others have added: nobody wrote down how it was
    /// rendered.
    Found(PodTemplateSpec),
}

fn in_force(live: &Object) -> InForce {
    let written = annotation(live, TEMPLATE).and_then(|text| serde_json::from_str(text).ok());
    match written {
        Some(rendered) => InForce::Rendered(rendered),
        None => InForce::Found(template(live).cloned().unwrap_or_default()),
    }
}

fn value(template: &PodTemplateSpec) -> Value {
    match serde_json::to_value(template) {
        Ok(value) => value,
        Err(error) => unreachable!("a template is plain data: {error}"),
    }
}

/// Replaces an object's template, writes it down, and stamps the object anew.
fn set(object: &mut Object, template: PodTemplateSpec) {
    let text = value(&template).to_string();
    let note = |annotations: &mut BTreeMap<String, String>| {
        annotations.remove(crate::api::label::HASH);
        annotations.insert(TEMPLATE.to_owned(), text);
    };
    match object {
        Object::Deployment(drawn) => {
            let mut changed = drawn.as_ref().clone();
            changed.spec.template = template;
            note(changed.annotations_mut());
            *drawn = Arc::new(hash::stamp(changed));
        }
        Object::StatefulSet(drawn) => {
            let mut changed = drawn.as_ref().clone();
            changed.spec.template = template;
            note(changed.annotations_mut());
            *drawn = Arc::new(hash::stamp(changed));
        }
        Object::ConfigMap(_)
        | Object::DisruptionBudget(_)
        | Object::EndpointSlice(_)
        | Object::Secret(_)
        | Object::Service(_) => {}
    }
}

/// The template of an object whose pods we make from one.
fn template(object: &Object) -> Option<&PodTemplateSpec> {
    match object {
        Object::Deployment(object) => Some(&object.spec.template),
        Object::StatefulSet(object) => Some(&object.spec.template),
        Object::ConfigMap(_)
        | Object::DisruptionBudget(_)
        | Object::EndpointSlice(_)
        | Object::Secret(_)
        | Object::Service(_) => None,
    }
}

fn annotation<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    let annotations = object.meta().annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

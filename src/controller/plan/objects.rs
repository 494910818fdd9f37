//! Which owned objects have to be written: those that are missing, lost their owner, were rendered
//! otherwise, or were changed by somebody. Pure.
//!
//! What somebody changes again and again is told instead of fought over, and nothing is made that
//! would mount somebody else's object for ours.

use std::{collections::BTreeSet, time::Instant};

use super::step::{Action, Step};
use crate::{
    api::names::Names,
    controller::{
        drift,
        memory::Memory,
        object::{Kind, Object, ObjectId},
        observe::Observation,
    },
};

/// The changes of objects, slices apart because they come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Writes of EndpointSlices.
    pub slices: Vec<Step>,
    /// All other writes, in the order of the drawing.
    pub others: Vec<Step>,
    /// Everything that is wanted.
    pub wanted: BTreeSet<ObjectId>,
    /// Whether pods may change by these writes.
    pub touches_pods: bool,
}

impl Changes {
    /// Whether the object of this printed id is to be written.
    #[must_use]
    pub fn differs(&self, id: &str) -> bool {
        self.slices
            .iter()
            .chain(&self.others)
            .filter_map(|step| step.action.object())
            .any(|object| object.id().to_string() == id)
    }

    /// Leaves one object as it is for now.
    pub fn hold_back(&mut self, held: &ObjectId) {
        let is_held = |step: &Step| {
            step.action
                .object()
                .is_some_and(|object| object.id() == *held)
        };
        self.others.retain(|step| !is_held(step));
        self.touches_pods &= held.kind != Kind::StatefulSet;
    }
}

/// Compares what is wanted with what is there.
#[must_use]
pub fn changes(wanted: Vec<Object>, seen: &Observation, memory: &mut Memory) -> Changes {
    let mut changes = Changes::default();
    for object in wanted {
        let id = object.id();
        changes.wanted.insert(id.clone());
        let kind = object.kind();
        let Some((action, why)) = change(object, seen, memory) else {
            continue;
        };
        changes.touches_pods |= matches!(kind, Kind::StatefulSet);
        let step = Step::new(action, format!("{id} {why}"));
        if kind == Kind::EndpointSlice {
            changes.slices.push(step);
        } else {
            changes.others.push(step);
        }
    }
    changes
}

/// How an object has to be written, and why, if it has to.
fn change(wanted: Object, seen: &Observation, memory: &mut Memory) -> Option<(Action, String)> {
    let id = wanted.id();
    if let Some(live) = seen.live.get(&id) {
        let why = difference(&wanted, live, memory, seen.at)?;
        let wanted = wanted.over(live.meta().uid.clone());
        return Some((Action::Apply(Box::new(wanted)), why));
    }
    let Some(lost) = seen.lost.get(&id) else {
        return Some((Action::Create(Box::new(wanted)), "is missing".to_owned()));
    };
    if lost.meta().deletion_timestamp.is_some() {
        return None;
    }
    let adopt = Action::Adopt {
        object: Box::new(wanted),
        uid: lost.meta().uid.clone().unwrap_or_default(),
        resource_version: lost.resource_version().to_owned(),
    };
    Some((adopt, "has lost its owner".to_owned()))
}

/// Why an object has to be written, if it has to.
fn difference(wanted: &Object, live: &Object, memory: &mut Memory, now: Instant) -> Option<String> {
    if live.meta().deletion_timestamp.is_some() {
        // It comes back when it is gone; its deletion wakes us.
        return None;
    }
    if live.hash() != wanted.hash() {
        return Some("is rendered otherwise now".to_owned());
    }
    let id = wanted.id();
    let version = (live.resource_version().to_owned(), wanted.hash().to_owned());
    let is_contested = memory
        .drifts
        .get(&id)
        .is_some_and(|drift| drift.is_contested() && drift.field.is_some());
    if memory.verified.get(&id) == Some(&version) && !is_contested {
        return None;
    }
    // Whatever comes of it, this version is compared once: what the API server itself writes
    // differently from what was asked for must not be written again and again.
    memory.verified.insert(id.clone(), version);
    let (Ok(wanted), Ok(live)) = (wanted.to_value(), live.to_value()) else {
        return None;
    };
    let Some(field) = drift::difference(&wanted, &live) else {
        memory.is_as_written(&id, now);
        return None;
    };
    let why = format!("was changed by somebody in {field}");
    memory.may_repair(&id, field, now).then_some(why)
}

/// What keeps objects from being as they are wanted, as sentences.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Troubles {
    /// Somebody else's objects of our names.
    pub foreign: Vec<String>,
    /// What the API server does not accept.
    pub refused: Vec<String>,
    /// Objects that somebody changes whenever they are put back.
    pub contested: Vec<String>,
}

/// What keeps objects from being as they are wanted.
#[must_use]
pub fn troubles(changes: &Changes, memory: &Memory) -> Troubles {
    let mut troubles = Troubles {
        contested: contested(&changes.wanted, memory),
        ..Troubles::default()
    };
    let is_object = |target: &str| changes.wanted.iter().any(|id| id.to_string() == target);
    for (target, refusal) in &memory.refusals {
        // An error is news only as long as what it is about is still to be written.
        let is_past = is_object(target) && !changes.differs(target);
        let Some(message) = refusal.message.clone().filter(|_| !is_past) else {
            continue;
        };
        if refusal.is_foreign {
            troubles.foreign.push(message);
        } else {
            troubles.refused.push(message);
        }
    }
    troubles
}

fn contested(wanted: &BTreeSet<ObjectId>, memory: &Memory) -> Vec<String> {
    memory
        .drifts
        .iter()
        .filter(|(id, drift)| wanted.contains(id) && drift.is_contested())
        .filter_map(|(id, drift)| {
            let field = drift.field.as_ref()?;
            Some(format!(
                "{id}: somebody changes {field} whenever it is put back, which is now done ever more seldom; \
                 look for an admission webhook or a controller that writes it"
            ))
        })
        .collect()
}

/// What pods of a kind cannot be made without: what their template mounts by name.
fn mounts(names: &Names, kind: Kind) -> Vec<ObjectId> {
    let id = |kind, name| ObjectId { kind, name };
    let secret = id(Kind::Secret, names.users_secret());
    match kind {
        Kind::StatefulSet => vec![secret, id(Kind::ConfigMap, names.data())],
        Kind::Deployment => vec![secret, id(Kind::ConfigMap, names.duke())],
        Kind::ConfigMap
        | Kind::DisruptionBudget
        | Kind::EndpointSlice
        | Kind::Secret
        | Kind::Service => Vec::new(),
    }
}

/// Somebody else's object that pods of a kind would mount for ours.
#[must_use]
pub fn foreign_mount(names: &Names, kind: Kind, memory: &Memory) -> Option<ObjectId> {
    mounts(names, kind)
        .into_iter()
        .find(|id| memory.is_foreign(id))
}

/// Owned objects that nothing wants any more.
#[must_use]
pub fn surplus(wanted: &BTreeSet<ObjectId>, seen: &Observation) -> Vec<Step> {
    seen.live
        .iter()
        .filter(|(id, live)| !wanted.contains(id) && live.meta().deletion_timestamp.is_none())
        // Passwords are never deleted by us.
        .filter(|(id, _)| id.kind != Kind::Secret)
        .map(|(id, live)| {
            let action = Action::DeleteObject {
                id: id.clone(),
                uid: live.meta().uid.clone().unwrap_or_default(),
                resource_version: live.resource_version().to_owned(),
            };
            Step::new(action, format!("{id} is no longer wanted"))
        })
        .collect()
}

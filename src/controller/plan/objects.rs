//! Which owned objects have to be written: those that are missing, were rendered otherwise, or were
//! changed by somebody. Pure.

use std::collections::BTreeSet;

use super::step::{Action, Step};
use crate::controller::{
    drift,
    memory::Memory,
    object::{Kind, Object, ObjectId},
    observe::Observation,
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
            .any(|step| match &step.action {
                Action::Apply(object) | Action::CreateSecret(object) => {
                    object.id().to_string() == id
                }
                Action::DeleteObject { .. }
                | Action::DeletePod { .. }
                | Action::FailOver { .. }
                | Action::LabelPod { .. }
                | Action::Promote { .. }
                | Action::RecordSeed { .. }
                | Action::SeedDuke { .. }
                | Action::SetDuke { .. }
                | Action::SetNode { .. }
                | Action::TellMembers { .. }
                | Action::TellNodes { .. } => false,
            })
    }

    /// Leaves one object as it is for now.
    pub fn hold_back(&mut self, held: &ObjectId) {
        self.others.retain(|step| match &step.action {
            Action::Apply(object) => object.id() != *held,
            Action::CreateSecret(_)
            | Action::DeleteObject { .. }
            | Action::DeletePod { .. }
            | Action::FailOver { .. }
            | Action::LabelPod { .. }
            | Action::Promote { .. }
            | Action::RecordSeed { .. }
            | Action::SeedDuke { .. }
            | Action::SetDuke { .. }
            | Action::SetNode { .. }
            | Action::TellMembers { .. }
            | Action::TellNodes { .. } => true,
        });
    }
}

/// Compares what is wanted with what is there.
#[must_use]
pub fn changes(wanted: Vec<Object>, seen: &Observation, memory: &mut Memory) -> Changes {
    let mut changes = Changes::default();
    for object in wanted {
        let id = object.id();
        changes.wanted.insert(id.clone());
        let live = seen.live.get(&id);
        let Some(why) = difference(&object, live, memory) else {
            continue;
        };
        let kind = object.kind();
        changes.touches_pods |= matches!(kind, Kind::StatefulSet);
        let action = match (kind, live) {
            (Kind::Secret, None) => Action::CreateSecret(Box::new(object)),
            (_, Some(_) | None) => Action::Apply(Box::new(object)),
        };
        let step = Step::new(action, format!("{id} {why}"));
        if kind == Kind::EndpointSlice {
            changes.slices.push(step);
        } else {
            changes.others.push(step);
        }
    }
    changes
}

/// Why an object has to be written, if it has to.
fn difference(wanted: &Object, live: Option<&Object>, memory: &mut Memory) -> Option<&'static str> {
    let Some(live) = live else {
        return Some("is missing");
    };
    if live.meta().deletion_timestamp.is_some() {
        // It comes back when it is gone; its deletion wakes us.
        return None;
    }
    if live.hash() != wanted.hash() {
        return Some("is rendered otherwise now");
    }
    let id = wanted.id();
    let version = (live.resource_version().to_owned(), wanted.hash().to_owned());
    if memory.verified.get(&id) == Some(&version) {
        return None;
    }
    // Whatever comes of it, this version is compared once: what the API server itself writes
    // differently from what was asked for must not be written again and again.
    memory.verified.insert(id, version);
    let (Ok(wanted), Ok(live)) = (wanted.to_value(), live.to_value()) else {
        return None;
    };
    (!drift::holds(&wanted, &live)).then_some("was changed by somebody")
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

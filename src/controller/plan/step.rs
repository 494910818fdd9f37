//! The steps a plan is made of: each is one request, with the reason for it. Pure data.

use std::net::SocketAddr;

use crate::{
    api::PipelineStatus,
    controller::object::{Kind, Object, ObjectId},
    redis::{
        duke::{Member, Seed},
        node::Expected,
    },
};

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take back an object of ours that lost its owner, with what is in it.
    Adopt {
        /// As it is wanted; only its owner and its labels are written.
        object: Box<Object>,
        /// Only this very object.
        uid: String,
        /// Only in this version.
        resource_version: String,
    },
    /// Apply an owned object, whole; its uid says over which one.
    Apply(Box<Object>),
    /// Make an object; somebody else's of the same name is left as it is.
    Create(Box<Object>),
    /// Delete an owned object that is no longer wanted.
    DeleteObject {
        /// Which one.
        id: ObjectId,
        /// Only this very object.
        uid: String,
        /// Only in this version.
        resource_version: String,
    },
    /// Delete a pod, gracefully.
    DeletePod {
        /// Its name.
        name: String,
        /// Only this very pod.
        uid: String,
        /// Only in this version.
        resource_version: String,
    },
    /// Ask a Duke to move the master away from a data node, if it is the master still.
    FailOver {
        /// The Duke.
        duke: SocketAddr,
        /// The data node.
        from: SocketAddr,
    },
    /// Write a role into a pod's label, or take the label away.
    LabelPod {
        /// Its name.
        name: String,
        /// Only this very pod.
        uid: String,
        /// The role, none to take the label away.
        role: Option<&'static str>,
        /// Whether it is the label of the former master, which goes before another gets it.
        deposes: bool,
    },
    /// Make a data node the master of a group without one.
    Promote {
        /// The data node.
        node: SocketAddr,
        /// What it must still be.
        expected: Expected,
    },
    /// Write the status that begins a seeding, under the version it was decided on.
    RecordSeed {
        /// The whole new status.
        status: Box<PipelineStatus>,
        /// The Pipeline's version.
        resource_version: String,
    },
    /// Give a Duke memory of the group.
    SeedDuke {
        /// The Duke.
        duke: SocketAddr,
        /// What it has to know.
        seed: Seed,
    },
    /// Change a Sentinel setting of a Duke.
    SetDuke {
        /// The Duke.
        duke: SocketAddr,
        /// The option's name.
        option: String,
        /// Its value.
        value: String,
    },
    /// Change a directive of a running data node.
    SetNode {
        /// The data node.
        node: SocketAddr,
        /// Its process; the setting is gone with it.
        run_id: String,
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// Tell a Duke all Dukes.
    TellMembers {
        /// The Duke.
        duke: SocketAddr,
        /// The number of which a majority is taken.
        size: u32,
        /// How many must agree that the master is down.
        quorum: u32,
        /// All of them.
        members: Vec<Member>,
    },
    /// Tell a Duke all data nodes.
    TellNodes {
        /// The Duke.
        duke: SocketAddr,
        /// All of them.
        nodes: Vec<SocketAddr>,
    },
}

impl Action {
    /// The kind of step: log field and metric label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Adopt { .. } => "Adopt",
            Self::Apply(_) => "Apply",
            Self::Create(_) => "Create",
            Self::DeleteObject { .. } => "DeleteObject",
            Self::DeletePod { .. } => "DeletePod",
            Self::FailOver { .. } => "FailOver",
            Self::LabelPod { .. } => "LabelPod",
            Self::Promote { .. } => "Promote",
            Self::RecordSeed { .. } => "RecordSeed",
            Self::SeedDuke { .. } => "SeedDuke",
            Self::SetDuke { .. } => "SetDuke",
            Self::SetNode { .. } => "SetNode",
            Self::TellMembers { .. } => "TellMembers",
            Self::TellNodes { .. } => "TellNodes",
        }
    }

    /// The data node or Duke that is asked; none for requests to the API server.
    #[must_use]
    pub fn server(&self) -> Option<SocketAddr> {
        match self {
            Self::FailOver { duke, .. }
            | Self::SeedDuke { duke, .. }
            | Self::SetDuke { duke, .. }
            | Self::TellMembers { duke, .. }
            | Self::TellNodes { duke, .. } => Some(*duke),
            Self::Promote { node, .. } | Self::SetNode { node, .. } => Some(*node),
            Self::Adopt { .. }
            | Self::Apply(_)
            | Self::Create(_)
            | Self::DeleteObject { .. }
            | Self::DeletePod { .. }
            | Self::LabelPod { .. }
            | Self::RecordSeed { .. } => None,
        }
    }

    /// The object of ours that is written, as it is wanted.
    #[must_use]
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Adopt { object, .. } | Self::Apply(object) | Self::Create(object) => Some(object),
            Self::DeleteObject { .. }
            | Self::DeletePod { .. }
            | Self::FailOver { .. }
            | Self::LabelPod { .. }
            | Self::Promote { .. }
            | Self::RecordSeed { .. }
            | Self::SeedDuke { .. }
            | Self::SetDuke { .. }
            | Self::SetNode { .. }
            | Self::TellMembers { .. }
            | Self::TellNodes { .. } => None,
        }
    }

    /// What a request to the API server is about, and what it asks for: the same request is
    /// repeated with growing pauses, another one is sent at once. None for orders to servers.
    #[must_use]
    pub fn request(&self) -> Option<(String, String)> {
        if let Some(object) = self.object() {
            // New passwords do not make another request of it.
            let wish = match object.kind() {
                Kind::Secret => "",
                Kind::ConfigMap
                | Kind::Deployment
                | Kind::DisruptionBudget
                | Kind::EndpointSlice
                | Kind::Service
                | Kind::StatefulSet => object.hash(),
            };
            return Some((object.id().to_string(), wish.to_owned()));
        }
        match self {
            Self::DeleteObject { id, uid, .. } => Some((format!("delete {id}"), uid.clone())),
            Self::DeletePod { name, uid, .. } => Some((format!("delete Pod/{name}"), uid.clone())),
            Self::LabelPod {
                name, uid, role, ..
            } => Some((format!("label Pod/{name}"), format!("{role:?} {uid}"))),
            Self::RecordSeed { status, .. } => Some((
                "record a master".to_owned(),
                format!("{:?} {:?}", status.generation, status.last_master),
            )),
            Self::Adopt { .. }
            | Self::Apply(_)
            | Self::Create(_)
            | Self::FailOver { .. }
            | Self::Promote { .. }
            | Self::SeedDuke { .. }
            | Self::SetDuke { .. }
            | Self::SetNode { .. }
            | Self::TellMembers { .. }
            | Self::TellNodes { .. } => None,
        }
    }

    /// Whether later steps of the same pass must not be taken when this one failed.
    ///
    /// The steps of a seeding build upon each other, and nobody is labelled master before the former
    /// one has lost that label. All others stand alone: an unreachable Duke must not keep a pod from
    /// its label.
    #[must_use]
    pub fn is_foundation(&self) -> bool {
        match self {
            Self::Promote { .. } | Self::RecordSeed { .. } => true,
            Self::LabelPod { deposes, .. } => *deposes,
            Self::Adopt { .. }
            | Self::Apply(_)
            | Self::Create(_)
            | Self::DeleteObject { .. }
            | Self::DeletePod { .. }
            | Self::FailOver { .. }
            | Self::SeedDuke { .. }
            | Self::SetDuke { .. }
            | Self::SetNode { .. }
            | Self::TellMembers { .. }
            | Self::TellNodes { .. } => false,
        }
    }
}

/// A request and the reason for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why: a clause for logs and explanations.
    pub why: String,
}

impl Step {
    /// A step.
    #[must_use]
    pub fn new(action: Action, why: impl Into<String>) -> Self {
        Self {
            action,
            why: why.into(),
        }
    }
}

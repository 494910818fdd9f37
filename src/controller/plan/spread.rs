//! Whether the Dukes are spread over the nodes there are. Pure.
//!
//! After nodes were drained one after the other, one of them may hold a majority of the Dukes and
//! the master: lost together, the group cannot replace its master by itself. Nothing is moved for
//! that: the scheduler spreads Dukes whenever they are made anew, and until then the status says
//! what is wrong and how to have it done now.

use std::collections::BTreeMap;

use super::situation::{Situation, majority};
use crate::{
    api::condition::{ConditionType, Reason, Truth, Verdict},
    controller::observe::PodFacts,
};

/// The condition `Spread`.
#[must_use]
pub fn verdict(now: &Situation<'_>) -> Verdict {
    let crowded = crowded(now);
    let (reason, message) = match &crowded {
        None => (
            Reason::AsWanted,
            "no node holds a majority of the Dukes while another is free",
        ),
        Some(message) => (Reason::NodeCrowded, message.as_str()),
    };
    Verdict {
        kind: ConditionType::Spread,
        truth: Truth::from(crowded.is_none()),
        reason,
        message: message.to_owned(),
    }
}

/// What is wrong with the spread, as a sentence; `None` if nothing is, or nothing better is known.
///
/// A node is known to be of use when a pod of this group is ready on it.
#[must_use]
pub fn crowded(now: &Situation<'_>) -> Option<String> {
    let dukes = by_node(now.seen.dukes.iter().map(|duke| &duke.facts));
    let enough = majority(now.wanted.dukes);
    let (node, names) = dukes
        .iter()
        .find(|(_, names)| names.len() >= enough && names.len() > 1)?;
    let ready = now.seen.data.iter().map(|pod| &pod.facts);
    let used = by_node(ready.filter(|facts| facts.ready));
    let free = used.keys().find(|node| !dukes.contains_key(*node))?;
    let master = now.master.map(|master| &master.facts);
    let and_the_master = match master {
        Some(facts) if facts.node.as_deref() == Some(*node) => " and so does the master",
        Some(_) | None => "",
    };
    Some(format!(
        "{} run on node {node}{and_the_master}, while node {free} has no Duke: if {node} is lost, \
         the others are too few to replace a master; deleting one of these Dukes' pods lets it be \
         scheduled anew",
        names.join(" and "),
    ))
}

/// The names of the pods on each node, without those that are leaving.
fn by_node<'a>(pods: impl Iterator<Item = &'a PodFacts>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for facts in pods.filter(|facts| !facts.terminating && !facts.is_over()) {
        if let Some(node) = &facts.node {
            nodes.entry(node).or_default().push(&facts.name);
        }
    }
    nodes
}

//! What the status keeps for the day on which nobody remembers the group: its data nodes, the names
//! of its histories, and whether it had data. Pure.
//!
//! Written only while the Dukes agree on a master and its server says that it is one, so that the
//! last record is of the last moment at which all was known. Nothing in it changes while nothing
//! happens: no offsets, no times.

use crate::{
    api::{DataNode, PipelineStatus},
    controller::{observe::DataPod, plan::situation::Situation},
    redis::history::History,
};

/// How many histories are kept: older data than that is of no known age.
const HISTORIES: usize = 8;

/// Brings the record up to date.
pub(in crate::controller::plan) fn keep(status: &mut PipelineStatus, now: &Situation<'_>) {
    let Some(master) = now
        .master
        .filter(|_| now.has_brain() && now.master_answers())
    else {
        return;
    };
    // Who does not answer was seen last some other time.
    for pod in now
        .seen
        .data
        .iter()
        .filter(|pod| pod.answer.given().is_some())
    {
        let is_master = pod.facts.uid == master.facts.uid;
        let in_sync = is_master || now.is_in_sync(pod);
        note_node(status, now, pod, in_sync);
    }
    let is_there = |node: &DataNode| now.seen.data.iter().any(|pod| pod.facts.uid == node.uid);
    let is_wanted = |node: &DataNode| {
        let ordinal = now.wanted.names.ordinal(&node.pod);
        ordinal.is_some_and(|ordinal| ordinal < now.wanted.data)
    };
    status
        .data_nodes
        .retain(|node| is_there(node) || is_wanted(node));
    if let Some(report) = master.answer.given() {
        note_history(&mut status.histories, &report.history);
        if report.keys > 0 {
            status.had_data = Some(true);
        }
    }
}

/// A pod is of record once it has been in sync, and until another of its name has.
fn note_node(status: &mut PipelineStatus, now: &Situation<'_>, pod: &DataPod, in_sync: bool) {
    let known = status
        .data_nodes
        .iter_mut()
        .find(|node| node.pod == pod.facts.name);
    match known {
        Some(known) if known.uid == pod.facts.uid || in_sync => {
            // Where a server listens is known only while it is there; then it does not change.
            if let Some(node) = node(now, pod, in_sync) {
                *known = node;
            } else {
                known.in_sync = in_sync;
            }
        }
        None if in_sync => {
            status.data_nodes.extend(node(now, pod, in_sync));
            status
                .data_nodes
                .sort_by(|one, other| one.pod.cmp(&other.pod));
        }
        Some(_) | None => {}
    }
}

/// A pod as the record holds it; nothing for one that has no address or node yet.
pub(super) fn node(now: &Situation<'_>, pod: &DataPod, in_sync: bool) -> Option<DataNode> {
    let claim = now
        .seen
        .claims
        .get(&pod.ordinal)
        .filter(|claim| pod.facts.claim.as_ref() == Some(&claim.name));
    Some(DataNode {
        pod: pod.facts.name.clone(),
        uid: pod.facts.uid.clone(),
        node: pod.facts.node.clone()?,
        address: pod.address()?.to_string(),
        claim: claim.map(|claim| claim.uid.clone()),
        in_sync,
    })
}

/// The newest history comes first. One that was missed in between is put where it belongs.
fn note_history(histories: &mut Vec<String>, present: &History) {
    if present.id.is_empty() || histories.first() == Some(&present.id) {
        return;
    }
    histories.retain(|known| *known != present.id);
    let is_missed = !present.before.is_empty() && !histories.contains(&present.before);
    if is_missed {
        histories.insert(0, present.before.clone());
    }
    histories.insert(0, present.id.clone());
    histories.truncate(HISTORIES);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(known: &[&str], id: &str, before: &str) -> Vec<String> {
        let mut histories: Vec<String> = known.iter().map(|one| (*one).to_owned()).collect();
        let present = History {
            id: id.to_owned(),
            before: before.to_owned(),
            left: 0,
        };
        note_history(&mut histories, &present);
        histories
    }

    #[test]
    fn the_newest_history_comes_first_and_a_missed_one_behind_it() {
        assert_eq!(after(&[], "a", ""), ["a"]);
        assert_eq!(after(&["a"], "a", ""), ["a"]);
        assert_eq!(after(&["a"], "b", "a"), ["b", "a"]);
        assert_eq!(after(&["a"], "c", "b"), ["c", "b", "a"]);
        assert_eq!(after(&["b", "a"], "x", ""), ["x", "b", "a"]);
        assert_eq!(after(&["b", "a"], "a", ""), ["a", "b"]);
        let many: Vec<String> = (0..HISTORIES).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(after(&many, "z", "").len(), HISTORIES);
    }
}

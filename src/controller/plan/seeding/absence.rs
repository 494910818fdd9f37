//! Whether a data node that nobody can ask may still take writes somewhere. Pure.
//!
//! Before a group is given a master, a majority of its data nodes of record must answer, or all
//! others be known dead; its last master must answer or be known dead in any case. A data node is
//! known dead when somebody who must know says so:
//!
//! | what is seen | the node |
//! |---|---|
//! | its pod answers | answers, whatever its process did in between |
//! | its kubelet says that its process does not run, or that its pod ended | is dead |
//! | its pod is gone, and its kubelet had stopped the process before | is dead |
//! | its pod is gone, and its successor of the same name runs on the same node | is dead: that kubelet knows of its removal |
//! | its pod is gone, and another pod of the group has begun to run on its node since | is dead |
//! | its pod is gone, its node is Ready, and its kubelet has spoken since the pod was missed | is dead |
//! | its pod is gone, and the Node was removed or tainted `out-of-service` | is dead: somebody vouches for it |
//! | its pod runs and does not answer | may live |
//! | its pod is gone, and its node is silent or may not be looked at | may live: a forced deletion proves nothing |

use super::super::situation::{Situation, majority};
use crate::{
    api::DataNode,
    controller::{
        memory::{Memory, Missed},
        observe::{DataPod, Kubelet, MainContainer, Phase},
    },
};

/// What is known of a data node of record.
enum Life {
    Answers,
    Dead,
    MayLive(String),
}

/// Keeps in mind what kubelets had said when pods were missed.
pub(super) fn note(now: &Situation<'_>, memory: &mut Memory) {
    let missing: Vec<&DataNode> = missing(now).collect();
    memory
        .missed
        .retain(|uid, _| missing.iter().any(|node| node.uid == *uid));
    for node in missing {
        let missed = memory
            .missed
            .entry(node.uid.clone())
            .or_insert_with(|| Missed {
                renewed: None,
                running: running(now, node).map(str::to_owned).collect(),
            });
        if let Some(Kubelet::Ready { renewed }) = now.seen.kubelets.get(&node.node) {
            missed.renewed.get_or_insert_with(|| renewed.clone());
        }
    }
}

/// The uids of the group's pods that run on a data node's node.
fn running<'s>(now: &Situation<'s>, node: &DataNode) -> impl Iterator<Item = &'s str> {
    let place = node.node.clone();
    let data = now.seen.data.iter().map(|pod| &pod.facts);
    let dukes = now.seen.dukes.iter().map(|pod| &pod.facts);
    data.chain(dukes)
        .filter(move |facts| facts.phase == Phase::Running && facts.node.as_ref() == Some(&place))
        .map(|facts| facts.uid.as_str())
}

/// Whether a kubelet has told of a pod that it started since a data node was missed there.
fn has_started_another(now: &Situation<'_>, memory: &Memory, node: &DataNode) -> bool {
    memory
        .missed
        .get(&node.uid)
        .is_some_and(|missed| running(now, node).any(|uid| !missed.running.contains(uid)))
}

/// The nodes whose kubelets have to be asked, because pods vanished from them without a word.
pub(super) fn silent_nodes(now: &Situation<'_>) -> Vec<String> {
    let mut nodes: Vec<String> = missing(now)
        .filter(|node| !is_known_to_have_ended(now, node))
        .map(|node| node.node.clone())
        .collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

/// Why nobody may be made master yet: somebody may be master out of our sight.
pub(super) fn doubt(now: &Situation<'_>, memory: &Memory) -> Option<String> {
    let recorded = &now.seen.status.data_nodes;
    if recorded.is_empty() {
        return unrecorded(now);
    }
    let last_master = now.seen.status.last_master.as_ref();
    let is_master = |node: &&DataNode| {
        last_master.is_some_and(|last| last.address == node.address || last.pod == node.pod)
    };
    let mut answering = 0_usize;
    let mut doubts = Vec::new();
    for node in recorded {
        match life(now, memory, node) {
            Life::Answers => answering = answering.saturating_add(1),
            Life::Dead => {}
            Life::MayLive(why) if is_master(&node) => {
                let pod = &node.pod;
                return Some(format!("{pod} was master last and may still be: {why}"));
            }
            Life::MayLive(why) => doubts.push(why),
        }
    }
    let needed = majority(u32::try_from(recorded.len()).unwrap_or(u32::MAX));
    (!doubts.is_empty() && answering < needed).then(|| {
        format!(
            "{answering} of at least {needed} data nodes answer, and others may live: {}",
            doubts.join("; ")
        )
    })
}

/// A group with a past whose data nodes nobody wrote down: most of those that are wanted must answer.
fn unrecorded(now: &Situation<'_>) -> Option<String> {
    let answering = now.seen.data.iter().filter(|pod| answers(pod)).count();
    let needed = majority(now.wanted.data.into());
    (!now.is_fresh() && answering < needed)
        .then(|| format!("{answering} of at least {needed} data pods answer"))
}

fn life(now: &Situation<'_>, memory: &Memory, node: &DataNode) -> Life {
    let Some(pod) = present(now, node) else {
        return life_of_missing(now, memory, node);
    };
    if answers(pod) {
        return Life::Answers;
    }
    if pod.facts.is_over() || pod.facts.main != MainContainer::Running {
        return Life::Dead;
    }
    let (name, place) = (&node.pod, &node.node);
    Life::MayLive(format!("{name} runs on {place} and does not answer"))
}

fn life_of_missing(now: &Situation<'_>, memory: &Memory, node: &DataNode) -> Life {
    if is_known_to_have_ended(now, node) || has_started_another(now, memory, node) {
        return Life::Dead;
    }
    let (pod, place) = (&node.pod, &node.node);
    let may_live = |why: &str| {
        Life::MayLive(format!(
            "{pod} was removed from {place}, but {why}; it may run on there until that kubelet has \
             stopped it, or the Node is removed or tainted node.kubernetes.io/out-of-service"
        ))
    };
    match now.seen.kubelets.get(place) {
        Some(Kubelet::Gone) => Life::Dead,
        Some(Kubelet::Ready { renewed }) => {
            let missed = memory.missed.get(&node.uid);
            let before = missed.and_then(|missed| missed.renewed.as_ref());
            if before.is_some_and(|before| before != renewed) {
                Life::Dead
            } else {
                may_live("its kubelet has not spoken since")
            }
        }
        Some(Kubelet::NotReady) => may_live("that node is not Ready"),
        Some(Kubelet::Unknown(why)) => may_live(why),
        None => may_live("its kubelet has not been asked yet"),
    }
}

fn is_known_to_have_ended(now: &Situation<'_>, node: &DataNode) -> bool {
    let is_successor = |pod: &DataPod| {
        pod.facts.name == node.pod
            && pod.facts.uid != node.uid
            && pod.facts.phase == Phase::Running
            && pod.facts.node.as_deref() == Some(node.node.as_str())
    };
    now.seen.ended.contains(&node.uid) || now.seen.data.iter().any(is_successor)
}

fn missing<'s>(now: &Situation<'s>) -> impl Iterator<Item = &'s DataNode> + use<'s> {
    let seen = now.seen;
    let is_there = |node: &DataNode| seen.data.iter().any(|pod| pod.facts.uid == node.uid);
    seen.status
        .data_nodes
        .iter()
        .filter(move |node| !is_there(node))
}

fn present<'s>(now: &Situation<'s>, node: &DataNode) -> Option<&'s DataPod> {
    now.seen.data.iter().find(|pod| pod.facts.uid == node.uid)
}

fn answers(pod: &DataPod) -> bool {
    pod.answer.given().is_some()
}

//! When the status says that one node holds too many Dukes.

use super::scene::Scene;
use crate::{
    api::condition::{self, ConditionType},
    controller::plan::{situation::Situation, spread::crowded},
};

/// Three data pods and three Dukes on the nodes of these names.
fn placed(data: [&str; 3], dukes: [&str; 3]) -> Scene {
    let mut scene = Scene::settled(3, 3);
    for (ordinal, node) in (0..).zip(data) {
        scene.pod(ordinal).facts.node = Some(node.to_owned());
    }
    for (index, node) in (0..).zip(dukes) {
        scene.duke(index).facts.node = Some(node.to_owned());
    }
    scene
}

fn said(scene: &Scene) -> Option<String> {
    crowded(&Situation::of(&scene.wanted, &scene.seen))
}

#[test]
fn a_majority_on_one_node_is_told_while_another_is_free() {
    let scene = placed(["a", "b", "c"], ["a", "a", "b"]);
    let text = said(&scene).unwrap();
    assert!(
        text.starts_with("duke-tea-0 and duke-tea-1 run on node a and so does the master"),
        "{text}"
    );
    assert!(text.contains("node c has no Duke"), "{text}");
    let text = said(&placed(["c", "b", "a"], ["a", "a", "b"])).unwrap();
    assert!(
        text.starts_with("duke-tea-0 and duke-tea-1 run on node a, while"),
        "{text}"
    );

    assert_eq!(said(&placed(["a", "b", "c"], ["a", "b", "c"])), None);
    let crowd = placed(["a", "b", "a"], ["a", "a", "b"]);
    assert_eq!(said(&crowd), None, "no other node is known to be of use");
    let mut scene = placed(["a", "b", "c"], ["a", "a", "b"]);
    scene.pod(2).facts.ready = false;
    assert_eq!(said(&scene), None);
    let mut scene = placed(["a", "b", "c"], ["a", "a", "b"]);
    scene.duke(0).facts.terminating = true;
    assert_eq!(said(&scene), None, "one of them is leaving");
}

#[test]
fn a_group_that_is_not_spread_is_ready_all_the_same() {
    let mut scene = placed(["a", "b", "c"], ["a", "a", "b"]);
    let conditions = scene.plan().status.conditions;
    let holds = |kind| condition::holds(&conditions, kind);
    assert_eq!(holds(ConditionType::Spread), Some(false));
    assert_eq!(holds(ConditionType::Ready), Some(true));
    let conditions = placed(["a", "b", "c"], ["c", "a", "b"])
        .plan()
        .status
        .conditions;
    assert_eq!(
        condition::holds(&conditions, ConditionType::Spread),
        Some(true)
    );
}

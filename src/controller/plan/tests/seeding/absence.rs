//! Who may still be master out of sight: rows of what is known of a vanished data node.

use super::{
    super::scene::{Scene, blank, master, node, orphan, recorded},
    outcome,
};
use crate::controller::{
    observe::{Answer, Kubelet, MainContainer, Phase},
    plan::seeding::{PATIENCE, nodes_to_ask},
};

/// Two of three Dukes and the master were removed by force; the new pods run on other nodes.
fn forced() -> Scene {
    let mut scene = Scene::settled(3, 3);
    for duke in [0, 1] {
        let newcomer = super::super::scene::newcomer(duke);
        scene.duke(duke).answer = Answer::Given(newcomer);
    }
    let pod = scene.pod(0);
    pod.facts.uid = "new".to_owned();
    pod.facts.node = Some("node-4".to_owned());
    pod.facts.ip = Some(node(20).ip());
    scene.data(0, blank());
    scene.data(1, orphan(0, 80));
    scene.data(2, orphan(0, 95));
    scene
}

fn kubelet(scene: &mut Scene, kubelet: Kubelet) {
    scene.seen.kubelets = [("node-1".to_owned(), kubelet)].into();
}

fn ready(renewed: &str) -> Kubelet {
    Kubelet::Ready {
        renewed: renewed.to_owned(),
    }
}

#[test]
fn a_forced_deletion_on_a_silent_node_proves_nothing() {
    let refused = Kubelet::Unknown("the operator may not read Nodes and their Leases".to_owned());
    for (known, word) in [
        (Kubelet::NotReady, "that node is not Ready"),
        (refused, "may not read Nodes"),
        (ready("09:00:00"), "has not spoken since"),
    ] {
        let mut scene = forced();
        assert_eq!(nodes_to_ask(&scene.wanted, &scene.seen), ["node-1"]);
        kubelet(&mut scene, known);
        for _ in 0..3 {
            let said = outcome(&mut scene);
            assert!(
                said.starts_with("waits: pipeline-tea-0 was master last and may still be"),
                "{said}"
            );
            assert!(said.contains(word), "{said}");
        }
        scene.wait(PATIENCE * 100);
        assert!(outcome(&mut scene).starts_with("asks: pipeline-tea-0 was master last"));
    }
}

#[test]
fn a_kubelet_that_speaks_after_the_removal_has_stopped_the_pod() {
    let mut scene = forced();
    kubelet(&mut scene, ready("09:00:00"));
    assert!(outcome(&mut scene).starts_with("waits: "));
    kubelet(&mut scene, ready("09:00:10"));
    assert_eq!(outcome(&mut scene), "pipeline-tea-2");
    // An operator that has just started has not seen when the pod vanished.
    scene.memory = crate::controller::memory::Memory::default();
    assert!(outcome(&mut scene).starts_with("waits: "));
}

#[test]
fn a_kubelet_that_starts_another_pod_after_the_removal_has_stopped_the_pod() {
    let mut scene = forced();
    for duke in 0..3 {
        scene.duke(duke).facts.node = Some("node-2".to_owned());
    }
    scene.duke(1).facts.node = Some("node-1".to_owned());
    scene.duke(1).facts.phase = Phase::Pending;
    assert!(outcome(&mut scene).starts_with("waits: "));
    // It was there before, and is reported to run only now.
    scene.duke(1).facts.phase = Phase::Running;
    assert_eq!(outcome(&mut scene), "pipeline-tea-2");
    scene.memory = crate::controller::memory::Memory::default();
    assert!(
        outcome(&mut scene).starts_with("waits: "),
        "it ran when the pod was missed"
    );
}

#[test]
fn a_pod_is_dead_when_somebody_who_must_know_says_so() {
    let mut gone = forced();
    kubelet(&mut gone, Kubelet::Gone);
    let mut stopped = forced();
    stopped.seen.ended = [recorded(0).uid].into();
    let mut succeeded = forced();
    succeeded.pod(0).facts.node = Some("node-1".to_owned());
    for (row, mut scene) in [
        ("the Node is gone or out of service", gone),
        ("its kubelet had stopped it", stopped),
        ("its successor runs on the same node", succeeded),
    ] {
        assert_eq!(outcome(&mut scene), "pipeline-tea-2", "{row}");
    }
    let mut pending = forced();
    pending.pod(0).facts.node = Some("node-1".to_owned());
    pending.pod(0).facts.phase = Phase::Pending;
    assert!(outcome(&mut pending).starts_with("waits: "));
}

#[test]
fn a_server_that_its_kubelet_says_is_down_is_dead_and_a_mute_one_is_not() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    scene.data(1, orphan(0, 80));
    scene.data(2, orphan(0, 95));
    scene.mute_data(0);
    assert!(outcome(&mut scene).contains("pipeline-tea-0 runs on node-1 and does not answer"));
    scene.pod(0).facts.main = MainContainer::Stopped;
    assert_eq!(outcome(&mut scene), "pipeline-tea-2");
}

#[test]
fn with_fewer_than_a_majority_all_others_must_be_known_dead() {
    // Pod 2 is master of record; of five only it and another answer, and the others' node is cut off.
    let cut_off = || {
        let mut scene = Scene::settled(5, 3);
        scene.dukes_forget();
        scene.data(0, master(100));
        for ordinal in [2_u16, 3, 4] {
            scene.seen.status.data_nodes[usize::from(ordinal)].node = "node-9".to_owned();
        }
        scene.seen.data.truncate(2);
        scene
    };
    let mut scene = cut_off();
    let said = outcome(&mut scene);
    assert!(
        said.starts_with("waits: 2 of at least 3 data nodes answer"),
        "{said}"
    );
    kubelet(&mut scene, Kubelet::NotReady);
    scene.seen.kubelets = [("node-9".to_owned(), Kubelet::NotReady)].into();
    assert!(outcome(&mut scene).starts_with("waits: 2 of at least 3"));
    scene.seen.kubelets = [("node-9".to_owned(), Kubelet::Gone)].into();
    assert_eq!(outcome(&mut scene), "pipeline-tea-0");
}

#[test]
fn kubelets_are_asked_only_when_a_group_needs_a_master() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(2).facts.uid = "new".to_owned();
    scene.pod(2).facts.node = Some("node-4".to_owned());
    assert_eq!(nodes_to_ask(&scene.wanted, &scene.seen), [""; 0]);
}

#[test]
fn the_record_follows_whom_the_master_has_in_sync() {
    let mut scene = Scene::settled(3, 3);
    let uids = |scene: &mut Scene| -> Vec<(String, bool)> {
        let nodes = scene.plan().status.data_nodes;
        nodes
            .into_iter()
            .map(|node| (node.uid, node.in_sync))
            .collect()
    };
    let old = recorded(2).uid;
    scene.pod(2).facts.uid = "new".to_owned();
    scene.data(2, blank());
    // A new pod that has nothing yet does not take the place of the one that had the data.
    assert_eq!(uids(&mut scene)[2], (old.clone(), true));
    scene.mute_data(2);
    assert_eq!(uids(&mut scene)[2], (old, true));
    scene.data(2, super::super::scene::follower(0, 100));
    assert_eq!(uids(&mut scene)[2], ("new".to_owned(), true));
    scene.seen.status = scene.plan().status;
    scene.data(2, orphan(0, 90));
    assert_eq!(uids(&mut scene)[2], ("new".to_owned(), false));
    // Without a master that answers nothing is known, and the record stays.
    scene.seen.status = scene.plan().status;
    scene.data(0, blank());
    scene.data(2, super::super::scene::follower(0, 100));
    assert_eq!(uids(&mut scene)[2], ("new".to_owned(), false));
}

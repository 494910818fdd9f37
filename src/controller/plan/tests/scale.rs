//! Scaling in: the Dukes' lists first, then one ordinal at a time, and never a copy that is needed.

use super::scene::{Scene, blank, data_pod, follower, master, node, syncing};
use crate::controller::plan::{scale, situation::Situation};

fn data_now(scene: &Scene) -> u16 {
    scale::data_now(&Situation::of(&scene.wanted, &scene.seen))
}

fn lists(scene: &mut Scene) -> Vec<String> {
    let steps = scene.steps().into_iter();
    steps.filter(|step| step.starts_with("TellNodes")).collect()
}

/// The Dukes take the lists that the plan tells them.
fn obey(scene: &mut Scene) {
    let end = scale::of_record(&Situation::of(&scene.wanted, &scene.seen));
    for index in 0..3 {
        let nodes = &mut scene.report(index).nodes;
        nodes.retain(|known| (0..end).any(|ordinal| node(ordinal) == known.address));
    }
}

#[test]
fn whoever_is_to_leave_is_off_the_lists_before_it_leaves() {
    let mut scene = Scene::settled(3, 3);
    scene.wanted.data = 2;
    assert_eq!(
        lists(&mut scene),
        [
            "TellNodes 10.0.1.1 10.0.0.1 10.0.0.2",
            "TellNodes 10.0.1.2 10.0.0.1 10.0.0.2",
            "TellNodes 10.0.1.3 10.0.0.1 10.0.0.2",
        ]
    );
    assert_eq!(data_now(&scene), 3, "the Dukes have not said so yet");
    obey(&mut scene);
    assert_eq!(lists(&mut scene), [""; 0]);
    assert_eq!(data_now(&scene), 2);
    // One of them missed the news.
    let known = scene.report(0).nodes[1].clone();
    let missed = crate::redis::duke::KnownNode {
        address: node(2),
        ..known
    };
    scene.report(1).nodes.push(missed);
    assert_eq!(data_now(&scene), 3);
}

#[test]
fn the_only_copy_is_not_scaled_away() {
    // The master was killed, one replica copies anew, and the other one is to leave.
    let mut scene = Scene::settled(3, 3);
    scene.data(0, blank());
    scene.pod(0).facts.ready = false;
    scene.data(1, syncing(2));
    scene.pod(1).facts.ready = false;
    scene.data(2, master(100));
    scene.dukes_know(2, 1, 6);
    scene.wanted.data = 2;
    assert_eq!(data_now(&scene), 3);
    assert_eq!(lists(&mut scene), [""; 0], "it may still be promoted");

    // The same while it is a replica, and a master is being looked for.
    let mut scene = Scene::settled(3, 3);
    scene.crash(0);
    scene.data(1, syncing(0));
    scene.pod(1).facts.ready = false;
    scene.wanted.data = 2;
    assert_eq!(data_now(&scene), 3);
    assert_eq!(lists(&mut scene), [""; 0]);
    let report = scene.plan().report.join("; ");
    assert!(
        report.contains("pipeline-tea-2 is not scaled away yet: "),
        "{report}"
    );
}

#[test]
fn one_ordinal_leaves_at_a_time() {
    let mut scene = Scene::settled(5, 3);
    scene.wanted.data = 2;
    obey(&mut scene);
    for kept in [4, 3, 2] {
        assert_eq!(data_now(&scene), kept);
        scene.live(kept, "r1", 3);
        assert_eq!(data_now(&scene), kept, "the one before is still there");
        scene.pod(kept).facts.terminating = true;
        assert_eq!(data_now(&scene), kept);
        scene.seen.data.pop();
    }
    assert_eq!(data_now(&scene), 2);
}

#[test]
fn others_that_are_to_leave_need_no_data() {
    let mut scene = Scene::settled(5, 3);
    scene.wanted.data = 3;
    scene.crash(3);
    obey(&mut scene);
    assert_eq!(data_now(&scene), 4);
}

#[test]
fn a_master_to_be_scaled_away_hands_over_to_one_that_stays() {
    let mut scene = Scene::settled(3, 3);
    scene.data(0, follower(2, 100));
    scene.data(1, follower(2, 100));
    scene.data(2, master(100));
    scene.dukes_know(2, 1, 6);
    scene.wanted.data = 1;
    assert_eq!(data_now(&scene), 3);
    let steps = scene.steps();
    assert!(steps.contains(&"TellNodes 10.0.1.1 10.0.0.1 10.0.0.3".to_owned()));
    assert_eq!(steps.last().unwrap(), "FailOver by 10.0.1.1");

    scene.data(0, syncing(2));
    scene.pod(0).facts.ready = false;
    let steps = scene.steps();
    assert!(!steps.iter().any(|step| step.starts_with("FailOver")));

    scene.pod(0).facts.ready = true;
    scene.data(0, master(100));
    scene.data(1, follower(0, 100));
    scene.data(2, follower(0, 100));
    scene.dukes_know(0, 1, 7);
    obey(&mut scene);
    assert_eq!(data_now(&scene), 2);
}

#[test]
fn nobody_is_scaled_away_while_the_master_is_unknown() {
    let mut scene = Scene::settled(3, 3);
    for duke in 0..3 {
        scene.mute_duke(duke);
    }
    scene.wanted.data = 1;
    assert_eq!(data_now(&scene), 3);
}

#[test]
fn a_pod_that_never_ran_leaves_at_once_unless_its_volume_may_have_data() {
    let mut scene = Scene::settled(2, 3);
    scene.seen.data.push(data_pod(2));
    scene.strand(2);
    scene.live(3, "r1", 3);
    scene.crash(0);
    assert_eq!(data_now(&scene), 2);
    scene.pod(2).facts.claim = Some("data".to_owned());
    assert_eq!(data_now(&scene), 3);
    scene.seen.data.pop();
    assert_eq!(data_now(&scene), 3, "it is not there, and its claim may be");
}

#[test]
fn nobody_is_rolled_while_somebody_is_scaled_away() {
    let mut scene = Scene::settled(3, 3);
    scene.wanted.data = 2;
    obey(&mut scene);
    scene.live(2, "r2", 3);
    assert_eq!(scene.deleted(), [""; 0], "pipeline-tea-2 is still there");
    scene.seen.data.pop();
    assert_eq!(scene.deleted(), ["pipeline-tea-1"]);
}

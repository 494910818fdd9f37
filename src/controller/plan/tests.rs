//! Plans as stories: a scene in, the steps and what they wait for out.

use crate::api::condition::{self, ConditionType};

use self::scene::{Scene, blank, follower, master, syncing};

mod change;
mod config;
mod gate;
mod membership;
mod refusal;
mod scale;
mod scene;
mod seeding;
mod spread;
mod status;
mod template;

#[test]
fn a_group_at_rest_needs_nothing() {
    let mut scene = Scene::settled(3, 3);
    assert_eq!(scene.steps(), [""; 0]);
    let plan = scene.plan();
    assert_eq!(plan.requeue, super::LATER);
    assert_eq!(
        condition::holds(&plan.status.conditions, ConditionType::Ready),
        Some(true)
    );
}

#[test]
fn the_status_of_a_group_at_rest_does_not_change_from_pass_to_pass() {
    let mut scene = Scene::settled(3, 3);
    scene.seen.status = scene.plan().status;
    scene.seen.time = jiff::Timestamp::from_second(99_999).unwrap();
    assert_eq!(scene.plan().status, scene.seen.status);
}

#[test]
fn a_new_master_is_labelled_after_the_old_one_and_recorded_with_its_epoch() {
    let mut scene = Scene::settled(3, 3);
    scene.data(0, blank());
    scene.data(1, master(100));
    scene.data(2, follower(1, 100));
    scene.dukes_know(1, 1, 7);
    assert_eq!(
        scene.steps(),
        [
            "LabelPod pipeline-tea-0 replica",
            "LabelPod pipeline-tea-1 master"
        ]
    );
    let status = scene.plan().status;
    assert_eq!(
        (status.master.as_deref(), status.epoch),
        (Some("pipeline-tea-1"), Some(7))
    );
    let failover = status.last_failover.unwrap();
    assert_eq!(
        (failover.from.as_str(), failover.to.as_str()),
        ("pipeline-tea-0", "pipeline-tea-1")
    );
}

#[test]
fn a_pod_has_no_role_before_its_first_copy_is_complete() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(2).facts.role = None;
    for report in [blank(), syncing(0), follower(1, 100)] {
        scene.data(2, report);
        assert_eq!(scene.steps(), [""; 0]);
    }
    scene.data(2, follower(0, 100));
    assert_eq!(scene.steps(), ["LabelPod pipeline-tea-2 replica"]);
}

#[test]
fn a_master_that_was_started_anew_is_not_labelled_until_it_has_its_role_back() {
    let mut scene = Scene::settled(3, 3);
    scene.data(0, blank());
    assert_eq!(scene.steps(), ["LabelPod pipeline-tea-0 nothing"]);
    scene.pod(0).facts.role = None;
    assert_eq!(scene.steps(), [""; 0]);
    scene.data(0, master(100));
    assert_eq!(scene.steps(), ["LabelPod pipeline-tea-0 master"]);
}

/// Two masters are never shown, also when the API server refuses one of the labels.
#[test]
fn no_pod_is_labelled_master_before_the_former_one_has_lost_the_label() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(1).facts.role = None;
    scene.data(0, follower(2, 100));
    scene.data(1, follower(2, 100));
    scene.data(2, master(100));
    scene.dukes_know(2, 1, 7);
    let plan = scene.plan();
    assert_eq!(
        scene::lines(&plan),
        [
            "LabelPod pipeline-tea-0 replica",
            "LabelPod pipeline-tea-1 replica",
            "LabelPod pipeline-tea-2 master"
        ]
    );
    let founds: Vec<bool> = plan
        .steps
        .iter()
        .map(|step| step.action.is_foundation())
        .collect();
    assert_eq!(founds, [true, false, false]);
}

#[test]
fn a_duke_that_slept_through_a_failover_is_not_believed() {
    let mut scene = Scene::settled(3, 3);
    scene.seen.status.epoch = Some(9);
    scene.seen.status.last_master = Some(scene::last_master(1));
    scene.mute_duke(1);
    scene.mute_duke(2);
    assert_eq!(scene.steps(), [""; 0]);
    let status = scene.plan().status;
    let last = status.last_master.map(|last| last.pod);
    assert_eq!(
        (last.as_deref(), status.epoch),
        (Some("pipeline-tea-1"), Some(9))
    );
}

#[test]
fn labels_stay_while_no_duke_can_be_asked() {
    let mut scene = Scene::settled(3, 3);
    for duke in 0..3 {
        scene.mute_duke(duke);
    }
    assert_eq!(scene.steps(), [""; 0]);
    let conditions = scene.plan().status.conditions;
    assert_eq!(
        condition::holds(&conditions, ConditionType::DukesAgree),
        Some(false)
    );
}

#[test]
fn a_replica_that_does_not_answer_costs_readiness_and_nothing_else() {
    let mut scene = Scene::settled(3, 3);
    scene.mute_data(2);
    assert_eq!(scene.steps(), [""; 0]);
    let conditions = scene.plan().status.conditions;
    assert_eq!(
        condition::holds(&conditions, ConditionType::MasterAvailable),
        Some(true)
    );
    assert_eq!(
        condition::holds(&conditions, ConditionType::ReplicasInSync),
        Some(false)
    );
}

#[test]
fn a_pod_that_is_not_ready_costs_readiness() {
    for is_duke in [false, true] {
        let mut scene = Scene::settled(3, 3);
        if is_duke {
            scene.duke(1).facts.ready = false;
        } else {
            scene.pod(1).facts.ready = false;
        }
        let conditions = scene.plan().status.conditions;
        assert_eq!(
            condition::holds(&conditions, ConditionType::Ready),
            Some(false)
        );
    }
}

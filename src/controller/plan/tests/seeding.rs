//! Who becomes master of a group that has none.

use std::time::Duration;

use super::scene::{Scene, blank, follower, last_master, loaded, master, node, orphan};
use crate::{
    api::condition::{self, ConditionType, Reason, Truth, Verdict},
    controller::plan::seeding::PATIENCE,
};

const FRESH: [&str; 11] = [
    "RecordSeed pipeline-tea-0 generation 1 epoch 1",
    "Promote 10.0.0.1",
    "TellMembers 10.0.1.1 3 of 3, quorum 2",
    "TellNodes 10.0.1.1 10.0.0.1 10.0.0.2 10.0.0.3",
    "TellMembers 10.0.1.2 3 of 3, quorum 2",
    "TellNodes 10.0.1.2 10.0.0.1 10.0.0.2 10.0.0.3",
    "TellMembers 10.0.1.3 3 of 3, quorum 2",
    "TellNodes 10.0.1.3 10.0.0.1 10.0.0.2 10.0.0.3",
    "SeedDuke 10.0.1.1 10.0.0.1 generation 1 epoch 1",
    "SeedDuke 10.0.1.2 10.0.0.1 generation 1 epoch 1",
    "SeedDuke 10.0.1.3 10.0.0.1 generation 1 epoch 1",
];

/// The first step of a plan, or nothing.
fn first(scene: &mut Scene) -> String {
    scene.steps().first().cloned().unwrap_or_default()
}

fn message(scene: &mut Scene) -> String {
    let conditions = scene.plan().status.conditions;
    let kind = ConditionType::MasterAvailable.as_str();
    conditions
        .into_iter()
        .find(|known| known.type_ == kind)
        .unwrap()
        .message
}

#[test]
fn a_fresh_group_is_seeded_with_any_pod_that_answers() {
    assert_eq!(Scene::fresh(3, 3).steps(), FRESH);
}

#[test]
fn a_fresh_group_does_not_wait_for_the_last_pod() {
    let mut scene = Scene::fresh(3, 3);
    scene.mute_data(0);
    scene.seen.dukes.remove(2);
    assert_eq!(
        first(&mut scene),
        "RecordSeed pipeline-tea-1 generation 1 epoch 1"
    );
}

#[test]
fn volumes_of_an_earlier_life_are_all_looked_at_first() {
    let mut scene = Scene::fresh(3, 3);
    scene.seen.inherited = [2].into();
    scene.mute_data(2);
    assert!(message(&mut scene).contains("pipeline-tea-2 does not answer"));
    scene.wait(PATIENCE * 10);
    assert!(!first(&mut scene).starts_with("RecordSeed"));
    scene.data(2, loaded(9));
    assert_eq!(
        first(&mut scene),
        "RecordSeed pipeline-tea-2 generation 1 epoch 1"
    );
}

#[test]
fn nobody_is_chosen_before_a_majority_of_dukes_could_remember_it() {
    let mut scene = Scene::fresh(3, 3);
    scene.seen.dukes.truncate(1);
    assert_eq!(scene.steps(), [""; 0]);
    assert_eq!(message(&mut scene), "1 of at least 2 Dukes answer");
}

#[test]
fn dukes_that_run_but_do_not_answer_may_be_voting() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    scene.mute_duke(0);
    scene.mute_duke(1);
    assert!(
        scene
            .steps()
            .iter()
            .all(|step| !step.starts_with("RecordSeed"))
    );
}

#[test]
fn a_master_that_serves_stays_when_all_dukes_are_replaced() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    let steps = scene.steps();
    assert_eq!(steps[0], "RecordSeed pipeline-tea-0 generation 2 epoch 6");
    assert!(
        steps.iter().all(|step| !step.starts_with("Promote")),
        "{steps:?}"
    );
}

#[test]
fn the_followed_master_wins_over_a_lonely_one() {
    let mut scene = Scene::settled(4, 3);
    scene.data(0, master(500));
    for ordinal in [2, 3] {
        scene.data(ordinal, follower(1, 90));
    }
    scene.data(1, master(100));
    scene.dukes_forget();
    assert_eq!(
        first(&mut scene),
        "RecordSeed pipeline-tea-1 generation 2 epoch 6"
    );
}

#[test]
fn without_a_master_the_follower_with_most_of_its_stream_wins() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    scene.data(0, loaded(50));
    scene.data(1, orphan(0, 80));
    scene.data(2, orphan(0, 95));
    assert_eq!(
        first(&mut scene),
        "RecordSeed pipeline-tea-2 generation 2 epoch 6"
    );
}

#[test]
fn when_everything_was_restarted_the_recorded_master_has_the_newest_data() {
    let mut scene = Scene::settled(3, 3);
    scene.seen.status.last_master = Some(last_master(1));
    for ordinal in 0..3 {
        scene.data(ordinal, loaded(50));
    }
    scene.dukes_forget();
    assert_eq!(
        first(&mut scene),
        "RecordSeed pipeline-tea-1 generation 2 epoch 6"
    );
}

#[test]
fn the_recorded_master_is_waited_for_but_not_for_ever() {
    let mut scene = Scene::settled(3, 3);
    scene.data(0, loaded(50));
    scene.mute_data(0);
    scene.data(1, loaded(40));
    scene.data(2, loaded(45));
    scene.dukes_forget();
    assert!(message(&mut scene).contains("pipeline-tea-0 was master last"));
    scene.wait(PATIENCE.saturating_sub(Duration::from_millis(1)));
    assert!(!first(&mut scene).starts_with("RecordSeed"));
    scene.wait(Duration::from_millis(1));
    assert_eq!(
        first(&mut scene),
        "RecordSeed pipeline-tea-2 generation 2 epoch 6"
    );
}

#[test]
fn an_empty_recorded_master_has_lost_its_volume() {
    let mut scene = Scene::settled(3, 3);
    scene.data(0, blank());
    scene.data(1, loaded(40));
    scene.data(2, loaded(45));
    scene.dukes_forget();
    assert_eq!(
        first(&mut scene),
        "RecordSeed pipeline-tea-2 generation 2 epoch 6"
    );
}

#[test]
fn a_node_that_loads_is_waited_for_however_long_it_takes() {
    let mut scene = Scene::settled(3, 3);
    for ordinal in 0..3 {
        scene.data(ordinal, loaded(50));
    }
    let mut loading = loaded(0);
    loading.loading = true;
    scene.data(0, loading);
    scene.dukes_forget();
    assert_eq!(
        message(&mut scene),
        "pipeline-tea-0 is still loading its data"
    );
    scene.wait(PATIENCE * 10);
    assert!(!first(&mut scene).starts_with("RecordSeed"));
}

#[test]
fn dukes_that_remember_a_vanished_master_are_told_where_it_is_now() {
    let mut scene = Scene::settled(3, 3);
    for ordinal in 0..3 {
        scene.data(ordinal, loaded(50));
    }
    scene.dukes_know(0, 1, 5);
    for ordinal in 0..3 {
        scene.pod(ordinal).facts.ip = Some(node(ordinal + 10).ip());
    }
    let steps = scene.steps();
    assert_eq!(steps[0], "RecordSeed pipeline-tea-0 generation 2 epoch 6");
    assert_eq!(steps[1], "Promote 10.0.0.11");
}

#[test]
fn dukes_that_remember_promote_a_restarted_master_in_place_themselves() {
    let mut scene = Scene::settled(3, 3);
    for ordinal in 0..3 {
        scene.data(ordinal, loaded(50));
    }
    scene.dukes_know(0, 1, 5);
    assert!(
        scene
            .steps()
            .iter()
            .all(|step| !step.starts_with("RecordSeed"))
    );
}

#[test]
fn as_long_as_a_duke_sees_a_follower_the_dukes_decide() {
    let mut scene = Scene::settled(3, 3);
    scene.data(0, loaded(50));
    scene.data(1, orphan(0, 90));
    scene.data(2, orphan(0, 90));
    scene.dukes_know(0, 1, 5);
    scene.pod(0).facts.ip = Some(node(20).ip());
    scene.mute_data(1);
    scene.mute_data(2);
    assert!(
        scene
            .steps()
            .iter()
            .all(|step| !step.starts_with("RecordSeed"))
    );
}

#[test]
fn an_interrupted_seeding_goes_on_with_the_same_generation() {
    let mut scene = Scene::fresh(3, 3);
    let verdict = Verdict {
        kind: ConditionType::MasterAvailable,
        truth: Truth::False,
        reason: Reason::Seeding,
        message: String::new(),
    };
    scene.seen.status.generation = Some(1);
    scene.seen.status.epoch = Some(1);
    scene.seen.status.last_master = Some(last_master(0));
    let now = scene.seen.time;
    condition::merge(&mut scene.seen.status.conditions, &[verdict], Some(1), now);
    assert_eq!(scene.steps(), FRESH[1..]);
    scene.data(0, master(0));
    let steps = scene.steps();
    assert_eq!(steps[0], "LabelPod pipeline-tea-0 master");
    assert_eq!(steps[1..], FRESH[2..]);
    // Somebody else has gone further meanwhile: begin anew, above it.
    scene.report(1).current_epoch = 4;
    assert_eq!(
        scene.steps()[1],
        "RecordSeed pipeline-tea-0 generation 2 epoch 5"
    );
}

//! When a group is given a master, and by which steps. Whose data goes on is in `evidence`, who may still be
//! master out of sight in `absence`, what a human may order in `order`.

use super::scene::{Scene, blank, follower, last_master, master, node, orphan, restarted};
use crate::{
    api::{
        PipelineStatus,
        condition::{self, ConditionType, Reason, Truth, Verdict},
    },
    controller::plan::{Plan, step::Action},
    redis::node::{Expected, NodeReport},
};

mod absence;
mod evidence;
mod order;

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

/// What comes of a missing master, in a line: the pod that is chosen, or `waits:`, `asks:` with the
/// sentence of the status.
fn outcome(scene: &mut Scene) -> String {
    let plan = scene.plan();
    if let Some(status) = recorded_seed(&plan) {
        return status.last_master.clone().unwrap_or_default().pod;
    }
    let kind = ConditionType::MasterAvailable.as_str();
    let mut conditions = plan.status.conditions.into_iter();
    let known = conditions.find(|known| known.type_ == kind).unwrap();
    let word = match known.reason.as_str() {
        "NoMaster" => "waits",
        "NeedsDecision" => "asks",
        other => other,
    };
    format!("{word}: {}", known.message)
}

/// The status that a plan begins a seeding with.
fn recorded_seed(plan: &Plan) -> Option<&PipelineStatus> {
    plan.steps.iter().find_map(|step| {
        if let Action::RecordSeed { status, .. } = &step.action {
            Some(&**status)
        } else {
            None
        }
    })
}

/// A server that was just started and has read its append-only file: it begins a history of its own.
fn appended(ordinal: u16, keys: u64) -> NodeReport {
    restarted(&format!("begun-by-{ordinal}"), 1, keys)
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
    assert_eq!(outcome(&mut scene), "pipeline-tea-1");
}

#[test]
fn nobody_is_chosen_before_a_majority_of_dukes_could_remember_it() {
    let mut scene = Scene::fresh(3, 3);
    scene.seen.dukes.truncate(1);
    assert_eq!(scene.steps(), [""; 0]);
    assert_eq!(outcome(&mut scene), "waits: 1 of at least 2 Dukes answer");
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
    assert_eq!(outcome(&mut scene), "pipeline-tea-1");
}

#[test]
fn dukes_that_remember_a_vanished_master_are_told_where_it_is_now() {
    let mut scene = Scene::settled(3, 3);
    for ordinal in 0..3 {
        scene.data(ordinal, appended(ordinal, 50));
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
        scene.data(ordinal, appended(ordinal, 50));
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
    scene.data(0, appended(0, 50));
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

#[test]
fn the_order_to_become_master_holds_only_for_what_was_chosen() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    scene.data(0, blank());
    scene.data(1, orphan(0, 80));
    scene.data(2, orphan(0, 95));
    let plan = scene.plan();
    let expected = plan.steps.iter().find_map(|step| {
        if let Action::Promote { node: to, expected } = &step.action
            && *to == node(2)
        {
            Some(expected.clone())
        } else {
            None
        }
    });
    let chosen = Expected {
        run_id: "run".to_owned(),
        history: "lineage".to_owned(),
        offset: 95,
        may_be_linked: false,
    };
    assert_eq!(expected, Some(chosen));
}

#[test]
fn who_was_chosen_is_of_record_before_it_is_master() {
    let mut scene = Scene::fresh(3, 3);
    let plan = scene.plan();
    let status = recorded_seed(&plan).expect("it is seeded");
    assert_eq!(status.data_nodes.len(), 1);
    assert_eq!(status.data_nodes[0].uid, "uid-of-pipeline-tea-0");
    // It fails before anybody else was told: nobody else may be chosen before it is known dead.
    scene.seen.status = status.clone();
    scene.mute_data(0);
    assert!(outcome(&mut scene).starts_with("waits: pipeline-tea-0 was master last"));
}

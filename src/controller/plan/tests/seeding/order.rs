//! What a human orders, and what is said when data is lost.

use super::{
    super::scene::{Scene, blank, last_master, node, orphan, restarted},
    appended, outcome, recorded_seed,
};
use crate::{
    api::{
        Phase,
        condition::{ConditionType, Reason, Truth, Verdict, merge},
    },
    controller::{
        observe::{Answer, Phase as PodPhase},
        plan::{Plan, seeding::PATIENCE},
    },
};

fn order(scene: &mut Scene, pod: &str) {
    scene.seen.order = Some(pod.to_owned());
}

/// A group that nobody can compare: the last master is empty, the others have their own histories.
fn undecided() -> Scene {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    scene.data(0, blank());
    scene.data(1, appended(1, 40));
    scene.data(2, appended(2, 45));
    scene
}

fn answer(plan: &Plan) -> (bool, &str) {
    let answer = plan.answer.as_ref().expect("the order is answered");
    (answer.granted, &answer.note)
}

fn lost(plan: &Plan) -> Option<(String, String)> {
    let status = recorded_seed(plan).unwrap_or(&plan.status);
    let kind = ConditionType::DataLost.as_str();
    let mut conditions = status.conditions.iter();
    let known = conditions.find(|known| known.type_ == kind)?;
    Some((known.status.clone(), known.message.clone()))
}

#[test]
fn a_human_chooses_what_cannot_be_compared() {
    let mut scene = undecided();
    order(&mut scene, "pipeline-tea-1");
    assert_eq!(outcome(&mut scene), "pipeline-tea-1");
    let plan = scene.plan();
    // The order stands until the group has its master; nothing is lost that was not accepted.
    assert_eq!((plan.answer.as_ref(), lost(&plan)), (None, None));
}

#[test]
fn a_human_may_choose_although_a_majority_of_dukes_remembers() {
    let mut scene = Scene::settled(3, 3);
    scene.mute_data(0);
    scene.data(1, orphan(0, 80));
    scene.data(2, restarted("lineage", 90, 9));
    order(&mut scene, "pipeline-tea-2");
    assert!(
        !outcome(&mut scene).starts_with("pipeline"),
        "the Dukes do not find it lost"
    );
    for duke in 0..3 {
        scene.report(duke).flags = vec!["s_down".to_owned(), "o_down".to_owned()];
    }
    let steps = scene.steps();
    assert_eq!(steps[0], "RecordSeed pipeline-tea-2 generation 2 epoch 6");
    assert_eq!(steps[1], "Promote 10.0.0.3");
    let seeded = steps.iter().filter(|step| step.starts_with("SeedDuke"));
    assert_eq!(seeded.count(), 3);
}

#[test]
fn a_human_is_asked_when_the_dukes_find_nobody_fit_for_long() {
    let mut scene = Scene::settled(3, 3);
    scene.mute_data(0);
    for duke in 0..3 {
        let report = scene.report(duke);
        report.flags = vec!["s_down".to_owned(), "o_down".to_owned()];
        report.reason = "nobody may become master: 10.0.0.2:6379 is loading".to_owned();
    }
    assert!(outcome(&mut scene).starts_with("FailingOver: "));
    scene.wait(PATIENCE);
    let said = outcome(&mut scene);
    assert!(said.starts_with("asks: nobody may become master"), "{said}");
    assert!(
        said.contains("pipeline-tea-1: 1 keys, offset 100"),
        "{said}"
    );
    // While they are at it nobody is asked.
    scene.report(0).failover_state = "wait_start".to_owned();
    assert!(outcome(&mut scene).starts_with("FailingOver: "));
}

#[test]
fn an_order_is_checked_and_answered() {
    for (pod, word) in [
        ("pipeline-tea-7", "is no data pod of this Pipeline"),
        ("nonsense", "is no data pod of this Pipeline"),
        ("", "is no data pod of this Pipeline"),
    ] {
        let mut scene = undecided();
        order(&mut scene, pod);
        let plan = scene.plan();
        let (granted, note) = answer(&plan);
        assert!(!granted && note.contains(word), "{pod}: {note}");
        assert!(outcome(&mut scene).starts_with("asks: "));
    }
    let mut scene = undecided();
    order(&mut scene, "pipeline-tea-2");
    scene.pod(2).facts.phase = PodPhase::Pending;
    scene.pod(2).answer = Answer::NotAsked;
    assert_eq!(scene.plan().answer, None);
    let said = outcome(&mut scene);
    assert!(
        said.contains("pipeline-tea-2 was chosen and does not answer yet"),
        "{said}"
    );
}

#[test]
fn an_order_never_deposes_a_master_that_takes_writes() {
    let mut scene = Scene::settled(3, 3);
    order(&mut scene, "pipeline-tea-1");
    let plan = scene.plan();
    let (granted, note) = answer(&plan);
    assert!(
        !granted && note.contains("pipeline-tea-0 takes writes"),
        "{note}"
    );
    assert_eq!(scene.steps(), [""; 0]);
    order(&mut scene, "pipeline-tea-0");
    assert!(answer(&scene.plan()).0);
}

#[test]
fn an_order_does_not_overrule_evidence_that_is_enough() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    order(&mut scene, "pipeline-tea-1");
    assert_eq!(outcome(&mut scene), "pipeline-tea-0", "it takes writes");
}

#[test]
fn a_group_that_goes_on_empty_says_what_was_lost_until_a_human_accepts_it() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    for ordinal in 0..3 {
        let pod = scene.pod(ordinal);
        pod.facts.uid = format!("new-{ordinal}");
        pod.facts.ip = Some(node(ordinal + 20).ip());
        scene.data(ordinal, blank());
    }
    let plan = scene.plan();
    let (status, message) = lost(&plan).unwrap();
    assert_eq!(status, "True");
    assert!(message.starts_with("every server is empty"), "{message}");
    assert!(
        message.contains("kubernetes.lol/accept-data-loss=pipeline-tea-0"),
        "{message}"
    );

    // It stays after the group is whole again, and takes the word Ready from it.
    let verdict = Verdict {
        kind: ConditionType::DataLost,
        truth: Truth::True,
        reason: Reason::SeededWithLess,
        message,
    };
    let mut scene = Scene::settled(3, 3);
    let now = scene.seen.time;
    merge(&mut scene.seen.status.conditions, &[verdict], Some(1), now);
    let plan = scene.plan();
    assert_eq!(lost(&plan).unwrap().0, "True");
    assert_ne!(plan.status.phase, Some(Phase::Ready));

    order(&mut scene, "pipeline-tea-0");
    let plan = scene.plan();
    assert_eq!(lost(&plan).unwrap().0, "False");
    assert_eq!(plan.status.phase, Some(Phase::Ready));
    assert!(answer(&plan).0);
}

#[test]
fn a_group_that_never_had_a_key_loses_nothing() {
    let mut scene = Scene::settled(3, 3);
    scene.seen.status.had_data = None;
    scene.dukes_forget();
    for ordinal in 0..3 {
        scene.data(ordinal, blank());
    }
    assert_eq!(lost(&scene.plan()), None);
    assert_eq!(outcome(&mut scene), "pipeline-tea-0");
}

#[test]
fn snapshots_are_less_than_what_a_master_had_that_is_gone_with_its_data() {
    let mut scene = undecided();
    scene.data(1, restarted("lineage", 40, 4));
    scene.data(2, restarted("lineage", 45, 5));
    let message = lost(&scene.plan()).unwrap().1;
    assert!(
        message.contains("pipeline-tea-2 goes on with what its own disk had, 5 keys"),
        "{message}"
    );
    // With the last master among those that were compared nothing is missing.
    scene.data(0, restarted("lineage", 44, 5));
    assert_eq!(lost(&scene.plan()), None);
    scene.seen.status.last_master = Some(last_master(1));
    scene.data(0, blank());
    assert_eq!(lost(&scene.plan()), None);
}

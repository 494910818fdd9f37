//! Pods that have to go, and settings that change.

use std::{collections::BTreeMap, time::Duration};

use super::scene::{Scene, blank, data_pod, follower, master};
use crate::controller::{
    memory::{Setting, Tried},
    observe::Phase,
    plan::roll,
};

/// All pods are of revision r1, and r2 is wanted.
fn stale() -> Scene {
    let mut scene = Scene::settled(3, 3);
    scene.live(3, "r2", 3);
    scene
}

fn renew(scene: &mut Scene, ordinal: u16) {
    scene.pod(ordinal).facts.revision = "r2".to_owned();
}

#[test]
fn a_roll_goes_through_the_replicas_and_then_hands_over() {
    let mut scene = stale();
    assert_eq!(scene.steps(), ["DeletePod pipeline-tea-2"]);
    renew(&mut scene, 2);
    assert_eq!(scene.steps(), ["DeletePod pipeline-tea-1"]);
    renew(&mut scene, 1);
    assert_eq!(scene.steps(), ["FailOver by 10.0.1.1"]);
    scene.data(0, follower(1, 100));
    scene.data(1, master(100));
    scene.data(2, follower(1, 100));
    scene.dukes_know(1, 1, 6);
    let steps = scene.steps();
    assert_eq!(steps.last().unwrap(), "DeletePod pipeline-tea-0");
}

/// The agent in a data pod is of the Dukes' image.
#[test]
fn an_image_is_proven_on_the_dukes_before_data_pods_get_it() {
    let mut scene = stale();
    let id = scene.live_deployment(|deployment| {
        deployment.status.as_mut().unwrap().updated_replicas = Some(1);
    });
    assert_eq!(scene.deleted(), [""; 0], "{id}");
    scene.crash(1);
    assert_eq!(
        scene.deleted(),
        ["pipeline-tea-1"],
        "it is of no use as it is"
    );
}

#[test]
fn nobody_else_is_taken_down_while_one_is_down() {
    let mut scene = stale();
    renew(&mut scene, 2);
    scene.pod(2).facts.ready = false;
    assert_eq!(scene.steps(), [""; 0]);
    scene.pod(2).facts.ready = true;
    scene.data(2, blank());
    assert_eq!(scene.steps(), [""; 0]);
    scene.seen.data.remove(2);
    assert!(
        scene
            .steps()
            .iter()
            .all(|step| !step.starts_with("DeletePod"))
    );
}

#[test]
fn the_master_is_not_taken_down_while_its_dukes_cannot_elect() {
    let mut scene = stale();
    renew(&mut scene, 1);
    renew(&mut scene, 2);
    scene.mute_duke(1);
    scene.mute_duke(2);
    assert_eq!(scene.steps(), [""; 0]);
}

#[test]
fn a_duke_that_was_asked_is_given_time() {
    let mut scene = stale();
    renew(&mut scene, 1);
    renew(&mut scene, 2);
    scene.memory.failover_asked = Some(scene.seen.at);
    assert_eq!(scene.steps(), [""; 0]);
    scene.wait(roll::FAILOVER_PAUSE);
    assert_eq!(scene.steps(), ["FailOver by 10.0.1.1"]);
}

#[test]
fn a_stuck_pod_of_a_reverted_revision_is_replaced_at_once() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(2).facts.revision = "bad".to_owned();
    scene.pod(2).facts.phase = Phase::Pending;
    scene.pod(2).facts.ready = false;
    scene.mute_data(2);
    let steps = scene.steps();
    assert!(
        steps.contains(&"DeletePod pipeline-tea-2".to_owned()),
        "{steps:?}"
    );
}

#[test]
fn a_stuck_pod_of_the_wanted_revision_holds_the_others_back() {
    let mut scene = stale();
    renew(&mut scene, 2);
    scene.pod(2).facts.phase = Phase::Pending;
    scene.pod(2).facts.ready = false;
    scene.pod(2).facts.trouble = Some("0/3 nodes are available".to_owned());
    scene.mute_data(2);
    assert!(
        scene
            .steps()
            .iter()
            .all(|step| !step.starts_with("DeletePod"))
    );
    let plan = scene.plan();
    assert!(
        plan.report.iter().any(|why| why.contains("0/3 nodes")),
        "{:?}",
        plan.report
    );
}

#[test]
fn nothing_is_rolled_before_the_new_template_was_seen() {
    let mut scene = stale();
    let mut live = scene
        .seen
        .stateful_set(&scene.wanted.names)
        .unwrap()
        .clone();
    live.metadata.generation = Some(2);
    let object = crate::controller::object::Object::StatefulSet(std::sync::Arc::new(live));
    scene.seen.live.insert(object.id(), object);
    assert_eq!(scene.steps(), [""; 0]);
}

#[test]
fn a_terminating_master_hands_over_while_it_still_can() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(0).facts.terminating = true;
    assert_eq!(scene.steps(), ["FailOver by 10.0.1.1"]);
}

#[test]
fn a_pod_beyond_the_wanted_number_is_not_rolled() {
    let mut scene = Scene::settled(3, 3);
    let mut extra = data_pod(3);
    extra.facts.revision = "old".to_owned();
    scene.seen.data.push(extra);
    assert!(
        scene
            .steps()
            .iter()
            .all(|step| !step.starts_with("DeletePod"))
    );
}

#[test]
fn a_directive_is_set_where_it_differs_and_a_refused_one_once() {
    let mut scene = Scene::settled(2, 3);
    scene.wanted.live = BTreeMap::from([("maxmemory".to_owned(), "1mb".to_owned())]);
    let mut same = master(100);
    same.config
        .insert("maxmemory".to_owned(), "1048576".to_owned());
    scene.data(0, same);
    assert_eq!(scene.steps(), ["SetNode 10.0.0.2 maxmemory 1mb"]);

    let setting = Setting {
        run_id: "run".to_owned(),
        directive: "maxmemory".to_owned(),
    };
    let refusal = Some("ERR no".to_owned());
    scene.memory.tried.insert(
        setting,
        Tried {
            value: "1mb".to_owned(),
            refusal,
        },
    );
    scene.wait(Duration::from_mins(1));
    let plan = scene.plan();
    assert!(plan.steps.is_empty());
    let applied = plan
        .status
        .conditions
        .iter()
        .find(|known| known.type_ == "ConfigApplied");
    assert!(applied.unwrap().message.contains("ERR no"));
}

#[test]
fn a_duke_with_another_setting_is_told() {
    let mut scene = Scene::settled(3, 3);
    let option = "down-after-milliseconds".to_owned();
    scene.wanted.duke_settings = BTreeMap::from([(option.clone(), "2000".to_owned())]);
    for index in 0..3 {
        let value = if index == 1 { "1000" } else { "2000" };
        scene
            .report(index)
            .settings
            .insert(option.clone(), value.to_owned());
    }
    assert_eq!(
        scene.steps(),
        ["SetDuke 10.0.1.2 down-after-milliseconds 2000"]
    );
}

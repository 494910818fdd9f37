//! What the Dukes are told of each other and of the data nodes.

use super::scene::{Scene, blank, data_pod, duke_pod, follower, newcomer, node};
use crate::controller::{
    observe::{Answer, Phase},
    plan::{membership::dukes_now, situation::Situation},
};

fn told(scene: &mut Scene, step: &str) -> Vec<String> {
    scene
        .steps()
        .into_iter()
        .filter(|line| line.starts_with(step))
        .collect()
}

#[test]
fn a_replaced_duke_takes_the_place_of_the_old_one() {
    let mut scene = Scene::settled(3, 3);
    let mut new = duke_pod(3);
    new.answer = Answer::Given(newcomer(3));
    scene.seen.dukes.remove(2);
    scene.seen.dukes.push(new);
    assert_eq!(
        told(&mut scene, "TellMembers"),
        [
            "TellMembers 10.0.1.1 3 of 3, quorum 2",
            "TellMembers 10.0.1.2 3 of 3, quorum 2",
            "TellMembers 10.0.1.4 3 of 3, quorum 2",
        ]
    );
}

#[test]
fn a_terminating_duke_is_no_member_and_the_size_stays() {
    let mut scene = Scene::settled(3, 3);
    scene.duke(2).facts.terminating = true;
    assert_eq!(
        told(&mut scene, "TellMembers"),
        [
            "TellMembers 10.0.1.1 2 of 3, quorum 2",
            "TellMembers 10.0.1.2 2 of 3, quorum 2"
        ]
    );
}

#[test]
fn a_silent_duke_stays_a_member() {
    let mut scene = Scene::settled(3, 3);
    scene.mute_duke(2);
    assert_eq!(told(&mut scene, "Tell"), [""; 0]);
}

#[test]
fn the_size_grows_by_one_and_only_with_a_duke_that_answers() {
    let mut scene = Scene::settled(3, 3);
    scene.wanted.dukes = 5;
    assert_eq!(told(&mut scene, "TellMembers"), [""; 0]);
    scene.seen.dukes.push(duke_pod(3));
    scene.seen.dukes.push(duke_pod(4));
    let steps = told(&mut scene, "TellMembers");
    assert_eq!(steps.len(), 5);
    assert!(
        steps.iter().all(|step| step.ends_with(" 4 of 4, quorum 3")),
        "{steps:?}"
    );
}

#[test]
fn an_interrupted_change_of_size_is_finished_before_the_next() {
    let mut scene = Scene::settled(3, 3);
    scene.wanted.dukes = 5;
    scene.seen.dukes.push(duke_pod(3));
    scene.seen.dukes.push(duke_pod(4));
    scene.report(0).size = 4;
    let steps = told(&mut scene, "TellMembers");
    assert!(
        steps.iter().all(|step| step.ends_with(" 4 of 4, quorum 3")),
        "{steps:?}"
    );
}

#[test]
fn dukes_leave_one_at_a_time() {
    let mut scene = Scene::settled(3, 5);
    scene.wanted.dukes = 3;
    assert_eq!(dukes_now(&Situation::of(&scene.wanted, &scene.seen)), 4);
    scene.seen.dukes.remove(4);
    let steps = told(&mut scene, "TellMembers");
    assert!(
        steps.iter().all(|step| step.ends_with(" 4 of 4, quorum 3")),
        "{steps:?}"
    );
    scene.report(0).size = 4;
    assert_eq!(dukes_now(&Situation::of(&scene.wanted, &scene.seen)), 5);
}

#[test]
fn a_new_replica_is_of_record_as_soon_as_it_has_an_address() {
    let mut scene = Scene::settled(3, 3);
    scene.wanted.data = 4;
    scene.live(4, "r1", 3);
    let mut new = data_pod(3);
    new.facts.phase = Phase::Pending;
    new.facts.ip = None;
    scene.seen.data.push(new);
    assert_eq!(told(&mut scene, "TellNodes"), [""; 0]);
    scene.pod(3).facts.phase = Phase::Running;
    scene.pod(3).facts.ip = Some(node(3).ip());
    assert_eq!(told(&mut scene, "TellNodes").len(), 3);
}

#[test]
fn a_leaving_replica_is_forgotten_and_a_leaving_master_is_not() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(2).facts.terminating = true;
    assert_eq!(
        told(&mut scene, "TellNodes")[0],
        "TellNodes 10.0.1.1 10.0.0.1 10.0.0.2"
    );
    let mut scene = Scene::settled(3, 3);
    scene.pod(0).facts.terminating = true;
    assert_eq!(told(&mut scene, "TellNodes"), [""; 0]);
}

#[test]
fn a_vanished_master_stays_of_record_until_the_dukes_have_another() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(0).facts.ip = Some(node(9).ip());
    scene.data(0, blank());
    scene.data(1, follower(0, 100));
    assert_eq!(
        told(&mut scene, "TellNodes")[0],
        "TellNodes 10.0.1.1 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.10"
    );
}

#[test]
fn a_duke_of_an_older_generation_is_brought_to_the_present_one() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_know(0, 4, 5);
    scene.report(2).generation = 3;
    assert_eq!(
        scene.steps(),
        ["SeedDuke 10.0.1.3 10.0.0.1 generation 4 epoch 5"]
    );
}

//! A spec that cannot be followed: the group that was made before is served all the same.

use super::scene::{Scene, blank, duke_pod, follower, lines, master, newcomer};
use crate::{
    api::Phase,
    controller::observe::{Answer, PodFacts},
};

#[test]
fn a_failover_is_followed_under_a_bad_spec() {
    let mut scene = Scene::settled(3, 3);
    scene.data(0, blank());
    scene.data(1, master(100));
    scene.data(2, follower(1, 100));
    scene.dukes_know(1, 1, 7);
    let plan = scene.refuse();
    assert_eq!(
        lines(&plan),
        [
            "Create EndpointSlice/pipeline-tea-1",
            "LabelPod pipeline-tea-0 replica",
            "LabelPod pipeline-tea-1 master"
        ]
    );
    assert_eq!(plan.status.phase, Some(Phase::Invalid));
    assert_eq!(plan.status.master.as_deref(), Some("pipeline-tea-1"));
}

#[test]
fn a_deleted_master_leaves_the_service_under_a_bad_spec() {
    let mut scene = Scene::settled(3, 3);
    let facts: &mut PodFacts = &mut scene.pod(0).facts;
    facts.terminating = true;
    facts.phase = crate::controller::observe::Phase::Over;
    let told = lines(&scene.refuse());
    assert!(
        told.contains(&"Create EndpointSlice/".to_owned()),
        "{told:?}"
    );
}

#[test]
fn a_new_duke_is_made_known_under_a_bad_spec_and_a_quorum_of_the_users_stays() {
    let mut scene = Scene::settled(3, 3);
    for index in 0..3 {
        scene.report(index).quorum = 3;
    }
    let mut new = duke_pod(3);
    new.answer = Answer::Given(newcomer(3));
    scene.seen.dukes.remove(2);
    scene.seen.dukes.push(new);
    let told = lines(&scene.refuse());
    let members: Vec<&String> = told
        .iter()
        .filter(|line| line.starts_with("TellMembers"))
        .collect();
    assert_eq!(
        members,
        [
            "TellMembers 10.0.1.1 3 of 3, quorum 3",
            "TellMembers 10.0.1.2 3 of 3, quorum 3",
            "TellMembers 10.0.1.4 3 of 3, quorum 3",
        ]
    );
}

//! Who may be taken away: by a roll, because it is stuck, and by whoever drains nodes.

use super::scene::{Scene, blank, follower, loaded, master, orphan, syncing};
use crate::controller::{
    observe::MainContainer,
    plan::{
        may_lose::{may_be_evicted, may_lose},
        situation::Situation,
    },
};

/// All pods are of revision r1, and r2 is wanted.
fn stale(data: u16) -> Scene {
    let mut scene = Scene::settled(data, 3);
    scene.live(data, "r2", 3);
    scene
}

/// Why the pod of an ordinal has to stay; nothing if it may go.
fn refusal(scene: &Scene, ordinal: u16) -> String {
    let now = Situation::of(&scene.wanted, &scene.seen);
    let pod = scene.seen.data.iter().find(|pod| pod.ordinal == ordinal);
    may_lose(&now, pod.unwrap()).err().unwrap_or_default()
}

fn is_closed(scene: &Scene) -> bool {
    may_be_evicted(&Situation::of(&scene.wanted, &scene.seen)).is_err()
}

/// What may be wrong with a group of three, and what is said of it when pod 2 is to go.
type Trouble = (&'static str, fn(&mut Scene));

const TROUBLES: [Trouble; 14] = [
    ("pipeline-tea-1 is being deleted", |scene| {
        scene.pod(1).facts.terminating = true;
    }),
    ("pipeline-tea-1 is not ready", |scene| {
        scene.pod(1).facts.ready = false;
    }),
    ("pipeline-tea-1 does not exist", |scene| {
        scene.seen.data.remove(1);
    }),
    ("pipeline-tea-1 is not in sync", |scene| {
        scene.data(1, blank());
    }),
    ("pipeline-tea-1 is not in sync", |scene| {
        scene.data(1, syncing(0));
    }),
    ("pipeline-tea-1 is not in sync", |scene| {
        scene.data(1, follower(2, 100));
    }),
    ("pipeline-tea-1 is not in sync", |scene| scene.mute_data(1)),
    ("too few Dukes know pipeline-tea-1", |scene| {
        for index in [0, 1] {
            scene.report(index).nodes.remove(1);
        }
    }),
    ("the master does not answer", |scene| scene.mute_data(0)),
    ("the master does not answer", |scene| {
        scene.data(0, loaded(7));
    }),
    ("the Dukes are replacing the master", |scene| {
        scene.report(2).failover_state = "wait_promotion".to_owned();
    }),
    ("the Dukes are replacing the master", |scene| {
        for index in [0, 1] {
            scene.report(index).flags = vec!["s_down".to_owned()];
        }
    }),
    ("too few Dukes remember the group", |scene| {
        scene.mute_duke(1);
        scene.report(2).memory = false;
    }),
    ("too few Dukes name the same master", |scene| {
        for index in [0, 1] {
            scene.report(index).config_epoch = 4;
            scene.report(index).master = None;
        }
    }),
];

#[test]
fn nobody_is_taken_away_while_anything_is_missing() {
    assert_eq!(refusal(&stale(3), 2), "");
    assert_eq!(refusal(&stale(3), 1), "");
    for (index, (why, spoil)) in TROUBLES.into_iter().enumerate() {
        let mut scene = stale(3);
        spoil(&mut scene);
        let said = refusal(&scene, 2);
        assert!(said.contains(why), "{index}: {why}: {said}");
        assert!(
            !scene.deleted().contains(&"pipeline-tea-2".to_owned()),
            "{index}: {why}"
        );
    }
}

/// What the kubelet sees closes the budget by itself: a pod that is not ready is the one that may be
/// evicted, if the others are complete.
#[test]
fn nobody_is_evicted_while_pods_that_are_ready_lack_data() {
    assert!(!is_closed(&stale(3)));
    for (index, (why, spoil)) in TROUBLES.into_iter().enumerate() {
        let mut scene = stale(3);
        spoil(&mut scene);
        let kubelet_sees = ["is being deleted", "is not ready", "does not exist"];
        let admission = "too few Dukes know";
        let is_ours = !kubelet_sees.iter().any(|seen| why.ends_with(seen));
        let is_ours = is_ours && !why.starts_with(admission);
        assert_eq!(is_closed(&scene), is_ours, "{index}: {why}");
    }
    let mut scene = stale(3);
    scene.data(2, syncing(0));
    scene.pod(2).facts.ready = false;
    assert!(!is_closed(&scene), "its own readiness counts against it");
}

#[test]
fn the_only_copy_is_not_evicted_and_a_volume_is_no_copy() {
    let mut scene = Scene::settled(1, 3);
    assert!(is_closed(&scene));
    scene.wanted.persists = true;
    assert!(!is_closed(&scene));
}

#[test]
fn the_master_is_never_taken_away() {
    assert_eq!(refusal(&stale(3), 0), "pipeline-tea-0 is master");
    assert_eq!(refusal(&stale(2), 0), "pipeline-tea-0 is master");
}

#[test]
fn the_only_pod_is_replaced_if_its_data_stays_or_there_is_none() {
    let mut scene = stale(1);
    assert_eq!(scene.deleted(), [""; 0]);
    let report = scene.plan().report.join(" ");
    assert!(report.contains("spec.pipeline.replicas to 2"), "{report}");

    scene.wanted.persists = true;
    assert_eq!(scene.deleted(), ["pipeline-tea-0"]);

    let mut scene = stale(1);
    let mut empty = master(100);
    empty.keys = 0;
    scene.data(0, empty.clone());
    assert_eq!(scene.deleted(), ["pipeline-tea-0"]);
    empty.loading = true;
    scene.data(0, empty);
    assert_eq!(scene.deleted(), [""; 0]);
}

#[test]
fn the_last_one_is_not_replaced_before_the_others_have_been_scaled_away() {
    let mut scene = stale(3);
    scene.wanted.data = 1;
    scene.wanted.persists = true;
    assert_eq!(scene.deleted(), [""; 0]);
}

/// A pod that is not of use to anybody is the first to be replaced, and the gate is no obstacle.
#[test]
fn a_broken_pod_is_replaced_before_those_that_serve() {
    let mut scene = stale(3);
    scene.crash(1);
    assert_eq!(scene.deleted(), ["pipeline-tea-1"]);
}

#[test]
fn pods_that_held_data_and_lost_their_processes_are_kept_without_a_master() {
    for label in [Some("replica".to_owned()), None] {
        let mut scene = stale(3);
        for ordinal in 0..3 {
            scene.crash(ordinal);
            scene.pod(ordinal).facts.role.clone_from(&label);
        }
        for index in 0..3 {
            scene.report(index).flags = vec!["o_down".to_owned()];
        }
        assert_eq!(scene.deleted(), [""; 0]);
    }
    // Out of memory while loading: not ready now, and everything is still in their directories.
    let mut scene = stale(3);
    for ordinal in 0..3 {
        scene.crash(ordinal);
    }
    scene.dukes_forget();
    assert_eq!(scene.deleted(), [""; 0]);
}

#[test]
fn of_pods_that_rest_on_their_volumes_one_shows_first_that_it_can_start() {
    let mut scene = stale(3);
    scene.wanted.persists = true;
    for ordinal in 0..3 {
        scene.crash(ordinal);
        scene.pod(ordinal).facts.claim = Some("data".to_owned());
    }
    for index in 0..3 {
        scene.report(index).flags = vec!["o_down".to_owned()];
    }
    assert_eq!(scene.deleted(), ["pipeline-tea-2"]);
    scene.pod(2).facts.terminating = true;
    assert_eq!(scene.deleted(), [""; 0], "one at a time");
    let facts = &mut scene.pod(2).facts;
    facts.terminating = false;
    facts.revision = "r2".to_owned();
    facts.main = MainContainer::NeverRan;
    assert_eq!(
        scene.deleted(),
        [""; 0],
        "nobody knows whether it can start"
    );
    scene.pod(2).facts.main = MainContainer::Running;
    scene.data(2, loaded(7));
    assert_eq!(scene.deleted(), ["pipeline-tea-1"]);
}

#[test]
fn a_server_that_is_busy_beside_a_broken_exporter_is_not_down() {
    let mut scene = stale(3);
    for ordinal in 0..3 {
        scene.mute_data(ordinal);
        let facts = &mut scene.pod(ordinal).facts;
        facts.ready = false;
        facts.claim = Some("data".to_owned());
        facts.trouble = Some("container exporter waits: CrashLoopBackOff".to_owned());
    }
    assert_eq!(scene.deleted(), [""; 0]);
}

#[test]
fn pods_that_never_ran_are_replaced_at_once_also_without_a_master() {
    let mut scene = Scene::fresh(3, 3);
    scene.live(3, "r2", 3);
    for ordinal in 0..3 {
        scene.strand(ordinal);
    }
    for ordinal in [2, 1, 0] {
        assert_eq!(scene.deleted(), [format!("pipeline-tea-{ordinal}")]);
        scene.pod(ordinal).facts.terminating = true;
    }
    // The same in a group that lost all its pods, and its Dukes with them.
    let mut scene = stale(3);
    scene.strand(2);
    for ordinal in [0, 1] {
        scene.crash(ordinal);
    }
    scene.dukes_forget();
    assert_eq!(scene.deleted(), ["pipeline-tea-2"]);
}

/// A directive that no server knows, at creation: the servers ran, and there never was any data.
#[test]
fn pods_of_a_group_that_never_had_a_master_are_replaced_when_they_are_of_no_use() {
    let mut scene = Scene::fresh(3, 3);
    scene.live(3, "r2", 3);
    for ordinal in 0..3 {
        scene.crash(ordinal);
    }
    assert_eq!(scene.deleted(), ["pipeline-tea-2"]);

    let mut scene = Scene::fresh(3, 3);
    scene.live(3, "r2", 3);
    for ordinal in 0..3 {
        scene.data(ordinal, loaded(7));
    }
    for index in [0, 1] {
        scene.mute_duke(index);
    }
    assert_eq!(scene.deleted(), [""; 0], "loaded from inherited volumes");
}

#[test]
fn whoever_is_being_made_master_is_not_replaced_in_the_same_pass() {
    let mut scene = Scene::fresh(3, 3);
    scene.live(3, "r2", 3);
    let steps = scene.steps();
    assert!(
        steps.iter().any(|step| step.starts_with("Promote")),
        "{steps:?}"
    );
    assert_eq!(scene.deleted(), [""; 0]);
}

#[test]
fn the_followers_of_a_lost_master_are_kept() {
    let mut scene = stale(3);
    scene.crash(0);
    scene.data(1, orphan(0, 100));
    scene.data(2, orphan(0, 90));
    scene.dukes_forget();
    assert_eq!(scene.deleted(), [""; 0]);
}

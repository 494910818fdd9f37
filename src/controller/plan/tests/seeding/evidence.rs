//! Whose data goes on: rows of what servers say, and who is chosen.

use std::time::Duration;

use super::{
    super::scene::{
        Scene, blank, follower, last_master, master, node, orphan, recorded, restarted,
    },
    appended, outcome,
};
use crate::{
    controller::{
        observe::{Answer, ClaimFacts, Phase},
        plan::seeding::PATIENCE,
    },
    redis::node::{NodeReport, Role},
};

/// What a server of each ordinal says.
type Said = [NodeReport; 3];

/// A group with a past whose Dukes have all forgotten it.
fn forgotten(said: Said) -> Scene {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    for (ordinal, report) in (0..).zip(said) {
        scene.data(ordinal, report);
    }
    scene
}

fn with_history(mut report: NodeReport, id: &str, before: &str, left: u64) -> NodeReport {
    id.clone_into(&mut report.history.id);
    before.clone_into(&mut report.history.before);
    report.history.left = left;
    report
}

fn promoted(offset: u64, id: &str, before: &str, left: u64) -> NodeReport {
    with_history(master(offset), id, before, left)
}

/// A replica whose copy was broken off: it has thrown its offset away.
fn half_copied(keys: u64) -> NodeReport {
    let mut report = orphan(0, 1);
    report.keys = keys;
    report.was_in_touch = false;
    report
}

/// Gives a data pod a volume claim.
fn claim(scene: &mut Scene, ordinal: u16, uid: &str, inherited: bool) {
    let name = format!("data-pipeline-tea-{ordinal}");
    scene.pod(ordinal).facts.claim = Some(name.clone());
    let facts = ClaimFacts {
        name,
        uid: uid.to_owned(),
        inherited,
    };
    scene.seen.claims.insert(ordinal, facts);
}

/// A data pod is another one of the same name, started on the same node.
fn replace(scene: &mut Scene, ordinal: u16) {
    let pod = scene.pod(ordinal);
    pod.facts.uid = format!("new-{ordinal}");
    pod.facts.ip = Some(node(ordinal.saturating_add(20)).ip());
}

/// What is seen, what servers say, and who is chosen.
type Row = (&'static str, Said, &'static str);

fn rows_of_live_servers() -> Vec<Row> {
    vec![
        (
            "replicas of a lost master: the most of its stream",
            [blank(), orphan(0, 80), orphan(0, 95)],
            "pipeline-tea-2",
        ),
        (
            "a replica in sync has more than the master that restarted",
            [appended(0, 50), orphan(0, 80), orphan(0, 80)],
            "pipeline-tea-1",
        ),
        (
            "a promoted server goes on from the history that the others were left with",
            [
                restarted("lineage", 95, 1),
                with_history(orphan(2, 70), "next", "lineage", 60),
                restarted("lineage", 50, 1),
            ],
            "pipeline-tea-1",
        ),
        (
            "the group's history wins over one that nobody knows",
            [
                blank(),
                restarted("stranger", 900, 900),
                restarted("lineage", 40, 4),
            ],
            "pipeline-tea-2",
        ),
        (
            "a copy that was broken off has no place in any history",
            [blank(), half_copied(900), orphan(0, 20)],
            "pipeline-tea-2",
        ),
        (
            "nobody has anything: the last master",
            [blank(), blank(), blank()],
            "pipeline-tea-0",
        ),
    ]
}

fn rows_of_restarted_servers() -> Vec<Row> {
    vec![
        (
            "all were restarted: the last master's snapshot is older than its replicas'",
            [
                restarted("lineage", 100, 10),
                restarted("lineage", 601, 511),
                restarted("lineage", 600, 510),
            ],
            "pipeline-tea-1",
        ),
        (
            "fewer keys, but later in the same history: keys were deleted",
            [
                restarted("lineage", 700, 3),
                restarted("lineage", 600, 500),
                restarted("lineage", 600, 500),
            ],
            "pipeline-tea-0",
        ),
        (
            "all keys were deleted, and that is the newest",
            [
                restarted("lineage", 700, 0),
                restarted("lineage", 600, 500),
                blank(),
            ],
            "pipeline-tea-0",
        ),
        (
            "all have read append-only files: only the last master's is known to be the newest",
            [appended(0, 50), appended(1, 60), appended(2, 70)],
            "pipeline-tea-0",
        ),
        (
            "an empty last master loses to data of the group's history",
            [
                blank(),
                restarted("lineage", 40, 4),
                restarted("lineage", 45, 4),
            ],
            "pipeline-tea-2",
        ),
        (
            "a newer history wins over a longer older one",
            [
                restarted("older", 9_000, 900),
                restarted("lineage", 40, 4),
                restarted("older", 9_000, 900),
            ],
            "pipeline-tea-1",
        ),
    ]
}

#[test]
fn of_servers_that_answer_the_one_with_the_newest_data_is_chosen() {
    for (row, said, chosen) in rows_of_live_servers()
        .into_iter()
        .chain(rows_of_restarted_servers())
    {
        let mut scene = forgotten(said);
        scene.seen.status.histories = vec!["lineage".to_owned(), "older".to_owned()];
        assert_eq!(outcome(&mut scene), chosen, "{row}");
    }
}

#[test]
fn what_cannot_be_compared_is_put_before_a_human() {
    let rows: Vec<(&str, Said, &[&str])> = vec![
        (
            "the last master is empty, and the others have begun histories of their own",
            [blank(), appended(1, 40), appended(2, 45)],
            &[
                "pipeline-tea-0: empty",
                "pipeline-tea-1: 40 keys",
                "pipeline-tea-2: 45 keys",
            ],
        ),
        (
            "the last master's append-only file beside a snapshot of the group's history",
            [appended(0, 50), restarted("lineage", 90, 9), blank()],
            &["it was master last", "offset 90 of history lineage"],
        ),
        (
            "a stray master with less than a snapshot",
            [
                promoted(5, "older", "", 0),
                restarted("lineage", 90, 9),
                blank(),
            ],
            &["pipeline-tea-0 is master, but pipeline-tea-1 has newer data"],
        ),
        (
            "two masters, none of them of record, with nobody behind them",
            [blank(), promoted(5, "x", "", 0), promoted(6, "y", "", 0)],
            &["several servers are master"],
        ),
    ];
    for (row, said, words) in rows {
        let mut scene = forgotten(said);
        scene.seen.status.histories = vec!["lineage".to_owned(), "older".to_owned()];
        let said = outcome(&mut scene);
        assert!(said.starts_with("asks: "), "{row}: {said}");
        for word in words {
            assert!(said.contains(word), "{row}: {said}");
        }
        assert!(
            said.contains("kubernetes.lol/accept-data-loss=<pod>"),
            "{said}"
        );
    }
}

#[test]
fn of_several_masters_the_followed_one_stays_or_the_one_that_was_promoted_last() {
    let followed = [
        master(500),
        promoted(100, "next", "lineage", 90),
        with_history(follower(1, 95), "next", "lineage", 90),
    ];
    assert_eq!(outcome(&mut forgotten(followed)), "pipeline-tea-1");
    let alone = [master(500), promoted(100, "next", "lineage", 90), blank()];
    assert_eq!(outcome(&mut forgotten(alone)), "pipeline-tea-1");
}

#[test]
fn a_master_stays_although_its_replica_was_asked_a_moment_later() {
    let said = [master(100), follower(0, 140), follower(0, 90)];
    assert_eq!(outcome(&mut forgotten(said)), "pipeline-tea-0");
}

#[test]
fn a_master_that_is_being_deleted_goes_on_until_the_dukes_can_move_it() {
    let mut scene = forgotten([master(100), follower(0, 100), follower(0, 100)]);
    scene.pod(0).facts.terminating = true;
    assert_eq!(outcome(&mut scene), "pipeline-tea-0");
}

#[test]
fn a_replica_in_touch_with_a_master_is_never_promoted_beside_it() {
    for syncing in [false, true] {
        let mut scene = forgotten([blank(), follower(0, 80), orphan(0, 95)]);
        if let Answer::Given(report) = &mut scene.pod(1).answer
            && let Role::Replica {
                link_up,
                syncing: copies,
                ..
            } = &mut report.role
        {
            (*link_up, *copies) = (!syncing, syncing);
        }
        // The master's server answers nobody: one slow INFO must not make a second master.
        scene.mute_data(0);
        let said = outcome(&mut scene);
        assert!(
            said.contains("pipeline-tea-1 is in touch with a master at 10.0.0.1:6379"),
            "{said}"
        );
        scene.wait(PATIENCE);
        assert!(outcome(&mut scene).starts_with("asks: pipeline-tea-1 is in touch"));
    }
}

#[test]
fn dukes_and_master_lost_together_heal_with_the_replicas_data() {
    for (lost, size) in [(2, 3), (3, 3), (1, 1)] {
        let mut scene = Scene::settled(3, size);
        for duke in 0..lost {
            let newcomer = super::super::scene::newcomer(duke);
            scene.duke(duke).answer = Answer::Given(newcomer);
        }
        scene.data(0, blank());
        replace(&mut scene, 0);
        scene.data(1, orphan(0, 80));
        scene.data(2, orphan(0, 95));
        assert_eq!(
            outcome(&mut scene),
            "pipeline-tea-2",
            "{lost} of {size} Dukes"
        );
        // It is not there yet: nothing of the data that is left waits for it.
        scene.pod(0).facts.phase = Phase::Pending;
        scene.pod(0).answer = Answer::NotAsked;
        scene.seen.ended = [recorded(0).uid].into();
        assert_eq!(
            outcome(&mut scene),
            "pipeline-tea-2",
            "{lost} of {size} Dukes"
        );
    }
}

#[test]
fn another_replica_that_was_in_sync_is_given_time_and_then_left_behind() {
    let mut scene = Scene::settled(5, 3);
    scene.dukes_forget();
    scene.data(0, blank());
    for (ordinal, offset) in [(1, 80), (3, 79), (4, 78)] {
        scene.data(ordinal, orphan(0, offset));
    }
    replace(&mut scene, 0);
    scene.mute_data(2);
    assert_eq!(
        outcome(&mut scene),
        "waits: pipeline-tea-2 may have more, and does not answer"
    );
    scene.wait(PATIENCE.saturating_sub(Duration::from_millis(1)));
    assert!(outcome(&mut scene).starts_with("waits: "));
    scene.wait(Duration::from_millis(1));
    assert_eq!(outcome(&mut scene), "pipeline-tea-1");
}

#[test]
fn a_replica_that_was_out_of_sync_does_not_win_before_the_masters_volume_is_back() {
    let mut scene = forgotten([blank(), orphan(0, 80), blank()]);
    claim(&mut scene, 0, "volume", false);
    scene.seen.status.data_nodes[0].claim = Some("volume".to_owned());
    scene.seen.status.data_nodes[1].in_sync = false;
    replace(&mut scene, 0);
    scene.mute_data(0);
    let said = outcome(&mut scene);
    assert!(
        said.starts_with("waits: pipeline-tea-0 may hold data"),
        "{said}"
    );
    scene.data(0, restarted("lineage", 95, 9));
    assert_eq!(outcome(&mut scene), "pipeline-tea-0");
}

#[test]
fn a_node_that_loads_is_waited_for_however_long_it_takes() {
    let mut loading = restarted("lineage", 90, 0);
    loading.loading = true;
    let mut scene = forgotten([
        loading,
        restarted("lineage", 50, 9),
        restarted("lineage", 60, 9),
    ]);
    let waits = "waits: pipeline-tea-0 is still loading its data";
    assert_eq!(outcome(&mut scene), waits);
    scene.wait(PATIENCE * 10);
    assert_eq!(outcome(&mut scene), waits);
}

#[test]
fn every_volume_that_can_still_come_is_waited_for_and_then_a_human_is_asked() {
    let newest = restarted("lineage", 95, 9);
    let mut scene = forgotten([newest.clone(), restarted("lineage", 50, 5), blank()]);
    for ordinal in 0..3 {
        claim(&mut scene, ordinal, &format!("volume-{ordinal}"), false);
        replace(&mut scene, ordinal);
        let node = &mut scene.seen.status.data_nodes[usize::from(ordinal)];
        node.claim = Some(format!("volume-{ordinal}"));
    }
    // Its volume is attached late: it can be scheduled after twelve seconds and more.
    let late = &mut scene.pod(0).facts;
    late.phase = Phase::Pending;
    late.trouble = Some("unbound PersistentVolumeClaim".to_owned());
    scene.pod(0).answer = Answer::NotAsked;
    scene.seen.ended = [recorded(0).uid].into();
    let why =
        "pipeline-tea-0 may hold data, and does not answer yet: unbound PersistentVolumeClaim";
    assert_eq!(outcome(&mut scene), format!("waits: {why}"));
    scene.wait(PATIENCE * 10);
    let said = outcome(&mut scene);
    assert!(
        said.starts_with(&format!("asks: {why}. To go on without it")),
        "{said}"
    );
    assert!(
        said.contains("pipeline-tea-1: 5 keys, offset 50 of history lineage"),
        "{said}"
    );
    scene.pod(0).facts.phase = Phase::Running;
    scene.data(0, newest);
    assert_eq!(outcome(&mut scene), "pipeline-tea-0");
}

#[test]
fn the_volume_of_a_pod_that_is_being_deleted_comes_back_with_its_successor() {
    let newest = restarted("lineage", 95, 9);
    let mut scene = forgotten([newest, restarted("lineage", 50, 5), blank()]);
    claim(&mut scene, 0, "volume", false);
    scene.seen.status.data_nodes[0].claim = Some("volume".to_owned());
    scene.pod(0).facts.terminating = true;
    let waits = "waits: pipeline-tea-0 is being deleted, and its successor has its volume";
    assert_eq!(outcome(&mut scene), waits);
}

#[test]
fn a_pod_that_is_not_made_yet_is_waited_for_if_its_volume_may_hold_data() {
    let mut scene = forgotten([blank(), restarted("lineage", 50, 5), blank()]);
    claim(&mut scene, 0, "volume", false);
    scene.seen.status.data_nodes[0].claim = Some("volume".to_owned());
    scene.seen.ended = [recorded(0).uid].into();
    scene.seen.data.retain(|pod| pod.ordinal != 0);
    let said = outcome(&mut scene);
    assert!(
        said.starts_with("waits: pipeline-tea-0 does not exist yet"),
        "{said}"
    );
    // A claim that was made anew has nothing.
    claim_of_missing(&mut scene, "another");
    assert_eq!(outcome(&mut scene), "pipeline-tea-1");
}

fn claim_of_missing(scene: &mut Scene, uid: &str) {
    if let Some(claim) = scene.seen.claims.get_mut(&0) {
        uid.clone_into(&mut claim.uid);
    }
}

#[test]
fn volumes_from_before_the_pipeline_are_all_looked_at_first() {
    let mut scene = Scene::fresh(3, 3);
    claim(&mut scene, 2, "restored", true);
    scene.mute_data(2);
    let said = outcome(&mut scene);
    assert!(
        said.starts_with("waits: pipeline-tea-2 may hold data"),
        "{said}"
    );
    scene.wait(PATIENCE * 10);
    assert!(outcome(&mut scene).starts_with("asks: pipeline-tea-2"));
    scene.data(2, appended(2, 9));
    assert_eq!(outcome(&mut scene), "pipeline-tea-2");
    // New volumes of a new group are empty.
    let mut scene = Scene::fresh(3, 3);
    claim(&mut scene, 2, "new", false);
    scene.mute_data(2);
    assert_eq!(outcome(&mut scene), "pipeline-tea-0");
}

#[test]
fn of_two_restored_volumes_with_unrelated_histories_none_is_chosen() {
    let mut scene = Scene::fresh(3, 3);
    for ordinal in [0, 1] {
        claim(&mut scene, ordinal, "restored", true);
        scene.data(ordinal, appended(ordinal, 9));
    }
    assert!(outcome(&mut scene).starts_with("asks: the data of the servers cannot be compared"));
}

#[test]
fn a_last_master_of_another_volume_is_not_the_last_master() {
    let mut scene = forgotten([appended(0, 50), appended(1, 60), blank()]);
    claim(&mut scene, 0, "another", false);
    scene.seen.status.data_nodes[0].claim = Some("volume".to_owned());
    replace(&mut scene, 0);
    assert!(outcome(&mut scene).starts_with("asks: "));
    claim(&mut scene, 0, "volume", false);
    assert_eq!(outcome(&mut scene), "pipeline-tea-0");
    scene.seen.status.last_master = Some(last_master(1));
    assert_eq!(outcome(&mut scene), "pipeline-tea-1");
}

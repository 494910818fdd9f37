//! What the status says, case by case.

use super::scene::{Scene, blank, last_master, node};
use crate::{
    api::{
        Phase,
        condition::{self, ConditionType, Reason, Truth, Verdict},
    },
    controller::{
        memory::{Setting, Tried},
        observe::Answer,
    },
    redis::Error,
};

/// The pod in the column MASTER, or nothing.
fn shown(scene: &mut Scene) -> Option<String> {
    scene.plan().status.master
}

#[test]
fn nobody_is_named_as_master_while_nobody_is() {
    let named = Some("pipeline-tea-0".to_owned());
    let mut scene = Scene::settled(3, 3);
    assert_eq!(shown(&mut scene), named);

    for flag in ["o_down", "failover_in_progress"] {
        let mut scene = Scene::settled(3, 3);
        for index in 0..3 {
            scene.report(index).flags = vec![flag.to_owned()];
        }
        assert_eq!(shown(&mut scene), None, "{flag}");
        let last = scene.plan().status.last_master;
        assert_eq!(last, Some(last_master(0)), "{flag}");
    }

    let mut scene = Scene::settled(3, 3);
    scene.data(0, blank());
    assert_eq!(shown(&mut scene), None, "a restarted server is no master");

    let mut scene = Scene::settled(3, 3);
    scene.seen.data.remove(0);
    assert_eq!(shown(&mut scene), None, "a pod that is gone is no master");
}

#[test]
fn a_master_that_serves_is_named_while_no_duke_can_be_asked() {
    let mut scene = Scene::settled(3, 3);
    scene.dukes_forget();
    assert_eq!(shown(&mut scene).as_deref(), Some("pipeline-tea-0"));
    scene.mute_data(0);
    assert_eq!(shown(&mut scene), None);
}

/// A condition's reason and message.
fn condition(scene: &mut Scene, kind: ConditionType) -> (String, String) {
    let all = scene.plan().status.conditions;
    let found = all.into_iter().find(|known| known.type_ == kind.as_str());
    let found = found.unwrap();
    (found.reason, found.message)
}

/// The phase, with the sentence that goes with it.
fn phase(scene: &mut Scene) -> (Phase, String) {
    let status = scene.plan().status;
    let reason = status.phase_reason.unwrap_or_default();
    (status.phase.unwrap(), reason)
}

#[test]
fn what_keeps_a_pod_is_named_at_creation_and_on_a_running_group() {
    let why = "it cannot be scheduled: 0/3 nodes are available";
    let mut scene = Scene::fresh(3, 3);
    for ordinal in 0..3 {
        scene.pod(ordinal).answer = Answer::NotAsked;
        scene.pod(ordinal).facts.ready = false;
        scene.pod(ordinal).facts.trouble = Some(why.to_owned());
    }
    let (word, reason) = phase(&mut scene);
    assert_eq!(word, Phase::Pending);
    assert!(
        reason.contains("pipeline-tea-0") && reason.contains(why),
        "{reason}"
    );

    for is_duke in [false, true] {
        let mut scene = Scene::settled(3, 3);
        let facts = if is_duke {
            scene.mute_duke(2);
            &mut scene.duke(2).facts
        } else {
            scene.mute_data(2);
            &mut scene.pod(2).facts
        };
        facts.ready = false;
        facts.trouble = Some(why.to_owned());
        let name = facts.name.clone();
        let (word, reason) = phase(&mut scene);
        assert_eq!(word, Phase::Degraded, "{reason}");
        assert!(reason.contains(&name) && reason.contains(why), "{reason}");
        let (reason, _) = condition(&mut scene, ConditionType::Updated);
        assert_eq!(reason, "PodsStuck");
    }
}

#[test]
fn an_image_of_the_dukes_that_is_not_there_is_not_called_an_update() {
    let mut scene = Scene::settled(3, 3);
    scene.live(3, "r1", 2);
    scene.mute_duke(2);
    let facts = &mut scene.duke(2).facts;
    facts.ready = false;
    facts.trouble =
        Some("the image odd:1 of container duke cannot be pulled: not found".to_owned());
    let (reason, message) = condition(&mut scene, ConditionType::Updated);
    assert_eq!(reason, "PodsStuck");
    assert!(message.contains("the image odd:1"), "{message}");
}

#[test]
fn a_quota_is_named_while_pods_are_missing() {
    let quota = "StatefulSet/pipeline-tea: FailedCreate: exceeded quota: small";
    let mut scene = Scene::settled(3, 3);
    scene.seen.data.remove(2);
    scene.seen.complaints = vec![quota.to_owned()];
    let (word, reason) = phase(&mut scene);
    assert_eq!(word, Phase::Degraded);
    assert!(reason.contains(quota), "{reason}");

    let mut scene = Scene::fresh(3, 3);
    scene.seen.data.clear();
    scene.seen.complaints = vec![quota.to_owned()];
    let (_, reason) = phase(&mut scene);
    assert!(reason.contains(quota), "{reason}");
}

#[test]
fn a_group_that_lost_data_is_not_ready() {
    let mut scene = Scene::settled(3, 3);
    assert_eq!(phase(&mut scene).0, Phase::Ready);
    let lost = Verdict {
        kind: ConditionType::DataLost,
        truth: Truth::True,
        reason: Reason::NotYet,
        message: "at 10:00 pipeline-tea-1 was seeded with 5 keys less".to_owned(),
    };
    let time = scene.seen.time;
    condition::merge(&mut scene.seen.status.conditions, &[lost], Some(1), time);
    let (word, reason) = phase(&mut scene);
    assert_eq!(word, Phase::Degraded);
    assert!(reason.contains("5 keys less"), "{reason}");
    let ready = condition::holds(&scene.plan().status.conditions, ConditionType::Ready);
    assert_eq!(ready, Some(false));
}

#[test]
fn a_roll_is_an_update_and_a_refused_directive_is_not() {
    let mut scene = Scene::settled(3, 3);
    scene.live(3, "r2", 3);
    assert_eq!(phase(&mut scene).0, Phase::Updating);

    let mut scene = Scene::settled(3, 3);
    scene.wanted.live = [("maxmemory".to_owned(), "banana".to_owned())].into();
    let setting = Setting {
        run_id: "run".to_owned(),
        directive: "maxmemory".to_owned(),
    };
    let tried = Tried {
        value: "banana".to_owned(),
        refusal: Some("ERR argument must be a memory value".to_owned()),
    };
    scene.memory.tried.insert(setting, tried);
    let (word, reason) = phase(&mut scene);
    assert_eq!(word, Phase::Degraded);
    assert!(reason.contains("must be a memory value"), "{reason}");
}

#[test]
fn a_server_that_refuses_the_operators_password_is_named() {
    let mut scene = Scene::settled(3, 3);
    scene.pod(2).answer = Answer::Missing(Error::Answered {
        address: node(2),
        message: "WRONGPASS invalid username-password pair".to_owned(),
    });
    let (reason, message) = condition(&mut scene, ConditionType::CredentialsApplied);
    assert_eq!(reason, "CredentialsRefused");
    for part in ["pipeline-tea-2", "WRONGPASS", "Secret/pipeline-tea-users"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(phase(&mut scene).0, Phase::Degraded);
}

#[test]
fn a_replica_that_is_not_in_sync_is_told_with_what_keeps_it() {
    let mut scene = Scene::settled(3, 3);
    scene.data(1, blank());
    scene.mute_data(2);
    let (_, message) = condition(&mut scene, ConditionType::ReplicasInSync);
    assert_eq!(
        message,
        "not in sync with the master: pipeline-tea-1 has not been told yet whom to follow, \
         pipeline-tea-2 does not answer the operator"
    );
}

#[test]
fn what_the_dukes_say_of_a_missing_master_is_told() {
    let mut scene = Scene::settled(3, 3);
    for index in 0..3 {
        scene.report(index).flags = vec!["o_down".to_owned()];
    }
    scene.report(1).reason = "10.0.0.2 is half synced".to_owned();
    let (reason, message) = condition(&mut scene, ConditionType::MasterAvailable);
    assert_eq!(reason, "FailingOver");
    assert_eq!(
        message,
        "the Dukes are replacing the master: 10.0.0.2 is half synced"
    );
}

#[test]
fn a_server_that_refuses_the_dukes_password_is_named() {
    let mut scene = Scene::settled(3, 3);
    scene.report(0).nodes[2].up = false;
    scene.report(0).nodes[2].refusal = "WRONGPASS invalid username-password pair".to_owned();
    let (reason, message) = condition(&mut scene, ConditionType::CredentialsApplied);
    assert_eq!(reason, "CredentialsRefused");
    assert!(
        message.starts_with("pipeline-tea-2 refuses the Dukes"),
        "{message}"
    );
}

//! What data pods start with: a line that servers refuse costs one pod, and nobody's data.

use std::collections::BTreeMap;

use super::scene::{Scene, blank, follower, master};
use crate::{
    controller::{
        memory::{Setting, Tried},
        observe::{Answer, Phase},
        plan::config_file::Wish,
    },
    redis::node::NodeReport,
    render::server_config::{Candidate, Files, NAME_DIRECTIVE, name_of},
};

const FORMER: &str = "databases 16\n";
const CHANGED: &str = "databases 16\nloadmodule /nowhere\n";
const WRITE: &str = "Apply ConfigMap/pipeline-tea";

/// A server that was started with a text.
fn started(mut report: NodeReport, text: &str) -> NodeReport {
    report
        .config
        .insert(NAME_DIRECTIVE.to_owned(), name_of(text));
    report
}

/// A group at rest that was started with the former text, and is asked for another one.
fn asked_for(text: &str) -> Scene {
    let mut scene = Scene::settled(3, 3);
    scene.set_files(&Files {
        proven: FORMER.to_owned(),
        pods: 3,
        ..Files::default()
    });
    for ordinal in 0..3 {
        restart(&mut scene, ordinal, FORMER);
    }
    scene.wanted.file = Wish {
        text: text.to_owned(),
        live: String::new(),
    };
    scene
}

/// A data pod comes up with a text, in the role that it had.
fn restart(scene: &mut Scene, ordinal: u16, text: &str) {
    let report = if ordinal == 0 {
        master(100)
    } else {
        follower(0, 100)
    };
    scene.data(ordinal, started(report, text));
}

/// A data pod is replaced and does not come up.
fn fail(scene: &mut Scene, ordinal: u16) {
    let pod = scene.pod(ordinal);
    pod.facts.uid = format!("later-{}", pod.facts.uid);
    pod.facts.phase = Phase::Running;
    pod.facts.ready = false;
    pod.facts.trouble = Some("can't open /nowhere".to_owned());
    scene.mute_data(ordinal);
}

fn candidate(scene: &Scene) -> Option<Candidate> {
    scene.files().candidate
}

fn applied(scene: &mut Scene) -> (String, String) {
    let conditions = scene.plan().status.conditions;
    let found = conditions
        .into_iter()
        .find(|known| known.type_ == "ConfigApplied")
        .unwrap();
    (found.reason, found.message)
}

#[test]
fn a_changed_line_is_tried_by_one_pod_and_then_given_to_all() {
    let mut scene = asked_for(CHANGED);
    assert_eq!(scene.write_files(), [WRITE], "the file first");
    let tried = candidate(&scene).unwrap();
    assert_eq!(
        (tried.pod.as_str(), tried.text.as_str()),
        ("pipeline-tea-2", CHANGED)
    );
    assert_eq!(scene.files().text_of("pipeline-tea-1"), FORMER);
    assert_eq!(scene.write_files(), ["DeletePod pipeline-tea-2"]);

    scene.pod(2).facts.uid = "later".to_owned();
    restart(&mut scene, 2, CHANGED);
    assert_eq!(scene.write_files(), [WRITE]);
    let files = scene.files();
    assert_eq!((files.proven.as_str(), files.candidate), (CHANGED, None));
    assert_eq!(scene.write_files(), ["DeletePod pipeline-tea-1"]);
}

#[test]
fn a_line_that_is_refused_stops_one_pod_and_is_in_nobody_elses_file() {
    let mut scene = asked_for(CHANGED);
    scene.write_files();
    fail(&mut scene, 2);
    // Processes end, pods are replaced, the operator starts anew: the others have the former text.
    for ordinal in [0, 1] {
        fail(&mut scene, ordinal);
        scene.memory = crate::controller::memory::Memory::default();
        scene.write_files();
        let pod = format!("pipeline-tea-{ordinal}");
        assert_eq!(scene.files().text_of(&pod), FORMER);
        restart(&mut scene, ordinal, FORMER);
    }
    assert_eq!(candidate(&scene).unwrap().pod, "pipeline-tea-2");
    let (reason, message) = applied(&mut scene);
    assert_eq!(reason, "DirectiveRefused");
    for part in [
        "pipeline-tea-2",
        "'loadmodule /nowhere'",
        "can't open /nowhere",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_line_that_is_taken_out_again_lets_the_pod_come_back() {
    let mut scene = asked_for(CHANGED);
    scene.write_files();
    fail(&mut scene, 2);
    scene.wanted.file.text = FORMER.to_owned();
    scene.write_files();
    let files = scene.files();
    assert_eq!(files.candidate, None);
    let uid = scene.pod(2).facts.uid.clone();
    assert_eq!(
        files.outdated,
        [uid].into(),
        "it may have started with the bad line"
    );
}

#[test]
fn a_corrected_line_is_tried_by_the_same_pod() {
    let mut scene = asked_for(CHANGED);
    scene.write_files();
    fail(&mut scene, 2);
    let right = CHANGED.replace("nowhere", "there");
    scene.wanted.file.text.clone_from(&right);
    scene.write_files();
    let tried = candidate(&scene).unwrap();
    assert_eq!((tried.pod.as_str(), tried.text), ("pipeline-tea-2", right));
    assert_eq!(scene.files().proven, FORMER);
}

#[test]
fn nothing_is_tried_while_running_servers_refuse_what_they_take_live() {
    let mut scene = asked_for(&format!("maxmemory banana\n{CHANGED}"));
    scene.wanted.live = BTreeMap::from([("maxmemory".to_owned(), "banana".to_owned())]);
    let sent = scene.write_files();
    assert!(
        sent.iter().all(|step| step.starts_with("SetNode")),
        "{sent:?}"
    );
    let setting = Setting {
        run_id: "run".to_owned(),
        directive: "maxmemory".to_owned(),
    };
    let tried = |refusal: Option<&str>| Tried {
        value: "banana".to_owned(),
        refusal: refusal.map(str::to_owned),
    };
    let refusal = tried(Some("ERR argument must be a memory value"));
    scene.memory.tried.insert(setting.clone(), refusal);
    assert_eq!(scene.write_files(), [""; 0]);
    assert!(applied(&mut scene).1.contains("must be a memory value"));

    scene.memory.tried.insert(setting, tried(None));
    assert_eq!(scene.write_files(), [WRITE]);
}

#[test]
fn a_value_that_servers_have_taken_is_in_all_files_without_a_restart() {
    let text = format!("maxmemory-policy allkeys-lru\n{FORMER}");
    let mut scene = asked_for(&text);
    assert_eq!(scene.write_files(), [WRITE]);
    assert_eq!(scene.files().proven, text);
    assert_eq!(scene.write_files(), [""; 0]);
}

#[test]
fn in_a_group_that_is_down_one_pod_tries_the_text() {
    let mut scene = asked_for(&format!("maxmemory 1mb\n{FORMER}"));
    for ordinal in 0..3 {
        scene.mute_data(ordinal);
    }
    scene.write_files();
    let files = scene.files();
    assert_eq!(files.proven, FORMER);
    assert_ne!(
        files.candidate.unwrap().pod,
        "pipeline-tea-0",
        "that was master"
    );
}

#[test]
fn a_group_without_a_first_master_has_nothing_to_prove_with() {
    let mut scene = Scene::fresh(3, 3);
    scene.set_files(&Files {
        proven: CHANGED.to_owned(),
        pods: 3,
        ..Files::default()
    });
    scene.wanted.file.text = FORMER.to_owned();
    for ordinal in 0..3 {
        scene.mute_data(ordinal);
    }
    scene.write_files();
    let files = scene.files();
    assert_eq!((files.proven.as_str(), files.candidate), (FORMER, None));
    assert_eq!(
        files.outdated.len(),
        3,
        "all may have started with the former text"
    );
}

#[test]
fn a_server_that_does_not_read_its_file_is_not_restarted_for_ever() {
    let mut scene = asked_for(CHANGED);
    scene.write_files();
    scene.pod(2).facts.uid = "later".to_owned();
    restart(&mut scene, 2, FORMER);
    assert_eq!(scene.write_files(), [""; 0]);
    let (reason, message) = applied(&mut scene);
    assert_eq!(reason, "DirectiveRefused");
    assert!(message.contains("spec.pipeline.command"), "{message}");
}

#[test]
fn a_server_that_does_not_name_its_file_is_left_alone() {
    let mut scene = asked_for(CHANGED);
    for ordinal in 0..3 {
        let report = if ordinal == 0 {
            master(100)
        } else {
            follower(0, 100)
        };
        scene.data(ordinal, report);
    }
    let steps = scene.write_files();
    assert!(
        steps.iter().all(|step| !step.starts_with("DeletePod")),
        "{steps:?}"
    );
}

#[test]
fn a_pod_that_has_never_answered_is_no_proof() {
    let mut scene = asked_for(CHANGED);
    scene.write_files();
    scene.pod(2).answer = Answer::NotAsked;
    scene.write_files();
    assert_eq!(scene.files().proven, FORMER);
    let mut loading = started(blank(), CHANGED);
    loading.loading = true;
    scene.data(2, loading);
    scene.write_files();
    assert_eq!(
        scene.files().proven,
        FORMER,
        "its data may not fit the line"
    );
}

//! Which text each data pod finds in its configuration file, and who has to start anew with it. Pure.
//!
//! A text with which no server was seen to start is in nobody's file, but for one pod's that a roll
//! is about to replace: it is the candidate. When that pod is back with it, all get it. So a line
//! that servers refuse stops one pod, and all others start again with what they had.
//!
//! Directives that running servers take are tried with them first; a text that differs in nothing
//! else is proven by that. What a server was started with it says itself.

use std::collections::BTreeSet;

use super::{settings::Settings, situation::Situation};
use crate::{
    api::condition::Reason,
    controller::{
        object::{Kind, Object, ObjectId},
        observe::DataPod,
    },
    redis::node::NodeReport,
    render::server_config::{Candidate, Files, name_of, told_name},
};

/// The file as the spec wants it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wish {
    /// The text.
    pub text: String,
    /// The names of the custom directives in it that running servers take.
    pub live: String,
}

/// The files as they stand.
#[must_use]
pub fn present(now: &Situation<'_>) -> Option<Files> {
    let names = &now.wanted.names;
    let id = ObjectId {
        kind: Kind::ConfigMap,
        name: names.data(),
    };
    match now.seen.live.get(&id)? {
        Object::ConfigMap(live) => Files::read(names, live),
        Object::Deployment(_)
        | Object::DisruptionBudget(_)
        | Object::EndpointSlice(_)
        | Object::Secret(_)
        | Object::Service(_)
        | Object::StatefulSet(_) => None,
    }
}

/// The data pods that answer, with their answers.
fn answering<'a>(now: &Situation<'a>) -> impl Iterator<Item = (&'a DataPod, &'a NodeReport)> {
    let data = now.seen.data.iter();
    data.filter_map(|pod| Some((pod, pod.answer.given()?)))
}

fn silent<'a>(now: &Situation<'a>) -> impl Iterator<Item = &'a DataPod> {
    let data = now.seen.data.iter();
    data.filter(|pod| pod.answer.given().is_none())
}

/// Data pods that have to start anew to have what the spec asks for, by uid.
#[must_use]
pub fn restarts(now: &Situation<'_>, settings: &Settings) -> BTreeSet<String> {
    let Some(files) = present(now) else {
        return BTreeSet::new();
    };
    let down = silent(now)
        .map(|pod| &pod.facts.uid)
        .filter(|uid| files.outdated.contains(*uid));
    let mut uids: BTreeSet<String> = down.cloned().collect();
    // What running servers refuse no server is started with.
    if settings.differs || ignores_its_file(now, &files) {
        return uids;
    }
    let name = name_of(&now.wanted.file.text);
    let started_otherwise = answering(now)
        .filter(|(_, report)| told_name(&report.config).is_some_and(|told| told != name))
        .map(|(pod, _)| pod.facts.uid.clone());
    uids.extend(started_otherwise);
    uids
}

/// Whether the pod with the candidate has started anew without reading it: its command reads
/// something else, and to restart it again would change nothing.
fn ignores_its_file(now: &Situation<'_>, files: &Files) -> bool {
    files.candidate.as_ref().is_some_and(|candidate| {
        answering(now).any(|(pod, report)| {
            pod.facts.name == candidate.pod
                && pod.facts.uid != candidate.uid
                && told_name(&report.config) != Some(name_of(&candidate.text).as_str())
        })
    })
}

/// The files as they should be now, `next` being the pod that is about to be replaced.
#[must_use]
pub fn decide(now: &Situation<'_>, settings: &Settings, next: Option<&DataPod>) -> Files {
    let highest = now.seen.data.iter().map(|pod| pod.ordinal);
    let existing = highest.max().map_or(0, |ordinal| ordinal.saturating_add(1));
    let pods = now.wanted.data.max(existing);
    let wish = &now.wanted.file;
    let Some(present) = present(now) else {
        return Files {
            proven: wish.text.clone(),
            live: wish.live.clone(),
            pods,
            ..Files::default()
        };
    };
    let mut files = choose(now, settings, next, &present);
    files.pods = pods;
    files.outdated = outdated(now, &present, &files);
    files
}

fn choose(
    now: &Situation<'_>,
    settings: &Settings,
    next: Option<&DataPod>,
    present: &Files,
) -> Files {
    let wish = &now.wanted.file;
    let taken = || Files {
        proven: wish.text.clone(),
        live: wish.live.clone(),
        candidate: None,
        ..present.clone()
    };
    // Before the first master there is nothing to lose, and nobody to try it while others serve.
    if present.proven == wish.text || now.is_fresh() {
        return taken();
    }
    if answering(now).next().is_some() {
        if settings.differs {
            return present.clone();
        }
        if name_of(&present.proven) == name_of(&wish.text) {
            return taken();
        }
    }
    if is_proven(now, present) {
        return taken();
    }
    Files {
        candidate: candidate(now, next, present),
        ..present.clone()
    }
}

/// Whether the pod that tries the wanted text has come up with it.
fn is_proven(now: &Situation<'_>, present: &Files) -> bool {
    let wish = &now.wanted.file;
    let Some(tried) = present
        .candidate
        .as_ref()
        .filter(|tried| tried.text == wish.text)
    else {
        return false;
    };
    let name = name_of(&wish.text);
    answering(now).any(|(pod, report)| {
        // Where the former text has the same name, only a new pod has surely read this one.
        let has_read = name != name_of(&present.proven) || pod.facts.uid != tried.uid;
        pod.facts.name == tried.pod
            && has_read
            && !report.loading
            && told_name(&report.config) == Some(name.as_str())
    })
}

/// Who tries the wanted text: whoever is replaced next, or tries something already, or, in a group
/// that is down, one that was not master.
fn candidate(now: &Situation<'_>, next: Option<&DataPod>, present: &Files) -> Option<Candidate> {
    let text = &now.wanted.file.text;
    let by_name = |name: &str| now.seen.data.iter().find(|pod| pod.facts.name == name);
    let trying = present.candidate.as_ref();
    let last = now.seen.status.last_master.as_ref();
    let all_are_down = answering(now).next().is_none();
    let spare = now
        .seen
        .data
        .iter()
        .rev()
        .filter(|_| all_are_down)
        .max_by_key(|pod| last.is_none_or(|last| last.pod != pod.facts.name));
    let pod = next.or_else(|| by_name(&trying?.pod)).or(spare)?;
    let same = trying.filter(|tried| tried.pod == pod.facts.name && tried.text == *text);
    Some(same.cloned().unwrap_or_else(|| Candidate {
        pod: pod.facts.name.clone(),
        uid: pod.facts.uid.clone(),
        text: text.clone(),
    }))
}

/// Who may have started with a former text, once the files are as decided.
fn outdated(now: &Situation<'_>, before: &Files, after: &Files) -> BTreeSet<String> {
    let is_changed = |pod: &DataPod| {
        let name = &pod.facts.name;
        before.text_of(name) != after.text_of(name)
    };
    let changed: Vec<&DataPod> = silent(now).filter(|pod| is_changed(pod)).collect();
    if changed.is_empty() {
        return before.outdated.clone();
    }
    now.seen
        .data
        .iter()
        .map(|pod| &pod.facts.uid)
        .filter(|uid| {
            before.outdated.contains(*uid) || changed.iter().any(|pod| pod.facts.uid == **uid)
        })
        .cloned()
        .collect()
}

/// What is to be said of a text that is being tried, or that pods wait for.
#[must_use]
pub fn progress(now: &Situation<'_>, settings: &Settings) -> Option<(Reason, String)> {
    let files = present(now)?;
    let wish = &now.wanted.file;
    let tried = files
        .candidate
        .as_ref()
        .filter(|tried| tried.text == wish.text);
    if let Some(tried) = tried {
        let changed = changed_lines(&files.proven, &wish.text);
        let pod = now.seen.data.iter().find(|pod| pod.facts.name == tried.pod);
        if ignores_its_file(now, &files) {
            let message = format!(
                "{} was started anew and did not read {changed}; spec.pipeline.command has to read \
                 {}",
                tried.pod,
                crate::render::server_config::CONFIG_FILE,
            );
            return Some((Reason::DirectiveRefused, message));
        }
        let trouble = pod.and_then(|pod| pod.facts.trouble.as_ref());
        return Some(match trouble {
            Some(trouble) => (
                Reason::DirectiveRefused,
                format!(
                    "{} does not start with {changed}: {trouble}; the other pods keep the former \
                     lines; correct spec.pipeline.customConfig",
                    tried.pod
                ),
            ),
            None => (
                Reason::RestartPending,
                format!("{} is the first to start with {changed}", tried.pod),
            ),
        });
    }
    let waiting = restarts(now, settings);
    let pods: Vec<&str> = now
        .seen
        .data
        .iter()
        .filter(|pod| waiting.contains(&pod.facts.uid))
        .map(|pod| pod.facts.name.as_str())
        .collect();
    (!pods.is_empty()).then(|| {
        let pods = pods.join(", ");
        let message = format!("{pods} has to start anew with the present customConfig");
        (Reason::RestartPending, message)
    })
}

/// The lines of one text that the other does not have.
fn changed_lines(before: &str, after: &str) -> String {
    let before: BTreeSet<&str> = before.lines().collect();
    let name = name_of(after);
    let lines: Vec<String> = after
        .lines()
        .filter(|line| !before.contains(line) && !line.ends_with(&name))
        .map(|line| format!("'{line}'"))
        .collect();
    if lines.is_empty() {
        "fewer lines of customConfig".to_owned()
    } else {
        lines.join(", ")
    }
}

//! Why a pod does not start or does not keep running, in a sentence for people. Pure.
//!
//! Says the same for as long as the trouble is the same: no counters, no times, no pauses of the
//! kubelet's, so that a status that quotes it does not change while nothing changes.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// How much is quoted of what a process said last.
const WORDS_MAX: usize = 300;
/// How many lines are quoted of what a process said last.
const LINES_MAX: usize = 4;

/// Why a pod is not ready, if the scheduler or the kubelet says so.
#[must_use]
pub(super) fn of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.iter().flatten();
    let mut unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled.next() {
        let message = condition.message.as_deref().unwrap_or("no node fits");
        return Some(format!("it cannot be scheduled: {message}"));
    }
    if let Some(reason) = status.reason.as_deref() {
        let message = status.message.as_deref().unwrap_or_default();
        return Some(format!("{reason}: {message}"));
    }
    let init = status.init_container_statuses.iter().flatten();
    let containers = status.container_statuses.iter().flatten();
    init.chain(containers)
        .filter(|container| !container.ready)
        .find_map(of_container)
}

fn of_container(container: &ContainerStatus) -> Option<String> {
    let name = &container.name;
    let state = container.state.as_ref();
    let ended = |state: &ContainerStateTerminated| {
        (state.exit_code != 0).then(|| format!("container {name} {}", end(state)))
    };
    if let Some(ended) = state.and_then(|state| ended(state.terminated.as_ref()?)) {
        return Some(ended);
    }
    let last = container.last_state.as_ref();
    let last = last.and_then(|state| state.terminated.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    let message = waiting.and_then(|waiting| waiting.message.as_deref());
    match reason {
        None | Some("CrashLoopBackOff" | "ContainerCreating" | "PodInitializing") => {
            last.and_then(ended)
        }
        Some("ErrImagePull" | "ImagePullBackOff") => {
            let why = message.unwrap_or_default();
            // One of the two quotes the other, and they take turns.
            let why = why
                .rsplit_once("ErrImagePull: ")
                .map_or(why, |(_, why)| why);
            let image = &container.image;
            Some(format!(
                "the image {image} of container {name} cannot be pulled: {why}"
            ))
        }
        Some(reason) => {
            let message = message.unwrap_or_default();
            Some(format!(
                "container {name} is not started, {reason}: {message}"
            ))
        }
    }
}

/// How a process ended, with what it said last.
fn end(state: &ContainerStateTerminated) -> String {
    let reason = match state.reason.as_deref() {
        None | Some("Error" | "") => String::new(),
        Some(reason) => format!(" ({reason})"),
    };
    let code = state.exit_code;
    match last_words(state.message.as_deref().unwrap_or_default()) {
        words if words.is_empty() => format!("ended with exit code {code}{reason}"),
        words => format!("ended with exit code {code}{reason}: {words}"),
    }
}

/// The last lines of a log, without the times in them.
fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(|line| without_time(line.trim()))
        .filter(|line| !line.is_empty())
        .collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    let text = lines.get(from..).unwrap_or_default().join(" | ");
    text.chars().take(WORDS_MAX).collect()
}

/// A line of a server's log without its head: `1:M 28 Nov 2026 10:00:00.000 # text`.
fn without_time(line: &str) -> &str {
    let mut rest = line;
    let mut words = Vec::new();
    for _ in 0..6 {
        let Some((word, after)) = rest.split_once(' ') else {
            return line;
        };
        words.push(word);
        rest = after;
    }
    let is_head = words.first().is_some_and(|word| {
        let (id, role) = word.split_once(':').unwrap_or_default();
        !id.is_empty() && id.chars().all(|c| c.is_ascii_digit()) && role.len() == 1
    });
    if is_head { rest } else { line }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn trouble(status: &Value) -> Option<String> {
        of(&serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap())
    }

    fn container(state: &Value, last: &Value) -> Value {
        json!({ "containerStatuses": [{
            "name": "pipeline", "image": "redis:odd", "imageID": "", "ready": false,
            "restartCount": 3, "state": state, "lastState": last,
        }] })
    }

    #[test]
    fn what_keeps_a_pod_is_told_in_a_sentence() {
        let log = "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\n\
            Reading the configuration file, at line 17\n>>> 'maxmemory 1Gi'\n\
            argument must be a memory value\n";
        let crashed = json!({ "terminated": { "exitCode": 1, "reason": "Error", "message": log } });
        let waits = |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
        let none = json!({});
        let unscheduled = json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available",
        }] });
        for (status, told) in [
            (
                unscheduled,
                "it cannot be scheduled: 0/3 nodes are available",
            ),
            (
                container(&waits("CrashLoopBackOff", "back-off 20s"), &crashed),
                "container pipeline ended with exit code 1: *** FATAL CONFIG FILE ERROR (Redis \
                 7.0.15) *** | Reading the configuration file, at line 17 | >>> 'maxmemory 1Gi' | \
                 argument must be a memory value",
            ),
            (
                container(
                    &json!({ "running": {} }),
                    &json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }),
                ),
                "container pipeline ended with exit code 137 (OOMKilled)",
            ),
            (
                container(
                    &waits("CreateContainerConfigError", "secret \"a\" not found"),
                    &none,
                ),
                "container pipeline is not started, CreateContainerConfigError: secret \"a\" not \
                 found",
            ),
        ] {
            assert_eq!(trouble(&status).as_deref(), Some(told));
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_alike_on_every_attempt() {
        let pull = container(
            &json!({ "waiting": { "reason": "ErrImagePull", "message": "not found" } }),
            &json!({}),
        );
        let backs_off = container(
            &json!({ "waiting": { "reason": "ImagePullBackOff", "message":
                "Back-off pulling image \"redis:odd\": ErrImagePull: not found" } }),
            &json!({}),
        );
        assert_eq!(
            trouble(&pull).as_deref(),
            Some("the image redis:odd of container pipeline cannot be pulled: not found")
        );
        assert_eq!(trouble(&pull), trouble(&backs_off));
    }

    #[test]
    fn what_is_under_way_or_well_is_no_trouble() {
        let creating = json!({ "waiting": { "reason": "ContainerCreating" } });
        let ended = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
        for (state, last) in [
            (creating, json!({})),
            (json!({ "running": {} }), json!({})),
            (json!({ "running": {} }), ended),
        ] {
            assert_eq!(trouble(&container(&state, &last)), None, "{state} {last}");
        }
    }

    #[test]
    fn times_are_left_out_of_a_log() {
        let line = "1:M 28 Nov 2026 10:00:00.123 # Can't open the append-only file";
        assert_eq!(last_words(line), "Can't open the append-only file");
        assert_eq!(last_words("Error: no such file"), "Error: no such file");
    }
}

//! What the cluster's own controllers complain of in events, where nothing else says it: a
//! StatefulSet whose pods are not admitted (a quota, a `LimitRange`), a pod whose volumes do not come.
//!
//! Events are listed of single objects, only while pods are missing or do not start, and ever more
//! seldom while nothing changes: a group at rest costs the API server nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client, api::ListParams};
use tracing::debug;

use super::{Observation, Phase, PodFacts};
use crate::api::names::Names;

/// How long something may be under way before its events are looked at.
const GRACE: Duration = Duration::from_secs(3);
/// The first pause between two looks; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How many objects are looked at in one pass.
const SUBJECTS_MAX: usize = 4;
/// How long the API server may take.
const LIMIT: Duration = Duration::from_secs(2);

/// What is known of one object's complaints.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// When to look again.
    next: Instant,
    /// The pause after that.
    pause: Duration,
    /// What was found.
    found: Option<String>,
}

/// Objects with which something is under way, by uid, with what people call them.
#[must_use]
pub fn subjects(seen: &Observation, names: &Names) -> Vec<(String, String)> {
    let stateful_set = seen.stateful_set(names);
    let wanted = stateful_set.and_then(|live| usize::try_from(live.spec.replicas?).ok());
    let lacks_pods = wanted.is_some_and(|wanted| seen.data.len() < wanted);
    let set = stateful_set
        .filter(|_| lacks_pods)
        .and_then(|live| live.metadata.uid.clone())
        .map(|uid| (uid, format!("StatefulSet/{}", names.data())));
    let data = seen.data.iter().map(|pod| &pod.facts);
    let dukes = seen.dukes.iter().map(|pod| &pod.facts);
    let starts = |facts: &&PodFacts| {
        let is_placed = facts.phase == Phase::Pending && facts.node.is_some();
        is_placed && !facts.terminating && facts.trouble.is_none()
    };
    let pods = data
        .chain(dukes)
        .filter(starts)
        .map(|facts| (facts.uid.clone(), facts.name.clone()));
    set.into_iter().chain(pods).take(SUBJECTS_MAX).collect()
}

/// Looks at the events of the objects whose turn it is; returns what is known of all of them.
pub async fn ask(
    client: &Client,
    namespace: &str,
    subjects: &[(String, String)],
    known: &BTreeMap<String, Complaint>,
    at: Instant,
) -> BTreeMap<String, Complaint> {
    let asked = subjects.iter().map(|(uid, _)| async move {
        let complaint = match known.get(uid) {
            None => Complaint {
                next: at + GRACE,
                pause: PAUSE,
                found: None,
            },
            Some(known) if at < known.next => known.clone(),
            Some(known) => Complaint {
                next: at + known.pause,
                pause: known.pause.saturating_mul(2).min(PAUSE_MAX),
                found: match look(client, namespace, uid).await {
                    None => known.found.clone(),
                    found => found,
                },
            },
        };
        (uid.clone(), complaint)
    });
    join_all(asked).await.into_iter().collect()
}

/// What is complained of, as sentences.
#[must_use]
pub fn told(subjects: &[(String, String)], known: &BTreeMap<String, Complaint>) -> Vec<String> {
    subjects
        .iter()
        .filter_map(|(uid, name)| {
            let found = known.get(uid)?.found.as_ref()?;
            Some(format!("{name}: {found}"))
        })
        .collect()
}

/// The last warning about an object.
async fn look(client: &Client, namespace: &str, uid: &str) -> Option<String> {
    let events = Api::<Event>::namespaced(client.clone(), namespace);
    let fields = format!("involvedObject.uid={uid},type=Warning");
    let parameters = ListParams::default().fields(&fields).limit(50);
    let listed = tokio::time::timeout(LIMIT, events.list(&parameters)).await;
    match listed {
        Ok(Ok(list)) => list.items.iter().max_by_key(|event| time(event)).map(text),
        Ok(Err(error)) => {
            debug!(%error, "failed to list events");
            None
        }
        Err(_elapsed) => None,
    }
}

fn time(event: &Event) -> Option<Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let series = event.series.as_ref();
    let series = series.and_then(|series| Some(series.last_observed_time.as_ref()?.0));
    let made = event.event_time.as_ref().map(|time| time.0);
    last.max(series).max(made)
}

fn text(event: &Event) -> String {
    let reason = event.reason.as_deref().unwrap_or_default();
    let message = event.message.as_deref().unwrap_or_default();
    let message: String = message.chars().take(400).collect();
    format!("{reason}: {message}")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn the_last_warning_counts_however_it_is_dated() {
        let at = |second: i64| Time(Timestamp::from_second(second).unwrap());
        let old = Event {
            last_timestamp: Some(at(10)),
            ..Event::default()
        };
        let new = Event {
            event_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(
                Timestamp::from_second(20).unwrap(),
            )),
            ..Event::default()
        };
        assert!(time(&old) < time(&new));
        assert!(time(&Event::default()) < time(&old));
    }
}

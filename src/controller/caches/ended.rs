//! Which pods a kubelet has confirmed the end of.
//!
//! A pod that was removed by force vanishes from the API while its processes may run on. One that
//! was stopped by its kubelet says so in its last version, which only a watch sees. Forgotten with
//! the process: then other evidence is needed, which takes longer.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Pod;

use crate::controller::observe::has_ended;

/// How many pods are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 4_096;

/// The uids of the pods, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ended(Arc<Mutex<VecDeque<String>>>);

impl Ended {
    /// Takes note of a pod's version.
    pub fn note(&self, pod: &Pod) {
        let Some(uid) = pod.metadata.uid.clone().filter(|_| has_ended(pod)) else {
            return;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&uid) {
            known.push_back(uid);
        }
        if known.len() > REMEMBERED {
            known.pop_front();
        }
    }

    /// Those of the given uids whose end was confirmed.
    #[must_use]
    pub fn among(&self, uids: &[&str]) -> BTreeSet<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = known.iter().filter(|uid| uids.contains(&uid.as_str()));
        ended.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, deleted: bool, state: &str) -> Pod {
        let at = deleted.then_some("2026-11-28T09:00:00Z");
        serde_json::from_value(json!({
            "metadata": {
                "uid": uid,
                "deletionTimestamp": at,
                "labels": { "kubernetes.lol/component": "pipeline" },
            },
            "status": { "containerStatuses": [{
                "name": "pipeline", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { state: { "exitCode": 0 } },
            }] },
        }))
        .unwrap()
    }

    #[test]
    fn only_a_pod_that_its_kubelet_stopped_has_ended() {
        let ended = Ended::default();
        ended.note(&pod("stopped", true, "terminated"));
        ended.note(&pod("forced", true, "running"));
        ended.note(&pod("crashed", false, "terminated"));
        let asked = ["stopped", "forced", "crashed", "unknown"];
        let found = ended.among(&asked);
        assert_eq!(found, BTreeSet::from(["stopped".to_owned()]));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let ended = Ended::default();
        for number in 0..=REMEMBERED {
            ended.note(&pod(&number.to_string(), true, "terminated"));
        }
        let last = REMEMBERED.to_string();
        assert!(ended.among(&["0"]).is_empty());
        assert_eq!(ended.among(&[last.as_str()]).len(), 1);
    }
}

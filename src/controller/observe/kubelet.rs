//! Asks whether the kubelet of a node lives: it is the one that stops the processes of a pod that was
//! removed. Asked only when a group without a master misses a data node that ran there.
//!
//! A kubelet renews the Lease of its node every ten seconds; the node's condition is true for up to
//! a minute after its last word.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{Api, Client};

use super::ANSWER_LIMIT;

/// Where kubelets keep their Leases.
const LEASES: &str = "kube-node-lease";
/// The taint by which an administrator says that a node is shut down.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What is known of a node's kubelet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kubelet {
    /// The node is Ready; the time of its last word, which changes with every word.
    Ready {
        /// As the kubelet wrote it.
        renewed: String,
    },
    /// The node is not Ready.
    NotReady,
    /// The Node was removed, or tainted out of service: somebody vouches that nothing runs there.
    Gone,
    /// It could not be found out, and why.
    Unknown(String),
}

/// Asks about several nodes at once.
pub async fn ask(client: &Client, nodes: &[String]) -> BTreeMap<String, Kubelet> {
    let asked = nodes.iter().map(|node| async move {
        let answer = tokio::time::timeout(ANSWER_LIMIT, ask_one(client, node)).await;
        let kubelet = match answer {
            Ok(Ok(kubelet)) => kubelet,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Kubelet::Unknown("the operator may not read Nodes and their Leases".to_owned())
            }
            Ok(Err(error)) => Kubelet::Unknown(format!("the Node cannot be read: {error}")),
            Err(_elapsed) => Kubelet::Unknown(silence(ANSWER_LIMIT)),
        };
        (node.clone(), kubelet)
    });
    join_all(asked).await.into_iter().collect()
}

fn silence(limit: Duration) -> String {
    format!("the API server did not answer within {} s", limit.as_secs())
}

async fn ask_one(client: &Client, name: &str) -> kube::Result<Kubelet> {
    let Some(node) = Api::<Node>::all(client.clone()).get_opt(name).await? else {
        return Ok(Kubelet::Gone);
    };
    let lease = Api::<Lease>::namespaced(client.clone(), LEASES)
        .get_opt(name)
        .await?;
    Ok(judge(&node, lease.as_ref()))
}

fn judge(node: &Node, lease: Option<&Lease>) -> Kubelet {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    if taints.is_some_and(|all| all.iter().any(|taint| taint.key == OUT_OF_SERVICE)) {
        return Kubelet::Gone;
    }
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    });
    let renewed = lease
        .and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref())
        .map(|time| time.0.to_string());
    match renewed {
        Some(renewed) if is_ready => Kubelet::Ready { renewed },
        Some(_) | None => Kubelet::NotReady,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(ready: &str, taint: &str) -> Node {
        serde_json::from_value(json!({
            "spec": { "taints": [{ "key": taint, "effect": "NoExecute" }] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn lease() -> Lease {
        serde_json::from_value(json!({ "spec": { "renewTime": "2026-11-28T09:00:00.123456Z" } }))
            .unwrap()
    }

    #[test]
    fn a_kubelet_lives_when_its_node_is_ready_and_its_lease_is_kept() {
        let ready = judge(&node("True", "x"), Some(&lease()));
        assert!(matches!(ready, Kubelet::Ready { renewed } if renewed.contains("09:00:00.123456")));
        for (condition, lease) in [("True", None), ("Unknown", Some(lease()))] {
            assert_eq!(
                judge(&node(condition, "x"), lease.as_ref()),
                Kubelet::NotReady
            );
        }
    }

    #[test]
    fn a_node_out_of_service_runs_nothing() {
        assert_eq!(judge(&node("Unknown", OUT_OF_SERVICE), None), Kubelet::Gone);
    }
}

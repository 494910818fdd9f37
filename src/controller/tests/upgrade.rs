//! What another version of the operator does to the Pipelines of a former one.

use serde_json::{Value, json};

use super::{PIPELINE, api::Api, cluster, key, operator, pass, settle};
use crate::{
    api::label,
    controller::{Context, resolve::Defaults},
};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/tea/deployments/duke-oolong";
const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/tea/statefulsets/pipeline-oolong";
const SERVICE: &str = "/api/v1/namespaces/tea/services/pipeline-oolong";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/tea/endpointslices";

/// An operator whose Dukes have this image unless a spec names another.
fn version(api: &Api, duke_image: &str) -> Context {
    Context {
        defaults: Defaults {
            duke_image: duke_image.to_owned(),
        },
        ..operator(api)
    }
}

fn image(api: &Api) -> Value {
    api.objects()[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

#[tokio::test]
async fn an_upgrade_changes_no_pod_until_the_user_asks_for_it() {
    let api = cluster(&json!({}));
    settle(&version(&api, "duke:1"), &api).await;
    let written = api.requests().len();
    settle(&version(&api, "duke:2"), &api).await;
    assert_eq!(image(&api), "duke:1");
    let of_duke = |line: &String| line.ends_with(DEPLOYMENT);
    assert!(!api.requests()[written..].iter().any(of_duke));

    // More Dukes are Dukes as they are.
    api.edit(PIPELINE, |object| {
        object["spec"]["duke"] = json!({ "replicas": 5 });
        object["metadata"]["generation"] = json!(2);
    });
    settle(&version(&api, "duke:2"), &api).await;
    assert_eq!(image(&api), "duke:1");
    assert_eq!(api.objects()[DEPLOYMENT]["spec"]["replicas"], 5);

    api.edit(PIPELINE, |object| {
        object["metadata"]["annotations"] = json!({ (label::RESTARTED_AT): "now" });
    });
    settle(&version(&api, "duke:2"), &api).await;
    assert_eq!(image(&api), "duke:2");
    for path in [DEPLOYMENT, STATEFUL_SET] {
        let template = api.objects()[path]["spec"]["template"].clone();
        let at = &template["metadata"]["annotations"][label::RESTARTED_AT];
        assert_eq!(at, "now", "{path}");
    }
}

#[tokio::test]
async fn a_change_of_the_pods_brings_in_what_is_new() {
    let api = cluster(&json!({}));
    settle(&version(&api, "duke:1"), &api).await;
    api.edit(PIPELINE, |object| {
        object["spec"]["duke"] = json!({ "imagePullPolicy": "Always" });
        object["metadata"]["generation"] = json!(2);
    });
    settle(&version(&api, "duke:2"), &api).await;
    assert_eq!(image(&api), "duke:2");
}

#[tokio::test]
async fn objects_of_a_version_that_noted_no_template_keep_theirs() {
    let api = cluster(&json!({}));
    settle(&version(&api, "duke:1"), &api).await;
    for path in [DEPLOYMENT, STATEFUL_SET] {
        api.edit(path, |object| {
            object["metadata"]["annotations"] = json!({ (label::HASH): "of another version" });
        });
    }
    settle(&version(&api, "duke:2"), &api).await;
    assert_eq!(image(&api), "duke:1");
    let noted = &api.objects()[DEPLOYMENT]["metadata"]["annotations"][label::TEMPLATE];
    assert!(noted.as_str().is_some_and(|text| text.contains("duke:1")));
}

/// A wrong image of the Dukes at creation: the first of the next revision is not ready before another
/// one can start, and would be waited for.
#[tokio::test]
async fn dukes_that_remember_nothing_are_replaced_at_once() {
    let api = cluster(&json!({}));
    let away = || {
        let rolling = &api.objects()[DEPLOYMENT]["spec"]["strategy"]["rollingUpdate"];
        rolling["maxUnavailable"].clone()
    };
    settle(&operator(&api), &api).await;
    assert_eq!(away(), 3);
    api.edit(PIPELINE, |object| object["status"]["generation"] = json!(1));
    settle(&operator(&api), &api).await;
    assert_eq!(away(), 1);
}

/// Before, the Service had no selector, and a slice of ours led to the master.
#[tokio::test]
async fn the_slice_that_led_to_the_master_goes_when_kubernetes_own_has_taken_over() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    api.edit(SERVICE, |object| {
        object["spec"]["ipFamilies"] = json!(["IPv4"]);
        object["spec"]["selector"] = Value::Null;
    });
    let ours = format!("{SLICES}/pipeline-oolong-redis");
    let slice = |name: &str, manager: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": name, "namespace": "tea", "uid": name, "labels": {
                (label::PIPELINE): "oolong",
                (label::SERVICE_NAME): "pipeline-oolong",
                (label::SLICE_MANAGER): manager,
            } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": true } }],
            "ports": [{ "name": "redis", "port": 6379, "protocol": "TCP" }],
        })
    };
    let mut owned = slice("pipeline-oolong-redis", "pipeline-operator");
    owned["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "kubernetes.lol/v1", "kind": "Pipeline", "name": "oolong", "uid": "7a1e",
    }]);
    api.put(&ours, owned);
    settle(&operator(&api), &api).await;
    let role = &api.objects()[SERVICE]["spec"]["selector"][label::ROLE];
    assert_eq!(role, label::ROLE_MASTER);
    assert!(
        api.objects().contains_key(&ours),
        "nothing else leads there"
    );

    let theirs = slice("pipeline-oolong-x7k2p", label::SLICE_CONTROLLER);
    api.put(&format!("{SLICES}/pipeline-oolong-x7k2p"), theirs);
    pass(&key(), &operator(&api)).await.unwrap();
    assert!(!api.objects().contains_key(&ours));
    assert!(
        api.objects()
            .contains_key(&format!("{SLICES}/pipeline-oolong-x7k2p"))
    );
}

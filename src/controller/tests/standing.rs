//! Objects that are somebody else's, that lost their owner, that somebody keeps changing, or that
//! the API server does not take: what is written, how often, and what is said of it.

use serde_json::{Value, json};

use super::{PIPELINE, SECRET, api::Api, caches, cluster, key, operator, settle};
use crate::controller::{Context, pass};

const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/tea/statefulsets/pipeline-oolong";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/tea/deployments/duke-oolong";
const SERVICE: &str = "/api/v1/namespaces/tea/services/duke-oolong";

/// Passes so often that a loop without pauses would show.
async fn pass_often(context: &Context) {
    for _ in 0..40 {
        drop(pass(&key(), context).await);
    }
}

/// A condition of the status, as reason and message.
fn condition(api: &Api, kind: &str) -> (String, String) {
    let conditions = api.objects()[PIPELINE]["status"]["conditions"].clone();
    let all = conditions.as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|known| known["type"] == kind);
    let text = |field: &str| {
        let value = found.map(|known| known[field].clone()).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    };
    (text("reason"), text("message"))
}

/// Somebody else's object.
fn foreign(api: &Api, path: &str, kind: &str) -> Value {
    let name = path.rsplit('/').next().unwrap();
    let object = json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "tea",
            "labels": { "app.kubernetes.io/managed-by": "Helm" },
        },
        "data": { "theirs": "eWVz" },
    });
    api.put(path, object);
    api.objects()[path].clone()
}

#[tokio::test]
async fn somebody_elses_object_is_never_written_and_told() {
    for (path, kind, name) in [
        (SERVICE, "Service", "Service/duke-oolong"),
        (SECRET, "Secret", "Secret/pipeline-oolong-users"),
    ] {
        let api = cluster(&json!({}));
        let before = foreign(&api, path, kind);
        let context = operator(&api);
        pass_often(&context).await;
        assert_eq!(api.objects()[path], before, "{name}");
        // Found out once; nothing new can be found out for a minute.
        assert_eq!(api.count(path), 2, "{name}: {:#?}", api.requests());
        let (reason, message) = condition(&api, "ObjectsApplied");
        assert_eq!(reason, "ForeignObject");
        assert!(
            message.contains(name) && message.contains("Helm manages it"),
            "{message}"
        );
        // What does not need it goes on.
        let objects = api.objects();
        let needs_it = path == SECRET;
        assert_eq!(objects.contains_key(STATEFUL_SET), !needs_it, "{name}");
        assert_eq!(objects.contains_key(DEPLOYMENT), !needs_it, "{name}");
        assert!(objects.contains_key("/api/v1/namespaces/tea/services/pipeline-oolong"));

        api.remove(path);
        settle(&operator(&api), &api).await;
        assert!(api.objects().contains_key(DEPLOYMENT), "{name}");
        assert_eq!(condition(&api, "ObjectsApplied").0, "AsWanted");
    }
}

#[tokio::test]
async fn what_no_longer_holds_leaves_the_status_in_one_write() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    let reference = api.objects()[PIPELINE]["status"].clone();
    assert!(reference["master"].is_null(), "{reference}");
    api.edit(PIPELINE, |object| {
        object["status"]["master"] = json!("pipeline-oolong-7");
        object["status"]["lastFailover"] = Value::Null;
    });
    let before = api.requests().len();
    pass_often(&operator(&api)).await;
    assert_eq!(api.objects()[PIPELINE]["status"], reference);
    let written = api.requests()[before..]
        .iter()
        .filter(|line| line.contains("/status"))
        .count();
    assert_eq!(written, 1, "{:#?}", api.requests());
}

#[tokio::test]
async fn what_lost_its_owner_is_adopted_with_what_is_in_it() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    let reference = api.objects();
    for path in reference.keys().filter(|path| *path != PIPELINE) {
        // As `kubectl delete --cascade=orphan` or a restored backup leaves it.
        api.edit(path, |object| {
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove("ownerReferences");
            }
        });
    }
    let before = api.requests().len();
    settle(&operator(&api), &api).await;
    let after = api.objects();
    for path in reference.keys().filter(|path| *path != PIPELINE) {
        let owner = &after[path]["metadata"]["ownerReferences"][0]["uid"];
        assert_eq!(owner, "7a1e", "{path}");
    }
    assert_eq!(after[SECRET]["data"], reference[SECRET]["data"]);
    let requests = api.requests();
    let written = requests[before..]
        .iter()
        .filter(|line| !line.contains("/events"))
        .count();
    assert!(written <= reference.len(), "{requests:#?}");
}

#[tokio::test]
async fn a_secret_of_an_earlier_pipeline_of_this_name_is_adopted() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    let password = api.objects()[SECRET]["data"]["operator"].clone();
    api.edit(SECRET, |object| {
        object["metadata"]["ownerReferences"][0]["uid"] = json!("before");
    });
    settle(&operator(&api), &api).await;
    let secret = api.objects()[SECRET].clone();
    let owners = &secret["metadata"]["ownerReferences"];
    assert_eq!(owners[0]["uid"], "7a1e");
    assert_eq!(owners[1], Value::Null);
    assert_eq!(secret["data"]["operator"], password);
}

#[tokio::test]
async fn an_object_whose_labels_were_taken_off_gets_them_back_and_nothing_else() {
    let api = cluster(&json!({}));
    let context = operator(&api);
    settle(&context, &api).await;
    let reference = api.objects()[SECRET].clone();
    api.edit(SECRET, |object| object["metadata"]["labels"] = json!({}));
    // The watch selects by labels: for it the Secret is gone.
    let blind = cluster(&json!({}));
    let mut seen = caches(&api);
    seen.secrets = caches(&blind).secrets;
    let context = Context {
        caches: seen,
        ..operator(&api)
    };
    settle(&context, &api).await;
    let secret = api.objects()[SECRET].clone();
    assert_eq!(secret["data"], reference["data"]);
    assert_eq!(
        secret["metadata"]["labels"],
        reference["metadata"]["labels"]
    );
}

#[tokio::test]
async fn an_edited_password_is_put_back_and_named_whoever_runs_then() {
    for runs_on in [true, false] {
        let api = cluster(&json!({}));
        let context = operator(&api);
        settle(&context, &api).await;
        let reference = api.objects()[SECRET]["data"].clone();
        api.edit(SECRET, |object| {
            object["data"]["duke"] = json!("aHVudGVyMg==");
        });
        let caches = caches(&api);
        let context = if runs_on {
            Context { caches, ..context }
        } else {
            operator(&api)
        };
        settle(&context, &api).await;
        assert_eq!(api.objects()[SECRET]["data"], reference);
        let (reason, message) = condition(&api, "CredentialsApplied");
        assert_eq!(reason, "PutBack");
        assert!(
            message.contains("key duke of Secret/pipeline-oolong-users"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_password_that_nobody_knows_any_more_is_left_and_told() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    api.edit(SECRET, |object| {
        object["data"]["operator"] = json!("aHVudGVyMg==");
        object["data"]["in-force.json"] = json!("");
    });
    let edited = api.objects()[SECRET]["data"].clone();
    settle(&operator(&api), &api).await;
    assert_eq!(api.objects()[SECRET]["data"], edited);
    let (reason, message) = condition(&api, "CredentialsApplied");
    assert_eq!(reason, "SecretChanged");
    assert!(message.contains("key operator of"), "{message}");
}

#[tokio::test]
async fn a_secret_lost_while_no_operator_ran_is_not_replaced_under_running_servers() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    api.put(
        "/api/v1/namespaces/tea/pods/pipeline-oolong-0",
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "pipeline-oolong-0",
                "namespace": "tea",
                "labels": {
                    "kubernetes.lol/pipeline": "oolong",
                    "kubernetes.lol/component": "pipeline",
                },
            },
            "status": { "phase": "Running" },
        }),
    );
    api.remove(SECRET);
    pass_often(&operator(&api)).await;
    assert!(!api.objects().contains_key(SECRET));
    let (reason, message) = condition(&api, "CredentialsApplied");
    assert_eq!(reason, "SecretLost");
    assert!(message.contains("kubectl delete pod -l"), "{message}");

    api.remove("/api/v1/namespaces/tea/pods/pipeline-oolong-0");
    settle(&operator(&api), &api).await;
    assert!(api.objects().contains_key(SECRET), "nobody runs any more");
}

#[tokio::test]
async fn drift_that_comes_back_is_told_and_not_fought() {
    let api = cluster(&json!({}));
    let context = operator(&api);
    settle(&context, &api).await;
    let before = api.count(STATEFUL_SET);
    api.stamp(STATEFUL_SET, "/spec/template/spec/containers/0/image");
    api.edit(STATEFUL_SET, |object| {
        object["metadata"]["generation"] = json!(7);
    });
    let context = Context {
        caches: caches(&api),
        ..context
    };
    pass_often(&context).await;
    let written = api.count(STATEFUL_SET) - before;
    assert!((1..=3).contains(&written), "{written} writes");
    let (reason, message) = condition(&api, "ObjectsApplied");
    assert_eq!(reason, "Contested");
    assert!(
        message.contains("StatefulSet/pipeline-oolong")
            && message.contains("spec.template.spec.containers[pipeline].image"),
        "{message}"
    );
}

#[tokio::test]
async fn what_the_api_server_refuses_is_asked_for_with_pauses_and_told() {
    let api = cluster(&json!({}));
    api.forbid(SERVICE);
    pass_often(&operator(&api)).await;
    // Forty passes take far less than the sum of the first pauses.
    assert!(api.count(SERVICE) <= 5, "{:#?}", api.requests());
    let (reason, message) = condition(&api, "ObjectsApplied");
    assert_eq!(reason, "Blocked");
    assert!(
        message.contains("Service/duke-oolong") && message.contains("exceeded quota: small"),
        "{message}"
    );
}

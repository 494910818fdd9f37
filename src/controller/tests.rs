//! Whole passes against a model of the API server: what is written, what a crash or a lost answer
//! leaves behind, and that nothing is written when nothing differs.

use std::{collections::BTreeMap, sync::Arc};

use kube::{
    Client,
    core::DeserializeGuard,
    runtime::events::{Recorder, Reporter},
};
use serde_json::{Value, json};

use self::api::{Api, Fault};
use super::{
    Context, Groups, Key,
    cache::Cache,
    caches::{Caches, ended::Ended},
    pass,
    resolve::Defaults,
};
use crate::{api::Pipeline, metrics::Metrics, redis::listen::Listeners};

mod api;
mod standing;
mod upgrade;

const PIPELINE: &str = "/apis/kubernetes.lol/v1/namespaces/tea/pipeline/oolong";
const SECRET: &str = "/api/v1/namespaces/tea/secrets/pipeline-oolong-users";

/// How many objects an empty spec has: Secret, two config maps, StatefulSet, Deployment, four
/// Services, two budgets. Slices follow when their family is known, which the model's Services
/// never say.
const OBJECTS: usize = 11;

/// An operator that has just started and listed everything.
fn operator(api: &Api) -> Context {
    let client = api.client();
    Context {
        recorder: Recorder::new(
            client.clone(),
            Reporter {
                controller: "test".into(),
                instance: None,
            },
        ),
        client,
        caches: caches(api),
        metrics: Arc::new(Metrics::new()),
        groups: Arc::<Groups>::default(),
        listeners: Listeners::new(|_: &Key, _| {}),
        defaults: Defaults::default(),
    }
}

fn caches(api: &Api) -> Caches {
    let pipelines: Vec<Pipeline> = api.list("pipeline");
    Caches {
        pipelines: Cache::of(
            pipelines
                .into_iter()
                .map(|one| DeserializeGuard(Ok(one)))
                .collect(),
        ),
        pods: Cache::of(api.list("pods")),
        claims: Cache::of(Vec::new()),
        ended: Ended::default(),
        config_maps: Cache::of(api.list("configmaps")),
        deployments: Cache::of(api.list("deployments")),
        budgets: Cache::of(api.list("poddisruptionbudgets")),
        slices: Cache::of(api.list("endpointslices")),
        secrets: Cache::of(api.list("secrets")),
        services: Cache::of(api.list("services")),
        stateful_sets: Cache::of(api.list("statefulsets")),
    }
}

fn key() -> Key {
    ("tea".to_owned(), "oolong".to_owned())
}

fn cluster(spec: &Value) -> Api {
    let api = Api::default();
    api.put(
        PIPELINE,
        json!({
            "apiVersion": "kubernetes.lol/v1",
            "kind": "Pipeline",
            "metadata": { "name": "oolong", "namespace": "tea", "uid": "7a1e", "generation": 1 },
            "spec": spec,
        }),
    );
    api
}

/// Passes until one of them writes nothing; at most a few.
async fn settle(context: &Context, api: &Api) {
    for _ in 0..6 {
        let before = api.requests().len();
        let ended = pass(&key(), context).await;
        if ended.is_ok() && api.requests().len() == before {
            return;
        }
    }
    panic!("still writing: {:#?}", api.requests());
}

/// Everything there is, without what differs between any two runs: passwords and versions.
fn end_state(api: &Api) -> BTreeMap<String, Value> {
    let mut objects = api.objects();
    for (path, object) in &mut objects {
        if path == SECRET {
            object["data"] = json!("hidden");
        }
        for field in ["resourceVersion", "uid", "annotations"] {
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove(field);
            }
        }
        if let Some(conditions) = object.pointer_mut("/status/conditions") {
            for condition in conditions.as_array_mut().into_iter().flatten() {
                condition["lastTransitionTime"] = json!("hidden");
            }
        }
    }
    objects.retain(|path, _| !path.contains("/events/"));
    objects
}

#[tokio::test]
async fn every_object_is_made_once_and_then_there_is_silence() {
    let api = cluster(&json!({}));
    let context = operator(&api);
    settle(&context, &api).await;
    let made = api
        .objects()
        .keys()
        .filter(|path| !path.contains("/events/"))
        .count();
    assert_eq!(made, OBJECTS + 1, "{:#?}", api.objects().keys());
    let written = api.requests();
    pass(&key(), &context).await.unwrap();
    assert_eq!(api.requests(), written, "a second pass writes nothing");
}

#[tokio::test]
async fn an_operator_that_starts_anew_writes_nothing() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    let written = api.requests();
    pass(&key(), &operator(&api)).await.unwrap();
    assert_eq!(api.requests(), written);
}

/// Runs the whole creation with a fault at its i-th request, restarts, and compares.
async fn survives(fault: Fault) {
    let reference = cluster(&json!({}));
    settle(&operator(&reference), &reference).await;
    let wanted = end_state(&reference);
    for index in 0..reference.requests().len() {
        let api = cluster(&json!({}));
        api.fail(index, fault);
        // The process dies with the fault; what it had in mind is gone.
        drop(pass(&key(), &operator(&api)).await);
        let password = api
            .objects()
            .get(SECRET)
            .map(|secret| secret["data"]["operator"].clone());
        settle(&operator(&api), &api).await;
        assert_eq!(
            end_state(&api),
            wanted,
            "after {fault:?} at request {index}"
        );
        if let Some(password) = password {
            let kept = api.objects()[SECRET]["data"]["operator"].clone();
            assert_eq!(kept, password, "a password was made twice");
        }
        assert!(
            api.requests()
                .iter()
                .all(|line| !line.starts_with("DELETE"))
        );
    }
}

#[tokio::test]
async fn a_refused_request_anywhere_changes_nothing_in_the_end() {
    survives(Fault::Refused).await;
}

#[tokio::test]
async fn a_lost_answer_anywhere_changes_nothing_in_the_end() {
    survives(Fault::Lost).await;
}

#[tokio::test]
async fn an_operator_that_sees_the_past_breaks_nothing() {
    let reference = cluster(&json!({}));
    settle(&operator(&reference), &reference).await;
    let wanted = end_state(&reference);
    let past = cluster(&json!({}));
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    let password = api.objects()[SECRET]["data"]["operator"].clone();
    // Its caches show the beginning, its requests meet the present.
    let blind = Context {
        caches: caches(&past),
        ..operator(&api)
    };
    assert!(
        pass(&key(), &blind).await.is_err(),
        "its status is of the past"
    );
    settle(&operator(&api), &api).await;
    assert_eq!(end_state(&api), wanted);
    assert_eq!(api.objects()[SECRET]["data"]["operator"], password);
}

#[tokio::test]
async fn what_somebody_changed_is_put_back_once() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    let path = "/apis/apps/v1/namespaces/tea/statefulsets/pipeline-oolong";
    let wanted = api.objects()[path]["spec"].clone();
    let image = "/spec/template/spec/containers/0/image";
    api.edit(path, |object| {
        *object.pointer_mut(image).unwrap() = json!("odd:1");
    });
    let before = api.requests().len();
    settle(&operator(&api), &api).await;
    assert_eq!(api.objects()[path]["spec"], wanted);
    let writes = api.requests()[before..]
        .iter()
        .filter(|line| line.ends_with(path))
        .count();
    assert_eq!(writes, 1);
}

#[tokio::test]
async fn what_the_server_writes_differently_is_not_fought_over() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    let path = "/api/v1/namespaces/tea/services/pipeline-oolong";
    // A server that cannot be talked out of its own idea of a field.
    api.insist(path, "/spec/type", json!("Odd"));
    let context = operator(&api);
    settle(&context, &api).await;
    let written = api.requests();
    for _ in 0..5 {
        pass(&key(), &context).await.unwrap();
    }
    assert_eq!(api.requests(), written);
}

#[tokio::test]
async fn a_bad_spec_is_refused_in_the_status_and_deletes_nothing() {
    let api = cluster(&json!({}));
    settle(&operator(&api), &api).await;
    api.edit(PIPELINE, |object| {
        object["spec"]["duke"] = json!({ "replicas": 2 });
        object["metadata"]["generation"] = json!(2);
    });
    settle(&operator(&api), &api).await;
    let status = &api.objects()[PIPELINE]["status"];
    assert_eq!(status["phase"], "Invalid");
    assert!(
        api.requests()
            .iter()
            .all(|line| !line.starts_with("DELETE"))
    );
}

#[tokio::test]
async fn a_pipeline_that_is_being_deleted_is_left_alone() {
    let api = cluster(&json!({}));
    api.edit(PIPELINE, |object| {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    pass(&key(), &operator(&api)).await.unwrap();
    assert_eq!(api.requests(), [""; 0]);
}

#[tokio::test]
async fn an_object_of_another_owner_is_neither_changed_nor_deleted() {
    let api = cluster(&json!({}));
    let path = "/api/v1/namespaces/tea/configmaps/pipeline-oolong-mine";
    api.put(
        path,
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "pipeline-oolong-mine",
                "namespace": "tea",
                "labels": { "kubernetes.lol/pipeline": "oolong" },
            },
        }),
    );
    settle(&operator(&api), &api).await;
    assert!(api.objects().contains_key(path));
}

/// A client whose every request is lost.
#[tokio::test]
async fn an_api_server_that_is_gone_is_an_error_and_no_panic() {
    let api = cluster(&json!({}));
    let (service, handle) = tower_test::mock::pair::<_, hyper::Response<kube::client::Body>>();
    drop(handle);
    let client = Client::new(service, "tea");
    let context = Context {
        client,
        ..operator(&api)
    };
    assert!(pass(&key(), &context).await.is_err());
}

#[tokio::test]
async fn a_deleted_secret_comes_back_with_the_same_passwords() {
    let api = cluster(&json!({}));
    let context = operator(&api);
    settle(&context, &api).await;
    let password = api.objects()[SECRET]["data"]["operator"].clone();
    api.remove(SECRET);
    let context = Context {
        caches: caches(&api),
        ..context
    };
    settle(&context, &api).await;
    assert_eq!(api.objects()[SECRET]["data"]["operator"], password);
}

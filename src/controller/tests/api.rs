//! A model of the API server: objects by path, writes only, faults on demand.
//!
//! It knows what the operator relies on: preconditions of resourceVersion and uid, apply that
//! makes what is not there and changes a version only when something changes, status as a
//! subresource. Lists are errors: the operator's reads come from its caches, but for single objects
//! that stand in its way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response};
use kube::{Client, client::Body};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What may go wrong with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It is done, and the answer is an error.
    Lost,
    /// It is not done.
    Refused,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    insisted: BTreeMap<String, (String, Value)>,
    stamped: BTreeMap<String, String>,
    forbidden: Vec<String>,
    version: u64,
    requests: Vec<String>,
    fault: Option<(usize, Fault)>,
}

/// The model, shared with the task that answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Api(Arc<Mutex<State>>);

impl Api {
    /// A client that talks to the model; it answers until the client is dropped.
    pub(super) fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let api = self.clone();
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let (head, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let query = head
                    .uri
                    .query()
                    .unwrap_or_default()
                    .contains("fieldManager");
                let (status, value) = api.take(&head.method, head.uri.path(), body, query);
                let bytes = serde_json::to_vec(&value).unwrap();
                answer.send_response(
                    Response::builder()
                        .status(status)
                        .body(Body::from(bytes))
                        .unwrap(),
                );
            }
        });
        Client::new(service, "tea")
    }

    /// Puts an object there without a request.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    /// Changes an object as somebody else would.
    pub(super) fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        let mut object = state.objects[path].clone();
        change(&mut object);
        state.store(path, object);
    }

    /// Deletes an object as somebody else would.
    pub(super) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// From now on a field of an object is what the server wants it to be.
    pub(super) fn insist(&self, path: &str, field: &str, value: Value) {
        let mut state = self.0.lock().unwrap();
        state
            .insisted
            .insert(path.to_owned(), (field.to_owned(), value));
        let object = state.objects[path].clone();
        state.store(path, object);
    }

    /// From now on a field of an object is another one after each write.
    pub(super) fn stamp(&self, path: &str, field: &str) {
        let mut state = self.0.lock().unwrap();
        state.stamped.insert(path.to_owned(), field.to_owned());
    }

    /// From now on nobody may write an object.
    pub(super) fn forbid(&self, path: &str) {
        self.0.lock().unwrap().forbidden.push(path.to_owned());
    }

    /// How many requests there were about an object.
    pub(super) fn count(&self, path: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|line| line.ends_with(path)).count()
    }

    /// Lets the request of this number fail.
    pub(super) fn fail(&self, index: usize, fault: Fault) {
        self.0.lock().unwrap().fault = Some((index, fault));
    }

    /// All objects by path.
    pub(super) fn objects(&self) -> BTreeMap<String, Value> {
        self.0.lock().unwrap().objects.clone()
    }

    /// All requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().requests.clone()
    }

    /// All objects of a kind.
    pub(super) fn list<K: DeserializeOwned>(&self, plural: &str) -> Vec<K> {
        let middle = format!("/{plural}/");
        self.objects()
            .into_iter()
            .filter(|(path, _)| path.contains(&middle))
            .map(|(_, object)| serde_json::from_value(object).unwrap())
            .collect()
    }

    fn take(&self, method: &Method, path: &str, body: Value, managed: bool) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        let index = state.requests.len();
        state.requests.push(format!("{method} {path}"));
        match state.fault.filter(|(at, _)| *at == index) {
            Some((_, Fault::Refused)) => failure(500, "refused by the test"),
            Some((_, Fault::Lost)) => {
                state.answer(method, path, body, managed);
                failure(504, "the answer was lost")
            }
            None => state.answer(method, path, body, managed),
        }
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: Value, managed: bool) -> (u16, Value) {
        if self.forbidden.iter().any(|forbidden| forbidden == path) {
            return failure(403, "exceeded quota: small");
        }
        match *method {
            Method::GET => match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => failure(404, "not found"),
            },
            Method::POST => self.create(path, body),
            Method::PATCH => self.patch(path, body, managed),
            Method::DELETE => self.delete(path, &body),
            _ => failure(405, "the operator reads from its caches"),
        }
    }

    fn create(&mut self, folder: &str, body: Value) -> (u16, Value) {
        let name = body["metadata"]["name"].as_str().unwrap_or("unnamed");
        let path = format!("{folder}/{name}");
        if self.objects.contains_key(&path) {
            return failure(409, "already exists");
        }
        (201, self.store(&path, body))
    }

    fn patch(&mut self, path: &str, body: Value, managed: bool) -> (u16, Value) {
        let is_event = path.contains("/events/");
        assert!(managed || is_event, "every write names its manager: {path}");
        let whole = path.strip_suffix("/status");
        let present = self.objects.get(whole.unwrap_or(path)).cloned();
        let Some(mut object) = present else {
            // Only apply makes objects; what it sends has a kind.
            let is_whole = body.get("kind").is_some() && whole.is_none();
            return if !is_whole {
                failure(404, "not found")
            } else if body["metadata"]["uid"].is_null() {
                (201, self.store(path, body))
            } else {
                failure(409, "uid mismatch: no existing object was found")
            };
        };
        for field in ["resourceVersion", "uid"] {
            let wanted = &body["metadata"][field];
            if !wanted.is_null() && *wanted != object["metadata"][field] {
                return failure(409, "is not what it was");
            }
        }
        if whole.is_some() {
            let status = json!({ "status": body["status"] });
            merge(&mut object, &status);
        } else {
            merge(&mut object, &body);
        }
        (200, self.store(whole.unwrap_or(path), object))
    }

    fn delete(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(object) = self.objects.get(path) else {
            return failure(404, "not found");
        };
        for field in ["resourceVersion", "uid"] {
            let wanted = &body["preconditions"][field];
            if wanted.is_null() || *wanted != object["metadata"][field] {
                return failure(409, "is not what it was");
            }
        }
        (200, self.objects.remove(path).unwrap_or_default())
    }

    /// Keeps an object under a new version, if it differs.
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        if let Some((field, value)) = self.insisted.get(path)
            && let Some(present) = object.pointer_mut(field)
        {
            *present = value.clone();
        }
        if self.objects.get(path) == Some(&object) {
            return object;
        }
        self.version += 1;
        let version = self.version;
        if let Some(field) = self.stamped.get(path)
            && let Some(present) = object.pointer_mut(field)
        {
            *present = json!(format!("stamp-{version}"));
        }
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{version}"));
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

/// Lays `patch` over `object`, lists whole; a `null` takes away (RFC 7386).
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        return object.clone_from(patch);
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(object) = object else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    let reason = if code == 409 {
        "Conflict"
    } else {
        "InternalError"
    };
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    });
    (code, status)
}

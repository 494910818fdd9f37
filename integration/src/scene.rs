//! What a cluster test stands on: a namespace of its own in a running cluster, and the questions
//! a test asks there.
//!
//! Talks to the API server and, through it, to containers (exec); faults are the testbed's.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Client,
    api::{
        Api, AttachParams, DeleteParams, DynamicObject, ListParams, Patch, PatchParams,
        PropagationPolicy,
    },
    core::GroupVersionKind,
    discovery,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

/// How often a condition is looked at while a test waits for it.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// How often one is looked at whose time is not measured.
const PATIENT_PERIOD: Duration = Duration::from_millis(500);
/// The label that names the Pipeline an object belongs to.
const PIPELINE_LABEL: &str = "kubernetes.lol/pipeline";

/// A namespace of one test's own.
#[derive(Clone)]
pub struct Scene {
    /// Talks to the cluster as its administrator.
    pub client: Client,
    /// The namespace; it enforces Pod Security `restricted`.
    pub namespace: String,
}

impl std::fmt::Debug for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What `kubectl get pipeline` and the status say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The current master's pod, empty when there is none.
    pub master: String,
    /// `ready/wanted` data pods.
    pub replicas: String,
    /// `ready/wanted` Dukes.
    pub dukes: String,
    /// The STATUS column.
    pub phase: String,
    /// The epoch of the last master change.
    pub epoch: i64,
    /// The spec's generation that the status speaks of.
    pub observed_generation: i64,
    /// The spec's generation.
    pub generation: i64,
    /// Condition type → (status, reason, message).
    pub conditions: BTreeMap<String, (String, String, String)>,
}

/// What a test wants to know of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its address, empty while it has none.
    pub ip: String,
    /// The node it is bound to.
    pub node: String,
    /// Its identity.
    pub uid: String,
    /// The role label.
    pub role: String,
    /// Whether its Ready condition holds and it is not being deleted.
    pub ready: bool,
    /// How often its containers were restarted.
    pub restarts: i32,
}

impl PodView {
    fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let ready = status
            .conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            ip: status.pod_ip.unwrap_or_default(),
            node: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            role: labels
                .get("kubernetes.lol/role")
                .cloned()
                .unwrap_or_default(),
            ready: ready && pod.metadata.deletion_timestamp.is_none(),
            restarts: status
                .container_statuses
                .unwrap_or_default()
                .iter()
                .map(|container| container.restart_count)
                .sum(),
        }
    }
}

/// Waits until `look` finds what it looks for, looking so often that the time can be measured.
///
/// # Errors
/// When it has not within `within`; the message carries what the last look said.
pub async fn eventually<T, F>(what: &str, within: Duration, look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    wait(what, within, LOOK_PERIOD, look).await
}

/// The same for what takes its time and is not measured: a look costs programs in containers their time, too.
///
/// # Errors
/// As [`eventually`].
pub async fn patiently<T, F>(what: &str, within: Duration, look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    wait(what, within, PATIENT_PERIOD, look).await
}

async fn wait<T, F>(what: &str, within: Duration, period: Duration, mut look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let started = tokio::time::Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(reason) if started.elapsed() >= within => {
                bail!("{what}: not within {} s: {reason:#}", within.as_secs());
            }
            Err(_) => tokio::time::sleep(period).await,
        }
    }
}

impl Scene {
    /// Makes the namespace `name` anew.
    ///
    /// # Errors
    /// When the API server refuses, or a former namespace of this name does not go away.
    pub async fn open(client: Client, name: &str) -> Result<Self> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let scene = Self {
            client,
            namespace: name.to_owned(),
        };
        scene.removed().await?;
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        });
        namespaces
            .patch(
                name,
                &PatchParams::apply("integration"),
                &Patch::Apply(&namespace),
            )
            .await
            .with_context(|| format!("making namespace {name}"))?;
        Ok(scene)
    }

    /// Lets the namespace go, without waiting for it: the next scene is another one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn close(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        if namespaces.get_opt(&self.namespace).await?.is_some() {
            namespaces
                .delete(&self.namespace, &DeleteParams::background())
                .await?;
        }
        Ok(())
    }

    /// Removes the namespace and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after two minutes.
    pub async fn removed(&self) -> Result<()> {
        self.close().await?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        eventually(
            "the namespace goes away",
            Duration::from_mins(2),
            async || match namespaces.get_opt(&self.namespace).await? {
                None => Ok(()),
                Some(_) => bail!("namespace {} is still there", self.namespace),
            },
        )
        .await
    }

    /// Waits until no namespace of another scene is there any more: for what is said of the whole cluster.
    ///
    /// # Errors
    /// When one is still there after two minutes.
    pub async fn alone(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        eventually(
            "other scenes are gone",
            Duration::from_mins(2),
            async || {
                let going = namespaces.list(&ListParams::default()).await?;
                let left = going
                    .items
                    .iter()
                    .find(|namespace| namespace.metadata.deletion_timestamp.is_some());
                match left.and_then(|namespace| namespace.metadata.name.as_deref()) {
                    None => Ok(()),
                    Some(name) => bail!("namespace {name} is still there"),
                }
            },
        )
        .await
    }

    /// Applies every document of a YAML text, as `kubectl apply` does.
    ///
    /// # Errors
    /// When a document is not an object, or the API server refuses it.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        for object in documents(yaml)? {
            let api = self.api_of(&object).await?;
            let name = object
                .metadata
                .name
                .clone()
                .context("the object has a name")?;
            let mut parameters = PatchParams::apply("integration").force();
            parameters.field_validation = Some(kube::api::ValidationDirective::Strict);
            api.patch(&name, &parameters, &Patch::Apply(&object))
                .await
                .with_context(|| format!("applying {name}"))?;
        }
        Ok(())
    }

    async fn api_of(&self, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object.types.clone().context("the object has a kind")?;
        let kind = GroupVersionKind::try_from(&types)?;
        let (resource, capabilities) = discovery::pinned_kind(&self.client, &kind)
            .await
            .with_context(|| format!("looking up kind {}", types.kind))?;
        Ok(if capabilities.scope == discovery::Scope::Namespaced {
            let namespace = object.metadata.namespace.clone();
            Api::namespaced_with(
                self.client.clone(),
                namespace.as_deref().unwrap_or(&self.namespace),
                &resource,
            )
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }

    /// Any kind of object of this namespace.
    ///
    /// # Errors
    /// When the kind is not known to the API server.
    pub async fn kind(&self, group: &str, version: &str, kind: &str) -> Result<Api<DynamicObject>> {
        let kind = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = discovery::pinned_kind(&self.client, &kind).await?;
        Ok(Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &resource,
        ))
    }

    /// The Pipelines of this namespace.
    ///
    /// # Errors
    /// When the CRD is not installed.
    pub async fn pipelines(&self) -> Result<Api<DynamicObject>> {
        self.kind("kubernetes.lol", "v1", "Pipeline").await
    }

    /// Makes or changes a Pipeline.
    ///
    /// # Errors
    /// What the API server says of it.
    pub async fn pipeline(&self, name: &str, spec: Value) -> Result<()> {
        let object = json!({
            "apiVersion": "kubernetes.lol/v1", "kind": "Pipeline",
            "metadata": { "name": name }, "spec": spec,
        });
        let mut parameters = PatchParams::apply("integration").force();
        parameters.field_validation = Some(kube::api::ValidationDirective::Strict);
        self.pipelines()
            .await?
            .patch(name, &parameters, &Patch::Apply(&object))
            .await?;
        Ok(())
    }

    /// Deletes a Pipeline and everything that depends on it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_pipeline(&self, name: &str) -> Result<()> {
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        self.pipelines().await?.delete(name, &parameters).await?;
        Ok(())
    }

    /// What the Pipeline's status says now.
    ///
    /// # Errors
    /// When there is no such Pipeline.
    pub async fn view(&self, name: &str) -> Result<View> {
        let object = self.pipelines().await?.get(name).await?;
        let status = &object.data["status"];
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        Ok(View {
            master: text("master"),
            replicas: text("replicas"),
            dukes: text("dukes"),
            phase: text("phase"),
            epoch: status["epoch"].as_i64().unwrap_or_default(),
            observed_generation: status["observedGeneration"].as_i64().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            conditions: conditions
                .iter()
                .map(|condition| {
                    let said = (
                        word(&condition["status"]),
                        word(&condition["reason"]),
                        word(&condition["message"]),
                    );
                    (word(&condition["type"]), said)
                })
                .collect(),
        })
    }

    /// Waits until the status says that the present spec is Ready, and returns it.
    ///
    /// # Errors
    /// When it does not within `within`.
    pub async fn ready(&self, name: &str, within: Duration) -> Result<View> {
        eventually(&format!("Pipeline {name} is Ready"), within, async || {
            self.is_ready(name).await
        })
        .await
    }

    async fn is_ready(&self, name: &str) -> Result<View> {
        let view = self.view(name).await?;
        let ready = view
            .conditions
            .get("Ready")
            .is_some_and(|(status, ..)| status == "True");
        if ready && view.observed_generation == view.generation && !view.master.is_empty() {
            Ok(view)
        } else {
            bail!("{view:?}")
        }
    }

    /// The pods of one component (`pipeline` or `duke`) of a Pipeline, by name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn pods(&self, name: &str, component: &str) -> Result<Vec<PodView>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("{PIPELINE_LABEL}={name},kubernetes.lol/component={component}");
        let list = pods.list(&ListParams::default().labels(&selector)).await?;
        let mut views: Vec<PodView> = list.items.iter().map(PodView::of).collect();
        views.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(views)
    }

    /// One pod.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn pod(&self, name: &str) -> Result<PodView> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(PodView::of(&pods.get(name).await?))
    }

    /// Deletes a pod, gracefully or at once.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn delete_pod(&self, name: &str, force: bool) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut parameters = DeleteParams::default();
        if force {
            parameters.grace_period_seconds = Some(0);
        }
        pods.delete(name, &parameters).await?;
        Ok(())
    }

    /// The messages of all events about a Pipeline.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn events(&self, name: &str) -> Result<Vec<String>> {
        let events = self.kind("events.k8s.io", "v1", "Event").await?;
        let about = |event: &DynamicObject| {
            event.data["regarding"]["kind"] == "Pipeline" && event.data["regarding"]["name"] == name
        };
        let list = events.list(&ListParams::default()).await?;
        let messages = list.items.iter().filter(|event| about(event));
        Ok(messages
            .map(|event| event.data["note"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    /// Runs a command in a container and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be run, or prints to standard error and nothing else.
    pub async fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let parameters = AttachParams::default()
            .container(container)
            .stdin(false)
            .stderr(true);
        let mut attached = pods
            .exec(pod, command.iter().copied(), &parameters)
            .await
            .with_context(|| format!("running {command:?} in {pod}"))?;
        let mut output = String::new();
        let mut errors = String::new();
        let mut stdout = attached.stdout().context("standard output is attached")?;
        let mut stderr = attached.stderr().context("standard error is attached")?;
        let (out, err) = tokio::time::timeout(Duration::from_secs(30), async {
            tokio::join!(
                stdout.read_to_string(&mut output),
                stderr.read_to_string(&mut errors)
            )
        })
        .await
        .with_context(|| format!("{command:?} in {pod} did not end"))?;
        out?;
        err?;
        if output.is_empty() && !errors.is_empty() {
            bail!("{command:?} in {pod}: {}", errors.trim());
        }
        Ok(output.trim_end().to_owned())
    }

    /// Asks the server of a data pod, as an ordinary client.
    ///
    /// # Errors
    /// When the server answers with an error or not at all.
    pub async fn redis(&self, pod: &str, words: &[&str]) -> Result<String> {
        let mut command = vec!["redis-cli", "-e", "-p", "6379"];
        command.extend_from_slice(words);
        self.exec(pod, "pipeline", &command).await
    }

    /// Starts a pod with client programs in it, `client`, and waits until it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn client_pod(&self) -> Result<()> {
        self.client_pod_on(None).await
    }

    /// The same on a node of one's choice.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn client_pod_on(&self, node: Option<&str>) -> Result<()> {
        let node = node
            .map(|node| format!("  nodeName: {node}\n"))
            .unwrap_or_default();
        self.apply(&format!("{CLIENT_POD}{node}")).await?;
        eventually("the client pod runs", Duration::from_mins(1), async || {
            anyhow::ensure!(self.pod("client").await?.ready, "not ready");
            Ok(())
        })
        .await
    }

    /// Asks any server from inside the cluster, by its DNS name.
    ///
    /// # Errors
    /// When it answers with an error or not at all.
    pub async fn ask(&self, host: &str, port: u16, words: &[&str]) -> Result<String> {
        let port = port.to_string();
        let mut command = vec!["timeout", "3", "redis-cli", "-e", "-h", host, "-p", &port];
        command.extend_from_slice(words);
        self.exec("client", "client", &command).await
    }

    /// Checks that the group is whole: one master, as the status says, and every other data pod
    /// replicates from it with its link up. Returns the master's pod.
    ///
    /// # Errors
    /// What is not as it should be.
    pub async fn whole(&self, name: &str, replicas: usize) -> Result<PodView> {
        let view = self.view(name).await?;
        let pods = self.pods(name, "pipeline").await?;
        anyhow::ensure!(
            pods.len() == replicas,
            "{} data pods, not {replicas}",
            pods.len()
        );
        let master = pods
            .iter()
            .find(|pod| pod.name == view.master)
            .with_context(|| format!("the status names {:?} as master", view.master))?;
        for pod in &pods {
            let role = self.redis(&pod.name, &["ROLE"]).await?;
            let lines: Vec<&str> = role.lines().collect();
            if pod.name == master.name {
                anyhow::ensure!(
                    lines.first() == Some(&"master"),
                    "{} is {lines:?}",
                    pod.name
                );
                anyhow::ensure!(
                    pod.role == "master",
                    "{} is labelled {:?}",
                    pod.name,
                    pod.role
                );
            } else {
                let follows = lines.first() == Some(&"slave")
                    && lines.get(1) == Some(&master.ip.as_str())
                    && lines.get(3) == Some(&"connected");
                anyhow::ensure!(
                    follows,
                    "{} is {lines:?}, the master {}",
                    pod.name,
                    master.ip
                );
                anyhow::ensure!(
                    pod.role == "replica",
                    "{} is labelled {:?}",
                    pod.name,
                    pod.role
                );
            }
        }
        Ok(master.clone())
    }

    /// Waits until the group is [`whole`](Self::whole) and Ready.
    ///
    /// # Errors
    /// When it is not within `within`.
    pub async fn settled(&self, name: &str, replicas: usize, within: Duration) -> Result<PodView> {
        patiently(&format!("Pipeline {name} is Ready"), within, async || {
            self.is_ready(name).await
        })
        .await?;
        patiently(&format!("group {name} is whole"), within, async || {
            self.whole(name, replicas).await
        })
        .await
    }
}

/// Splits a YAML text into its objects.
fn documents(yaml: &str) -> Result<Vec<DynamicObject>> {
    let values: Vec<Value> = serde_saphyr::from_multiple(yaml).context("reading YAML")?;
    values
        .into_iter()
        .filter(|value| !value.is_null())
        .map(|value| serde_json::from_value(value).context("reading an object"))
        .collect()
}

const CLIENT_POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: client }
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 999
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: client
      image: docker.io/library/redis:7.0
      imagePullPolicy: IfNotPresent
      command: ["redis-server", "--port", "7777", "--save", ""]
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: { drop: ["ALL"] }
"#;

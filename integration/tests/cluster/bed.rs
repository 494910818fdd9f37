//! The cluster that all these tests share: up, with the operator installed, and its faults.
//!
//! Brought up by the first test that asks, or before; left standing for the next run.

use std::{
    path::Path,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use integration::{
    audit,
    cluster::{Cluster, Settings, operator},
    place, process,
    scene::{Scene, eventually},
};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Pod, Secret, Service},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use tokio::{
    process::Command,
    sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
};

/// How long a group may take to settle; a busy machine, not a promise.
pub(crate) const SETTLE: Duration = Duration::from_secs(90);
/// The servers that the main stories are told with.
pub(crate) const IMAGES: [(&str, &str); 3] = [
    ("redis-7", "docker.io/library/redis:7.0"),
    ("redis-8", "docker.io/library/redis:8.0"),
    ("valkey-8", "docker.io/valkey/valkey:8.1"),
];
/// The cluster's name, unless `TESTBED_CLUSTER` gives another; `TESTBED_KUBERNETES` gives its version.
const NAME: &str = "verify";
/// As whom the operator talks to the API server.
const OPERATOR_USER: &str = "system:serviceaccount:default:pipelineoperator";

/// The shared cluster.
#[derive(Debug)]
pub(crate) struct Bed {
    cluster: Cluster,
    /// Held for as long as the test uses the cluster.
    _place: Place,
}

/// Who else uses the cluster meanwhile.
#[derive(Debug)]
enum Place {
    /// Others, too.
    Beside { _guard: OwnedRwLockReadGuard<()> },
    /// Nobody.
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

/// Taken by those who use the cluster.
static PLACES: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// Tells a story with every server, side by side.
pub(crate) async fn with_each_server<F>(story: F) -> Result<()>
where
    F: AsyncFn(&'static str, &'static str) -> Result<()>,
{
    let told = IMAGES
        .iter()
        .map(|(name, image)| async { story(name, image).await.context(*name) });
    futures::future::try_join_all(told).await.map(drop)
}

/// Held while the cluster and the operator are made ready, once per run.
static READY: OnceLock<Mutex<bool>> = OnceLock::new();

impl Bed {
    /// The cluster with the operator of this source tree in it, together with other tests.
    pub(crate) async fn get() -> Result<Self> {
        let guard = Arc::clone(&PLACES).read_owned().await;
        Self::at(Place::Beside { _guard: guard }).await
    }

    /// The same for nobody else, not even for what an earlier test left to be removed.
    pub(crate) async fn alone() -> Result<Self> {
        let guard = Arc::clone(&PLACES).write_owned().await;
        let bed = Self::at(Place::Alone { _guard: guard }).await?;
        let namespace = "default".to_owned();
        let client = bed.client().await?;
        Scene { client, namespace }.alone().await?;
        Ok(bed)
    }

    async fn at(place: Place) -> Result<Self> {
        let name = std::env::var("TESTBED_CLUSTER").unwrap_or_else(|_| NAME.to_owned());
        let mut ready = READY.get_or_init(|| Mutex::new(false)).lock().await;
        if *ready {
            return Ok(Self {
                cluster: Cluster::open(&name).await?,
                _place: place,
            });
        }
        let mut settings = Settings::new(&name)?;
        if let Ok(version) = std::env::var("TESTBED_KUBERNETES") {
            settings.kubernetes = version;
        }
        let cluster = Cluster::up(&settings).await?;
        let bed = Self {
            cluster,
            _place: place,
        };
        bed.install().await?;
        *ready = true;
        Ok(bed)
    }

    /// How often something is done: more in the long form, which `STORIES_LONG` asks for.
    pub(crate) fn often(usually: usize, long: usize) -> usize {
        if std::env::var_os("STORIES_LONG").is_some() {
            long
        } else {
            usually
        }
    }

    /// A client program of the testbed, to run on a node.
    pub(crate) fn client_program(&self, node: &str, words: &[&str]) -> Result<Command> {
        let mut command = self.cluster.command_in_node(node, place::program()?)?;
        command.args(words);
        Ok(command)
    }

    /// A namespace of the test's own.
    pub(crate) async fn scene(&self, name: &str) -> Result<Scene> {
        Scene::open(self.client().await?, name).await
    }

    async fn client(&self) -> Result<Client> {
        self.cluster.client().await
    }

    /// kubectl's output.
    pub(crate) async fn kubectl(&self, words: &[&str]) -> Result<String> {
        process::run(self.cluster.kubectl().args(words)).await
    }

    async fn install(&self) -> Result<()> {
        operator::install(&self.cluster).await?;
        self.scale_operator(operator::REPLICAS).await
    }

    /// Scales the operator and waits until exactly so many of its pods are ready.
    pub(crate) async fn scale_operator(&self, replicas: i32) -> Result<()> {
        operator::scale(&self.cluster, replicas).await
    }

    /// Waits until one of the operator's pods holds the lease.
    pub(crate) async fn operator_leads(&self) -> Result<()> {
        let client = self.client().await?;
        let (name, namespace) = operator::DEPLOYMENT;
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        eventually(
            "an operator that lives holds the lease",
            SETTLE,
            async || {
                let spec = leases.get(name).await?.spec.unwrap_or_default();
                let holder = spec.holder_identity.unwrap_or_default();
                let selector =
                    ListParams::default().labels("app.kubernetes.io/name=pipelineoperator");
                let living = pods.list(&selector).await?;
                let held = living
                    .items
                    .iter()
                    .filter_map(|pod| pod.metadata.name.as_deref())
                    .any(|pod| holder.starts_with(pod));
                ensure!(held, "the lease is held by {holder:?}");
                Ok(())
            },
        )
        .await
    }

    /// How often the lease was renewed, as its resourceVersion tells: every renewal is one write.
    pub(crate) fn lease_renewals(&self) -> Result<usize> {
        let log = self.cluster.log("audit");
        Ok(audit::read(&log)?
            .iter()
            .filter(|request| request.user == OPERATOR_USER && request.resource == "leases")
            .filter(|request| request.is_write())
            .count())
    }

    /// Waits for about half a minute, as the operator's own renewals of its lease tell: long enough for
    /// whatever it does again and again.
    pub(crate) async fn window(&self) -> Result<()> {
        let before = self.lease_renewals()?;
        eventually(
            "fifteen renewals of the lease have passed",
            SETTLE,
            async || {
                let passed = self.lease_renewals()?.saturating_sub(before);
                ensure!(passed >= 15, "{passed}");
                Ok(())
            },
        )
        .await
    }

    /// Does something under an operator with another variable, and gives it back the one it had.
    pub(crate) async fn with_operator_variable<F>(
        &self,
        name: &str,
        value: &str,
        work: F,
    ) -> Result<()>
    where
        F: AsyncFnOnce() -> Result<()>,
    {
        let (deployment, namespace) = operator::DEPLOYMENT;
        let deployment = format!("deployment/{deployment}");
        let setting = format!("{name}={value}");
        self.kubectl(&["set", "env", &deployment, "-n", namespace, &setting])
            .await?;
        self.scale_operator(operator::REPLICAS).await?;
        let outcome = work().await;
        self.install().await?;
        outcome
    }

    /// What the operator ever wrote, leases apart.
    pub(crate) fn operator_writes(&self) -> Result<Vec<String>> {
        self.operator_requests(audit::Request::is_write)
    }

    /// What the operator ever wrote about one object or, with no name, one kind of object of a namespace,
    /// answered or refused.
    pub(crate) fn written(&self, scene: &Scene, resource: &str, name: &str) -> Result<usize> {
        let requests = audit::read(&self.cluster.log("audit"))?;
        let about = |request: &&audit::Request| {
            request.user == OPERATOR_USER
                && request.is_write()
                && request.namespace == scene.namespace
                && request.resource == resource
                && (name.is_empty() || request.name == name || request.name.is_empty())
        };
        Ok(requests.iter().filter(about).count())
    }

    /// What the operator ever listed.
    pub(crate) fn operator_lists(&self) -> Result<Vec<String>> {
        self.operator_requests(|request| request.verb == "list")
    }

    fn operator_requests(&self, wanted: fn(&audit::Request) -> bool) -> Result<Vec<String>> {
        let requests = audit::read(&self.cluster.log("audit"))?;
        Ok(requests
            .iter()
            .filter(|request| request.user == OPERATOR_USER && request.resource != "leases")
            .filter(|request| wanted(request))
            .map(ToString::to_string)
            .collect())
    }

    /// Waits until nothing in the namespace has been written for a while.
    pub(crate) async fn quiet(&self, scene: &Scene) -> Result<()> {
        let mut last = (String::new(), std::time::Instant::now());
        eventually("the namespace is quiet", SETTLE, async || {
            let mut versions = String::new();
            for (group, version, kind) in [
                ("", "v1", "Pod"),
                ("apps", "v1", "StatefulSet"),
                ("apps", "v1", "Deployment"),
                ("discovery.k8s.io", "v1", "EndpointSlice"),
                ("kubernetes.lol", "v1", "Pipeline"),
            ] {
                let api = scene.kind(group, version, kind).await?;
                for object in api.list(&ListParams::default()).await? {
                    versions += &object.metadata.resource_version.unwrap_or_default();
                    versions.push(' ');
                }
            }
            if versions != last.0 {
                last = (versions, std::time::Instant::now());
            }
            ensure!(
                last.1.elapsed() >= Duration::from_secs(5),
                "something was written just now"
            );
            Ok(())
        })
        .await
    }

    /// Kills the server process of a data pod: signal 9, without a word to Kubernetes.
    pub(crate) async fn kill_server(&self, scene: &Scene, pod: &str) -> Result<()> {
        self.cluster.kill_server(&scene.namespace, pod).await
    }

    /// Stops the server process of a data pod from being run.
    pub(crate) async fn freeze_server(&self, scene: &Scene, pod: &str) -> Result<()> {
        self.cluster.freeze_server(&scene.namespace, pod).await
    }

    /// Empties a node as an administrator does, by the eviction API, and gives it back to the scheduler.
    ///
    /// # Errors
    /// When not everything is gone within the time a careful administrator waits.
    pub(crate) async fn drain(&self, node: &str) -> Result<()> {
        let drained = self
            .kubectl(&[
                "drain",
                node,
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                "--force",
                "--timeout=240s",
            ])
            .await;
        self.kubectl(&["uncordon", node]).await?;
        drained
            .map(drop)
            .with_context(|| format!("draining {node}"))
    }

    /// Keeps new pods off some nodes while something is done.
    pub(crate) async fn cordoned<T>(
        &self,
        nodes: &[&str],
        work: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        self.kubectl(&[&["cordon"][..], nodes].concat()).await?;
        let outcome = work().await;
        self.kubectl(&[&["uncordon"][..], nodes].concat()).await?;
        outcome
    }

    /// Cuts a node off from everything else.
    pub(crate) async fn cut(&self, node: &str) -> Result<()> {
        self.cluster.cut(node).await
    }

    /// Heals a node that was cut off, and waits until it takes pods again: groups made meanwhile would
    /// have two of their pods on one node, which is another story.
    pub(crate) async fn heal(&self, node: &str) -> Result<()> {
        self.cluster.heal(node).await?;
        self.cluster.ready().await
    }

    /// Moves the client pod to another node than this one.
    pub(crate) async fn client_off(&self, scene: &Scene, node: &str) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
        for other in 1..=self.cluster.nodes() {
            let other = format!("node-{other}");
            if other == node {
                continue;
            }
            let mut pod = pods.get("client").await?;
            pods.delete("client", &DeleteParams::default().grace_period(0))
                .await?;
            eventually("the client pod goes", SETTLE, async || {
                ensure!(pods.get_opt("client").await?.is_none(), "still there");
                Ok(())
            })
            .await?;
            let uid = pod.metadata.uid.take();
            ensure!(uid.is_some(), "the pod had an identity");
            return scene.client_pod_on(Some(&other)).await;
        }
        anyhow::bail!("the cluster has one node only")
    }

    /// A system user's password.
    pub(crate) async fn password(&self, scene: &Scene, name: &str, user: &str) -> Result<String> {
        let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), &scene.namespace);
        let data = secrets
            .get(&format!("pipeline-{name}-users"))
            .await?
            .data
            .unwrap_or_default();
        let value = data
            .get(user)
            .with_context(|| format!("no password of {user}"))?;
        Ok(String::from_utf8(value.0.clone())?)
    }

    /// An HTTP answer of a Service, asked from a node, through kube-proxy.
    pub(crate) async fn fetch(
        &self,
        scene: &Scene,
        service: &str,
        port: u16,
        path: &str,
    ) -> Result<String> {
        let services: Api<Service> = Api::namespaced(scene.client.clone(), &scene.namespace);
        let spec = services.get(service).await?.spec.unwrap_or_default();
        let ip = spec.cluster_ip.context("the Service has an address")?;
        let program = place::program()?;
        let program = program.to_str().context("the path is text")?;
        let address = format!("{ip}:{port}");
        self.cluster
            .run_in_node("node-1", &[program, "fetch", &address, path])
            .await
    }

    /// helm's output.
    pub(crate) async fn helm(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.cluster.programs().helm);
        command
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .args(words);
        process::run(&mut command).await
    }

    /// The chart's folder.
    pub(crate) fn chart() -> String {
        let chart: &Path = &place::workspace().join("charts/pipelineoperator");
        chart.display().to_string()
    }

    /// Does something while the operator of `example/operator.yaml` is away.
    pub(crate) async fn without_operator<F>(&self, work: F) -> Result<()>
    where
        F: AsyncFnOnce(&Self) -> Result<()>,
    {
        self.kubectl(&["delete", "--wait", "-f", &operator::manifest()?])
            .await?;
        let outcome = work(self).await;
        self.install().await?;
        outcome
    }
}

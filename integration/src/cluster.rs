//! A real Kubernetes in network namespaces of this machine: brought up, found again, taken away.
//!
//! Decides the order in which a cluster comes up. `up` is idempotent: a cluster that is whole is only verified, a
//! damaged one is removed and made anew. Everything waits for conditions.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::{
    Api, Client, Config,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    audit,
    build::{self, Programs},
    debian::package,
    image::{self, Archive},
    place,
    process::{self, Identity},
    progress,
};

mod cgroup;
mod control;
mod credential;
mod forward;
mod machine;
mod manifest;
mod name;
mod network;
mod node;
pub mod operator;
mod sweep;
mod volume;

pub use forward::serve as forward;
pub use machine::{Machine, enter};
pub use manifest::{Daemon, Manifest};
pub use name::{ClusterName, node as node_name};
pub use volume::provision;

use control::Control;
use credential::Credentials;
use name::HOST;
use node::Node;

/// How long one part of a cluster may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a condition is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// What a cluster is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: ClusterName,
    /// How many nodes.
    pub nodes: usize,
    /// The version of Kubernetes: one that has a folder in `integration/go`.
    pub kubernetes: String,
    /// After how many seconds without a sign of life a node counts as `NotReady`.
    pub grace: u32,
}

impl Settings {
    /// Three nodes of the newest Kubernetes.
    ///
    /// # Errors
    /// When the name is none.
    pub fn new(name: &str) -> Result<Self> {
        Ok(Self {
            name: ClusterName::new(name)?,
            nodes: 3,
            kubernetes: build::KUBERNETES.to_owned(),
            grace: 8,
        })
    }
}

/// A cluster that is up.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: ClusterName,
    folder: PathBuf,
    nodes: usize,
    programs: Arc<Programs>,
}

impl Cluster {
    /// Brings a cluster up, with all images on all nodes, or verifies the one that is.
    ///
    /// # Errors
    /// When something the machine needs is missing, a program does not come up, or a living cluster of
    /// this name is of other size or version.
    pub async fn up(settings: &Settings) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "a cluster is made of namespaces, mounts and control groups: run as root"
        );
        ensure!(
            (1..=50).contains(&settings.nodes),
            "a cluster has 1 to 50 nodes"
        );
        package::ensure().await?;
        for name in sweep::dead().await? {
            progress::say(&format!("removed what was left of cluster {name}"));
        }
        // The operator compiles beside everything else, which waits for single programs now and then.
        let (cluster, own) = tokio::join!(Self::stand(settings), image::ensure_project());
        let cluster = cluster?;
        cluster.load_images(&[own?]).await?;
        Ok(cluster)
    }

    /// Finds or makes the cluster, with all images but the project's own.
    async fn stand(settings: &Settings) -> Result<Self> {
        let programs = build::ensure_programs(&settings.kubernetes).await?;
        let archives = image::ensure(&programs).await?;
        let folder = place::clusters()?;
        let lock_name = settings.name.to_string();
        // Whoever is bringing the same cluster up at this moment will be done, and we verify.
        let lock = tokio::task::spawn_blocking(move || place::lock(&folder, &lock_name)).await??;
        if let Some(cluster) = Self::standing(settings, &programs).await? {
            cluster.load_images(&archives).await?;
            return Ok(cluster);
        }
        sweep::remove(&settings.name).await?;
        let cluster = progress::step(
            &format!("cluster {} of {} nodes", settings.name, settings.nodes),
            Self::raise(settings, programs, &archives),
        )
        .await?;
        drop(lock);
        Ok(cluster)
    }

    /// The cluster of this name when it is up and whole.
    async fn standing(settings: &Settings, programs: &Programs) -> Result<Option<Self>> {
        let folder = place::clusters()?.join(settings.name.as_str());
        let Some(manifest) = Manifest::read(&folder).filter(Manifest::whole) else {
            return Ok(None);
        };
        ensure!(
            manifest.nodes == settings.nodes && manifest.kubernetes == settings.kubernetes,
            "cluster {} is up with {} nodes of {}: take it down first",
            settings.name,
            manifest.nodes,
            manifest.kubernetes
        );
        let cluster = Self {
            name: settings.name.clone(),
            folder,
            nodes: manifest.nodes,
            programs: Arc::new(programs.clone()),
        };
        match cluster.ready().await {
            Ok(()) => Ok(Some(cluster)),
            Err(reason) => {
                progress::say(&format!(
                    "cluster {} is made anew: {reason:#}",
                    settings.name
                ));
                Ok(None)
            }
        }
    }

    /// The cluster of this name, which must be up; programs of it may be stopped.
    ///
    /// # Errors
    /// When it is not up, or its programs are no longer in the cache.
    pub async fn open(name: &str) -> Result<Self> {
        let name = ClusterName::new(name)?;
        let folder = place::clusters()?.join(name.as_str());
        let manifest = Manifest::read(&folder)
            .filter(Manifest::alive)
            .with_context(|| format!("cluster {name} is not up: cargo testbed up"))?;
        let programs = build::ensure_programs(&manifest.kubernetes).await?;
        Ok(Self {
            name,
            folder,
            nodes: manifest.nodes,
            programs: Arc::new(programs),
        })
    }

    /// Takes a cluster away; nothing of it is left. Does nothing when there is none.
    ///
    /// # Errors
    /// Names what could not be removed.
    pub async fn down(name: &ClusterName) -> Result<()> {
        sweep::remove(name).await
    }

    /// Takes every cluster away that is not up, left over from a crash.
    ///
    /// # Errors
    /// Names what could not be removed.
    pub async fn sweep() -> Result<Vec<ClusterName>> {
        sweep::dead().await
    }

    /// Every cluster of which anything is there, with its manifest when it has one.
    ///
    /// # Errors
    /// When the cache folder cannot be read.
    pub fn list() -> Result<Vec<(ClusterName, Option<Manifest>)>> {
        let folder = place::clusters()?;
        let names = sweep::existing()?.into_iter();
        Ok(names
            .map(|name| (name.clone(), Manifest::read(&folder.join(name.as_str()))))
            .collect())
    }

    async fn raise(settings: &Settings, programs: Programs, archives: &[Archive]) -> Result<Self> {
        let folder = place::folder(place::clusters()?.join(settings.name.as_str()))?;
        for part in ["log", "volumes"] {
            place::folder(folder.join(part))?;
        }
        fs::write(
            folder.join("resolv.conf"),
            format!("nameserver {}\noptions ndots:1\n", name::HOST_ADDRESS),
        )
        .context("writing the resolver's file")?;
        let cluster = Self {
            name: settings.name.clone(),
            folder,
            nodes: settings.nodes,
            programs: Arc::new(programs),
        };
        let manifest = Manifest {
            name: settings.name.to_string(),
            nodes: settings.nodes,
            kubernetes: settings.kubernetes.clone(),
            port: 0,
            complete: false,
            images: BTreeMap::new(),
            anchors: BTreeMap::new(),
            daemons: BTreeMap::new(),
        };
        manifest.write(&cluster.folder)?;
        network::create(&settings.name, settings.nodes).await?;
        let credentials = Credentials::create(&cluster.folder.join("credential"), settings.nodes)?;
        let nodes = (1..=settings.nodes)
            .map(|number| cluster.raise_node(settings, number, &credentials, archives));
        tokio::try_join!(
            cluster.raise_control(settings, &credentials),
            try_join_all(nodes)
        )?;
        cluster.ready().await?;
        cluster.record(|manifest| {
            manifest.complete = true;
            manifest.images = archives.iter().map(Archive::entry).collect();
        })?;
        Ok(cluster)
    }

    /// Brings the control plane up as far as it works without nodes.
    async fn raise_control(&self, settings: &Settings, credentials: &Credentials) -> Result<()> {
        let control = Control {
            programs: &self.programs,
            credentials,
            folder: &self.folder,
            grace: settings.grace,
        };
        fs::write(self.folder.join("Corefile"), control.corefile())
            .context("writing the Corefile")?;
        fs::write(self.folder.join(control::AUDIT_POLICY), audit::POLICY)
            .context("writing the policy of the audit log")?;
        let host = self.make_machine(HOST).await?;
        self.launch("etcd", control.etcd())?;
        self.launch("apiserver", control.apiserver())?;
        let (process, port) = forward::start(&host, &self.log("forward"))?;
        credentials.outside(&self.kubeconfig(), &format!("testbed-{}", self.name), port)?;
        self.record(|manifest| {
            manifest.port = port;
            manifest.anchors.insert("forward".to_owned(), process);
        })?;
        self.await_api().await?;
        self.launch("controller-manager", control.controller_manager())?;
        self.launch("scheduler", control.scheduler())?;
        self.launch("provisioner", control.provisioner(&place::program()?))?;
        self.launch("coredns", control.coredns())?;
        self.furnish().await
    }

    /// Brings one node up: its container runtime with all images, then what needs the API server.
    async fn raise_node(
        &self,
        settings: &Settings,
        number: usize,
        credentials: &Credentials,
        archives: &[Archive],
    ) -> Result<()> {
        let folder = self.folder.join(name::node(number));
        let node = Node {
            cluster: &self.name,
            number,
            programs: &self.programs,
            credentials,
            folder: &folder,
            grace: settings.grace,
        };
        let machine = self.make_machine(&node.name()).await?;
        node.configure()?;
        cgroup::create(&node.cgroup())?;
        self.launch(&format!("containerd-{number}"), node.containerd())?;
        self.look("containerd answers", async || {
            let mut command = machine.command("ctr");
            process::run(command.args(["--address", node::SOCKET, "version"]))
                .await
                .map(drop)
        })
        .await?;
        image::load(&machine, archives).await?;
        self.await_api().await?;
        self.launch(&format!("kubelet-{number}"), node.kubelet())?;
        self.launch(&format!("proxy-{number}"), node.proxy())
    }

    async fn make_machine(&self, name: &str) -> Result<Machine> {
        let folder = place::folder(self.folder.join(name))?;
        let machine = Machine::start(&self.name, name, &folder, &self.log(name)).await?;
        self.record(|manifest| manifest.anchors.insert(name.to_owned(), machine.anchor))?;
        Ok(machine)
    }

    /// Creates what every cluster has that no program makes: kube-proxy's right, the default class
    /// of volumes.
    async fn furnish(&self) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "kube-proxy" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:node-proxier",
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "User",
                "name": "system:kube-proxy",
            }],
        });
        let class = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": volume::CLASS,
                "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
            },
            "provisioner": volume::PROVISIONER,
        });
        let client = self.client().await?;
        self.look("the roles and classes are there", async || {
            let bindings: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> =
                Api::all(client.clone());
            let classes: Api<k8s_openapi::api::storage::v1::StorageClass> =
                Api::all(client.clone());
            apply(&bindings, "kube-proxy", &binding).await?;
            apply(&classes, volume::CLASS, &class).await
        })
        .await
    }

    /// Waits until every node takes pods and names are answered.
    ///
    /// # Errors
    /// When they do not within a minute or two.
    pub async fn ready(&self) -> Result<()> {
        let wanted = self.nodes();
        let client = self.client().await?;
        self.look("every node is Ready", async || {
            let nodes: Api<NodeObject> = Api::all(client.clone());
            let list = nodes.list(&ListParams::default()).await?;
            let ready = list.items.iter().filter(|node| is_ready(node)).count();
            ensure!(ready == wanted, "{ready} of {wanted} nodes are Ready");
            Ok(())
        })
        .await?;
        self.look("CoreDNS listens", async || {
            let daemon = self.daemon("coredns")?;
            let pid = daemon.process.context("CoreDNS is stopped")?.pid;
            let table = fs::read_to_string(format!("/proc/{pid}/net/udp"))?;
            // The local address is the second field, in hexadecimal: port 53.
            let found = table.lines().any(|line| {
                line.split_whitespace()
                    .nth(1)
                    .is_some_and(|local| local.ends_with(":0035"))
            });
            ensure!(found, "nothing listens on port 53");
            Ok(())
        })
        .await
    }

    async fn await_api(&self) -> Result<()> {
        self.look("the API server is ready", async || {
            let client = self.client().await?;
            let request = http_get("/readyz")?;
            let answer = client.request_text(request).await?;
            ensure!(answer == "ok", "{answer}");
            Ok(())
        })
        .await
    }

    /// Waits until a condition holds, as long as no program of the cluster has died.
    async fn look(&self, what: &str, mut condition: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let attempt = tokio::time::timeout(Duration::from_secs(10), condition()).await;
            let reason = match attempt {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(reason)) => reason,
                Err(_) => anyhow::anyhow!("no answer within 10 s"),
            };
            if let Some(name) = self.dead() {
                bail!("{name} died: see {}", self.log(&name).display());
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{what}: not within {} s: {reason:#}", PATIENCE.as_secs());
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// A daemon that ought to run and does not.
    fn dead(&self) -> Option<String> {
        self.manifest()
            .ok()?
            .daemons
            .iter()
            .find(|(_, daemon)| daemon.process.is_some_and(|process| !process.alive()))
            .map(|(name, _)| name.clone())
    }

    fn launch(&self, name: &str, daemon: Daemon) -> Result<()> {
        let machine = self.machine(&daemon.machine)?;
        let mut command = machine.command(&daemon.program);
        command.args(&daemon.arguments);
        let process = process::spawn(&mut command, &self.log(name))?;
        self.record(|manifest| {
            manifest.daemons.insert(
                name.to_owned(),
                Daemon {
                    process: Some(process),
                    ..daemon
                },
            )
        })
    }

    /// Changes the manifest. Others may do so at the same time: a fault here, an image there.
    fn record<T>(&self, change: impl FnOnce(&mut Manifest) -> T) -> Result<()> {
        let lock = place::lock(&self.folder, "manifest")?;
        let mut manifest = self.manifest()?;
        drop(change(&mut manifest));
        manifest.write(&self.folder)?;
        drop(lock);
        Ok(())
    }

    fn manifest(&self) -> Result<Manifest> {
        Manifest::read(&self.folder).with_context(|| format!("cluster {} is gone", self.name))
    }
}

/// Questions about a cluster that is up, and programs inside it.
impl Cluster {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    /// How many nodes it has.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.nodes
    }

    /// Where its programs lie, kubectl and helm among them.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The administrator's kubeconfig, valid on this machine.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The log of a machine or daemon.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }

    /// Brings images onto every node, in place of what had their names. Those that are there already
    /// are left alone.
    ///
    /// # Errors
    /// When a node's container runtime refuses one.
    pub async fn load_images(&self, archives: &[Archive]) -> Result<()> {
        let present = self.manifest()?.images;
        let new: Vec<Archive> = archives
            .iter()
            .filter(|archive| present.get(&archive.tag) != Some(&archive.path))
            .cloned()
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = new.iter().map(|archive| archive.tag.as_str()).collect();
        let nodes = (1..=self.nodes()).map(|number| {
            let machine = self.machine(&name::node(number));
            let new = &new;
            async move { image::load(&machine?, new).await }
        });
        progress::step(
            &format!("loading {}", names.join(", ")),
            try_join_all(nodes),
        )
        .await?;
        self.record(|manifest| manifest.images.extend(new.iter().map(Archive::entry)))
    }

    /// A client with the administrator's rights.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        let path = self.kubeconfig();
        let read =
            Kubeconfig::read_from(&path).with_context(|| format!("reading {}", path.display()))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A machine by name: `host`, `node-1`, ….
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn machine(&self, name: &str) -> Result<Machine> {
        let anchor = self.manifest()?.anchors.get(name).copied();
        let anchor = anchor.with_context(|| format!("no machine {name} in {}", self.name))?;
        Ok(Machine {
            namespace: self.name.namespace(name),
            anchor,
        })
    }

    /// A command on a node, which sees what pods there see: pods, Services, cluster DNS.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn command_in_node(&self, node: &str, program: impl AsRef<Path>) -> Result<Command> {
        Ok(self.machine(node)?.command(program.as_ref()))
    }

    /// Runs a program on a node to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub async fn run_in_node(&self, node: &str, words: &[&str]) -> Result<String> {
        let (program, arguments) = words.split_first().context("a command has a program")?;
        process::run(self.command_in_node(node, program)?.args(arguments)).await
    }

    /// kubectl, as this cluster's administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.programs.kubectl);
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Delays everything on a node's cable, both ways, until it is healed.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn lengthen_cable(&self, node: &str, milliseconds: u32) -> Result<()> {
        self.machine(node)?;
        let log = self.log(&format!("{node}-delay"));
        let program = &self.programs.delay;
        network::lengthen(&self.name, node, milliseconds, program, &log).await
    }

    /// Makes a node's cable as short as it was. Does nothing when it is.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn shorten_cable(&self, node: &str) -> Result<()> {
        self.machine(node)?;
        network::shorten(&self.name, node).await
    }

    /// A daemon by name: `apiserver`, `scheduler`, `kubelet-1`, ….
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn daemon(&self, name: &str) -> Result<Daemon> {
        let manifest = self.manifest()?;
        manifest.daemons.get(name).cloned().with_context(|| {
            let known: Vec<&str> = manifest.daemons.keys().map(String::as_str).collect();
            format!(
                "no program {name} in {}: there are {}",
                self.name,
                known.join(", ")
            )
        })
    }

    /// Kills a daemon and leaves it stopped.
    ///
    /// # Errors
    /// When there is none of this name, or it does not go away.
    pub async fn stop_daemon(&self, name: &str) -> Result<()> {
        if let Some(process) = self.daemon(name)?.process {
            process.end().await?;
        }
        self.record(|manifest| {
            if let Some(daemon) = manifest.daemons.get_mut(name) {
                daemon.process = None;
            }
        })
    }

    /// Starts a daemon that was stopped or has died; waits until the API server answers if it is that.
    ///
    /// # Errors
    /// When there is none of this name, or it does not come up.
    pub async fn start_daemon(&self, name: &str) -> Result<()> {
        let daemon = self.daemon(name)?;
        if daemon.process.is_some_and(Identity::alive) {
            return Ok(());
        }
        self.launch(name, daemon)?;
        if name == "apiserver" {
            self.await_api().await?;
        }
        Ok(())
    }
}

/// Whether a node lives and takes pods: a node that came back keeps its taint for a while.
fn is_ready(node: &NodeObject) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let is_tainted = taints
        .unwrap_or_default()
        .iter()
        .any(|taint| taint.key.starts_with("node.kubernetes.io/"));
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    !is_tainted
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.patch(
        name,
        &PatchParams::apply("testbed").force(),
        &Patch::Apply(object),
    )
    .await
    .map(drop)
    .with_context(|| format!("creating {name}"))
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path)
        .body(Vec::new())
        .context("building a request")
}

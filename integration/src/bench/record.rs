//! How long after a switch the new master stands in labels, slices and status.
//!
//! Listens at every Duke for `+switch-master`, and watches the objects as any client of the API server
//! does. All clocks are the machine's.

use std::{process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::DynamicObject,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::Mutex,
    task::JoinSet,
};

use crate::{
    client::listen::{Heard, now_us},
    cluster::Cluster,
    place,
    scene::Scene,
};

/// Where a master can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Label,
    Slice,
    Status,
}

/// A pod was seen as the master somewhere.
#[derive(Debug, Clone)]
struct Sight {
    at_us: u64,
    place: Place,
    master: String,
}

/// What all the tasks find.
#[derive(Debug, Default)]
struct Found {
    switches: Vec<u64>,
    sights: Vec<Sight>,
}

/// How long each took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) label: Duration,
    pub(super) slice: Duration,
    pub(super) status: Duration,
}

impl Seen {
    /// Until it was to be seen everywhere.
    pub(super) fn all(self) -> Duration {
        self.label.max(self.slice).max(self.status)
    }
}

/// Listens and watches until it is asked.
pub(super) struct Recorder {
    found: Arc<Mutex<Found>>,
    tasks: JoinSet<Result<()>>,
    listeners: Vec<Child>,
}

impl Recorder {
    /// Returns when every Duke has taken the subscription.
    pub(super) async fn start(cluster: &Cluster, scene: &Scene) -> Result<Self> {
        let mut recorder = Self {
            found: Arc::default(),
            tasks: JoinSet::new(),
            listeners: Vec::new(),
        };
        for duke in scene.pods("demo", "duke").await? {
            let address = format!("{}:26379", duke.ip);
            let mut command = cluster.command_in_node("node-1", place::program()?)?;
            command.args(["listen", &address, "+switch-master"]);
            recorder.listen(command).await?;
        }
        for place in [Place::Label, Place::Slice, Place::Status] {
            let (group, version, kind) = match place {
                Place::Label => ("", "v1", "Pod"),
                Place::Slice => ("discovery.k8s.io", "v1", "EndpointSlice"),
                Place::Status => ("kubernetes.lol", "v1", "Pipeline"),
            };
            recorder.watch(place, scene.kind(group, version, kind).await?);
        }
        Ok(recorder)
    }

    async fn listen(&mut self, mut command: Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        lines
            .next_line()
            .await?
            .context("a Duke did not take the subscription")?;
        self.listeners.push(child);
        let found = Arc::clone(&self.found);
        self.tasks.spawn(async move {
            while let Some(line) = lines.next_line().await? {
                let heard: Heard = serde_json::from_str(&line)?;
                found.lock().await.switches.push(heard.at_us);
            }
            Ok(())
        });
        Ok(())
    }

    fn watch(&mut self, place: Place, api: Api<DynamicObject>) {
        let found = Arc::clone(&self.found);
        self.tasks.spawn(async move {
            let stream = watcher(api, watcher::Config::default()).applied_objects();
            let mut stream = stream.boxed();
            while let Some(object) = stream.try_next().await? {
                let at_us = now_us();
                for master in masters(place, &object) {
                    let sight = Sight {
                        at_us,
                        place,
                        master,
                    };
                    found.lock().await.sights.push(sight);
                }
            }
            Ok(())
        });
    }

    /// How long after the first switch `master` was to be seen.
    pub(super) fn finish(mut self, master: &str) -> Result<Seen> {
        self.tasks.abort_all();
        let found = self
            .found
            .try_lock()
            .context("a task still holds what was found")?;
        let switch = found.switches.iter().min().copied();
        let switch = switch.context("no Duke told of a switch")?;
        let first = |place: Place| -> Result<Duration> {
            let sights = found.sights.iter();
            let at_us = sights
                .filter(|sight| sight.place == place && sight.master == master)
                .map(|sight| sight.at_us)
                .min()
                .with_context(|| format!("{master} was never to be seen in its {place:?}"))?;
            Ok(Duration::from_micros(at_us.saturating_sub(switch)))
        };
        Ok(Seen {
            label: first(Place::Label)?,
            slice: first(Place::Slice)?,
            status: first(Place::Status)?,
        })
    }
}

/// The pods that an object shows as the master.
fn masters(place: Place, object: &DynamicObject) -> Vec<String> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match place {
        Place::Label => {
            let labels = object.metadata.labels.as_ref();
            let role = labels.and_then(|labels| labels.get("kubernetes.lol/role"));
            let is_master = role.is_some_and(|role| role == "master");
            is_master.then_some(name).into_iter().collect()
        }
        Place::Slice if leads_to_master(object) => {
            let endpoints = object.data["endpoints"].as_array().into_iter().flatten();
            endpoints
                .filter(|endpoint| endpoint["conditions"]["ready"] == true)
                .map(|endpoint| text(&endpoint["targetRef"]["name"]))
                .collect()
        }
        Place::Slice => Vec::new(),
        Place::Status => vec![text(&object.data["status"]["master"])],
    }
}

/// Whether a slice is one that Kubernetes makes for the master's port of `pipeline-demo`.
fn leads_to_master(slice: &DynamicObject) -> bool {
    let labels = slice.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
    let mut ports = slice.data["ports"].as_array().into_iter().flatten();
    service.is_some_and(|name| name == "pipeline-demo") && ports.any(|port| port["name"] == "redis")
}

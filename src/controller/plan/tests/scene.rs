//! A Pipeline `tea` to tell stories with. Data pod N listens at 10.0.0.N+1, Duke N at 10.0.1.N+1.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentStatus, StatefulSet, StatefulSetSpec, StatefulSetStatus},
    core::v1::ConfigMap,
    discovery::v1::EndpointSlice,
};

use crate::{
    api::{DataNode, LastMaster, PipelineStatus, label, names::Names},
    controller::{
        memory::Memory,
        object::{Kind, Object, ObjectId},
        observe::{Answer, DataPod, DukePod, MainContainer, Observation, Phase, PodFacts},
        plan::{
            Drawing, Moment, Plan, SliceDrawing, Wanted,
            config_file::Wish,
            credentials::Knowledge,
            plan, refuse,
            roles::Endpoints,
            step::{Action, Step},
        },
    },
    redis::{
        Error,
        duke::{DukeReport, KnownNode, Member},
        history::History,
        node::{NodeReport, Role},
    },
    render::{hash, server_config::Files},
};

/// Draws what is there: objects have tests of their own.
struct Traced(Vec<Object>);

impl Drawing for Traced {
    fn draw(&self, moment: &Moment) -> Vec<Object> {
        let mut objects = self.0.clone();
        for object in &mut objects {
            if let Object::ConfigMap(_) = object {
                *object = config_map(&moment.files);
            }
        }
        objects
    }
}

/// The data pods' ConfigMap, stamped.
pub(super) fn config_map(files: &Files) -> Object {
    let names = Names::new("tea");
    let mut drawn = ConfigMap::default();
    drawn.metadata.name = Some(names.data());
    files.write(&names, &mut drawn);
    Object::ConfigMap(Arc::new(hash::stamp(drawn)))
}

impl SliceDrawing for Traced {
    fn draw_slices(&self, _endpoints: &Endpoints) -> Vec<Object> {
        Vec::new()
    }
}

/// Draws one slice that is called after the pod it leads to.
struct MasterSlice;

impl SliceDrawing for MasterSlice {
    fn draw_slices(&self, endpoints: &Endpoints) -> Vec<Object> {
        let mut slice = EndpointSlice::default();
        slice.metadata.name = endpoints.master.as_ref().map(|master| master.pod.clone());
        vec![Object::EndpointSlice(Arc::new(slice))]
    }
}

/// What is wanted, seen and remembered.
pub(super) struct Scene {
    pub(super) wanted: Wanted,
    pub(super) seen: Observation,
    pub(super) memory: Memory,
}

impl Scene {
    /// A group at rest: pod 0 is master since epoch 5 of generation 1.
    pub(super) fn settled(data: u16, dukes: u32) -> Self {
        let mut scene = Self::fresh(data, dukes);
        for ordinal in 0..data {
            let report = if ordinal == 0 {
                master(100)
            } else {
                follower(0, 100)
            };
            scene.data(ordinal, report);
            let role = if ordinal == 0 { "master" } else { "replica" };
            scene.pod(ordinal).facts.role = Some(role.to_owned());
        }
        scene.dukes_know(0, 1, 5);
        scene.seen.status = PipelineStatus {
            generation: Some(1),
            epoch: Some(5),
            master: Some("pipeline-tea-0".to_owned()),
            master_address: Some(node(0).to_string()),
            last_master: Some(last_master(0)),
            phase: Some(crate::api::Phase::Ready),
            data_nodes: (0..data).map(recorded).collect(),
            histories: vec!["lineage".to_owned()],
            had_data: Some(true),
            ..PipelineStatus::default()
        };
        scene
    }

    /// Pods that have just started; nobody was told anything.
    pub(super) fn fresh(data: u16, dukes: u32) -> Self {
        let wanted = Wanted {
            names: Names::new("tea"),
            data,
            dukes,
            quorum: None,
            live: BTreeMap::new(),
            file: Wish::default(),
            duke_settings: BTreeMap::new(),
            persists: false,
            passwords: Knowledge::default(),
        };
        let seen = Observation {
            at: Instant::now(),
            time: Timestamp::from_second(1_000).unwrap(),
            spec_generation: Some(1),
            status: PipelineStatus::default(),
            resource_version: Some("77".to_owned()),
            live: BTreeMap::new(),
            lost: BTreeMap::new(),
            complaints: Vec::new(),
            data: (0..data).map(data_pod).collect(),
            dukes: (0..dukes).map(duke_pod).collect(),
            claims: BTreeMap::new(),
            ended: BTreeSet::new(),
            kubelets: BTreeMap::new(),
            order: None,
            selector_leads: false,
        };
        let mut scene = Self {
            wanted,
            seen,
            memory: Memory::default(),
        };
        scene.live(data, "r1", dukes);
        scene
    }

    /// The live StatefulSet and Deployment.
    pub(super) fn live(&mut self, data: u16, revision: &str, dukes: u32) {
        let mut stateful_set = StatefulSet::default();
        stateful_set.metadata.name = Some(self.wanted.names.data());
        stateful_set.spec = StatefulSetSpec {
            replicas: Some(data.into()),
            ..StatefulSetSpec::default()
        };
        stateful_set.status = Some(StatefulSetStatus {
            update_revision: Some(revision.to_owned()),
            ..StatefulSetStatus::default()
        });
        let mut deployment = Deployment::default();
        deployment.metadata.name = Some(self.wanted.names.duke());
        let count = i32::try_from(dukes).ok();
        deployment.status = Some(DeploymentStatus {
            replicas: count,
            updated_replicas: count,
            ..DeploymentStatus::default()
        });
        let objects = [
            Object::StatefulSet(Arc::new(stateful_set)),
            Object::Deployment(Arc::new(deployment)),
        ];
        self.seen.live = objects
            .into_iter()
            .map(|object| (object.id(), object))
            .collect();
    }

    /// Changes the live Deployment.
    pub(super) fn live_deployment(&mut self, change: impl FnOnce(&mut Deployment)) -> ObjectId {
        let id = ObjectId {
            kind: Kind::Deployment,
            name: self.wanted.names.duke(),
        };
        let Some(Object::Deployment(live)) = self.seen.live.get_mut(&id) else {
            panic!("there is no Deployment");
        };
        change(Arc::make_mut(live));
        id
    }

    /// The data pod of an ordinal.
    pub(super) fn pod(&mut self, ordinal: u16) -> &mut DataPod {
        self.seen
            .data
            .iter_mut()
            .find(|pod| pod.ordinal == ordinal)
            .unwrap()
    }

    /// Lets a data node say something of itself.
    pub(super) fn data(&mut self, ordinal: u16, report: NodeReport) {
        self.pod(ordinal).answer = Answer::Given(report);
    }

    /// Makes a data node unreachable.
    pub(super) fn mute_data(&mut self, ordinal: u16) {
        self.pod(ordinal).answer = Answer::Missing(silence(node(ordinal)));
    }

    /// Lets a data pod's server end again and again.
    pub(super) fn crash(&mut self, ordinal: u16) {
        self.mute_data(ordinal);
        let facts = &mut self.pod(ordinal).facts;
        facts.ready = false;
        facts.main = MainContainer::Stopped;
        facts.trouble = Some("container pipeline waits: CrashLoopBackOff".to_owned());
    }

    /// Lets a data pod wait for something before its server was ever started.
    pub(super) fn strand(&mut self, ordinal: u16) {
        self.mute_data(ordinal);
        let facts = &mut self.pod(ordinal).facts;
        facts.phase = Phase::Pending;
        facts.ready = false;
        facts.role = None;
        facts.main = MainContainer::NeverRan;
        facts.trouble = Some("container pipeline waits: ImagePullBackOff".to_owned());
    }

    /// The pods that the plan deletes.
    pub(super) fn deleted(&mut self) -> Vec<String> {
        let steps = self.steps();
        let deleted = steps
            .iter()
            .filter_map(|line| line.strip_prefix("DeletePod "));
        deleted.map(str::to_owned).collect()
    }

    /// Makes a Duke unreachable.
    pub(super) fn mute_duke(&mut self, index: u32) {
        let address = duke(index);
        self.duke(index).answer = Answer::Missing(silence(address));
    }

    /// One Duke.
    pub(super) fn duke(&mut self, index: u32) -> &mut DukePod {
        let name = duke_name(index);
        self.seen
            .dukes
            .iter_mut()
            .find(|pod| pod.facts.name == name)
            .unwrap()
    }

    /// What one Duke says.
    pub(super) fn report(&mut self, index: u32) -> &mut DukeReport {
        match &mut self.duke(index).answer {
            Answer::Given(report) => report,
            Answer::Missing(_) | Answer::NotAsked => panic!("duke {index} says nothing"),
        }
    }

    /// All Dukes remember the same, and know all Dukes and data nodes there are.
    pub(super) fn dukes_know(&mut self, master: u16, generation: u64, epoch: u64) {
        let count = u32::try_from(self.seen.dukes.len()).unwrap();
        let nodes: Vec<KnownNode> = self
            .seen
            .data
            .iter()
            .map(|pod| known(pod, node(master)))
            .collect();
        for index in 0..count {
            let mut report = newcomer(index);
            report.memory = true;
            report.generation = generation;
            report.current_epoch = epoch;
            report.config_epoch = epoch;
            report.master = Some(node(master));
            report.size = count;
            report.quorum = count / 2 + 1;
            report.members = (0..count).map(member).collect();
            report.nodes.clone_from(&nodes);
            self.duke(index).answer = Answer::Given(report);
        }
    }

    /// All Dukes have lost their memory, as new pods do.
    pub(super) fn dukes_forget(&mut self) {
        let count = u32::try_from(self.seen.dukes.len()).unwrap();
        for index in 0..count {
            self.duke(index).answer = Answer::Given(newcomer(index));
        }
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) {
        self.seen.at += time;
    }

    /// Makes the plan.
    pub(super) fn plan(&mut self) -> Plan {
        let drawing = Traced(self.seen.live.values().cloned().collect());
        plan(&self.wanted, &self.seen, &drawing, &mut self.memory)
    }

    /// The files that the data pods have.
    pub(super) fn files(&self) -> Files {
        let names = &self.wanted.names;
        let mut live = self.seen.live.values();
        live.find_map(|object| match object {
            Object::ConfigMap(live) => Files::read(names, live),
            Object::Deployment(_)
            | Object::DisruptionBudget(_)
            | Object::EndpointSlice(_)
            | Object::Secret(_)
            | Object::Service(_)
            | Object::StatefulSet(_) => None,
        })
        .unwrap()
    }

    /// Gives the data pods files.
    pub(super) fn set_files(&mut self, files: &Files) {
        let object = config_map(files);
        self.seen.live.insert(object.id(), object);
    }

    /// Makes the plan, and writes the files as it wants them.
    pub(super) fn write_files(&mut self) -> Vec<String> {
        let plan = self.plan();
        for step in &plan.steps {
            if let Action::Apply(object) = &step.action
                && let Object::ConfigMap(_) = object.as_ref()
            {
                self.seen.live.insert(object.id(), object.as_ref().clone());
            }
        }
        lines(&plan)
    }

    /// Makes the plan with a Deployment of the Dukes that is rendered otherwise now, from the same spec.
    pub(super) fn plan_newer_duke(&mut self) -> Plan {
        let id = ObjectId {
            kind: Kind::Deployment,
            name: self.wanted.names.duke(),
        };
        let Some(Object::Deployment(live)) = self.seen.live.get(&id) else {
            panic!("there is no Deployment");
        };
        let mut newer = live.as_ref().clone();
        let asked = (label::MADE_FOR.to_owned(), "asked".to_owned());
        newer.metadata.annotations = Some([asked].into());
        newer.spec.template.spec.get_or_insert_default().hostname = Some("newer".to_owned());
        let mut objects = self.seen.live.clone();
        objects.insert(id, Object::Deployment(Arc::new(newer)));
        let drawing = Traced(objects.into_values().collect());
        plan(&self.wanted, &self.seen, &drawing, &mut self.memory)
    }

    /// Makes the plan for a spec that was refused.
    pub(super) fn refuse(&mut self) -> Plan {
        let errors = "spec.pipeline.replicas: 1 at least";
        refuse(
            &self.wanted,
            &self.seen,
            &MasterSlice,
            errors,
            &mut self.memory,
        )
    }

    /// The plan's steps, one line each.
    pub(super) fn steps(&mut self) -> Vec<String> {
        lines(&self.plan())
    }
}

/// A plan's steps, one line each.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(line).collect()
}

/// A step as a line of a transcript.
fn line(step: &Step) -> String {
    let name = step.action.name();
    match &step.action {
        Action::Adopt { object, .. } | Action::Apply(object) | Action::Create(object) => {
            format!("{name} {}", object.id())
        }
        Action::DeleteObject { id, .. } => format!("{name} {id}"),
        Action::DeletePod { name: pod, .. } => format!("{name} {pod}"),
        Action::FailOver { duke, .. } => format!("{name} by {}", duke.ip()),
        Action::LabelPod {
            name: pod, role, ..
        } => format!("{name} {pod} {}", role.unwrap_or("nothing")),
        Action::Promote { node, .. } => format!("{name} {}", node.ip()),
        Action::RecordSeed { status, .. } => format!(
            "{name} {} generation {} epoch {}",
            status.last_master.as_ref().map_or("", |last| &last.pod),
            status.generation.unwrap_or(0),
            status.epoch.unwrap_or(0)
        ),
        Action::SeedDuke { duke, seed } => format!(
            "{name} {} {} generation {} epoch {}",
            duke.ip(),
            seed.master.ip(),
            seed.generation,
            seed.epoch
        ),
        Action::SetDuke {
            duke,
            option,
            value,
        } => format!("{name} {} {option} {value}", duke.ip()),
        Action::SetNode {
            node,
            directive,
            value,
            ..
        } => {
            format!("{name} {} {directive} {value}", node.ip())
        }
        Action::TellMembers {
            duke,
            size,
            quorum,
            members,
        } => {
            format!(
                "{name} {} {} of {size}, quorum {quorum}",
                duke.ip(),
                members.len()
            )
        }
        Action::TellNodes { duke, nodes } => {
            let ips: Vec<String> = nodes.iter().map(|node| node.ip().to_string()).collect();
            format!("{name} {} {}", duke.ip(), ips.join(" "))
        }
    }
}

/// The address of a data pod.
pub(super) fn node(ordinal: u16) -> SocketAddr {
    let last = u8::try_from(ordinal + 1).unwrap();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 6379)
}

/// A data pod as the record of the last master names it.
pub(super) fn last_master(ordinal: u16) -> LastMaster {
    LastMaster {
        pod: format!("pipeline-tea-{ordinal}"),
        address: node(ordinal).to_string(),
    }
}

/// A data pod as the record of data nodes names it.
pub(super) fn recorded(ordinal: u16) -> DataNode {
    let pod = format!("pipeline-tea-{ordinal}");
    DataNode {
        uid: format!("uid-of-{pod}"),
        pod,
        node: "node-1".to_owned(),
        address: node(ordinal).to_string(),
        claim: None,
        in_sync: true,
    }
}

/// The address of a Duke.
pub(super) fn duke(index: u32) -> SocketAddr {
    let last = u8::try_from(index + 1).unwrap();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, last)), 26379)
}

/// A Duke as a member.
pub(super) fn member(index: u32) -> Member {
    Member {
        id: format!("id{index}"),
        address: duke(index),
    }
}

/// A data pod that runs and was not asked.
pub(super) fn data_pod(ordinal: u16) -> DataPod {
    let facts = facts(format!("pipeline-tea-{ordinal}"), node(ordinal).ip());
    DataPod {
        facts,
        ordinal,
        answer: Answer::Given(blank()),
    }
}

/// A Duke that was told nothing.
pub(super) fn duke_pod(index: u32) -> DukePod {
    let facts = facts(duke_name(index), duke(index).ip());
    DukePod {
        facts,
        answer: Answer::Given(newcomer(index)),
    }
}

fn duke_name(index: u32) -> String {
    format!("duke-tea-{index}")
}

fn facts(name: String, ip: IpAddr) -> PodFacts {
    PodFacts {
        uid: format!("uid-of-{name}"),
        name,
        resource_version: "5".to_owned(),
        ip: Some(ip),
        node: Some("node-1".to_owned()),
        phase: Phase::Running,
        ready: true,
        terminating: false,
        revision: "r1".to_owned(),
        role: None,
        trouble: None,
        main: MainContainer::Running,
        claim: None,
    }
}

/// A Duke without memory.
pub(super) fn newcomer(index: u32) -> DukeReport {
    DukeReport {
        id: format!("id{index}"),
        memory: false,
        generation: 0,
        current_epoch: 0,
        config_epoch: 0,
        master: None,
        flags: Vec::new(),
        failover_state: "none".to_owned(),
        size: 0,
        quorum: 0,
        members: Vec::new(),
        nodes: Vec::new(),
        reason: String::new(),
        refused_by: BTreeMap::new(),
        settings: BTreeMap::new(),
    }
}

/// A server that was just started and has nothing.
pub(super) fn blank() -> NodeReport {
    restarted("none", 1, 0)
}

/// A server that was just started and has read an append-only file.
pub(super) fn loaded(keys: u64) -> NodeReport {
    restarted("of-its-own", 1, keys)
}

/// A server that was just started and has read an RDB file that was written under a history.
pub(super) fn restarted(history: &str, offset: u64, keys: u64) -> NodeReport {
    let mut report = replica("127.0.0.1", 1, false, offset, keys);
    history.clone_into(&mut report.history.id);
    report.was_in_touch = false;
    report
}

/// A replica in sync.
pub(super) fn follower(of: u16, offset: u64) -> NodeReport {
    replica(&node(of).ip().to_string(), 6379, true, offset, 1)
}

/// A replica whose link is up and whose first copy is under way.
pub(super) fn syncing(of: u16) -> NodeReport {
    let mut report = follower(of, 0);
    if let Role::Replica { syncing, .. } = &mut report.role {
        *syncing = true;
    }
    report
}

/// A replica whose master is gone.
pub(super) fn orphan(of: u16, offset: u64) -> NodeReport {
    replica(&node(of).ip().to_string(), 6379, false, offset, 1)
}

/// A master.
pub(super) fn master(offset: u64) -> NodeReport {
    NodeReport {
        role: Role::Master,
        ..replica("", 0, false, offset, 1)
    }
}

fn replica(host: &str, port: u16, link_up: bool, offset: u64, keys: u64) -> NodeReport {
    NodeReport {
        role: Role::Replica {
            host: host.to_owned(),
            port,
            link_up,
            syncing: false,
        },
        offset,
        history: History {
            id: "lineage".to_owned(),
            ..History::default()
        },
        was_in_touch: true,
        run_id: "run".to_owned(),
        version: "7.0.15".to_owned(),
        loading: false,
        keys,
        followers: Vec::new(),
        config: BTreeMap::new(),
    }
}

/// How a Duke that reaches everybody sees a data pod.
fn known(pod: &DataPod, master: SocketAddr) -> KnownNode {
    let (role, master_host, master_port) = match pod.answer.given().map(|report| &report.role) {
        Some(Role::Replica { host, port, .. }) => ("replica", host.clone(), *port),
        Some(Role::Master) => ("master", String::new(), 0),
        None => ("unknown", master.ip().to_string(), master.port()),
    };
    KnownNode {
        address: pod.address().unwrap(),
        up: pod.answer.given().is_some(),
        role: role.to_owned(),
        master_host,
        master_port,
        refusal: String::new(),
    }
}

fn silence(address: SocketAddr) -> Error {
    Error::Silent {
        address,
        limit: Duration::from_secs(1),
    }
}

//! `cargo testbed bench`: how fast it is on a real cluster, stock Sentinel beside ours in one run.
//!
//! Measures three things: a new Pipeline until it is Ready; the time without writes after the master's
//! process is killed, with stock Sentinel in pods of the same images on the same nodes, turn by turn;
//! and how long after Duke's `+switch-master` the new master stands in labels, slices and status.
//! Prints a table, to be kept in `docs/measurements.md`.

mod group;
mod record;
mod stock;
mod table;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use self::{group::Group, record::Recorder, table::Sample};
use crate::{
    client::{probe::Report, run::Writer},
    cluster::{Cluster, Settings, operator},
    place, progress,
    scene::Scene,
};

/// How long a group may take to become Ready, or whole again.
const PATIENCE: Duration = Duration::from_mins(2);
/// The namespaces of the groups that lose their masters.
const NAMESPACES: [&str; 2] = ["bench-duke", "bench-stock"];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many Pipelines are created, one after the other.
    pub rounds: usize,
    /// How often the master of either group is killed.
    pub kills: usize,
}

/// Brings the cluster `name` up, measures, and prints a table.
///
/// # Errors
/// When something does not come about at all; a group of stock Sentinel that does not recover is a
/// finding, not an error.
pub async fn run(name: &str, plan: Plan) -> Result<()> {
    let cluster = Cluster::up(&Settings::new(name)?).await?;
    operator::install(&cluster).await?;
    let created = creation(&cluster, plan.rounds).await?;
    let kills = kills(&cluster, plan.kills).await?;
    progress::print(&table::head());
    created.print();
    kills.print();
    Ok(())
}

/// From the creation of a Pipeline until it is Ready.
async fn creation(cluster: &Cluster, rounds: usize) -> Result<Sample> {
    let mut sample = Sample::new("created → Ready");
    for round in 1..=rounds {
        let scene = Scene::open(cluster.client().await?, "bench-create").await?;
        let begun = Instant::now();
        scene.pipeline("demo", json!({})).await?;
        scene.ready("demo", PATIENCE).await?;
        sample.add(begun.elapsed())?;
        progress::say(&format!(
            "creation {round} of {rounds}: {} ms",
            begun.elapsed().as_millis()
        ));
        scene.removed().await?;
    }
    Ok(sample)
}

/// What came of killing masters.
struct Kills {
    duke: Outages,
    stock: Outages,
    record: Recorded,
}

/// The outages of one kind of group.
struct Outages {
    gaps: Sample,
    lost: u64,
    acknowledged: u64,
    failovers: usize,
    stuck: usize,
}

/// From the first `+switch-master` on any Duke until the new master is to be seen.
struct Recorded {
    label: Sample,
    slice: Sample,
    status: Sample,
}

impl Outages {
    fn new(name: &str) -> Self {
        Self {
            gaps: Sample::new(name),
            lost: 0,
            acknowledged: 0,
            failovers: 0,
            stuck: 0,
        }
    }

    fn add(&mut self, report: &Report) -> Result<()> {
        let [from, to] = &report.masters;
        self.gaps.add(Duration::from_millis(report.gap_ms))?;
        self.lost = self.lost.saturating_add(report.lost);
        self.acknowledged = self.acknowledged.saturating_add(report.acknowledged);
        self.failovers = self.failovers.saturating_add(usize::from(from != to));
        Ok(())
    }

    /// What the table has no column for.
    fn print(&self, name: &str) {
        progress::print(&format!(
            "\n{name}: {} of {} kills moved the master; {} of {} acknowledged writes were lost; {} times the \
             group did not become whole again by itself.",
            self.failovers,
            self.gaps.count(),
            self.lost,
            self.acknowledged,
            self.stuck
        ));
    }
}

impl Kills {
    fn print(&self) {
        for sample in [&self.record.label, &self.record.slice, &self.record.status] {
            sample.print();
        }
        self.duke.gaps.print();
        self.stock.gaps.print();
        self.duke.print("Duke");
        self.stock.print("Stock");
    }
}

/// Kills the master's process of ours and of stock's group in turn.
async fn kills(cluster: &Cluster, rounds: usize) -> Result<Kills> {
    let mut found = Kills {
        duke: Outages::new("kill −9 of the master → next write, Duke"),
        stock: Outages::new("the same, stock Sentinel at down-after 1 s"),
        record: Recorded {
            label: Sample::new("+switch-master → label"),
            slice: Sample::new("+switch-master → slice"),
            status: Sample::new("+switch-master → status"),
        },
    };
    let [ours, stock] = NAMESPACES;
    let client = cluster.client().await?;
    let duke = Group::duke(Scene::open(client.clone(), ours).await?).await?;
    let mut rival = Group::stock(Scene::open(client.clone(), stock).await?).await?;
    for round in 1..=rounds {
        let master = duke.settled(PATIENCE).await?;
        let recorder = Recorder::start(cluster, &duke.scene).await?;
        let report = outage(cluster, &duke, &master).await?;
        found.duke.add(&report)?;
        let after = duke.settled(PATIENCE).await?;
        let seen = recorder.finish(&after)?;
        found.record.label.add(seen.label)?;
        found.record.slice.add(seen.slice)?;
        found.record.status.add(seen.status)?;

        let theirs = match rival.settled(PATIENCE).await {
            Ok(master) => outage(cluster, &rival, &master).await,
            Err(error) => Err(error),
        };
        let said = match theirs {
            Ok(report) => {
                found.stock.add(&report)?;
                format!("{} ms", report.gap_ms)
            }
            Err(error) => {
                found.stock.stuck = found.stock.stuck.saturating_add(1);
                rival = Group::stock(Scene::open(client.clone(), stock).await?).await?;
                format!("{error:#}")
            }
        };
        progress::say(&format!(
            "kill {round} of {rounds}: Duke {} ms, recorded within {} ms; stock {said}",
            report.gap_ms,
            seen.all().as_millis()
        ));
    }
    duke.scene.removed().await?;
    rival.scene.removed().await?;
    Ok(found)
}

/// Writes all the time, kills the master's process, and says what the writer saw.
async fn outage(cluster: &Cluster, group: &Group, master: &str) -> Result<Report> {
    let mut command = cluster.command_in_node("node-1", place::program()?)?;
    command
        .args(["probe", "--sentinel", &group.sentinel])
        .args(["--settled-ms", "500", "--seconds", "60"]);
    let writer = Writer::start(command).await?;
    cluster.kill_server(&group.scene.namespace, master).await?;
    writer.ended().await
}

//! Decides: what was seen and what is wanted in, steps and a status out. Pure.
//!
//! One module per concern; this one holds their order, which is the order of the steps:
//! who is in the slices and labels, then objects, then a missing master, then what the Dukes know,
//! then settings, then pods that have to go. Each step carries the reason for it, and what is not
//! done now says what it waits for.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;

use self::{
    config_file::Wish,
    credentials::Knowledge,
    membership::Membership,
    objects::Changes,
    roles::Endpoints,
    roll::Roll,
    seeding::{Seeding, order::Answer},
    situation::Situation,
    status::Decided,
    step::{Action, Step},
};
use super::{
    memory::Memory,
    object::{Kind, Object, ObjectId},
    observe::Observation,
};
use crate::{
    api::{PipelineStatus, names::Names},
    render::server_config::Files,
};

pub mod config_file;
pub mod credentials;
pub mod may_lose;
pub mod membership;
pub mod objects;
pub mod roles;
pub mod roll;
pub mod scale;
pub mod seeding;
pub mod settings;
pub mod situation;
pub mod spread;
pub mod status;
pub mod step;
pub mod template;

#[cfg(test)]
mod tests;

/// How soon to look again while something is under way.
const SOON: Duration = Duration::from_millis(400);

/// How soon to look again when all is well: servers are asked then, never the API server.
const LATER: Duration = Duration::from_secs(5);

/// What a Pipeline wants, reduced to what plans look at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// The names of its objects.
    pub names: Names,
    /// How many data pods.
    pub data: u16,
    /// How many Dukes.
    pub dukes: u32,
    /// How many Dukes must agree that the master is down, if the user says so.
    pub quorum: Option<u32>,
    /// Directives for running data nodes, those that go back to their defaults because the spec no
    /// longer names them included.
    pub live: BTreeMap<String, String>,
    /// The data servers' configuration file.
    pub file: Wish,
    /// Sentinel settings for running Dukes.
    pub duke_settings: BTreeMap<String, String>,
    /// Whether a data pod that is stopped in order finds its data again when it is back.
    pub persists: bool,
    /// What is known of the system users' passwords.
    pub passwords: Knowledge,
}

impl Wanted {
    /// The quorum for a group of `size` Dukes.
    #[must_use]
    pub fn quorum_of(&self, size: u32) -> u32 {
        self.quorum.unwrap_or(size / 2 + 1).clamp(1, size.max(1))
    }
}

/// What to do, what to say, and what to keep in mind.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The requests, in order.
    pub steps: Vec<Step>,
    /// The status when they are done.
    pub status: PipelineStatus,
    /// Why what is not done now is not done.
    pub report: Vec<String>,
    /// When to look again.
    pub requeue: Duration,
    /// The answer to what a human ordered, given when the status is written.
    pub answer: Option<Answer>,
}

/// What is drawn for a moment: where Services lead, and how many pods there may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Moment {
    /// Who is behind the Services.
    pub endpoints: Endpoints,
    /// How many data pods there may be now.
    pub data: u16,
    /// How many Dukes there may be now.
    pub dukes: u32,
    /// Whether the group never had a master, so that no Duke has anything to remember.
    pub is_fresh: bool,
    /// Why no data pod may be evicted now, if so.
    pub budget_closed: Option<&'static str>,
    /// What the data pods start with.
    pub files: Files,
}

/// Draws the endpoint slices, with their hashes: all that a switch changes.
pub trait SliceDrawing {
    /// All of them.
    fn draw_slices(&self, endpoints: &Endpoints) -> Vec<Object>;
}

/// Draws all wanted objects, with their hashes, in the order in which they are to be applied.
pub trait Drawing: SliceDrawing {
    /// All of them.
    fn draw(&self, moment: &Moment) -> Vec<Object>;
}

impl Plan {
    /// Whether the status is written by one of the steps already.
    #[must_use]
    pub fn records_seed(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.action.name() == "RecordSeed")
    }
}

/// Makes the whole plan.
#[must_use]
pub fn plan(
    wanted: &Wanted,
    seen: &Observation,
    drawing: &impl Drawing,
    memory: &mut Memory,
) -> Plan {
    let now = Situation::of(wanted, seen);
    let order = seeding::order::read(&now);
    let stateful_set = seen.stateful_set(&wanted.names);
    let deployment = deployment(seen, &wanted.names);

    let data = scale::data_now(&now);
    let dukes = membership::dukes_now(&now);
    let endpoints = roles::endpoints(&now);
    let settings = settings::settle(&now, memory);
    let restarts = config_file::restarts(&now, &settings);
    let rolled = roll::roll(&now, stateful_set, &restarts, memory);
    let files = config_file::decide(&now, &settings, rolled.next(&now));
    let mut objects = drawing.draw(&Moment {
        endpoints,
        data,
        dukes,
        is_fresh: now.is_fresh(),
        budget_closed: may_lose::may_be_evicted(&now).err(),
        files,
    });
    let behind = template::keep(&mut objects, seen);
    let mut changes = objects::changes(objects, seen, memory);
    let troubles = hold_what_hangs(&now, &mut changes, memory);
    let surplus = objects::surplus(&changes.wanted, seen);
    let seeding = seeding::seed(&now, memory, &order);
    let roll = match keeps_from_rolling(&now, &seeding, &changes, &rolled, deployment, memory) {
        Some(why) => Roll::Waiting(why),
        None => rolled,
    };
    let decided = Decided {
        seeding: &seeding,
        order: &order,
        roll: &roll,
        settings: &settings,
        troubles: &troubles,
        deployment,
        behind: &behind,
    };
    let status = status::status(&now, &decided);

    let mut steps = changes.slices;
    steps.extend(roles::label(&now));
    steps.extend(changes.others);
    steps.extend(surplus);
    let mut report = Vec::new();
    guide(&now, seeding, &mut steps, &mut report);
    steps.extend(settings.steps);
    match roll {
        Roll::Done => {}
        Roll::Step(step) => steps.push(step),
        Roll::Waiting(why) => report.push(why),
    }
    let is_ready = status.phase == Some(crate::api::Phase::Ready);
    let requeue = if steps.is_empty() && is_ready {
        LATER
    } else {
        SOON
    };
    Plan {
        steps,
        status,
        report,
        requeue,
        answer: order.answer(),
    }
}

/// What has to happen before the next pod is replaced.
fn keeps_from_rolling(
    now: &Situation<'_>,
    seeding: &Seeding,
    changes: &Changes,
    rolled: &Roll,
    deployment: Option<&Deployment>,
    memory: &Memory,
) -> Option<String> {
    let names = &now.wanted.names;
    let files = ObjectId {
        kind: Kind::ConfigMap,
        name: names.data(),
    };
    if matches!(seeding, Seeding::Steps(_)) {
        // Whoever is being made master is not replaced in the same breath.
        return Some("a master is being chosen".to_owned());
    }
    if let Some(mount) = objects::foreign_mount(names, Kind::StatefulSet, memory) {
        return Some(format!(
            "pods would mount {mount}, which is somebody else's"
        ));
    }
    if changes.touches_pods {
        return Some("the StatefulSet is being updated".to_owned());
    }
    // The agent beside a server is of the Dukes' image: that it starts is proven on a Duke first. A
    // pod that is of no use is replaced all the same.
    let next = rolled.next(now);
    let serves = next.is_some_and(|pod| pod.facts.ready);
    if serves && !membership::dukes_are_updated(now, deployment) {
        return Some("the Dukes are updated first".to_owned());
    }
    let is_written = !changes.differs(&files.to_string());
    (next.is_some() && !is_written).then(|| "its configuration is written first".to_owned())
}

/// Leaves out what would make pods with files that are not theirs, or passwords that running
/// servers do not know; says what is wrong with the objects.
fn hold_what_hangs(
    now: &Situation<'_>,
    changes: &mut Changes,
    memory: &mut Memory,
) -> objects::Troubles {
    let names = &now.wanted.names;
    let troubles = objects::troubles(changes, memory);
    for (kind, name) in [
        (Kind::StatefulSet, names.data()),
        (Kind::Deployment, names.duke()),
    ] {
        if objects::foreign_mount(names, kind, memory).is_some() {
            changes.hold_back(&ObjectId { kind, name });
        }
    }
    if !credentials::may_write(now) {
        changes.hold_back(&ObjectId {
            kind: Kind::Secret,
            name: names.users_secret(),
        });
    }
    troubles
}

/// What the Dukes are told: a master if they have none, and otherwise who there is.
fn guide(now: &Situation<'_>, seeding: Seeding, steps: &mut Vec<Step>, report: &mut Vec<String>) {
    let feed = || {
        Membership::of(now)
            .map(|membership| membership.feed(now))
            .unwrap_or_default()
    };
    match seeding {
        Seeding::NotNeeded => {
            steps.extend(feed());
            steps.extend(catch_up(now));
        }
        Seeding::Waiting(why) | Seeding::Undecided(why) => {
            // Dukes recover memory from each other only when they know each other.
            steps.extend(feed());
            report.push(why);
        }
        Seeding::Steps(seeding) => steps.extend(seeding),
    }
}

/// Follows a switch at once: slices, labels, status, and nothing else.
#[must_use]
pub fn announce(
    wanted: &Wanted,
    seen: &Observation,
    drawing: &impl SliceDrawing,
    memory: &mut Memory,
) -> Plan {
    let now = Situation::of(wanted, seen);
    let slices = drawing.draw_slices(&roles::endpoints(&now));
    let mut steps = objects::changes(slices, seen, memory).slices;
    steps.extend(roles::label(&now));
    Plan {
        steps,
        status: status::announced(&now),
        report: Vec::new(),
        requeue: Duration::ZERO,
        answer: None,
    }
}

/// The plan for a spec that cannot be followed: the group that exists is still served. Services and
/// labels follow its master, new Dukes and data pods are made known; nothing is made, changed or
/// deleted for the spec's sake.
#[must_use]
pub fn refuse(
    wanted: &Wanted,
    seen: &Observation,
    drawing: &impl SliceDrawing,
    errors: &str,
    memory: &mut Memory,
) -> Plan {
    let reports = seen.dukes.iter().filter_map(|pod| pod.answer.given());
    let wanted = Wanted {
        quorum: reports.map(|report| report.quorum).max(),
        ..wanted.clone()
    };
    let now = Situation::of(&wanted, seen);
    let status = status::refused(&now, errors);
    let slices = drawing.draw_slices(&roles::endpoints(&now));
    let mut steps = objects::changes(slices, seen, memory).slices;
    steps.extend(roles::label(&now));
    if !seeding::is_needed(&now) {
        let membership = Membership::of(&now);
        steps.extend(membership.map(|lists| lists.feed(&now)).unwrap_or_default());
        steps.extend(catch_up(&now));
    }
    let requeue = if steps.is_empty() { LATER } else { SOON };
    Plan {
        steps,
        status,
        report: vec![errors.to_owned()],
        requeue,
        answer: None,
    }
}

/// Brings Dukes of an older generation to the present one; they were away when it began.
fn catch_up(now: &Situation<'_>) -> Vec<Step> {
    let Some(agreed) = now.agreed.filter(|_| now.has_brain()) else {
        return Vec::new();
    };
    let seed = crate::redis::duke::Seed {
        generation: agreed.generation,
        master: agreed.address,
        epoch: agreed.epoch,
    };
    now.remembering()
        .filter(|(pod, report)| !pod.facts.terminating && report.generation < agreed.generation)
        .filter_map(|(pod, _)| {
            let why = format!("{} remembers an older generation", pod.facts.name);
            Some(Step::new(
                Action::SeedDuke {
                    duke: pod.address()?,
                    seed,
                },
                why,
            ))
        })
        .collect()
}

fn deployment<'a>(seen: &'a Observation, names: &Names) -> Option<&'a Deployment> {
    let id = ObjectId {
        kind: Kind::Deployment,
        name: names.duke(),
    };
    match seen.live.get(&id)? {
        Object::Deployment(live) => Some(live),
        Object::ConfigMap(_)
        | Object::DisruptionBudget(_)
        | Object::EndpointSlice(_)
        | Object::Secret(_)
        | Object::Service(_)
        | Object::StatefulSet(_) => None,
    }
}

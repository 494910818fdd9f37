//! From what a user wrote to what can be followed: defaults filled in, texts parsed.
//!
//! Pure. Checks everything that the API server checks, and more, because an object may be older
//! than a rule. Collects all problems of a spec before it gives up, each with its field and its
//! remedy.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    api::core::v1::{Affinity, ResourceRequirements, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};

pub use crate::api::resolved::{
    Claim, Container, Data, Duke, Exporter, Placement, Resolved, Storage,
};
use crate::api::{
    ClaimTemplate, DataSpec, DukeSpec, ExporterSpec, Pipeline, PipelineSpec, StorageSpec,
    directive::{self, DUKE_SETTINGS, Directive},
    image, label,
    names::{NAME_MAX, Names, RESERVED_ENDINGS},
    rule::{DATA_REPLICAS_MAX, DUKE_REPLICAS_MAX, GRACE_PERIOD_MAX},
};

/// How long a data pod may take to stop unless the spec says otherwise, in seconds.
const GRACE_PERIOD: i64 = 30;
/// What `SENTINEL SET` takes, with the values of a spec that sets nothing.
///
/// A second of silence, as in the rendered configuration of old; everything certain does not wait
/// for it.
const DUKE_DEFAULTS: [(&str, u64); 3] = [
    ("down-after-milliseconds", 1_000),
    ("failover-timeout", 10_000),
    ("parallel-syncs", 1),
];

/// Where a data server finds its configuration.
pub const SERVER_CONFIG: &str = "/etc/pipeline/redis.conf";
/// Where a Duke finds its configuration.
pub const DUKE_CONFIG: &str = "/etc/duke/duke.conf";

/// What the operator adds to a spec from its own environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// The image of the Dukes of Pipelines that name none, and of all agents.
    pub duke_image: String,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            duke_image: image::DUKE.to_owned(),
        }
    }
}

/// One thing that keeps a spec from being followed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The field's path from the object's root.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that keeps a spec from being followed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
pub struct Unresolvable {
    /// At least one problem.
    pub problems: Vec<Problem>,
}

/// Resolves a Pipeline.
///
/// # Errors
/// All problems of the spec.
pub fn resolve(pipeline: &Pipeline, defaults: &Defaults) -> Result<Resolved, Unresolvable> {
    let mut problems = Problems::default();
    let PipelineSpec {
        pipeline: data,
        duke,
        hard_anti_affinity,
        node_affinity,
        tolerations,
    } = &pipeline.spec;
    let common = Placement {
        node_affinity: node_affinity.clone(),
        pod_affinity: None,
        pod_anti_affinity: None,
        hard_anti_affinity: *hard_anti_affinity,
        tolerations: tolerations.clone(),
    };
    let name = pipeline.metadata.name.clone().unwrap_or_default();
    check_name(&name, &mut problems);
    let annotations = pipeline.metadata.annotations.as_ref();
    let restarted_at = annotations.and_then(|all| all.get(label::RESTARTED_AT).cloned());
    let resolved = Resolved {
        names: Names::new(&name),
        name,
        namespace: pipeline.metadata.namespace.clone().unwrap_or_default(),
        uid: pipeline.metadata.uid.clone().unwrap_or_default(),
        generation: pipeline.metadata.generation,
        asked: asked::of(&pipeline.spec, restarted_at.as_deref()),
        restarted_at,
        data: resolve_data(data, &common, defaults, &mut problems),
        duke: resolve_duke(duke, &common, defaults, &mut problems),
    };
    if problems.0.is_empty() {
        Ok(resolved)
    } else {
        Err(Unresolvable {
            problems: problems.0,
        })
    }
}

/// The problems found so far.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            field: field.into(),
            message: message.into(),
        });
    }

    /// A number of things from `least` to `most`; `least` after a problem.
    fn count(&mut self, field: &str, value: i32, least: i32, most: i32) -> u16 {
        if value < least || value > most {
            self.add(
                field,
                format!("{value} is not from {least} to {most}; choose one of these"),
            );
        }
        u16::try_from(value.clamp(least, most)).unwrap_or(1)
    }
}

fn check_name(name: &str, problems: &mut Problems) {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > NAME_MAX {
        problems.add(
            "metadata.name",
            format!("longer than {NAME_MAX} characters; shorten it"),
        );
    }
    if name.is_empty() || !name.chars().all(is_plain) {
        problems.add(
            "metadata.name",
            "lower-case letters, digits and '-' only; rename it",
        );
    }
    if let Some(ending) = RESERVED_ENDINGS
        .iter()
        .find(|ending| name.ends_with(*ending))
    {
        problems.add(
            "metadata.name",
            format!("ends in {ending}, as a Service of another Pipeline may; rename it"),
        );
    }
}

fn resolve_data(
    spec: &DataSpec,
    common: &Placement,
    defaults: &Defaults,
    problems: &mut Problems,
) -> Data {
    let DataSpec {
        replicas,
        image,
        image_pull_policy,
        resources,
        custom_config,
        command,
        exporter,
        shutdown_config_map,
        termination_grace_period_seconds,
        storage,
        affinity,
        tolerations,
        hard_anti_affinity,
    } = spec;
    let image = image.clone().unwrap_or_else(|| image::REDIS.to_owned());
    let command = if command.is_empty() {
        vec![
            image::server_program(&image).to_owned(),
            SERVER_CONFIG.to_owned(),
        ]
    } else {
        command.clone()
    };
    let grace_period = termination_grace_period_seconds.unwrap_or(GRACE_PERIOD);
    if !(1..=GRACE_PERIOD_MAX).contains(&grace_period) {
        problems.add(
            "spec.pipeline.terminationGracePeriodSeconds",
            format!("{grace_period} is not from 1 to {GRACE_PERIOD_MAX}; leave it out for 30"),
        );
    }
    Data {
        replicas: problems.count("spec.pipeline.replicas", *replicas, 1, DATA_REPLICAS_MAX),
        container: Container {
            image,
            pull_policy: image_pull_policy.unwrap_or_default(),
            command,
            resources: resources.clone().unwrap_or_else(|| requests("50m", "64Mi")),
        },
        custom: resolve_directives(custom_config, problems),
        exporter: exporter.as_ref().and_then(resolve_exporter),
        agent_image: defaults.duke_image.clone(),
        shutdown: shutdown_config_map.clone(),
        grace_period,
        storage: resolve_storage(storage.clone().unwrap_or_default(), problems),
        placement: place(
            common,
            affinity.as_ref(),
            tolerations.as_deref(),
            *hard_anti_affinity,
        ),
    }
}

fn resolve_exporter(spec: &ExporterSpec) -> Option<Exporter> {
    let ExporterSpec {
        enabled,
        image,
        image_pull_policy,
        resources,
        disable_probes,
    } = spec;
    enabled.then(|| Exporter {
        container: Container {
            image: image.clone().unwrap_or_else(|| image::EXPORTER.to_owned()),
            pull_policy: image_pull_policy.unwrap_or_default(),
            command: Vec::new(),
            resources: resources.clone().unwrap_or_else(|| requests("10m", "24Mi")),
        },
        probes: !disable_probes,
    })
}

fn resolve_directives(lines: &[String], problems: &mut Problems) -> Vec<Directive> {
    let mut directives = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let field = format!("spec.pipeline.customConfig[{index}]");
        match directive::parse(line) {
            Ok(None) => {}
            Ok(Some(directive)) => {
                if let Some(problem) = directive_problem(&directive) {
                    problems.add(field, problem);
                }
                directives.push(directive);
            }
            Err(error) => problems.add(field, error.to_string()),
        }
    }
    directives
}

/// Why a directive may not stand in a spec, with the remedy.
fn directive_problem(directive: &Directive) -> Option<String> {
    let name = &directive.name;
    if let Some(remedy) = directive::refusal(name) {
        return Some(format!("{name} may not be set: {remedy}; remove the line"));
    }
    let (word, remedy) = directive::foreign_size(directive)?;
    Some(format!(
        "servers cannot read the size {word} of {name}; write {remedy}"
    ))
}

fn resolve_storage(spec: StorageSpec, problems: &mut Problems) -> Storage {
    let StorageSpec {
        keep_after_deletion,
        empty_dir,
        persistent_volume_claim,
    } = spec;
    let field = "spec.pipeline.storage";
    if empty_dir.is_some() && persistent_volume_claim.is_some() {
        problems.add(
            field,
            "emptyDir and persistentVolumeClaim exclude each other; remove one",
        );
    }
    let Some(ClaimTemplate { metadata, mut spec }) = persistent_volume_claim else {
        return Storage::EmptyDir(empty_dir.unwrap_or_default());
    };
    let requests = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    if !requests.is_some_and(|requests| requests.contains_key("storage")) {
        problems.add(
            format!("{field}.persistentVolumeClaim.spec.resources.requests.storage"),
            "missing; say how large the volumes are to be, as in 1Gi",
        );
    }
    spec.access_modes
        .get_or_insert_with(|| vec!["ReadWriteOnce".to_owned()]);
    let metadata = metadata.unwrap_or_default();
    Storage::Claim(Box::new(Claim {
        name: metadata.name.unwrap_or_else(|| "data".to_owned()),
        labels: metadata.labels,
        annotations: metadata.annotations,
        spec,
        keep: keep_after_deletion,
    }))
}

fn resolve_duke(
    spec: &DukeSpec,
    common: &Placement,
    defaults: &Defaults,
    problems: &mut Problems,
) -> Duke {
    let DukeSpec {
        replicas,
        image,
        image_pull_policy,
        resources,
        custom_config,
        command,
        quorum,
        affinity,
        tolerations,
        hard_anti_affinity,
    } = spec;
    if *replicas == 2 {
        problems.add("spec.duke.replicas", "of 2 none may fail; take 3, or 1");
    }
    let replicas = problems.count("spec.duke.replicas", *replicas, 1, DUKE_REPLICAS_MAX);
    let quorum = match quorum {
        None => replicas / 2 + 1,
        Some(quorum) => problems.count("spec.duke.quorum", *quorum, 1, i32::from(replicas)),
    };
    let command = if command.is_empty() {
        [
            "/duke",
            DUKE_CONFIG,
            "--sentinel",
            "announce-ip",
            "$(POD_IP)",
        ]
        .map(str::to_owned)
        .to_vec()
    } else {
        command.clone()
    };
    Duke {
        replicas,
        quorum,
        container: Container {
            image: image.clone().unwrap_or_else(|| defaults.duke_image.clone()),
            pull_policy: image_pull_policy.unwrap_or_default(),
            command,
            resources: resources.clone().unwrap_or_else(|| requests("20m", "16Mi")),
        },
        settings: resolve_settings(custom_config, problems),
        placement: place(
            common,
            affinity.as_ref(),
            tolerations.as_deref(),
            *hard_anti_affinity,
        ),
    }
}

fn resolve_settings(lines: &[String], problems: &mut Problems) -> BTreeMap<&'static str, u64> {
    let mut settings = BTreeMap::from(DUKE_DEFAULTS);
    let known: Vec<&str> = DUKE_SETTINGS.iter().map(|(name, _)| *name).collect();
    for (index, line) in lines.iter().enumerate() {
        let field = format!("spec.duke.customConfig[{index}]");
        let directive = match directive::parse(line) {
            Ok(None) => continue,
            Ok(Some(directive)) => directive,
            Err(error) => {
                problems.add(field, error.to_string());
                continue;
            }
        };
        let Some((name, least)) = DUKE_SETTINGS
            .iter()
            .find(|(name, _)| *name == directive.name)
        else {
            let known = known.join(", ");
            problems.add(
                field,
                format!("{} is none of {known}; remove it", directive.name),
            );
            continue;
        };
        match directive.value.parse::<u64>() {
            Ok(value) if value >= *least && u32::try_from(value).is_ok() => {
                settings.insert(name, value);
            }
            Ok(_) | Err(_) => problems.add(
                field,
                format!(
                    "'{}' is no number from {least} to {}; write one",
                    directive.value,
                    u32::MAX
                ),
            ),
        }
    }
    settings
}

/// A section's placement: its own parts where it has them, the spec's for the rest.
fn place(
    common: &Placement,
    affinity: Option<&Affinity>,
    tolerations: Option<&[Toleration]>,
    hard_anti_affinity: Option<bool>,
) -> Placement {
    let affinity = affinity.cloned().unwrap_or_default();
    Placement {
        node_affinity: affinity
            .node_affinity
            .or_else(|| common.node_affinity.clone()),
        pod_affinity: affinity.pod_affinity,
        pod_anti_affinity: affinity.pod_anti_affinity,
        hard_anti_affinity: hard_anti_affinity.unwrap_or(common.hard_anti_affinity),
        tolerations: tolerations.map_or_else(|| common.tolerations.clone(), <[_]>::to_vec),
    }
}

/// Small requests and no limits: enough to be scheduled fairly, too little to stand in the way.
fn requests(cpu: &str, memory: &str) -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpu.to_owned())),
            ("memory".to_owned(), Quantity(memory.to_owned())),
        ])),
        ..ResourceRequirements::default()
    }
}

mod asked;
#[cfg(test)]
mod tests;

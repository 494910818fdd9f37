//! Brings running servers to the custom configuration, where they take it without a restart. Pure.
//!
//! A value that a server refused is not sent again until it, or the server's process, changes; the
//! refusal is in the condition `ConfigApplied`, and the file keeps the former value.

use super::{
    Wanted,
    situation::Situation,
    step::{Action, Step},
};
use crate::{
    api::directive::is_same,
    controller::memory::{Memory, Setting},
    redis::duke::DukeReport,
};

/// The steps, and what servers refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// What to send.
    pub steps: Vec<Step>,
    /// What was refused, as sentences.
    pub refused: Vec<String>,
    /// Whether a server that answers has another value than wanted.
    pub differs: bool,
}

/// Compares what servers say with what is wanted.
#[must_use]
pub fn settle(now: &Situation<'_>, memory: &Memory) -> Settings {
    let mut settings = Settings::default();
    for pod in now.seen.data.iter().filter(|pod| pod.facts.is_living()) {
        let (Some(report), Some(node)) = (pod.answer.given(), pod.address()) else {
            continue;
        };
        for (directive, value) in &now.wanted.live {
            let setting = Setting {
                run_id: report.run_id.clone(),
                directive: directive.clone(),
            };
            let tried = memory
                .tried
                .get(&setting)
                .filter(|tried| tried.value == *value);
            if let Some(refusal) = tried.and_then(|tried| tried.refusal.as_ref()) {
                settings.differs = true;
                settings
                    .refused
                    .push(format!("{}: {directive}: {refusal}", pod.facts.name));
                continue;
            }
            let reported = report.config.get(directive);
            if tried.is_some()
                || reported.is_some_and(|reported| is_same(directive, value, reported))
            {
                continue;
            }
            settings.differs = true;
            let action = Action::SetNode {
                node,
                run_id: report.run_id.clone(),
                directive: directive.clone(),
                value: value.clone(),
            };
            settings.steps.push(Step::new(
                action,
                format!("{} has another {directive} than wanted", pod.facts.name),
            ));
        }
    }
    for (pod, report) in now.remembering().filter(|(pod, _)| !pod.facts.terminating) {
        let Some(duke) = pod.address() else { continue };
        for (option, value) in differing(now.wanted, report) {
            let why = format!("{} has another {option} than wanted", pod.facts.name);
            settings.steps.push(Step::new(
                Action::SetDuke {
                    duke,
                    option,
                    value,
                },
                why,
            ));
        }
    }
    settings
}

/// The Sentinel settings that a Duke knows with another value.
fn differing(wanted: &Wanted, report: &DukeReport) -> Vec<(String, String)> {
    wanted
        .duke_settings
        .iter()
        .filter(|(option, value)| {
            let known = report
                .settings
                .get(*option)
                .filter(|known| !known.is_empty());
            known.is_some_and(|known| known != *value)
        })
        .map(|(option, value)| (option.clone(), value.clone()))
        .collect()
}

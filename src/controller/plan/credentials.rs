//! What the status says of the system users' passwords, and whether their Secret may be written. Pure.
//!
//! Servers read their users, and Dukes their passwords, when they start. So the passwords with which
//! they were started are kept in use whatever happens to the Secret: a changed one is put back. When
//! nobody knows them any more, new ones would only lock out whoever starts next; then the Secret is
//! left as it is until a person has decided.

use super::situation::Situation;
use crate::{
    api::condition::{ConditionType, Reason, Truth, Verdict},
    controller::observe::{Answer, PodFacts},
};

/// What is known of the passwords.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Knowledge {
    /// Whether there are any: in the Secret, or in mind since it was there.
    pub is_known: bool,
    /// Keys of the Secret that somebody has changed, and that are put back.
    pub changed: Vec<&'static str>,
    /// Keys of the Secret that somebody has changed, and of which nobody knows the former value.
    pub doubtful: Vec<&'static str>,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            is_known: true,
            changed: Vec::new(),
            doubtful: Vec::new(),
        }
    }
}

/// Whether the Secret may be written: not with new passwords while servers run with others, and not
/// from a password of which it is not known whether a server knows it.
#[must_use]
pub fn may_write(now: &Situation<'_>) -> bool {
    let knowledge = &now.wanted.passwords;
    knowledge.doubtful.is_empty() && (knowledge.is_known || !anyone_runs(now))
}

fn anyone_runs(now: &Situation<'_>) -> bool {
    let data = now.seen.data.iter().map(|pod| &pod.facts);
    let dukes = now.seen.dukes.iter().map(|pod| &pod.facts);
    data.chain(dukes).any(PodFacts::is_living)
}

/// The verdict on the passwords.
#[must_use]
pub fn verdict(now: &Situation<'_>) -> Verdict {
    let (truth, reason, message) = judge(now);
    Verdict {
        kind: ConditionType::CredentialsApplied,
        truth,
        reason,
        message,
    }
}

fn judge(now: &Situation<'_>) -> (Truth, Reason, String) {
    let knowledge = &now.wanted.passwords;
    let secret = format!("Secret/{}", now.wanted.names.users_secret());
    let no = |reason, message| (Truth::False, reason, message);
    if !knowledge.is_known && anyone_runs(now) {
        let name = now.wanted.names.pipeline();
        return no(
            Reason::SecretLost,
            format!(
                "{secret} is gone, and pods run with passwords that stood in it; put it back from a \
                 backup. Without one, deleting all pods at once (kubectl delete pod -l \
                 kubernetes.lol/pipeline={name}) makes new passwords, and what is on no volume is \
                 lost"
            ),
        );
    }
    if !knowledge.doubtful.is_empty() {
        let keys = listed(&knowledge.doubtful);
        return no(
            Reason::SecretChanged,
            format!(
                "{keys} of {secret} was changed by somebody while no operator ran, and its users.acl \
                 still has the former password; put the former one back"
            ),
        );
    }
    let refusing = refusing(now);
    if let Some((_, words)) = refusing.first() {
        let pods: Vec<&str> = refusing.iter().map(|(pod, _)| *pod).collect();
        return no(
            Reason::CredentialsRefused,
            format!(
                "{} refuses the operator ({words}), so it was started with other passwords than \
                 {secret} has; put back the Secret it was started with, or delete the pod when its \
                 data is elsewhere",
                pods.join(", ")
            ),
        );
    }
    if let Some((pod, words)) = refuses_the_dukes(now) {
        return no(
            Reason::CredentialsRefused,
            format!(
                "{pod} refuses the Dukes ({words}): one of them was started with another password of \
                 user duke than {secret} has; delete that pod when its data is elsewhere"
            ),
        );
    }
    if !knowledge.changed.is_empty() {
        let keys = listed(&knowledge.changed);
        return no(
            Reason::SecretChanged,
            format!(
                "{keys} of {secret} was changed by somebody and is put back, because running servers \
                 know the former password only"
            ),
        );
    }
    after(now)
}

/// What is said when all is well: for as long as the spec stays as it is, that something was put back.
fn after(now: &Situation<'_>) -> (Truth, Reason, String) {
    let before = now.seen.status.conditions.iter().find(|known| {
        known.type_ == ConditionType::CredentialsApplied.as_str()
            && known.observed_generation == now.seen.spec_generation
    });
    let was_changed = [Reason::SecretChanged, Reason::PutBack].map(Reason::as_str);
    match before.filter(|known| was_changed.contains(&known.reason.as_str())) {
        Some(known) => (Truth::True, Reason::PutBack, known.message.clone()),
        None => (
            Truth::True,
            Reason::AsWanted,
            "all servers know the passwords".to_owned(),
        ),
    }
}

fn listed(keys: &[&str]) -> String {
    format!("key {}", keys.join(", "))
}

/// Who refuses the operator's password, and with what words.
fn refusing<'a>(now: &Situation<'a>) -> Vec<(&'a str, &'a str)> {
    let data = now
        .seen
        .data
        .iter()
        .map(|pod| (pod.facts.name.as_str(), missing(&pod.answer)));
    let dukes = now
        .seen
        .dukes
        .iter()
        .map(|pod| (pod.facts.name.as_str(), missing(&pod.answer)));
    data.chain(dukes)
        .filter_map(|(pod, words)| Some((pod, words?)))
        .filter(|(_, words)| is_login_refusal(words))
        .collect()
}

/// A data pod that refuses the Dukes' password, and its words.
fn refuses_the_dukes(now: &Situation<'_>) -> Option<(String, String)> {
    now.answering().find_map(|(_, report)| {
        let mut refusals = report.nodes.iter();
        let node = refusals.find(|node| !node.up && is_login_refusal(&node.refusal))?;
        let pod = now.seen.data_at(node.address.ip());
        let name = pod.map_or_else(|| node.address.to_string(), |pod| pod.facts.name.clone());
        Some((name, node.refusal.clone()))
    })
}

fn missing<T>(answer: &Answer<T>) -> Option<&str> {
    match answer {
        Answer::Missing(error) => error.answer(),
        Answer::Given(_) | Answer::NotAsked => None,
    }
}

fn is_login_refusal(words: &str) -> bool {
    ["WRONGPASS", "NOAUTH", "NOPERM"]
        .iter()
        .any(|code| words.starts_with(code))
}

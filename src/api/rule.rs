//! What the API server checks of a Pipeline by itself, in its expression language (CEL).
//!
//! Every message names the field and the remedy. The operator checks everything here again, and
//! more, when it resolves a spec: an object may have been stored before a rule existed.

use kube::core::{Message, Rule};

use super::{
    directive::{DUKE_SETTINGS, REFUSED, REFUSED_PREFIXES, value::SIZES},
    names::{NAME_MAX, RESERVED_ENDINGS},
};

/// The most data pods of a Pipeline.
pub const DATA_REPLICAS_MAX: i32 = 64;
/// The most Dukes of a Pipeline. Each further one makes an election slower and none safer.
pub const DUKE_REPLICAS_MAX: i32 = 9;
/// The longest a pod may take to stop, in seconds.
pub const GRACE_PERIOD_MAX: i64 = 3600;

/// A rule of the whole object that speaks of its name: refusals name the field.
fn of_name(rule: impl Into<String>) -> Rule {
    Rule::new(rule).field_path(".metadata.name")
}

/// A name short enough for everything made from it.
#[must_use]
pub fn name_length() -> Rule {
    of_name(format!("self.metadata.name.size() <= {NAME_MAX}")).message(Message::Message(format!(
        "metadata.name: at most {NAME_MAX} characters, because the names of pods and Services \
             are made from it; choose a shorter name"
    )))
}

/// A name that can be part of a Service's.
#[must_use]
pub fn name_shape() -> Rule {
    of_name("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name: lower-case letters, digits and '-' only, because it is part of DNS names; \
         replace the dots",
    )
}

/// A name that leads to no object of another Pipeline.
#[must_use]
pub fn name_ending() -> Rule {
    let test = RESERVED_ENDINGS.map(|ending| format!("!self.metadata.name.endsWith('{ending}')"));
    of_name(test.join(" && ")).message(Message::Message(format!(
        "metadata.name: must not end in {}, because Services of other Pipelines do; choose another \
         ending",
        RESERVED_ENDINGS.join(", "),
    )))
}

/// A sensible number of data pods.
#[must_use]
pub fn data_replicas() -> Rule {
    Rule::new(format!("self >= 1 && self <= {DATA_REPLICAS_MAX}")).message(Message::Message(
        format!(
            "spec.pipeline.replicas: from 1 to {DATA_REPLICAS_MAX}; leave it out for 3, delete the \
             Pipeline to have none"
        ),
    ))
}

/// A sensible number of Dukes.
#[must_use]
pub fn duke_replicas() -> Rule {
    Rule::new(format!(
        "self >= 1 && self <= {DUKE_REPLICAS_MAX} && self != 2"
    ))
    .message(Message::Message(format!(
        "spec.duke.replicas: 1, or from 3 to {DUKE_REPLICAS_MAX}; of 2 none may fail, so take 3"
    )))
}

/// A quorum that can be reached.
#[must_use]
pub fn quorum() -> Rule {
    Rule::new("!has(self.quorum) || (self.quorum >= 1 && self.quorum <= self.replicas)").message(
        "spec.duke.quorum: from 1 to spec.duke.replicas; leave it out for more than half of them",
    )
}

/// A grace period that ends.
#[must_use]
pub fn grace_period() -> Rule {
    Rule::new(format!("self >= 1 && self <= {GRACE_PERIOD_MAX}")).message(Message::Message(
        format!(
            "spec.pipeline.terminationGracePeriodSeconds: from 1 to {GRACE_PERIOD_MAX}; leave it \
             out for 30"
        ),
    ))
}

/// One kind of storage.
#[must_use]
pub fn one_storage() -> Rule {
    Rule::new("!(has(self.emptyDir) && has(self.persistentVolumeClaim))").message(
        "spec.pipeline.storage: emptyDir and persistentVolumeClaim exclude each other; remove one",
    )
}

/// A claim says how much it claims.
#[must_use]
pub fn claim_size() -> Rule {
    Rule::new(
        "has(self.spec.resources) && has(self.spec.resources.requests) && 'storage' in \
         self.spec.resources.requests",
    )
    .message(
        "spec.pipeline.storage.persistentVolumeClaim.spec.resources.requests.storage: missing; say \
         how large the volumes are to be, as in 1Gi",
    )
}

/// Whether the data pods of `object` have volume claims, as an expression.
fn has_claim(object: &str) -> String {
    format!("(has({object}.storage) && has({object}.storage.persistentVolumeClaim))")
}

/// A Pipeline keeps its kind of storage.
#[must_use]
pub fn claim_kind_is_fixed() -> Rule {
    Rule::new(format!("{} == {}", has_claim("self"), has_claim("oldSelf"))).message(
        "spec.pipeline.storage: a Pipeline cannot change between an empty directory and volume \
         claims; make a new Pipeline and copy the data",
    )
}

/// A Pipeline keeps its claim template.
#[must_use]
pub fn claim_is_fixed() -> Rule {
    Rule::new(format!(
        "!{} || !{} || self.storage.persistentVolumeClaim == oldSelf.storage.persistentVolumeClaim",
        has_claim("self"),
        has_claim("oldSelf"),
    ))
    .message(
        "spec.pipeline.storage.persistentVolumeClaim: the template of existing volumes cannot be \
         changed; put it back, or make a new Pipeline and copy the data",
    )
}

/// Custom lines begin with a directive (or are empty, or comments) and are one line each.
#[must_use]
pub fn line_shape(section: &str) -> Rule {
    Rule::new(
        r"self.all(line, !line.matches(r'[\r\n]') && line.matches(r'^\s*($|#|[A-Za-z][-_A-Za-z0-9]*($|\s))'))",
    )
    .message(Message::Message(format!(
        "spec.{section}.customConfig: one directive per item, its name unquoted, then its values; \
         split items with line breaks"
    )))
}

/// Custom lines set no directive that would break the group.
#[must_use]
pub fn data_directives() -> Rule {
    let exact = REFUSED.iter().map(|(name, _)| (*name).to_owned());
    let begins = REFUSED_PREFIXES
        .iter()
        .map(|(prefix, _)| format!("{prefix}[-a-z0-9]*"));
    let names: Vec<String> = exact.chain(begins).collect();
    let refused = format!(r"line.matches(r'(?i)^\s*({})(\s|$)')", names.join("|"));
    Rule::new(format!("!self.exists(line, {refused})")).message(Message::Expression(format!(
        "'spec.pipeline.customConfig: remove ' + self.filter(line, {refused})[0] + ', which the \
         operator sets itself or which would break the group'"
    )))
}

/// Sizes in custom lines are spelled as the servers read them.
#[must_use]
pub fn data_sizes() -> Rule {
    let foreign = format!(
        r"line.matches(r'(?i)^\s*({})\s(.*\s)?[0-9.]+[KMGT]iB?(\s|$)')",
        SIZES.join("|")
    );
    Rule::new(format!("!self.exists(line, {foreign})")).message(Message::Expression(format!(
        "'spec.pipeline.customConfig: servers cannot read the size in ' + self.filter(line, \
         {foreign})[0] + '; write kb for Ki, mb for Mi, gb for Gi, as in maxmemory 1gb'"
    )))
}

/// Custom lines of a Duke make settings that it takes.
#[must_use]
pub fn duke_directives() -> Rule {
    let names: Vec<&str> = DUKE_SETTINGS.iter().map(|(name, _)| *name).collect();
    let taken = format!(r"(?i)^\s*($|#|({})\s+[0-9]+\s*$)", names.join("|"));
    Rule::new(format!("self.all(line, line.matches(r'{taken}'))")).message(Message::Message(
        format!(
            "spec.duke.customConfig: 'option number' with an option of {}; remove other lines",
            names.join(", "),
        ),
    ))
}

//! Files of the repository that hold the definition: they are current, or `UPDATE=1` makes them so.

use std::{fs, path::PathBuf};

use pipeline_operator::api::{crd_yaml, image};

/// What a generated document begins with.
const HEADER: &str = "# Made by `UPDATE=1 cargo test --test generated`; do not edit.\n";
/// Where one document of a manifest ends and the next begins.
const SEPARATOR: &str = "\n---\n";

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Compares a file with what it should be, or writes it.
fn check(file: &str, wanted: &str) {
    let present = fs::read_to_string(path(file)).unwrap_or_default();
    if present == wanted {
        return;
    }
    assert!(
        std::env::var_os("UPDATE").is_some(),
        "{file} is out of date: run `UPDATE=1 cargo test --test generated`"
    );
    fs::write(path(file), wanted).expect("the file can be written");
}

#[test]
fn the_charts_definition_is_current() {
    check(
        "charts/pipelineoperator/crds/pipeline.yaml",
        &format!("{HEADER}{}", crd_yaml()),
    );
}

#[test]
fn the_definition_in_the_example_is_current() {
    let file = "example/operator.yaml";
    let present = fs::read_to_string(path(file)).unwrap();
    let (_, rest) = present
        .split_once(SEPARATOR)
        .expect("the definition comes first");
    check(
        file,
        &format!("{HEADER}{}{SEPARATOR}{rest}", crd_yaml().trim_end()),
    );
}

#[test]
fn the_charts_permissions_are_those_of_the_example() {
    let example = fs::read_to_string(path("example/operator.yaml")).unwrap();
    let role = example
        .split(SEPARATOR)
        .find(|document| document.contains("\nkind: ClusterRole\n"))
        .expect("there is a role");
    let (_, rules) = role.split_once("\nrules:\n").expect("the rules come last");
    check(
        "charts/pipelineoperator/files/rules.yaml",
        &format!("{HEADER}rules:\n{rules}\n"),
    );
}

#[test]
fn everything_speaks_of_one_version() {
    let (repository, tag) = image::OPERATOR.rsplit_once(':').unwrap();
    assert_eq!(tag, env!("CARGO_PKG_VERSION"));
    let example = fs::read_to_string(path("example/operator.yaml")).unwrap();
    assert_eq!(
        example.matches(image::OPERATOR).count(),
        2,
        "its own image, and the Dukes'"
    );
    let chart = fs::read_to_string(path("charts/pipelineoperator/Chart.yaml")).unwrap();
    assert!(
        chart.contains(&format!("\nversion: {tag}\nappVersion: {tag}\n")),
        "{chart}"
    );
    let values = fs::read_to_string(path("charts/pipelineoperator/values.yaml")).unwrap();
    assert!(
        values.contains(&format!("  repository: {repository}\n")),
        "{values}"
    );
}

#[test]
fn the_charts_readme_names_every_value() {
    let values = fs::read_to_string(path("charts/pipelineoperator/values.yaml")).unwrap();
    let readme = fs::read_to_string(path("charts/pipelineoperator/README.md")).unwrap();
    let top = values
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, _)| key);
    for key in top.filter(|key| key.starts_with(|c: char| c.is_ascii_lowercase())) {
        let named = [format!("`{key}`"), format!("`{key}.")];
        assert!(named.iter().any(|name| readme.contains(name)), "{key}");
    }
}

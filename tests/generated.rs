//! Files of the repository that hold the definition: they are current, or `UPDATE=1` makes them so.

use std::{fs, path::PathBuf};

use pipeline_operator::api::crd_yaml;

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

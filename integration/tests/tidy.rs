//! The repository's own rules, as tests: headers, lengths, banned words, folder sizes.
//!
//! Reads every tracked file; needs nothing but the source tree.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The longest a source file may be, tests included.
const LINES_MAX: usize = 800;
/// The longest a line of code may be.
const COLUMNS_MAX: usize = 140;
/// How many modules a folder of sources may hold before it wants splitting.
const FAN_OUT_MAX: usize = 16;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the tree")
        .to_owned()
}

/// All files git tracks or would track, relative to the root.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    let mut files: Vec<PathBuf> = String::from_utf8(output.stdout)
        .expect("paths are text")
        .lines()
        .map(PathBuf::from)
        .filter(|path| root().join(path).is_file())
        .collect();
    files.sort();
    assert!(files.len() > 20, "git found the tree");
    files
}

fn sources() -> Vec<(PathBuf, String)> {
    files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).expect("sources are readable");
            (path, text)
        })
        .collect()
}

#[track_caller]
fn assert_none(offenders: &[String], rule: &str) {
    assert!(
        offenders.is_empty(),
        "{rule}:\n  {}",
        offenders.join("\n  ")
    );
}

#[test]
fn every_source_file_says_what_it_decides() {
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none(
        &offenders,
        "begin the file with a `//!` header: what it decides, what it may touch",
    );
}

#[test]
fn no_source_file_is_too_long() {
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert_none(&offenders, "split the file by the questions it answers");
}

#[test]
fn no_line_is_too_long() {
    let offenders: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| {
            text.lines()
                .enumerate()
                .filter(|(_, line)| line.chars().count() > COLUMNS_MAX)
                .map(|(index, _)| format!("{}:{}", path.display(), index + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(&offenders, "break the line");
}

#[test]
fn no_unfinished_work_is_marked_in_the_sources() {
    let words = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
    ];
    let offenders: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| {
            text.lines()
                .enumerate()
                .filter(|(_, line)| {
                    line.split(|c: char| !c.is_alphanumeric())
                        .any(|w| words.iter().any(|x| x == w))
                })
                .map(|(index, _)| format!("{}:{}", path.display(), index + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(&offenders, "finish it, or say in an issue what is left");
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let banned = [
        "mod", "utils", "util", "helpers", "helper", "common", "manager", "types", "misc",
    ];
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| {
            path.file_stem()
                .is_some_and(|stem| banned.iter().any(|name| stem == *name))
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none(&offenders, "name the file after the thing it holds");
}

#[test]
fn no_folder_of_sources_is_crowded() {
    let mut counts = std::collections::BTreeMap::<PathBuf, usize>::new();
    for (path, _) in sources() {
        let folder = path.parent().expect("a file has a folder").to_owned();
        *counts.entry(folder).or_default() += 1;
    }
    let offenders: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > FAN_OUT_MAX)
        .map(|(folder, count)| format!("{}: {count} files", folder.display()))
        .collect();
    assert_none(&offenders, "group the files into folders");
}

#[test]
fn the_pure_parts_of_the_operator_stay_pure() {
    let pure = [
        "src/render",
        "src/controller/resolve",
        "src/controller/plan",
        "src/api",
    ];
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| {
            pure.iter()
                .any(|prefix| path.to_string_lossy().starts_with(prefix))
        })
        .filter(|(_, text)| text.contains("kube::Client") || text.contains("async fn"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none(
        &offenders,
        "rendering, resolving and planning take no client and never wait",
    );
}

#[test]
fn nothing_under_sentinel_knows_kubernetes() {
    let offenders: Vec<String> = files()
        .into_iter()
        .filter(|path| path.starts_with("sentinel") && path.ends_with("Cargo.toml"))
        .filter(|path| {
            let text = fs::read_to_string(root().join(path)).expect("manifests are readable");
            text.contains("kube") || text.contains("k8s")
        })
        .map(|path| path.display().to_string())
        .collect();
    assert_none(
        &offenders,
        "Duke runs anywhere: Kubernetes belongs into the operator",
    );
}

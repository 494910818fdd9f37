//! Stories of a group, told as scripts with their transcripts.
//!
//! Every file below `scenarios/` is a row of blocks: commands, a line `----`, and what happened. The
//! world behind them is deterministic: virtual time, one seed, a disk and a network whose faults the
//! script commands. `UPDATE=1 cargo test -p duke-core --test scenario` rewrites the transcripts, to
//! be read before they are committed.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod chaos;
mod script;
mod server;
mod world;

use std::{fs, path::Path};

use crate::script::Script;

#[test]
fn every_story_goes_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the stories are there");
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let told = fs::read_to_string(&file).unwrap();
        let happened = Script::read(&told).play();
        if told == happened {
            continue;
        }
        if update {
            fs::write(&file, &happened).unwrap();
        } else {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            wrong.push(format!("{name}: {}", first_difference(&told, &happened)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n(UPDATE=1 rewrites the transcripts)",
        wrong.join("\n")
    );
}

#[test]
fn a_story_told_twice_is_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    for entry in fs::read_dir(folder).unwrap() {
        let told = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert_eq!(Script::read(&told).play(), Script::read(&told).play());
    }
}

fn first_difference(told: &str, happened: &str) -> String {
    let lines = told.lines().zip(happened.lines()).enumerate();
    for (index, (told, happened)) in lines {
        if told != happened {
            return format!("line {}: told '{told}', happened '{happened}'", index + 1);
        }
    }
    "one is longer than the other".to_owned()
}

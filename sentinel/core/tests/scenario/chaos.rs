//! Stories nobody wrote: random faults, then peace. Whatever happened, at most one Duke led each epoch, and
//! once the faults are over the group agrees on one master that everybody follows.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

use crate::world::World;

/// How many stories a plain run tells; `SEEDS=1000` tells more.
const SEEDS: u64 = 60;
/// Long enough for every patience there is, one after the other.
const PEACE: Duration = Duration::from_secs(20);

#[test]
fn whatever_happens_the_group_settles() {
    let seeds =
        std::env::var_os("SEEDS").map_or(SEEDS, |seeds| seeds.to_string_lossy().parse().unwrap());
    for seed in 0..seeds {
        let (story, transcript) = tell(seed);
        let problem = story.and_then(|()| one_leader_in_an_epoch(&transcript));
        if let Err(problem) = problem {
            panic!("seed {seed}: {problem}\n{transcript}");
        }
    }
}

fn tell(seed: u64) -> (Result<(), String>, String) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World::new();
    world.group(3, 3);
    world.seed("n1");
    world.run(Duration::from_secs(2));
    let mut transcript = String::new();
    for _ in 0..rng.random_range(3..12) {
        let duke = format!("d{}", rng.random_range(1..=3));
        let mut node = format!("n{}", rng.random_range(1..=3));
        if rng.random_bool(0.5) {
            // Faults of the master are what the others are about.
            node = world.master().unwrap_or(node);
        }
        let fault = strike(&mut world, &mut rng, &duke, &node);
        transcript += "# ";
        transcript += &fault;
        transcript += "\n";
        // Troubles like company.
        let longest = if rng.random_bool(0.4) { 5 } else { 2_500 };
        world.run(Duration::from_millis(rng.random_range(1..=longest)));
        transcript += &world.take_transcript();
    }
    transcript += "# peace\n";
    world.heal();
    for number in 1..=3 {
        world.freeze(&format!("d{number}"), false);
        world.freeze(&format!("n{number}"), false);
        world.revive(&format!("n{number}"));
    }
    world.run(PEACE);
    let settled = world.settled();
    world.show();
    transcript += &world.take_transcript();
    (settled, transcript)
}

/// One fault, and what it was.
fn strike(world: &mut World, rng: &mut ChaCha8Rng, duke: &str, node: &str) -> String {
    match rng.random_range(0..10) {
        0 | 1 => {
            world.kill(node);
            format!("kill {node}")
        }
        2 => {
            world.kill(node);
            world.start(node);
            format!("restart {node}")
        }
        3 => {
            world.freeze(node, true);
            format!("freeze {node}")
        }
        4 => {
            world.freeze(node, false);
            format!("thaw {node}")
        }
        5 => {
            world.kill(duke);
            world.start(duke);
            format!("restart {duke}")
        }
        6 => {
            world.freeze(duke, true);
            format!("freeze {duke}")
        }
        7 => {
            world.freeze(duke, false);
            format!("thaw {duke}")
        }
        8 => {
            world.cut(duke, node);
            format!("cut {duke} {node}")
        }
        _ => {
            let other = format!("d{}", rng.random_range(1..=3));
            world.cut(duke, &other);
            format!("cut {duke} {other}")
        }
    }
}

fn one_leader_in_an_epoch(transcript: &str) -> Result<(), String> {
    let mut voted = BTreeMap::new();
    let mut leaders = BTreeMap::new();
    for line in transcript.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [_, duke, "+vote-for-leader", _, epoch] => {
                voted.insert(*duke, *epoch);
            }
            [_, duke, "+elected-leader", ..] => {
                let epoch = voted[duke];
                if let Some(other) = leaders.insert(epoch, *duke)
                    && other != *duke
                {
                    return Err(format!("{other} and {duke} both led epoch {epoch}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

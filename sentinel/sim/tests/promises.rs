//! What the simulator itself promises: the same seed is the same run, every bug ever found stays
//! found, fresh seeds pass, and every broken rule is noticed.

use duke_sim::{Group, Mutation, Options, run};

/// Fresh seeds of a plain test run; the program runs as many as one likes.
const SEEDS: u64 = 40;
/// After so many seeds a broken rule must have been noticed.
const MUTANT_SEEDS: u64 = 4_000;

const GROUPS: [Group; 2] = [Group::Closed, Group::Open];

fn with(group: Group, seed: u64, mutation: Mutation) -> Options {
    Options {
        mutation: Some(mutation),
        ..Options::of(group, seed)
    }
}

#[test]
fn a_run_is_the_same_twice_to_the_byte() {
    for (group, seed) in GROUPS
        .into_iter()
        .flat_map(|group| (0..12).map(move |seed| (group, seed)))
    {
        let options = Options::of(group, seed);
        let (one, two) = (run(&options, true), run(&options, true));
        assert_eq!(one.log, two.log, "{options}");
        assert_eq!((one.events, one.time), (two.events, two.time));
        assert!(one.log.lines().count() > 10, "the log tells something");
        let quiet = run(&options, false);
        assert_eq!(
            (quiet.events, quiet.time),
            (one.events, one.time),
            "telling changes nothing"
        );
    }
}

#[test]
fn every_seed_that_showed_a_bug_passes() {
    let seeds = [
        (Group::Closed, include_str!("../seeds.txt")),
        (Group::Open, include_str!("../open-seeds.txt")),
    ];
    for (group, text) in seeds {
        let mut count = 0;
        for line in text.lines() {
            let Some(digits) = line.strip_prefix("0x") else {
                continue;
            };
            let digits = digits.split_whitespace().next().unwrap_or_default();
            let seed = u64::from_str_radix(digits, 16).unwrap();
            let verdict = run(&Options::of(group, seed), false);
            assert_eq!(verdict.broken, None, "{verdict}");
            count += 1;
        }
        assert!(count > 0, "the seeds are there");
    }
}

#[test]
fn fresh_seeds_pass() {
    for group in GROUPS {
        for seed in 1_000_000..1_000_000 + SEEDS {
            let verdict = run(&Options::of(group, seed), false);
            assert_eq!(verdict.broken, None, "{verdict}");
        }
    }
}

#[test]
fn every_broken_rule_is_noticed() {
    let all = GROUPS.into_iter().flat_map(|group| {
        let mutations = Mutation::of(group).iter();
        mutations.map(move |mutation| (group, *mutation))
    });
    for (group, mutation) in all {
        let caught =
            (0..MUTANT_SEEDS).any(|seed| run(&with(group, seed, mutation), false).broken.is_some());
        let name = format!("{mutation} of the {group:?} group");
        assert!(caught, "{name} was not noticed in {MUTANT_SEEDS} seeds");
    }
}

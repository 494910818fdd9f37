//! What enumeration promises: every schedule within the bounds is run exactly once, keeps every promise,
//! and is the same run whenever and wherever it is run; broken rules are noticed by few deviations.

use std::collections::BTreeSet;

use duke_core::Mutant;
use duke_sim::{
    Mutation,
    enumerate::{Bounds, Branching, Deviation, Outcome, Report, Schedule, Start, replay, walk},
};

fn bounds(start: Start, deviations: u32, points: u32, kinds: &[Deviation]) -> Bounds {
    Bounds {
        seed: 0,
        dukes: 3,
        nodes: 2,
        start,
        deviations,
        points,
        reach: u32::MAX,
        kinds: kinds.to_vec(),
        mutation: None,
    }
}

fn walked(bounds: &Bounds) -> Report {
    walk(bounds, |level| {
        level
            .iter()
            .map(|branching| branching.run(bounds))
            .collect()
    })
}

/// What shows a broken rule first.
fn caught(bounds: &Bounds) -> Option<Schedule> {
    let report = walked(bounds);
    assert_eq!(report.exhausted, report.tally.failed == 0);
    Some(report.tally.failures.first()?.0.clone())
}

#[test]
fn every_schedule_of_a_small_world_passes() {
    for start in Start::ALL {
        let bounds = bounds(start, 1, 25, &Deviation::ALL);
        let report = walked(&bounds);
        assert_eq!(report.tally.failures, [], "{bounds}");
        assert!(report.exhausted);
        assert!(report.tally.passed > 100, "{report}");
    }
}

#[test]
fn two_deviations_are_every_pair_once() {
    let bounds = bounds(Start::Dies, 2, 12, &[Deviation::Late, Deviation::Crash]);
    let report = walked(&bounds);
    assert!(report.exhausted, "{report}");
    let [none, one, two] = report.levels[..] else {
        panic!("{report}");
    };
    // Both are offered at every choice, and twelve choices are always met.
    assert_eq!((none, one, two), (1, 24, 4 * 66));
    assert_eq!(report.tally.passed, none + one + two);
}

#[test]
fn the_second_deviation_is_no_farther_than_its_reach() {
    let bounds = Bounds {
        reach: 3,
        ..bounds(Start::Dies, 2, 12, &[Deviation::Late])
    };
    let report = walked(&bounds);
    assert_eq!(report.levels, [1, 12, 9 * 3 + 2 + 1], "{report}");
}

#[test]
fn in_whatever_order_branchings_are_run_the_report_is_the_same() {
    let bounds = bounds(Start::Dies, 2, 8, &[Deviation::Lost, Deviation::Crash]);
    let backwards = |level: &[Branching]| {
        let mut outcomes: Vec<Outcome> = level.iter().rev().map(|one| one.run(&bounds)).collect();
        outcomes.reverse();
        outcomes
    };
    let (one, two) = (walked(&bounds), walk(&bounds, backwards));
    assert_eq!(one.to_string(), two.to_string());
    assert_eq!(one.tally.states, two.tally.states);
}

#[test]
fn a_schedule_is_the_same_run_twice_to_the_byte() {
    let bounds = bounds(Start::Dies, 0, 100, &[]);
    let schedule: Schedule = "3:lost,20:crash".parse().unwrap();
    let (one, two) = (replay(&bounds, &schedule), replay(&bounds, &schedule));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.log, two.log);
    assert!(one.log.contains("**20 crash: "), "the log tells where");
    let absent: Schedule = "99999:lost".parse().unwrap();
    assert!(replay(&bounds, &absent).is_err());
}

#[test]
fn few_deviations_show_broken_rules() {
    let all = &Deviation::ALL[..];
    // Two votes take two candidates: what the first one asks comes after the second one asked.
    let slow = &[Deviation::Later][..];
    let shown = [
        (Mutation::AcknowledgeEarly, Start::Dies, 0, all),
        (
            Mutation::Engine(Mutant::LeadWithoutMajority),
            Start::Dies,
            0,
            all,
        ),
        (
            Mutation::Engine(Mutant::HearOlderMasters),
            Start::Dies,
            1,
            all,
        ),
        (Mutation::Engine(Mutant::VoteTwice), Start::Dies, 2, slow),
        (
            Mutation::Engine(Mutant::DemoteLate),
            Start::Ordered,
            1,
            &[Deviation::Pause],
        ),
        (
            Mutation::Engine(Mutant::PromoteFirst),
            Start::Ordered,
            0,
            all,
        ),
    ];
    let mut missed = BTreeSet::new();
    for (mutation, start, deviations, kinds) in shown {
        let bounds = Bounds {
            mutation: Some(mutation),
            ..bounds(start, deviations, 30, kinds)
        };
        if caught(&bounds).is_none() {
            missed.insert(mutation.to_string());
        }
    }
    assert!(missed.is_empty(), "{missed:?} were not noticed");
}

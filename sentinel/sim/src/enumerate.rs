//! Every schedule of a small world, up to a bound, in contrast to a swarm of big ones by chance.
//!
//! In a small world every way and every write takes the same time, and nothing goes wrong but what the
//! [`Start`] says. Each time something that matters is about to happen there is a choice: the usual, or a
//! [`Deviation`]. A [`Schedule`] is the list of its deviations, and the run it stands for is always the
//! same. [`walk`] runs every schedule that has so many deviations at most among so many choices, each
//! exactly once: those with fewer deviations first, so that what fails is told by the shortest schedule.
//!
//! What a run must keep is what a swarm's must: the oracle looks after every event, and after the
//! deviations have ended the group must settle.

mod bounds;
mod schedule;

use std::{collections::BTreeSet, fmt};

pub use self::{
    bounds::{Bounds, Start},
    schedule::{Deviation, Schedule},
};
use crate::{
    queue::{MILLI, Micros},
    run::{BEGINNING, Verdict, conclude, settle},
    world::World,
};

/// How long the group must stay settled: until everybody has looked at everybody.
const REST: Micros = 1_200 * MILLI;
/// So many failures are kept; the others are only counted.
const FAILURES: usize = 5;

/// A schedule that passed, to be gone on from: at which choices what else may happen.
#[derive(Debug)]
pub struct Branching {
    schedule: Schedule,
    points: Vec<(u32, &'static [Deviation])>,
}

/// What came of schedules.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Schedules that passed.
    pub passed: u64,
    /// Schedules that failed.
    pub failed: u64,
    /// Choices that were met.
    pub points: u64,
    /// Events.
    pub events: u64,
    /// The longest time the group took to settle.
    pub slowest: Micros,
    /// How often the master was replaced.
    pub switches: usize,
    /// Different states of the group, as far as Dukes believe and nodes are, at choices.
    pub states: BTreeSet<u64>,
    /// The first schedules that failed, and why.
    pub failures: Vec<(Schedule, String)>,
}

/// What came of all that goes on from one schedule with one deviation more.
#[derive(Debug, Default)]
pub struct Outcome {
    tally: Tally,
    branchings: Vec<Branching>,
}

/// What came of a walk.
#[derive(Clone, Debug)]
pub struct Report {
    /// All schedules.
    pub tally: Tally,
    /// How many schedules there are with none, one, two … deviations.
    pub levels: Vec<u64>,
    /// Whether every schedule within the bounds was run: not so if those of fewer deviations failed.
    pub exhausted: bool,
}

/// One run.
struct Attempt {
    verdict: Verdict,
    points: Vec<(u32, &'static [Deviation])>,
    met: u32,
    states: BTreeSet<u64>,
    /// Whether the run met every deviation of its schedule.
    complete: bool,
}

/// Runs every schedule within `bounds`; `each` has every branching [`Branching::run`], in whatever order,
/// and gives the outcomes in theirs.
///
/// Ends with the first number of deviations that shows a failure.
pub fn walk<F>(bounds: &Bounds, mut each: F) -> Report
where
    F: FnMut(&[Branching]) -> Vec<Outcome>,
{
    let mut root = Outcome::default();
    root.add(bounds, Schedule::default(), true);
    let mut report = Report {
        tally: root.tally,
        levels: vec![1],
        exhausted: false,
    };
    let mut level = root.branchings;
    for _ in 0..bounds.deviations {
        if report.tally.failed > 0 {
            return report;
        }
        let before = report.tally.passed;
        let outcomes = each(&level);
        level = Vec::new();
        for outcome in outcomes {
            report.tally.merge(outcome.tally);
            level.extend(outcome.branchings);
        }
        let all = report.tally.passed + report.tally.failed;
        report.levels.push(all - before);
    }
    report.exhausted = report.tally.failed == 0;
    report
}

/// Runs one schedule and tells what happens.
///
/// # Errors
/// When the schedule deviates where its run has no such choice.
pub fn replay(bounds: &Bounds, schedule: &Schedule) -> Result<Verdict, String> {
    let attempt = attempt(bounds, schedule, true);
    if !attempt.complete && attempt.verdict.broken.is_none() {
        let met = attempt.met;
        return Err(format!(
            "{schedule} deviates where there is no such choice among {met}"
        ));
    }
    Ok(attempt.verdict)
}

impl Branching {
    /// Runs every schedule that goes on from this one with one deviation more.
    #[must_use]
    pub fn run(&self, bounds: &Bounds) -> Outcome {
        let mut outcome = Outcome::default();
        let last = self.schedule.0.len() + 1 >= bounds.deviations as usize;
        for (point, alternatives) in &self.points {
            for deviation in *alternatives {
                if bounds.kinds.contains(deviation) {
                    let schedule = self.schedule.with(*point, *deviation);
                    outcome.add(bounds, schedule, !last);
                }
            }
        }
        outcome
    }
}

impl Outcome {
    fn add(&mut self, bounds: &Bounds, schedule: Schedule, branches: bool) {
        let Attempt {
            verdict,
            points,
            met,
            mut states,
            complete: _,
        } = attempt(bounds, &schedule, false);
        let tally = &mut self.tally;
        tally.points += u64::from(met);
        tally.events += verdict.events;
        tally.switches += verdict.switches;
        tally.states.append(&mut states);
        if let Some(broken) = verdict.broken {
            tally.failed += 1;
            if tally.failures.len() < FAILURES {
                tally.failures.push((schedule, broken));
            }
            return;
        }
        tally.passed += 1;
        tally.slowest = tally.slowest.max(verdict.settling);
        if branches {
            self.branchings.push(Branching { schedule, points });
        }
    }
}

impl Tally {
    /// Adds what came of others.
    pub fn merge(&mut self, other: Self) {
        let Self {
            passed,
            failed,
            points,
            events,
            slowest,
            switches,
            mut states,
            failures,
        } = other;
        self.passed += passed;
        self.failed += failed;
        self.points += points;
        self.events += events;
        self.slowest = self.slowest.max(slowest);
        self.switches += switches;
        self.states.append(&mut states);
        let room = FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(failures.into_iter().take(room));
    }
}

fn attempt(bounds: &Bounds, schedule: &Schedule, logs: bool) -> Attempt {
    let mut world = World::new(bounds.options(), logs);
    let mut states = BTreeSet::new();
    let mut points = Vec::new();
    let mut deviations = schedule.0.iter().copied().peekable();
    let mut met = 0;
    let broken = settle(&mut world, BEGINNING, REST).err();
    if broken.is_none() {
        bounds.start.begin(&mut world);
        let end = world.now + world.options.chaos;
        let far = |(point, _): &(u32, Deviation)| point.saturating_add(bounds.reach);
        let last = schedule.0.last().map_or(u32::MAX, far);
        // A replay goes as far as its schedule.
        let end_of_points = bounds.points.max(schedule.end());
        while met < end_of_points
            && let Some(choice) = world.run_to_choice(end)
        {
            let offered = choice.alternatives();
            let here = deviations.next_if(|(point, one)| *point == met && offered.contains(one));
            if here.is_none() && deviations.peek().is_none() && met <= last {
                points.push((met, offered));
            }
            states.insert(world.fingerprint());
            world.decide(met, choice, here.map(|(_, deviation)| deviation));
            met += 1;
        }
        world.run_until(end);
    }
    Attempt {
        verdict: conclude(world, broken, REST),
        points,
        met,
        states,
        complete: deviations.peek().is_none(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tally,
            levels,
            exhausted,
        } = self;
        let levels: Vec<String> = levels.iter().map(ToString::to_string).collect();
        let word = if *exhausted {
            "exhausted"
        } else {
            "not exhausted"
        };
        write!(
            f,
            "{} schedules by deviations, {word}; {} choices, {} states, {} events, {} masters replaced, \
             settled after {} ms at most",
            levels.join(" + "),
            tally.points,
            tally.states.len(),
            tally.events,
            tally.switches,
            tally.slowest / MILLI
        )
    }
}

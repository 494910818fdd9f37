//! One run: a group is started, things go wrong, then peace; whether all promises were kept.

use std::fmt;

use crate::{
    options::{Group, Options},
    queue::{MILLI, Micros, SECOND},
    world::World,
};

/// How long a fresh group may take until it has a master whom all follow.
pub(crate) const BEGINNING: Micros = 30 * SECOND;
/// How long a group may take to settle once nothing goes wrong any more.
pub(crate) const PEACE: Micros = 90 * SECOND;
/// Between two looks whether it has settled.
const LOOK: Micros = 100 * MILLI;
/// How long it must stay settled.
const REST: Micros = 2 * SECOND;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What the run was like.
    pub options: Options,
    /// The first promise that was broken, if one was.
    pub broken: Option<String>,
    /// What happened, if that was to be told.
    pub log: String,
    /// Events.
    pub events: u64,
    /// Virtual time.
    pub time: Micros,
    /// How long the group took to settle after the faults.
    pub settling: Micros,
    /// How often the master was replaced.
    pub switches: usize,
    /// Writes that clients know to be done.
    pub acknowledged: usize,
    /// Of these, the lost ones; no more than asynchronous replication permits.
    pub lost: usize,
}

/// Runs what `options` say; `logs` if what happens is to be told.
#[must_use]
pub fn run(options: &Options, logs: bool) -> Verdict {
    let mut world = World::new(options.clone(), logs);
    let broken = settle(&mut world, BEGINNING, REST).err();
    if broken.is_none() {
        world.unleash();
        let end = world.now + options.chaos;
        world.run_until(end);
    }
    conclude(world, broken, REST)
}

/// The faults of a run end, unless something was broken before: the group must settle, and stay so for `rest`.
pub(crate) fn conclude(mut world: World, mut broken: Option<String>, rest: Micros) -> Verdict {
    let mut settling = 0;
    if broken.is_none() {
        world.make_peace();
        let peace = world.now;
        broken = settle(&mut world, PEACE, rest).err();
        settling = world.now.saturating_sub(peace + rest);
    }
    let broken = broken.or_else(|| world.check_writes()).or_else(|| {
        let lost = world.history.given_up();
        let calm = world.options.group == Group::Open && world.options.is_calm() && lost > 0;
        calm.then(|| format!("{lost} acknowledged writes were lost although nothing went wrong"))
    });
    Verdict {
        options: world.options.clone(),
        broken,
        events: world.events,
        time: world.now,
        settling,
        switches: world.oracle.switches(),
        acknowledged: world.history.acknowledged(),
        lost: world.oracle.lost,
        log: world.log().to_owned(),
    }
}

/// Waits until the group has settled, and sees that it stays so for `rest`.
pub(crate) fn settle(world: &mut World, patience: Micros, rest: Micros) -> Result<(), String> {
    let start = world.now;
    let mut since = None;
    loop {
        let end = world.now + LOOK;
        world.run_until(end);
        if let Some(broken) = world.oracle.broken() {
            return Err(broken.to_owned());
        }
        match world.unsettled() {
            None => {
                let settled = *since.get_or_insert(world.now);
                if world.now - settled >= rest {
                    return Ok(());
                }
            }
            Some(why) => {
                since = None;
                if world.now - start > patience {
                    let seconds = patience / SECOND;
                    return Err(format!("not settled after {seconds} s of peace: {why}"));
                }
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            options,
            broken,
            events,
            time,
            settling,
            switches,
            acknowledged,
            lost,
            log: _,
        } = self;
        if let Some(broken) = broken {
            let seed = options.seed;
            let mutation = options
                .mutation
                .map(|mutation| format!(" --mutant {mutation}"))
                .unwrap_or_default();
            let open = match options.group {
                Group::Closed => "",
                Group::Open => " --open",
            };
            return write!(
                f,
                "seed {seed:#x}: {broken}\n  options: {options}\n  \
                 again: cargo run --release -p duke-sim -- seed {seed:#x}{open}{mutation}"
            );
        }
        write!(
            f,
            "seed {:#x}: passed; {events} events in {} s, settled after {} ms, {switches} masters after the first, \
             {acknowledged} writes, {lost} lost",
            options.seed,
            time / SECOND,
            settling / MILLI
        )
    }
}

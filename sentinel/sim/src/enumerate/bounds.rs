//! What is enumerated: how big the world is, how it begins, and how far schedules may go.

use std::{fmt, str::FromStr};

use super::Deviation;
use crate::{
    fault::{Fault, Kind},
    mutant::Mutation,
    options::Options,
    queue::{MILLI, Micros, SECOND},
    world::World,
};

/// What happens to the master when choices begin, while a write is on its way to its replicas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// Nothing: all trouble comes from deviations.
    Rest,
    /// Its process dies and is started again when it has been replaced.
    Dies,
    /// Its process dies and is started again at once.
    Restarts,
    /// Its process is not run until it has been replaced.
    Pauses,
    /// It reaches nobody until it has been replaced.
    Isolated,
    /// The operator orders another one.
    Ordered,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Rest,
        Self::Dies,
        Self::Restarts,
        Self::Pauses,
        Self::Isolated,
        Self::Ordered,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Dies => "dies",
            Self::Restarts => "restarts",
            Self::Pauses => "pauses",
            Self::Isolated => "isolated",
            Self::Ordered => "ordered",
        }
    }

    /// The fault it is, if it is one, and how long that lasts.
    const fn fault(self) -> Option<(Kind, Micros)> {
        match self {
            Self::Rest => None,
            Self::Dies => Some((Kind::KillNode, 2 * SECOND)),
            Self::Restarts => Some((Kind::KillNode, 20 * MILLI)),
            Self::Pauses => Some((Kind::FreezeNode, 2 * SECOND)),
            Self::Isolated => Some((Kind::Isolate, 2 * SECOND)),
            Self::Ordered => Some((Kind::Order, 0)),
        }
    }

    /// Begins in a group that has settled.
    pub(super) fn begin(self, world: &mut World) {
        let patience = world.now + SECOND;
        while world.oracle.broken().is_none()
            && !world.is_write_on_its_way()
            && world.step(patience)
        {}
        let Some((kind, time)) = self.fault() else {
            return;
        };
        let node = world.believed_master().unwrap_or(0);
        let host = world.options.dukes + node;
        world.strike(Fault {
            node,
            hosts: [host; 2],
            time,
            ..Fault::new(kind)
        });
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|start| start.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no '{name}'; there are {names}")
        })
    }
}

/// What is enumerated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Of what little is left to chance: names, and when Dukes stand.
    pub seed: u64,
    /// Dukes of the group.
    pub dukes: usize,
    /// Data nodes.
    pub nodes: usize,
    /// What happens first.
    pub start: Start,
    /// So many deviations at most.
    pub deviations: u32,
    /// Among so many choices.
    pub points: u32,
    /// The next deviation is at most so many choices behind the one before.
    pub reach: u32,
    /// Kinds of deviations.
    pub kinds: Vec<Deviation>,
    /// A rule that is broken on purpose.
    pub mutation: Option<Mutation>,
}

impl Bounds {
    /// What the world is like.
    pub(super) fn options(&self) -> Options {
        Options {
            mutation: self.mutation,
            ..Options::small(self.seed, self.dukes, self.nodes)
        }
    }
}

/// As the options of the command line.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            dukes,
            nodes,
            start,
            deviations: _,
            points: _,
            reach: _,
            kinds: _,
            mutation,
        } = self;
        write!(f, "--dukes {dukes} --nodes {nodes} --start {start}")?;
        if *seed > 0 {
            write!(f, " --seed {seed}")?;
        }
        if let Some(mutation) = mutation {
            write!(f, " --mutant {mutation}")?;
        }
        Ok(())
    }
}

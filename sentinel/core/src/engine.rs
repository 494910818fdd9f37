//! The engine as its driver sees it: one Duke, whose group is either closed or open.
//!
//! Decides only which set of rules it goes by. The two share connections, replies and the outbox,
//! but hardly a decision: a closed group is told its members and servers, an open one finds them.

use crate::{
    closed::{Closed, config::Settings, durable::Durable, view::View},
    conf::Conf,
    input::Input,
    open::{Open, OpenView},
    output::Output,
    secret::Secrets,
    time::Time,
};

/// One Duke.
#[derive(Debug)]
pub struct Engine(Rules);

#[derive(Debug)]
enum Rules {
    Closed(Box<Closed>),
    Open(Box<Open>),
}

impl Engine {
    /// A Duke of a closed group that starts at `now`, with what it kept of an earlier life, if
    /// anything.
    #[must_use]
    pub fn new(
        settings: Settings,
        secrets: Secrets,
        kept: Option<Durable>,
        seed: u64,
        now: Time,
    ) -> Self {
        let closed = Closed::new(settings, secrets, kept, seed, now);
        Self(Rules::Closed(Box::new(closed)))
    }

    /// A Duke that watches whatever its sentinel.conf names, as stock Sentinel does. The conf is its
    /// memory, too: every [`Output::Persist`] holds the whole file as it is to be.
    #[must_use]
    pub fn open(conf: Conf, seed: u64, now: Time) -> Self {
        Self(Rules::Open(Box::new(Open::new(conf, seed, now))))
    }

    /// What a Duke of a closed group holds true now; an open one has as many beliefs as masters.
    #[must_use]
    pub fn view(&self) -> Option<View<'_>> {
        match &self.0 {
            Rules::Closed(closed) => Some(closed.view()),
            Rules::Open(_) => None,
        }
    }

    /// What a Duke of open groups holds true now of the master of this name, if it watches one; none for a
    /// closed one.
    #[must_use]
    pub fn view_of(&self, master: &str) -> Option<OpenView<'_>> {
        match &self.0 {
            Rules::Closed(_) => None,
            Rules::Open(open) => open.view(master),
        }
    }

    /// Breaks a rule from now on.
    #[cfg(feature = "mutation")]
    pub fn mutate(&mut self, mutant: crate::Mutant) {
        match &mut self.0 {
            Rules::Closed(closed) => closed.mutate(mutant),
            Rules::Open(open) => open.mutate(mutant),
        }
    }

    /// How many outputs wait for a state to become durable. A driver that takes no more requests beyond a
    /// bound of its own keeps a disk that hangs from filling the memory.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.0 {
            Rules::Closed(closed) => closed.held(),
            Rules::Open(open) => open.held(),
        }
    }

    /// Takes one thing that happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        match &mut self.0 {
            Rules::Closed(closed) => closed.handle(now, input),
            Rules::Open(open) => open.handle(now, input),
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Time) {
        match &mut self.0 {
            Rules::Closed(closed) => closed.tick(now),
            Rules::Open(open) => open.tick(now),
        }
    }

    /// The next thing to do, if it may be done yet.
    pub fn poll(&mut self) -> Option<Output> {
        match &mut self.0 {
            Rules::Closed(closed) => closed.poll(),
            Rules::Open(open) => open.poll(),
        }
    }

    /// When [`Engine::tick`] must be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match &self.0 {
            Rules::Closed(closed) => closed.deadline(),
            Rules::Open(open) => open.deadline(),
        }
    }
}

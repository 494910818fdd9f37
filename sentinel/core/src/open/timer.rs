//! Who is to be woken when: an ordered queue, so that thousands of masters cost nothing while they
//! wait.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;

/// Somebody who waits.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Sleeper {
    Master(String),
    Peer(u64),
    Scripts,
}

/// One time for each sleeper.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Time, Sleeper)>,
    times: BTreeMap<Sleeper, Time>,
}

impl Timers {
    /// Wakes `sleeper` then and at no other time.
    pub(crate) fn set(&mut self, sleeper: Sleeper, time: Option<Time>) {
        let before = match time {
            Some(time) => self.times.insert(sleeper.clone(), time),
            None => self.times.remove(&sleeper),
        };
        if before == time {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, sleeper.clone()));
        }
        if let Some(time) = time {
            self.queue.insert((time, sleeper));
        }
    }

    /// The next time somebody is to be woken.
    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.first().map(|(time, _)| *time)
    }

    /// Takes one whose time has come.
    pub(crate) fn due(&mut self, now: Time) -> Option<Sleeper> {
        if self.next()? > now {
            return None;
        }
        let (_, sleeper) = self.queue.pop_first()?;
        self.times.remove(&sleeper);
        Some(sleeper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_woken_once_in_order() {
        let at = Time::from_millis;
        let mut timers = Timers::default();
        timers.set(Sleeper::Peer(1), Some(at(30)));
        timers.set(Sleeper::Peer(2), Some(at(20)));
        timers.set(Sleeper::Peer(1), Some(at(10)));
        timers.set(Sleeper::Scripts, Some(at(5)));
        timers.set(Sleeper::Scripts, None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.due(at(9)), None);
        assert_eq!(timers.due(at(25)), Some(Sleeper::Peer(1)));
        assert_eq!(timers.due(at(25)), Some(Sleeper::Peer(2)));
        assert_eq!(timers.due(at(99)), None);
    }
}

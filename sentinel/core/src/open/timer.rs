//! Who is to be woken when: an ordered queue, so that thousands of masters cost nothing while they
//! wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::time::{Time, millis};

/// What is done again and again is done on a beat, this part of its period long: thousands of servers
/// are then asked in a hundred turns a second, not each in a turn of its own. Periods that are multiples
/// of each other meet on it, so that what goes to one server goes in one packet.
const BEATS: u64 = 25;
/// The longest beat, in milliseconds.
const BEAT_MAX_MS: u64 = 10;

/// When to do again what was done now, and is done each `period`; a little sooner rather than later.
pub(crate) fn again(now: Time, period: Duration) -> Time {
    let beat = (millis(period) / BEATS).clamp(1, BEAT_MAX_MS);
    let due = now.after(period).as_millis();
    Time::from_millis(due.saturating_sub(due.checked_rem(beat).unwrap_or(0)))
}

/// When servers that became known together are first connected to: so many at a time, since ten thousand
/// handshakes at once take so long that servers would seem silent which are only waited upon.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    next: Time,
    taken: u32,
}

/// Servers of one turn, and how long it takes.
const TURN: (u32, Duration) = (48, Duration::from_millis(16));

impl Turns {
    /// The next turn; now, if there were not too many.
    pub(crate) fn take(&mut self, now: Time) -> Time {
        let (most, span) = TURN;
        if self.next < now {
            (self.next, self.taken) = (now, 0);
        }
        if self.taken >= most {
            (self.next, self.taken) = (self.next.after(span), 0);
        }
        self.taken = self.taken.saturating_add(1);
        self.next
    }
}

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
    fn periods_meet_on_the_beat_and_do_not_drift() {
        let ms = Duration::from_millis;
        let begin = Time::from_millis(1_007);
        let mut due = again(begin, ms(250));
        for late in [3, 0, 9, 1, 8, 2, 0] {
            due = again(due.after(ms(late)), ms(250));
        }
        assert_eq!(due, Time::from_millis(3_000));
        assert_eq!(again(begin, ms(2_000)), due);
        assert_eq!(again(Time::from_millis(7), ms(10)).as_millis(), 17);
    }

    #[test]
    fn of_many_newcomers_each_has_a_turn() {
        let mut turns = Turns::default();
        let now = Time::from_millis(5);
        let taken: Vec<u64> = (0..97).map(|_| turns.take(now).as_millis()).collect();
        assert_eq!([taken[0], taken[47], taken[48], taken[96]], [5, 5, 21, 37]);
        let later = Time::from_millis(90);
        assert_eq!(turns.take(later), later);
    }

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

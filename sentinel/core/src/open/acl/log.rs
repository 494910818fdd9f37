//! What was refused for want of permission, for `ACL LOG`: the newest first, alike ones counted.

use std::{collections::VecDeque, time::Duration};

use crate::time::Time;

/// How many entries are kept. The server: `acllog-max-len`.
pub(crate) const ENTRIES_MAX: usize = 128;
/// Alike refusals within this span are one entry.
const ALIKE_WITHIN: Duration = Duration::from_mins(1);

/// Why something was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// A wrong password, or nobody of that name.
    Auth,
    /// The command.
    Command,
    /// A channel it names.
    Channel,
}

impl Reason {
    /// The server's word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Command => "command",
            Self::Channel => "channel",
        }
    }
}

/// What was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Denial {
    pub(crate) reason: Reason,
    /// The command, with its subcommand, or the channel.
    pub(crate) object: String,
    pub(crate) user: String,
}

/// One or more alike refusals.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) count: u64,
    pub(crate) denial: Denial,
    /// Whoever was refused last, as `CLIENT LIST` shows it.
    pub(crate) client: String,
    pub(crate) first: Time,
    pub(crate) last: Time,
}

/// All that is kept.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    numbers: u64,
}

impl Log {
    /// Notes a refusal.
    pub(crate) fn note(&mut self, now: Time, denial: Denial, client: String) {
        let alike = self
            .entries
            .iter()
            .position(|entry| entry.denial == denial && now.since(entry.last) <= ALIKE_WITHIN);
        let known = alike.and_then(|at| self.entries.remove(at));
        let id = known.as_ref().map_or(self.numbers, |known| known.id);
        if known.is_none() {
            self.numbers = self.numbers.saturating_add(1);
        }
        let (count, first) = known.map_or((0, now), |known| (known.count, known.first));
        let entry = Entry {
            id,
            count: count.saturating_add(1),
            denial,
            client,
            first,
            last: now,
        };
        self.entries.push_front(entry);
        self.entries.truncate(ENTRIES_MAX);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The newest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_refusals_are_counted_and_old_ones_forgotten() {
        let mut log = Log::default();
        let denial = |object: &str| Denial {
            reason: Reason::Command,
            object: object.to_owned(),
            user: "ops".to_owned(),
        };
        log.note(Time::from_millis(0), denial("info"), "a".to_owned());
        log.note(Time::from_millis(5), denial("role"), "b".to_owned());
        log.note(Time::from_millis(9), denial("info"), "c".to_owned());
        let told: Vec<_> = log.entries().map(|entry| (entry.id, entry.count)).collect();
        assert_eq!(told, [(0, 2), (1, 1)]);
        log.note(Time::from_millis(70_000), denial("info"), "d".to_owned());
        assert_eq!(log.entries().count(), 3, "a minute later it is another");
        for number in 0..200 {
            log.note(
                Time::from_millis(70_001),
                denial(&number.to_string()),
                String::new(),
            );
        }
        assert_eq!(log.entries().count(), ENTRIES_MAX);
        log.clear();
        assert_eq!(log.entries().count(), 0);
    }
}

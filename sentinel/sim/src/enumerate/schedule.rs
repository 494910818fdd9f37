//! Schedules: where a run leaves the usual course, and how; written as `12:lost,31:crash`.

use std::{fmt, str::FromStr};

/// What may happen instead of the usual.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Deviation {
    /// It comes late: what is under way elsewhere overtakes it.
    Late,
    /// It comes later: the next Duke whose turn it is overtakes it.
    Later,
    /// It is lost and sent again; what comes behind it on its connection waits.
    Lost,
    /// Its connection breaks before it arrives.
    Reset,
    /// The process dies before it.
    Crash,
    /// The process dies just after it.
    CrashAfter,
    /// The process dies before it, and its disk is lost.
    Wipe,
    /// The process is not run for a while.
    Pause,
    /// Nothing passes between the two hosts for a while.
    Cut,
    /// The host reaches nobody for a while.
    Isolate,
}

impl Deviation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Late,
        Self::Later,
        Self::Lost,
        Self::Reset,
        Self::Crash,
        Self::CrashAfter,
        Self::Wipe,
        Self::Pause,
        Self::Cut,
        Self::Isolate,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Later => "later",
            Self::Lost => "lost",
            Self::Reset => "reset",
            Self::Crash => "crash",
            Self::CrashAfter => "crash-after",
            Self::Wipe => "wipe",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Isolate => "isolate",
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Deviation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no '{name}'; there are {names}")
        })
    }
}

/// The deviations of a run, by the number of the choice; at all other choices the usual happens.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Schedule(pub(super) Vec<(u32, Deviation)>);

impl Schedule {
    /// The choice behind its last deviation.
    pub(super) fn end(&self) -> u32 {
        self.0
            .last()
            .map_or(0, |(point, _)| point.saturating_add(1))
    }

    /// The same, with one deviation more, behind all others.
    pub(super) fn with(&self, point: u32, deviation: Deviation) -> Self {
        let mut deviations = Vec::with_capacity(self.0.len() + 1);
        deviations.extend_from_slice(&self.0);
        deviations.push((point, deviation));
        Self(deviations)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("usual");
        }
        for (index, (point, deviation)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{point}:{deviation}")?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "usual" {
            return Ok(Self::default());
        }
        let mut deviations: Vec<(u32, Deviation)> = Vec::new();
        for word in text.split(',') {
            let (point, deviation) = word
                .split_once(':')
                .ok_or_else(|| format!("'{word}' is not like 12:lost"))?;
            let point = point.parse().map_err(|error| format!("{point}: {error}"))?;
            if deviations.last().is_some_and(|(last, _)| *last >= point) {
                return Err(format!("{point} is not behind the one before it"));
            }
            deviations.push((point, deviation.parse()?));
        }
        Ok(Self(deviations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_is_written() {
        for text in ["usual", "0:late", "12:crash-after,31:isolate"] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
        }
        for text in ["", "12", "12:", "x:lost", "5:lost,5:cut", "7:never"] {
            assert!(text.parse::<Schedule>().is_err(), "{text:?}");
        }
    }
}

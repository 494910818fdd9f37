//! When a request that was not accepted may be sent again. Pure: time and chance come from outside.

use std::time::{Duration, Instant};

/// The first pause after a request that met something that has changed meanwhile: the watch
/// catches up within milliseconds.
pub const STALE: Duration = Duration::from_millis(50);

/// The first pause after any other refusal.
pub const REFUSED: Duration = Duration::from_millis(200);

/// The longest pause, before chance makes it longer: a request that is refused for ever is sent
/// once a minute.
pub const LONGEST: Duration = Duration::from_mins(1);

/// The pause after so many failures in a row: doubled with each, never shorter than `first`, and up
/// to a quarter longer by `chance`, so that what failed together is not tried together again.
#[must_use]
pub fn pause(first: Duration, failures: u32, chance: u8) -> Duration {
    let pause = doubled(first, failures.saturating_sub(1), LONGEST);
    pause.saturating_add(pause.saturating_mul(u32::from(chance)) / 1024)
}

/// A time doubled so often, up to the longest.
#[must_use]
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(times.min(16));
    first.saturating_mul(factor).min(longest)
}

/// A request that was not accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What was asked for: something else is tried at once.
    pub content: String,
    /// How often in a row.
    pub failures: u32,
    /// When it may be sent again.
    pub until: Instant,
    /// What came back, for people; nothing while it may merely have met something that has changed.
    pub message: Option<String>,
    /// Whether somebody else's object is in the way.
    pub is_foreign: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_never_shrink() {
        let pauses: Vec<Duration> = (1..40)
            .map(|failures| pause(REFUSED, failures, 0))
            .collect();
        assert_eq!(pauses.first(), Some(&REFUSED));
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&LONGEST));
        assert_eq!(pause(STALE, u32::MAX, 0), LONGEST);
    }

    #[test]
    fn chance_only_makes_a_pause_longer() {
        for chance in [1, 128, 255] {
            let longer = pause(REFUSED, 30, chance);
            assert!(longer > LONGEST && longer < LONGEST * 5 / 4, "{longer:?}");
        }
    }
}

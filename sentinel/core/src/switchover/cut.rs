//! When the clients of a master that was moved are cut off: once whoever they may ask names the new one.
//!
//! The old master follows nowhere by then, so that nothing is lost by waiting. Clients that are cut off sooner ask
//! another Duke, hear the old address, and some of their libraries stay there.

use std::time::Duration;

use crate::time::Time;

/// How long the other Dukes' word is waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// A master that was told to follow nowhere, so that another may take its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Old<T> {
    /// Which one.
    pub(crate) at: T,
    /// Its process, by `run_id`. Another one at its place may have lost the data.
    pub(crate) process: String,
    /// Whether it may be holding its clients' writes.
    pub(crate) held: bool,
}

/// Clients of an old master that are still to be cut off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cut<T> {
    pub(crate) old: Old<T>,
    /// Not later.
    pub(crate) until: Time,
}

impl<T> Cut<T> {
    /// This Duke knows the new master since `now`.
    pub(crate) fn new(now: Time, old: Old<T>) -> Self {
        let until = now.after(PATIENCE);
        Self { old, until }
    }

    /// Whether they are to be cut off; `all_know` if every Duke in reach names the new master.
    pub(crate) fn is_due(&self, now: Time, all_know: bool) -> bool {
        all_know || now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_cut_off_when_all_know_where_to_go_or_after_a_while() {
        let old = Old {
            at: 1,
            process: "p".to_owned(),
            held: true,
        };
        let cut = Cut::new(Time::from_millis(100), old);
        assert!(!cut.is_due(Time::from_millis(120), false));
        assert!(cut.is_due(Time::from_millis(100), true));
        assert!(cut.is_due(Time::from_millis(150), false));
    }
}

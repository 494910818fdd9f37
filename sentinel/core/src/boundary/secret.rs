//! The passwords a Duke needs; never printed.

use std::fmt;

/// Passwords of a closed group.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secrets {
    /// Of user `duke` at the data nodes.
    pub data: String,
    /// Of user `operator` at this Duke, who may do everything.
    pub admin: String,
    /// Among Dukes, user `duke`.
    pub peer: String,
    /// Of user `agent` at this Duke, who may ask for a hand-over; empty if there is no such user.
    pub agent: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

//! Who is let in: as Redis does it, by user and password of each connection. In open groups everybody is.

use duke_resp::{Bytes, Frame};

use super::Server;
use crate::network::ConnectionId;

/// The Dukes' password at the group's servers.
pub(crate) const PASSWORD: &str = "data";

/// Whom a server lets in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// Whoever knows the group's password.
    Ours,
    /// Nobody who knows only that.
    Locked,
    /// Everybody, without a login; it knows none of our users.
    Open,
}

/// What a login with a wrong password is answered.
pub(crate) fn wrong_password() -> Frame {
    Frame::error("WRONGPASS invalid username-password pair or user is disabled.")
}

/// What everything else is answered before a login.
pub(crate) fn no_login() -> Frame {
    Frame::error("NOAUTH Authentication required.")
}

impl Server {
    /// What is answered at the door: to a login, and to whoever says something else before one. Nothing, if the
    /// command goes through.
    pub(super) fn log_in(&mut self, from: ConnectionId, words: &[Bytes]) -> Option<Frame> {
        if words.first().is_some_and(|word| &word[..] == b"AUTH") {
            let right = words.get(1).is_some_and(|word| &word[..] == b"duke")
                && words
                    .get(2)
                    .is_some_and(|word| &word[..] == PASSWORD.as_bytes());
            if self.door != Door::Ours || !right {
                return Some(wrong_password());
            }
            self.admitted.push(from);
            return Some(Frame::ok());
        }
        (!self.admitted.contains(&from)).then(no_login)
    }
}

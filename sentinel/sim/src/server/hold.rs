//! Servers hold their clients' writes when they are asked to (`CLIENT PAUSE … WRITE`), if they can and may.
//!
//! As Redis does it: whatever may be replicated waits (PUBLISH, too), and everything behind it on the same
//! connection.

use std::collections::VecDeque;

use duke_core::RequestId;
use duke_resp::{Bytes, Frame};

use super::{Consequence, Effect, Server};
use crate::{
    network::ConnectionId,
    queue::{MILLI, Micros},
};

/// What waits.
#[derive(Clone, Debug)]
pub(crate) enum Postponed {
    /// A Duke's command.
    Command(RequestId, Vec<Bytes>),
    /// A client's write.
    Write,
}

/// Whether a server holds writes, and which.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// It is new enough, and its INFO says so.
    pub(crate) known: bool,
    /// It is, and Dukes may have it hold them.
    pub(crate) allowed: bool,
    /// It refuses the next order to take another role.
    pub(crate) refuses_next: bool,
    /// Until when.
    pub(super) until: Micros,
    /// In order.
    pub(crate) postponed: VecDeque<(ConnectionId, Postponed)>,
}

impl Hold {
    /// Another process knows nothing of it.
    pub(super) fn end(&mut self) {
        self.until = 0;
        self.postponed.clear();
    }
}

impl Server {
    /// Whether writes are held.
    pub(crate) fn is_paused(&self, now: Micros) -> bool {
        self.hold.until > now
    }

    /// Has what came on a connection wait, if it must; says whether it does.
    pub(crate) fn postpone(
        &mut self,
        now: Micros,
        from: ConnectionId,
        what: impl FnOnce() -> Postponed,
        may_be_replicated: bool,
    ) -> bool {
        let behind = self.hold.postponed.iter().any(|(id, _)| *id == from);
        let waits = behind || (may_be_replicated && self.is_paused(now));
        if waits {
            self.hold.postponed.push_back((from, what()));
        }
        waits
    }

    /// Takes a CLIENT command.
    pub(super) fn client(&mut self, now: Micros, words: &[Bytes]) -> Effect {
        let word = |index: usize| words.get(index).map_or(&b""[..], |word| word);
        match word(1) {
            b"KILL" => Effect {
                kills: true,
                ..Effect::plain(Frame::Integer(0))
            },
            b"PAUSE" | b"UNPAUSE" if !self.hold.allowed => {
                Effect::plain(Frame::error("NOPERM this user may not hold writes"))
            }
            b"PAUSE" => {
                let millis = std::str::from_utf8(word(2)).ok();
                let millis: u64 = millis.and_then(|text| text.parse().ok()).unwrap_or(0);
                let until = (now + millis * MILLI).max(self.hold.until);
                self.hold.until = until;
                Effect {
                    consequence: Some(Consequence::Pause(until)),
                    ..Effect::plain(Frame::ok())
                }
            }
            b"UNPAUSE" => {
                self.hold.until = 0;
                Effect {
                    consequence: Some(Consequence::Resume),
                    ..Effect::plain(Frame::ok())
                }
            }
            _ => Effect::plain(Frame::ok()),
        }
    }
}

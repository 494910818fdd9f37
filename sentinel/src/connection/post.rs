//! Answers on their way to sockets: who has some that were not written yet.
//!
//! Decides when they are written: together, once everybody who was ready has been heard, which costs
//! both sides fewer turns than one at a time; and so many in a row that others are not kept waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::connection::outbox::Outbox;

/// Sockets that are written to in a row, some two milliseconds.
const SENT_MAX: usize = 256;
/// Outboxes that may wait before questions go the long way: to the driver, which looks at the clock and
/// at links first.
const WAITING_MAX: usize = 1024;

/// Outboxes with something in them, in order.
#[derive(Debug, Default)]
pub(crate) struct Post {
    waiting: Mutex<VecDeque<Arc<Outbox>>>,
    /// Somebody waits.
    woken: Notify,
}

impl Post {
    /// Begins to deliver; ends with the runtime, or at a turn when nobody else has it any more.
    pub(crate) fn start() -> Arc<Self> {
        let post = Arc::new(Self::default());
        tokio::spawn(Arc::clone(&post).deliver());
        post
    }

    async fn deliver(self: Arc<Self>) {
        while Arc::strong_count(&self) > 1 {
            self.woken.notified().await;
            while self.send() {
                yield_now().await;
            }
        }
    }

    /// Whether so many wait that nothing is to be hurried any more.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().len() >= WAITING_MAX
    }

    /// Takes an outbox to which something was appended.
    pub(crate) fn add(&self, outbox: &Arc<Outbox>) {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            self.woken.notify_one();
        }
        waiting.push_back(Arc::clone(outbox));
    }

    /// Writes what sockets take just now, for some of those that wait; true if others wait still.
    pub(crate) fn send(&self) -> bool {
        let mut waiting = self.lock();
        for _ in 0..SENT_MAX {
            let Some(outbox) = waiting.pop_front() else {
                return false;
            };
            outbox.push();
        }
        !waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Outbox>>> {
        // A panic ends the process; a poisoned lock is never met.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_delivered_at_a_time() {
        let post = Post::default();
        for _ in 0..WAITING_MAX {
            assert!(!post.is_full());
            post.add(&Arc::new(Outbox::with_socket(16, None)));
        }
        assert!(post.is_full());
        let turns = (1..=WAITING_MAX).find(|_| !post.send());
        assert_eq!(turns, Some(WAITING_MAX / SENT_MAX));
    }
}

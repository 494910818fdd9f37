//! What is still to happen, in order: by time, and among equals by when it was put in.
//!
//! Decides the order of everything; that it is total makes a run repeatable.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Virtual time in microseconds since the run began.
pub type Micros = u64;

/// One millisecond.
pub const MILLI: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000_000;

/// Events by time.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    count: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    order: u64,
    event: E,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            count: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Lets `event` happen at `at`, after everything that was put in for the same moment before.
    pub(crate) fn push(&mut self, at: Micros, event: E) {
        self.count += 1;
        let order = self.count;
        self.heap.push(Entry { at, order, event });
    }

    /// When the next event happens.
    #[must_use]
    pub(crate) fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next event.
    #[must_use]
    pub(crate) fn peek(&self) -> Option<&E> {
        self.heap.peek().map(|entry| &entry.event)
    }

    /// Takes the next event out.
    pub(crate) fn pop(&mut self) -> Option<(Micros, E)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    /// Takes every event out that `wanted` picks, in order; the others keep their places.
    pub(crate) fn extract(&mut self, wanted: impl Fn(&E) -> bool) -> Vec<E> {
        let mut entries = std::mem::take(&mut self.heap).into_sorted_vec();
        entries.reverse();
        let (taken, kept): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| wanted(&entry.event));
        self.heap = kept.into();
        taken.into_iter().map(|entry| entry.event).collect()
    }
}

// The heap gives the greatest first: the earliest is the greatest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_put_in() {
        let mut queue = Queue::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.push(at, name);
        }
        assert_eq!(queue.extract(|name| *name == "b"), ["b"]);
        let mut order = Vec::new();
        while let Some((_, name)) = queue.pop() {
            order.push(name);
        }
        assert_eq!(order, ["a", "c", "d"]);
    }
}

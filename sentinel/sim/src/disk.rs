//! A Duke's disk: one file, replaced as a whole.
//!
//! What was acknowledged survives every crash. What was being written when the process died may be
//! there or not; a torn file is one that was not renamed, so the old one is there.

use duke_core::Durable;

/// One Duke's disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What a crash leaves, as text and as read.
    kept: Option<(String, Durable)>,
    writing: Option<(u64, String)>,
    /// The newest state that waits for the one being written.
    waiting: Option<(u64, String)>,
}

impl Disk {
    /// A state is to be written; true if its writing begins now.
    pub(crate) fn save(&mut self, sequence: u64, text: String) -> bool {
        if self.writing.is_some() {
            self.waiting = Some((sequence, text));
            return false;
        }
        self.writing = Some((sequence, text));
        true
    }

    /// The writing under way is done: says under which sequence, and whether the next one begins.
    pub(crate) fn written(&mut self) -> Option<(u64, bool)> {
        let (sequence, text) = self.writing.take()?;
        self.keep(text);
        self.writing = self.waiting.take();
        Some((sequence, self.writing.is_some()))
    }

    /// The process dies; `lucky` if the writing under way had got through.
    pub(crate) fn crash(&mut self, lucky: bool) {
        self.waiting = None;
        if let Some((_, text)) = self.writing.take()
            && lucky
        {
            self.keep(text);
        }
    }

    /// All is lost.
    pub(crate) fn wipe(&mut self) {
        *self = Self::default();
    }

    /// What is on it.
    #[must_use]
    pub(crate) fn kept(&self) -> Option<&Durable> {
        self.kept.as_ref().map(|(_, durable)| durable)
    }

    fn keep(&mut self, text: String) {
        let durable = Durable::read(&text).expect("the engine reads what it wrote");
        self.kept = Some((text, durable));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(disk: &Disk) -> Option<u64> {
        disk.kept().map(|durable| durable.current_epoch)
    }

    fn state(epoch: u64) -> String {
        format!("sentinel myid a\nsentinel current-epoch {epoch}\n")
    }

    #[test]
    fn only_what_was_acknowledged_survives_for_certain() {
        for lucky in [false, true] {
            let mut disk = Disk::default();
            assert!(disk.save(1, state(1)));
            assert_eq!(disk.written(), Some((1, false)));
            assert!(disk.save(2, state(2)));
            assert!(!disk.save(3, state(3)));
            assert!(!disk.save(4, state(4)));
            assert_eq!(epoch(&disk), Some(1));
            disk.crash(lucky);
            assert_eq!(epoch(&disk), Some(if lucky { 2 } else { 1 }));
        }
    }

    #[test]
    fn a_newer_state_replaces_one_that_waits() {
        let mut disk = Disk::default();
        disk.save(1, state(1));
        disk.save(2, state(2));
        disk.save(3, state(3));
        assert_eq!(disk.written(), Some((1, true)));
        assert_eq!(disk.written(), Some((3, false)));
        assert_eq!(epoch(&disk), Some(3));
    }
}

//! A Duke's disk: one file, replaced as a whole.
//!
//! What was acknowledged survives every crash. What was being written when the process died may be
//! there or not; a torn file is one that was not renamed, so the old one is there.

use std::net::SocketAddr;

use duke_core::{Durable, conf::Conf};

use crate::options::Group;

/// The name of the master every group has.
pub(crate) const MASTER: &str = "mymaster";

/// What a Duke's file says, as far as anybody here asks.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Whether the Duke has memory.
    pub(crate) memory: bool,
    /// How often the group was seeded.
    pub(crate) generation: u64,
    /// The highest epoch it heard of.
    pub(crate) current_epoch: u64,
    /// The epoch in which the master was chosen.
    pub(crate) config_epoch: u64,
    /// The last epoch it voted in.
    pub(crate) leader_epoch: u64,
    /// For whom; stock's file does not say.
    leader: Option<String>,
    /// The master.
    pub(crate) master: Option<SocketAddr>,
    /// How many Dukes it knows, itself included.
    pub(crate) dukes: usize,
}

impl Kept {
    fn read(group: Group, text: &str) -> Self {
        match group {
            Group::Closed => {
                Self::of(&Durable::read(text).expect("the engine reads what it wrote"))
            }
            Group::Open => {
                Self::of_conf(&Conf::read(text, &[]).expect("the engine reads what it wrote"))
            }
        }
    }

    fn of(durable: &Durable) -> Self {
        Self {
            memory: durable.memory,
            generation: durable.generation,
            current_epoch: durable.current_epoch,
            config_epoch: durable.config_epoch,
            leader_epoch: durable.leader_epoch,
            leader: Some(durable.leader.clone()),
            master: durable.master,
            dukes: durable.members.len(),
        }
    }

    fn of_conf(conf: &Conf) -> Self {
        let master = &conf.masters[MASTER];
        let ip = master.place.host.parse().ok();
        Self {
            memory: true,
            generation: 0,
            current_epoch: conf.sentinel.current_epoch,
            config_epoch: master.config_epoch,
            leader_epoch: master.leader_epoch,
            leader: None,
            master: ip.map(|ip| SocketAddr::new(ip, master.place.port)),
            dukes: master.sentinels.len() + 1,
        }
    }

    /// Whether the file excludes any vote in `epoch` but that for `candidate`.
    #[must_use]
    pub(crate) fn has_voted(&self, epoch: u64, candidate: &str) -> bool {
        let same = self
            .leader
            .as_ref()
            .is_none_or(|leader| leader == candidate);
        self.leader_epoch > epoch || (self.leader_epoch == epoch && same)
    }

    /// The epoch in which its master was made.
    #[must_use]
    pub(crate) fn configured(&self) -> (u64, u64) {
        (self.generation, self.config_epoch)
    }
}

/// One Duke's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    group: Group,
    /// What a crash leaves, as text and as read.
    kept: Option<(String, Kept)>,
    writing: Option<(u64, String)>,
    /// The newest state that waits for the one being written.
    waiting: Option<(u64, String)>,
}

impl Disk {
    /// An empty disk of a Duke of such a group.
    pub(crate) fn new(group: Group) -> Self {
        Self {
            group,
            kept: None,
            writing: None,
            waiting: None,
        }
    }

    /// A disk with a file on it.
    pub(crate) fn with(group: Group, text: String) -> Self {
        let mut disk = Self::new(group);
        disk.keep(text);
        disk
    }

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

    /// The sequence of what is being written, if anything is.
    #[must_use]
    pub(crate) fn sequence(&self) -> Option<u64> {
        self.writing.as_ref().map(|(sequence, _)| *sequence)
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
        *self = Self::new(self.group);
    }

    /// What is on it.
    #[must_use]
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref().map(|(_, kept)| kept)
    }

    /// The same, as it is written.
    #[must_use]
    pub(crate) fn text(&self) -> Option<&str> {
        self.kept.as_ref().map(|(text, _)| text.as_str())
    }

    fn keep(&mut self, text: String) {
        let kept = Kept::read(self.group, &text);
        self.kept = Some((text, kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(disk: &Disk) -> Option<u64> {
        disk.kept().map(|kept| kept.current_epoch)
    }

    fn state(epoch: u64) -> String {
        format!("sentinel myid a\nsentinel current-epoch {epoch}\n")
    }

    #[test]
    fn only_what_was_acknowledged_survives_for_certain() {
        for lucky in [false, true] {
            let mut disk = Disk::new(Group::Closed);
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
        let mut disk = Disk::new(Group::Closed);
        disk.save(1, state(1));
        disk.save(2, state(2));
        disk.save(3, state(3));
        assert_eq!(disk.written(), Some((1, true)));
        assert_eq!(disk.written(), Some((3, false)));
        assert_eq!(epoch(&disk), Some(3));
    }
}

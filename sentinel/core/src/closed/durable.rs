//! What a Duke must not forget when it crashes, and its text: sentinel.conf's own state directives,
//! and lines beginning with `duke` for what stock Sentinel does not have.
//!
//! Pure text in and out. A text that does not parse is an error, never a Duke without memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
};

use thiserror::Error;

use crate::closed::config::{self, MasterSettings};

/// The longest run id that is remembered; servers' have 40 characters.
const RUN_ID_MAX: usize = 64;

/// What must survive a crash.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Durable {
    /// This Duke's name, 40 hexadecimal digits.
    pub id: String,
    /// Whether it knows its group's past and may vote.
    pub memory: bool,
    /// How often the group was seeded.
    pub generation: u64,
    /// The highest epoch it has heard of.
    pub current_epoch: u64,
    /// The epoch in which the master was chosen.
    pub config_epoch: u64,
    /// The last epoch it voted in.
    pub leader_epoch: u64,
    /// For whom.
    pub leader: String,
    /// The master.
    pub master: Option<SocketAddr>,
    /// The run id of the master's process; empty if it has not been seen as master yet. Another one at
    /// its address has lost data, also if it came while this Duke did not run.
    pub process: String,
    /// The number of Dukes of which a majority is taken.
    pub size: u32,
    /// How many must find the master down.
    pub quorum: u32,
    /// The other Dukes, by name.
    pub members: BTreeMap<String, SocketAddr>,
    /// The data nodes of record.
    pub nodes: BTreeSet<SocketAddr>,
    /// Settings changed at run time.
    pub settings: Option<MasterSettings>,
}

/// A Duke as the operator names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A state that cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "line {line} of the state cannot be read: '{text}': if the file was damaged, delete it; this Duke then learns its \
     group's past from the others"
)]
pub struct DurableError {
    /// The line's number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

impl Durable {
    /// Votes needed to lead: more than half of the whole group.
    #[must_use]
    pub fn majority(&self) -> usize {
        let half = self.size.checked_div(2).unwrap_or(0);
        usize::try_from(half.saturating_add(1)).unwrap_or(usize::MAX)
    }

    /// The text that [`Durable::read`] reads back.
    #[must_use]
    pub fn print(&self, group: &str) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ok = text.write_fmt(format_args!("{words}\n"));
        };
        line(format_args!("sentinel myid {}", self.id));
        line(format_args!(
            "duke memory {}",
            if self.memory { "yes" } else { "no" }
        ));
        line(format_args!("duke generation {}", self.generation));
        line(format_args!("duke size {}", self.size));
        line(format_args!("duke quorum {}", self.quorum));
        line(format_args!(
            "sentinel current-epoch {}",
            self.current_epoch
        ));
        if let Some(master) = self.master {
            line(format_args!(
                "sentinel monitor {group} {} {} {}",
                master.ip(),
                master.port(),
                self.quorum.max(1)
            ));
        }
        if !self.process.is_empty() {
            line(format_args!("duke process {}", self.process));
        }
        line(format_args!(
            "sentinel config-epoch {group} {}",
            self.config_epoch
        ));
        line(format_args!(
            "sentinel leader-epoch {group} {}",
            self.leader_epoch
        ));
        if !self.leader.is_empty() {
            line(format_args!("duke leader {}", self.leader));
        }
        for (option, value) in self.settings.iter().flat_map(MasterSettings::pairs) {
            line(format_args!("sentinel {option} {group} {value}"));
        }
        for node in &self.nodes {
            line(format_args!(
                "sentinel known-replica {group} {} {}",
                node.ip(),
                node.port()
            ));
        }
        for (id, address) in &self.members {
            line(format_args!(
                "sentinel known-sentinel {group} {} {} {id}",
                address.ip(),
                address.port()
            ));
        }
        text
    }

    /// Reads what [`Durable::print`] wrote.
    ///
    /// # Errors
    /// The first line that is not of that form.
    pub fn read(text: &str) -> Result<Self, DurableError> {
        let mut durable = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if durable.read_line(&words).is_none() {
                let line_number = index.saturating_add(1);
                return Err(DurableError {
                    line: line_number,
                    text: line.to_owned(),
                });
            }
        }
        if durable.id.is_empty() {
            return Err(DurableError {
                line: text.lines().count().saturating_add(1),
                text: "`sentinel myid` is missing".to_owned(),
            });
        }
        Ok(durable)
    }

    fn read_line(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["sentinel", "myid", id] => (*id).clone_into(&mut self.id),
            ["duke", "memory", "yes"] => self.memory = true,
            ["duke", "memory", "no"] => self.memory = false,
            ["duke", "generation", number] => self.generation = number.parse().ok()?,
            ["duke", "size", number] => self.size = number.parse().ok()?,
            ["duke", "quorum", number] => self.quorum = number.parse().ok()?,
            ["duke", "leader", id] => (*id).clone_into(&mut self.leader),
            ["duke", "process", id] => (*id).clone_into(&mut self.process),
            ["sentinel", "current-epoch", number] => self.current_epoch = number.parse().ok()?,
            ["sentinel", "monitor", _, ip, port, _] => self.master = Some(address(ip, port)?),
            ["sentinel", "config-epoch", _, number] => self.config_epoch = number.parse().ok()?,
            ["sentinel", "leader-epoch", _, number] => self.leader_epoch = number.parse().ok()?,
            ["sentinel", "known-replica", _, ip, port] => {
                self.nodes.insert(address(ip, port)?);
            }
            ["sentinel", "known-sentinel", _, ip, port, id] => {
                self.members.insert((*id).to_owned(), address(ip, port)?);
            }
            ["sentinel", option, _, value] => {
                let settings = self.settings.get_or_insert_default();
                config::set(settings, option, value).ok()?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// A run id as the state can hold it: nothing, if the server says something else in its place.
#[must_use]
pub(crate) fn process_name(run_id: &str) -> String {
    let is_word = run_id.len() <= RUN_ID_MAX && run_id.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_word {
        run_id.to_owned()
    } else {
        String::new()
    }
}

fn address(ip: &str, port: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        (any::<u32>(), 1_u16..).prop_map(|(ip, port)| (std::net::Ipv4Addr::from(ip), port).into())
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            id in "[0-9a-f]{40}",
            (memory, generation, current_epoch, config_epoch) in any::<(bool, u64, u64, u64)>(),
            (leader_epoch, size, quorum) in any::<(u64, u32, u32)>(),
            leader in "|[0-9a-f]{40}",
            process in "|[0-9a-f]{40}",
            master in proptest::option::of(any_address()),
            members in proptest::collection::btree_map("[0-9a-f]{40}", any_address(), 0..4),
            nodes in proptest::collection::btree_set(any_address(), 0..4),
            changed in any::<bool>(),
        ) {
            let settings = changed.then(MasterSettings::default);
            let durable = Durable {
                id, memory, generation, current_epoch, config_epoch, leader_epoch, leader, master, process,
                size, quorum, members, nodes, settings,
            };
            prop_assert_eq!(Durable::read(&durable.print("mymaster")), Ok(durable));
        }
    }

    #[test]
    fn a_damaged_state_is_an_error_that_says_what_to_do() {
        let error = Durable::read("sentinel myid abc\nsentinel current-epoch x1\n").unwrap_err();
        assert!(
            error.to_string().starts_with("line 2 of the state"),
            "{error}"
        );
        assert!(error.to_string().contains("delete it"));
        for text in ["", "duke size 3\n", "sentinel myid a\nduke memory maybe\n"] {
            assert!(Durable::read(text).is_err(), "{text:?}");
        }
    }
}

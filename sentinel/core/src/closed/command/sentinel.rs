//! `SENTINEL`: discovery, votes, and the operator's settings.

use std::net::{IpAddr, SocketAddr};

use duke_resp::Frame;

use crate::{
    closed::{Closed, config, session::Right},
    id::ClientId,
    mutation::Mutant,
    words::{Words, no_permission, shortened, wrong_arity},
};

/// What anybody may ask.
const OPEN: &[&str] = &[
    "ckquorum",
    "get-master-addr-by-name",
    "get-primary-addr-by-name",
    "master",
    "masters",
    "myid",
    "primaries",
    "primary",
    "replicas",
    "sentinels",
    "slaves",
];

/// What names the master.
const NAMING: &[&str] = &[
    "get-master-addr-by-name",
    "get-primary-addr-by-name",
    "master",
    "masters",
    "primaries",
    "primary",
];

/// What other Dukes ask of each other about the master.
const OPINION: &[&str] = &["is-master-down-by-addr", "is-primary-down-by-addr"];

/// Whether a subcommand changes nothing that must be remembered: discovery, and questions for our
/// opinion without our vote.
pub(super) fn only_looks(words: Words<'_>) -> bool {
    OPEN.contains(&words.lower(1).as_str()) || (asks_opinion(words) && words.text(5) == "*")
}

/// Whether it asks what this Duke thinks of the master.
pub(super) fn asks_opinion(words: Words<'_>) -> bool {
    OPINION.contains(&words.lower(1).as_str())
}

/// Whether the answer to a subcommand tells clients where to write.
pub(super) fn names_master(words: Words<'_>) -> bool {
    NAMING.contains(&words.lower(1).as_str())
}

/// The answer to the question where the master is.
pub(crate) fn address_reply(master: Option<SocketAddr>) -> Frame {
    match master {
        None => Frame::NullArray,
        Some(master) => Frame::Array(vec![
            Frame::bulk(master.ip().to_string()),
            Frame::bulk(master.port().to_string()),
        ]),
    }
}

impl Closed {
    pub(super) fn sentinel_command(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        let sub = words.lower(1);
        let votes = asks_opinion(words);
        let known =
            votes || OPEN.contains(&sub.as_str()) || matches!(sub.as_str(), "failover" | "set");
        if !known {
            let word = shortened(words.text(1));
            return Frame::error(format!(
                "ERR unknown subcommand '{word}'. Try SENTINEL HELP."
            ));
        }
        let needed = match sub.as_str() {
            _ if votes => Right::Peer,
            "failover" | "set" => Right::Admin,
            _ => Right::Discover,
        };
        if self.right(client) < needed {
            return no_permission(&format!("sentinel|{sub}"));
        }
        match (sub.as_str(), words.len()) {
            ("myid", 2) => Frame::bulk(self.durable.id.clone()),
            ("masters" | "primaries", 2) => {
                Frame::Array(self.report_master().into_iter().collect())
            }
            ("get-master-addr-by-name" | "get-primary-addr-by-name", 3) => {
                self.master_address(words)
            }
            ("is-master-down-by-addr" | "is-primary-down-by-addr", 6 | 7) => {
                self.tell_opinion(client, words)
            }
            ("master" | "primary", 3) => self
                .named(words)
                .unwrap_or_else(|| self.report_master().unwrap_or(Frame::NullArray)),
            ("replicas" | "slaves", 3) => self
                .named(words)
                .unwrap_or_else(|| Frame::Array(self.report_replicas())),
            ("sentinels", 3) => self
                .named(words)
                .unwrap_or_else(|| Frame::Array(self.report_sentinels())),
            ("ckquorum", 3) => self.named(words).unwrap_or_else(|| self.check_quorum()),
            ("failover", 3 | 4) => match self.named(words) {
                Some(error) => error,
                None => self.order_failover(words),
            },
            ("set", 5..) => match self.named(words) {
                Some(error) => error,
                None => self.set(words),
            },
            (_, _) => wrong_arity(&format!("sentinel|{sub}")),
        }
    }

    /// The error to answer if the command names no master of ours.
    fn named(&self, words: Words<'_>) -> Option<Frame> {
        let known = words.text(2) == self.settings.group && self.durable.master.is_some();
        (!known).then(|| Frame::error("ERR No such master with that name"))
    }

    /// The master's address, or null while there is none that clients could use.
    fn master_address(&self, words: Words<'_>) -> Frame {
        let ours = words.text(2) == self.settings.group;
        address_reply(self.usable_master().filter(|_| ours))
    }

    /// `is-master-down-by-addr ip port epoch id [generation]`: our opinion, and our vote.
    fn tell_opinion(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        let (port, epoch) = (words.text(3).parse::<u16>(), words.text(4).parse::<u64>());
        let (Ok(port), Ok(epoch)) = (port, epoch) else {
            return Frame::error("ERR value is not an integer or out of range");
        };
        let address = words
            .text(2)
            .parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, port));
        let same = address.is_ok() && self.durable.master == address.ok();
        // Whoever does not say of which generation it speaks may be of an older one.
        let current = words.text(6).parse::<u64>().ok() == Some(self.durable.generation);
        let candidate = words.text(5).to_owned();
        if candidate == "*"
            && same
            && let Some(id) = self.session(client).peer.clone()
        {
            self.asked_opinion(&id);
        }
        let (leader, leader_epoch) = if candidate == "*" {
            ("*".to_owned(), 0)
        } else if !self.is_writing() {
            // A vote it gave just before may never get to the disk.
            ("*".to_owned(), 0)
        } else if (same && current) || self.mutated(Mutant::VoteWithoutMemory) {
            self.vote(epoch, &candidate)
        } else {
            ("*".to_owned(), self.durable.leader_epoch)
        };
        Frame::Array(vec![
            Frame::Integer(i64::from(same && self.master_down().is_some())),
            Frame::bulk(leader),
            Frame::number(leader_epoch),
        ])
    }

    /// Whether enough Dukes are there to agree on a failover, in Sentinel's words.
    fn check_quorum(&self) -> Frame {
        let usable = self.usable_dukes();
        let quorum = usize::try_from(self.durable.quorum).unwrap_or(usize::MAX);
        let mut lacks = Vec::new();
        if usable < quorum {
            lacks.push(
                "Not enough available Sentinels to reach the specified quorum for this master",
            );
        }
        if usable < self.durable.majority() {
            lacks.push(
                "Not enough available Sentinels to reach the majority and authorize a failover",
            );
        }
        if lacks.is_empty() {
            return Frame::simple(format!(
                "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
            ));
        }
        Frame::error(format!(
            "NOQUORUM {usable} usable Sentinels. {}",
            lacks.join(". ")
        ))
    }

    /// `SENTINEL SET name option value …`, from left to right.
    fn set(&mut self, words: Words<'_>) -> Frame {
        let mut index = 3;
        while index < words.len() {
            let option = words.lower(index);
            let next = index.saturating_add(1);
            let value = words.text(next);
            let unknown = || {
                let option = shortened(words.text(index));
                Frame::error(format!(
                    "ERR Unknown option or number of arguments for SENTINEL SET '{option}'"
                ))
            };
            let invalid = || {
                let value = shortened(value);
                Frame::error(format!(
                    "ERR Invalid argument '{value}' for SENTINEL SET '{option}'"
                ))
            };
            if next >= words.len() {
                return unknown();
            }
            if option == "quorum" {
                match value.parse::<u32>() {
                    Ok(quorum) if quorum > 0 => self.durable.quorum = quorum,
                    Ok(_) | Err(_) => return invalid(),
                }
            } else {
                let mut settings = self.master_settings();
                if !settings.pairs().iter().any(|(name, _)| *name == option) {
                    return unknown();
                }
                if config::set(&mut settings, &option, value).is_err() {
                    return invalid();
                }
                self.durable.settings = Some(settings);
            }
            self.persist();
            self.publish_master("+set", &format!("{option} {value}"));
            index = index.saturating_add(2);
        }
        Frame::ok()
    }
}

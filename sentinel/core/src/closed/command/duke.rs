//! `DUKE`: what the operator tells a closed group, and what Dukes ask each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use duke_resp::Frame;

use crate::{
    closed::{Closed, epoch, session::Right},
    id::ClientId,
    info::Role,
    output::Output,
    words::{Words, no_permission, shortened, wrong_arity},
};

/// Dukes and data nodes a group may have.
const GROUP_MAX: usize = 256;

impl Closed {
    pub(super) fn duke_command(&mut self, client: ClientId, words: Words<'_>) -> Frame {
        let sub = words.lower(1);
        let needed = match sub.as_str() {
            "handover" => Right::Agent,
            "recover" => Right::Peer,
            _ => Right::Admin,
        };
        if self.right(client) < needed {
            return no_permission(&format!("duke|{sub}"));
        }
        match (sub.as_str(), words.len()) {
            ("handover", 4) => self.order_handover(words),
            ("members", 5..) => self.take_members(words),
            ("nodes", 2..) => self.take_nodes(words),
            ("recover", 3) => self.tell_past(words),
            ("seed", 6) => self.take_seed(words),
            ("status", 2) => self.status(),
            ("handover" | "members" | "recover" | "seed" | "status", _) => {
                wrong_arity(&format!("duke|{sub}"))
            }
            (_, _) => Frame::error(format!(
                "ERR unknown subcommand '{}'. Try DUKE HANDOVER, MEMBERS, NODES, SEED or STATUS.",
                shortened(words.text(1))
            )),
        }
    }

    /// `DUKE MEMBERS size quorum id@ip:port …`: all Dukes, this one included.
    fn take_members(&mut self, words: Words<'_>) -> Frame {
        let size = words.text(2).parse::<u32>().ok().filter(|size| *size > 0);
        let quorum = words
            .text(3)
            .parse::<u32>()
            .ok()
            .filter(|quorum| *quorum > 0);
        let (Some(size), Some(quorum)) = (size, quorum) else {
            return Frame::error("ERR size and quorum are numbers above 0");
        };
        if words.len() > GROUP_MAX {
            return Frame::error("ERR too many members");
        }
        let mut members = BTreeMap::new();
        for index in 4..words.len() {
            let word = words.text(index);
            let read = word.split_once('@').and_then(|(id, address)| {
                let valid = id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
                Some((
                    id.to_owned(),
                    address.parse::<SocketAddr>().ok().filter(|_| valid)?,
                ))
            });
            let Some((id, address)) = read else {
                let word = shortened(word);
                return Frame::error(format!("ERR '{word}' is no member: write <id>@<ip>:<port>"));
            };
            members.insert(id, address);
        }
        if !members.contains_key(&self.durable.id) {
            return Frame::error(format!("ERR the list lacks this Duke, {}", self.durable.id));
        }
        if size > self.durable.size.saturating_add(1) && self.durable.memory {
            let now = self.durable.size;
            return Frame::error(format!(
                "ERR the group has {now} members: it grows by one at a time, so that majorities of before and after meet"
            ));
        }
        let durable = &mut self.durable;
        if (durable.size, durable.quorum, &durable.members) != (size, quorum, &members) {
            (durable.size, durable.quorum, durable.members) = (size, quorum, members);
            self.meet();
            self.persist();
        }
        Frame::ok()
    }

    /// `DUKE NODES ip:port …`: all data nodes of record.
    fn take_nodes(&mut self, words: Words<'_>) -> Frame {
        if words.len() > GROUP_MAX {
            return Frame::error("ERR too many nodes");
        }
        let mut nodes = BTreeSet::new();
        for index in 2..words.len() {
            let Ok(address) = words.text(index).parse() else {
                let word = shortened(words.text(index));
                return Frame::error(format!("ERR '{word}' is no node: write <ip>:<port>"));
            };
            nodes.insert(address);
        }
        if self.durable.nodes != nodes {
            self.durable.nodes = nodes;
            self.meet();
            self.persist();
        }
        Frame::ok()
    }

    /// `DUKE SEED generation ip port epoch`: gives a group its beginning, or another one in a higher generation,
    /// whatever the Dukes remember.
    fn take_seed(&mut self, words: Words<'_>) -> Frame {
        let generation = words.text(2).parse::<u64>().ok();
        let ip = words.text(3).parse::<IpAddr>().ok();
        let port = words.text(4).parse::<u16>().ok();
        let epoch = words.text(5).parse::<u64>().ok();
        let (Some(generation), Some(ip), Some(port), Some(epoch)) = (generation, ip, port, epoch)
        else {
            return Frame::error("ERR write DUKE SEED <generation> <ip> <port> <epoch>");
        };
        let master = SocketAddr::new(ip, port);
        let durable = &self.durable;
        if durable.size == 0 {
            // A majority of nobody would be this Duke alone.
            return Frame::error(
                "ERR this Duke was not told who belongs to its group: send DUKE MEMBERS first",
            );
        }
        if generation < durable.generation {
            let known = durable.generation;
            return Frame::error(format!(
                "STALE generation {generation} is older than {known}"
            ));
        }
        if generation.max(epoch) > epoch::HIGHEST {
            // No later one could follow.
            let highest = epoch::HIGHEST;
            return Frame::error(format!("ERR no generation or epoch is above {highest}"));
        }
        let same_generation = generation == durable.generation && durable.memory;
        if same_generation && (durable.config_epoch, durable.master) == (epoch, Some(master)) {
            return Frame::ok();
        }
        if same_generation || (durable.memory && epoch <= durable.current_epoch) {
            let current = durable.current_epoch;
            return Frame::error(format!(
                "STALE this group was seeded in generation {} and is in epoch {current}",
                durable.generation
            ));
        }
        let first = !self.durable.memory;
        self.durable.generation = generation;
        self.durable.current_epoch = self.durable.current_epoch.max(epoch);
        self.durable.config_epoch = epoch;
        if first {
            // Whom an earlier life voted for is not known: no vote in any epoch up to this one.
            self.durable.leader_epoch = self.durable.leader_epoch.max(epoch);
            self.durable.leader = String::new();
        }
        self.durable.memory = true;
        self.lineage = None;
        self.adopt(master);
        if first {
            self.emit(Output::Ready(true));
        }
        Frame::ok()
    }

    /// `DUKE RECOVER nonce`: what this Duke remembers, for one that remembers nothing.
    fn tell_past(&self, words: Words<'_>) -> Frame {
        let durable = &self.durable;
        let (ip, port) = address_words(durable.master);
        let said = [
            words.text(2).to_owned(),
            yes_no(durable.memory).to_owned(),
            durable.generation.to_string(),
            durable.current_epoch.to_string(),
            durable.config_epoch.to_string(),
            durable.leader_epoch.to_string(),
            ip,
            port,
        ];
        Frame::Array(said.into_iter().map(Frame::bulk).collect())
    }

    /// `DUKE STATUS`: one reply with everything the operator wants to know.
    fn status(&self) -> Frame {
        let durable = &self.durable;
        // One that a failing disk does not know of may be forgotten: nobody is sent there.
        let known = !self.disk_fails || self.is_durable(self.switch_saved);
        let (ip, port) = address_words(durable.master.filter(|_| known));
        let text = |value: String| Frame::bulk(value);
        let mut pairs = vec![
            ("myid", text(durable.id.clone())),
            ("memory", text(yes_no(durable.memory).to_owned())),
            ("generation", text(durable.generation.to_string())),
            ("current-epoch", text(durable.current_epoch.to_string())),
            ("config-epoch", text(durable.config_epoch.to_string())),
            ("leader-epoch", text(durable.leader_epoch.to_string())),
            ("master-ip", text(ip)),
            ("master-port", text(port)),
            ("flags", text(self.master_flags())),
            ("failover-state", text(self.failover.word().to_owned())),
            ("reason", text(self.reason())),
            ("size", text(durable.size.to_string())),
            ("quorum", text(durable.quorum.to_string())),
        ];
        for (option, value) in self.master_settings().pairs() {
            pairs.push((option, text(value.to_string())));
        }
        pairs.push(("members", Frame::Array(self.member_rows())));
        pairs.push(("nodes", Frame::Array(self.node_rows())));
        Frame::Map(
            pairs
                .into_iter()
                .map(|(key, value)| (Frame::bulk(key), value))
                .collect(),
        )
    }

    fn member_rows(&self) -> Vec<Frame> {
        let row = |(id, address): (&String, &SocketAddr)| {
            let peer = self.peers.get(id);
            let refusal = peer.and_then(|peer| peer.wire.refusal.as_deref());
            let (state, memory) = match peer {
                None => ("self", Some(self.durable.memory)),
                Some(peer) if peer.wire.up().is_some() && peer.down.is_none() => {
                    ("up", peer.memory)
                }
                Some(peer) => ("down", peer.memory),
            };
            let memory = memory.map_or("unknown", yes_no);
            let words = [
                id,
                &address.ip().to_string(),
                &address.port().to_string(),
                state,
                memory,
                refusal.unwrap_or_default(),
            ];
            Frame::Array(
                words
                    .into_iter()
                    .map(|word| Frame::bulk(word.to_owned()))
                    .collect(),
            )
        };
        self.durable.members.iter().map(row).collect()
    }

    fn node_rows(&self) -> Vec<Frame> {
        let row = |node: &crate::closed::node::Node| {
            let state = if node.is_known() && node.down.is_none() {
                "up"
            } else {
                "down"
            };
            let (role, host, port, link) = match &node.info.role {
                Role::Unknown => ("unknown", String::new(), 0, ""),
                Role::Master => ("master", String::new(), 0, ""),
                Role::Replica {
                    host,
                    port,
                    link_up,
                    ..
                } => (
                    "replica",
                    host.clone(),
                    *port,
                    if *link_up { "up" } else { "down" },
                ),
            };
            let words = [
                node.address.ip().to_string(),
                node.address.port().to_string(),
                state.to_owned(),
                role.to_owned(),
                host,
                port.to_string(),
                link.to_owned(),
                node.info.offset.to_string(),
                node.info.run_id.clone(),
                node.wire.refusal.clone().unwrap_or_default(),
            ];
            Frame::Array(words.into_iter().map(Frame::bulk).collect())
        };
        self.nodes
            .values()
            .filter(|node| self.durable.nodes.contains(&node.address))
            .map(row)
            .collect()
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn address_words(address: Option<SocketAddr>) -> (String, String) {
    address.map_or_else(
        || (String::new(), "0".to_owned()),
        |address| (address.ip().to_string(), address.port().to_string()),
    )
}

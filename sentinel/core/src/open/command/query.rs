//! `SENTINEL` subcommands that tell something: the address, the quorum, our opinion, cached INFO.

use duke_resp::Frame;

use super::sentinel::no_master;
use crate::{
    open::{Address, Master, Open, Server, script::State},
    time::millis,
    words::Words,
};

impl Open {
    pub(super) fn master_address(&self, name: &str) -> Frame {
        let Some(master) = self.masters.get(name) else {
            return Frame::NullArray;
        };
        self.address_reply(&master.server.address)
    }

    pub(super) fn check_quorum(&self, name: &str) -> Frame {
        let Some(master) = self.masters.get(name) else {
            return no_master();
        };
        let others = master
            .sentinels
            .values()
            .filter(|witness| witness.down.is_none());
        let usable = others.count().saturating_add(1);
        let mut faults = Vec::new();
        if usable < master.quorum() {
            faults.push(
                "Not enough available Sentinels to reach the specified quorum for this master",
            );
        }
        if usable < master.majority() {
            faults.push(
                "Not enough available Sentinels to reach the majority and authorize a failover",
            );
        }
        if faults.is_empty() {
            return Frame::simple(format!(
                "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
            ));
        }
        Frame::error(format!(
            "NOQUORUM {usable} usable Sentinels. {}",
            faults.join(". ")
        ))
    }

    /// The master at an address. Where it was found is remembered: of thousands that are down together each
    /// is asked about ten times a second.
    fn name_at(&mut self, asked: &Address) -> Option<String> {
        let is_there = |master: &Master| master.server.address.same(asked);
        let socket = asked.socket();
        let known = socket.and_then(|socket| self.places.get(&socket));
        let known = known.and_then(|name| self.masters.get(name));
        if let Some(master) = known.filter(|master| is_there(master)) {
            return Some(master.name.clone());
        }
        let meant = self.masters.values().find(|master| is_there(master));
        let name = meant.map(|master| master.name.clone());
        match (socket, &name) {
            (Some(socket), Some(name)) => drop(self.places.insert(socket, name.clone())),
            (Some(socket), None) => drop(self.places.remove(&socket)),
            (None, _) => {}
        }
        name
    }

    /// `is-master-down-by-addr ip port epoch id`: our opinion, and our vote.
    pub(super) fn tell_opinion(&mut self, words: Words<'_>) -> Frame {
        let (port, epoch) = (words.text(3).parse::<u16>(), words.text(4).parse::<u64>());
        let (Ok(port), Ok(epoch)) = (port, epoch) else {
            return Frame::error("ERR value is not an integer or out of range");
        };
        let (host, candidate) = (words.text(2), words.text(5).to_owned());
        // Read once: many masters that are down are asked about ten times a second.
        let asked = Address::new(host, port, self.lookup(host));
        let Some(name) = self.name_at(&asked) else {
            return Frame::Array(vec![Frame::Integer(0), Frame::bulk("*"), Frame::Integer(0)]);
        };
        let now = self.now;
        let told = self.with(&name, |open, master| {
            let down = master.server.down.is_some();
            if candidate == "*" {
                // Whoever asks finds it down, perhaps only since we asked for the last time.
                if down && master.odown.is_none() {
                    master.ask_again(now);
                }
                return (down, "*".to_owned(), 0);
            }
            // Whoever stands for election finds the master down.
            if let Some(witness) = master.sentinels.get_mut(&candidate) {
                witness.master_down = Some(now);
                witness.master_up = None;
            }
            let (leader, at) = open.vote(master, epoch, &candidate);
            (down, leader, at)
        });
        let (down, leader, at) = told.unwrap_or_default();
        Frame::Array(vec![
            Frame::Integer(i64::from(down)),
            Frame::bulk(leader),
            Frame::number(at),
        ])
    }

    pub(super) fn info_cache(&self, words: Words<'_>) -> Frame {
        let cached = |server: &Server| {
            let age = server.info_at.map_or(0, |at| millis(self.now.since(at)));
            let text = server.info_text.clone().map_or(Frame::Null, Frame::Bulk);
            Frame::Array(vec![Frame::number(age), text])
        };
        let mut items = Vec::new();
        for index in 2..words.len() {
            if let Some(master) = self.masters.get(words.text(index)) {
                items.push(Frame::bulk(master.name.clone()));
                items.push(Frame::Array(master.servers().map(cached).collect()));
            }
        }
        Frame::Array(items)
    }

    pub(super) fn pending_scripts(&self) -> Frame {
        let text = |value: String| Frame::bulk(value);
        let jobs = self.scripts.iter().map(|job| {
            let words = job.words.iter().cloned().map(Frame::bulk).collect();
            let (flags, pid, key, millis) = match job.state {
                State::Waiting(due) => ("scheduled", 0, "run-delay", millis(due.since(self.now))),
                State::Running { since, pid, .. } => {
                    ("running", pid, "run-time", millis(self.now.since(since)))
                }
            };
            Frame::Map(vec![
                (Frame::bulk("argv"), Frame::Array(words)),
                (Frame::bulk("flags"), Frame::bulk(flags)),
                (Frame::bulk("pid"), text(pid.to_string())),
                (Frame::bulk(key), text(millis.to_string())),
                (Frame::bulk("retry-num"), text(job.attempts.to_string())),
            ])
        });
        Frame::Array(jobs.collect())
    }

    pub(super) fn simulate_failure(&mut self, words: Words<'_>) -> Frame {
        (self.crash_elected, self.crash_promoted) = (false, false);
        for index in 2..words.len() {
            match words.lower(index).as_str() {
                "crash-after-election" => self.crash_elected = true,
                "crash-after-promotion" => self.crash_promoted = true,
                "help" => {
                    let names = ["crash-after-election", "crash-after-promotion"];
                    return Frame::Array(names.map(Frame::bulk).to_vec());
                }
                _ => return Frame::error("ERR Unknown failure simulation specified"),
            }
        }
        Frame::ok()
    }
}

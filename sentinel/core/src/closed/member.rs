//! The other Dukes: what is known of each, what they tell each other, and how one without memory
//! learns its group's past.

use std::{net::SocketAddr, time::Duration};

use duke_resp::Frame;

use crate::{
    closed::{Closed, command::HELLO_CHANNEL, epoch},
    link::{Purpose, Wire},
    mutation::Mutant,
    output::Output,
    time::Time,
};

/// Another Duke of the group.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    pub(crate) wire: Wire,
    /// Since when this Duke finds it down.
    pub(crate) down: Option<Time>,
    /// It said that the master is down, then.
    pub(crate) master_down: Option<Time>,
    /// It said that the master is not down, then.
    pub(crate) master_up: Option<Time>,
    /// When it is asked again what it thinks of the master.
    pub(crate) next_opinion: Time,
    /// The last vote it told us of, `(leader, epoch)`.
    pub(crate) vote: Option<(String, u64)>,
    pub(crate) last_hello: Option<Time>,
    pub(crate) next_hello: Time,
    pub(crate) memory: Option<bool>,
    /// Generation and config epoch of the master it believes in, by its last hello.
    pub(crate) believes: Option<(u64, u64)>,
    /// Which master that is.
    pub(crate) names: Option<SocketAddr>,
    /// Generation and highest epoch, by its last hello, believed or not.
    pub(crate) tells: Option<(u64, u64)>,
    /// What it answered to this recovery's nonce.
    pub(crate) recollection: Option<Recollection>,
    pub(crate) next_recovery: Time,
}

/// What a Duke with memory tells one without.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Recollection {
    pub(crate) generation: u64,
    pub(crate) current_epoch: u64,
    pub(crate) config_epoch: u64,
    pub(crate) leader_epoch: u64,
    pub(crate) master: Option<SocketAddr>,
}

impl Peer {
    pub(crate) fn new(now: Time, id: String, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            wire: Wire::new(now),
            down: None,
            master_down: None,
            master_up: None,
            next_opinion: now,
            vote: None,
            last_hello: None,
            next_hello: now,
            memory: None,
            believes: None,
            names: None,
            tells: None,
            recollection: None,
            next_recovery: now,
        }
    }
}

/// Between two hellos to each other Duke. Sentinel: publish-period, two seconds.
const HELLO_PERIOD: Duration = Duration::from_secs(1);
/// How old a hello may be that confirms what we believe.
const HELLO_LIFE: Duration = Duration::from_millis(2500);
/// How long whoever was elected may go by that alone.
const LEADERSHIP: Duration = Duration::from_secs(2);
/// Between two questions for the group's past.
const RECOVERY_PERIOD: Duration = Duration::from_millis(250);

/// What one Duke tells another about itself and the master, as Sentinel's hello with the generation
/// behind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    pub(crate) address: SocketAddr,
    pub(crate) id: String,
    pub(crate) current_epoch: u64,
    pub(crate) group: String,
    pub(crate) master: SocketAddr,
    pub(crate) config_epoch: u64,
    pub(crate) generation: u64,
}

impl Hello {
    /// Reads `ip,port,id,epoch,name,ip,port,config-epoch,generation`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(',').collect();
        let [
            ip,
            port,
            id,
            epoch,
            group,
            master_ip,
            master_port,
            config_epoch,
            generation,
        ] = fields.as_slice()
        else {
            return None;
        };
        Some(Self {
            address: SocketAddr::new(ip.parse().ok()?, port.parse().ok()?),
            id: (*id).to_owned(),
            current_epoch: epoch.parse().ok()?,
            group: (*group).to_owned(),
            master: SocketAddr::new(master_ip.parse().ok()?, master_port.parse().ok()?),
            config_epoch: config_epoch.parse().ok()?,
            generation: generation.parse().ok()?,
        })
    }

    fn print(&self) -> String {
        format!(
            "{},{},{},{},{},{},{},{},{}",
            self.address.ip(),
            self.address.port(),
            self.id,
            self.current_epoch,
            self.group,
            self.master.ip(),
            self.master.port(),
            self.config_epoch,
            self.generation
        )
    }
}

impl Closed {
    /// This Duke's own address, as the operator told it.
    pub(crate) fn own_address(&self) -> Option<SocketAddr> {
        self.durable.members.get(&self.durable.id).copied()
    }

    /// The next hello goes out at once.
    pub(crate) fn hurry_hellos(&mut self) {
        let now = self.now;
        for peer in self.peers.values_mut() {
            peer.next_hello = now;
        }
    }

    /// Says hello to everybody whose turn it is.
    pub(crate) fn greet(&mut self) {
        let (Some(address), Some(master)) = (self.own_address(), self.durable.master) else {
            // Nothing to say yet; asked again when there is.
            let later = self.now.after(HELLO_PERIOD);
            for peer in self
                .peers
                .values_mut()
                .filter(|peer| peer.next_hello <= self.now)
            {
                peer.next_hello = later;
            }
            return;
        };
        if !self.durable.memory {
            return;
        }
        let due: Vec<String> = self
            .peers
            .values()
            .filter(|peer| peer.wire.reached().is_some() && peer.next_hello <= self.now)
            .map(|peer| peer.id.clone())
            .collect();
        if due.is_empty() {
            return;
        }
        let hello = Hello {
            address,
            id: self.durable.id.clone(),
            current_epoch: self.durable.current_epoch,
            group: self.settings.group.clone(),
            master,
            config_epoch: self.durable.config_epoch,
            generation: self.durable.generation,
        };
        let text = hello.print();
        let next = self.now.after(HELLO_PERIOD);
        // A master that this Duke made is one, by votes that are on disk, whatever becomes of this Duke: while it
        // writes that down, the others may, too.
        let is_news = self.made_master() && self.outbox.is_last(self.switch_saved);
        let purpose = if is_news {
            Purpose::News
        } else {
            Purpose::Nothing
        };
        for id in due {
            self.ask_peer(&id, purpose, &["PUBLISH", HELLO_CHANNEL, &text]);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.next_hello = next;
            }
        }
    }

    /// Takes what another Duke said in its hello. Whoever is no member is not believed.
    pub(crate) fn hear(&mut self, hello: &Hello) {
        let now = self.now;
        let known = self.peers.get_mut(&hello.id);
        let Some(peer) = known.filter(|_| hello.group == self.settings.group) else {
            tracing::warn!(id = %hello.id, "ignored a hello of no member");
            return;
        };
        peer.last_hello = Some(now);
        peer.memory = Some(true);
        peer.believes = Some((hello.generation, hello.config_epoch));
        peer.names = Some(hello.master);
        peer.tells = Some((hello.generation, hello.current_epoch));
        let ours = (self.durable.generation, self.durable.config_epoch);
        if peer.believes < Some(ours) {
            // Whoever knows less is told at once.
            peer.next_hello = now;
        }
        // Without memory nothing is adopted from one alone: a majority is asked instead.
        let older = hello.generation < self.durable.generation;
        let trusted = older && self.mutated(Mutant::HearOlderGenerations);
        if !self.durable.memory || (older && !trusted) {
            return;
        }
        if !self.is_believable(hello) {
            let (epoch, generation) = (hello.current_epoch, hello.generation);
            tracing::warn!(id = %hello.id, epoch, generation, "ignored a hello beyond reason");
            return;
        }
        let reseeded = hello.generation > self.durable.generation;
        if !reseeded && !self.hear_epoch(hello.current_epoch) {
            return;
        }
        let newer = trusted
            || hello.config_epoch > self.durable.config_epoch
            || (self.durable.master != Some(hello.master)
                && self.mutated(Mutant::HearOlderMasters));
        if reseeded || newer || self.is_outvoted(hello) {
            self.durable.generation = hello.generation;
            self.durable.current_epoch = self.durable.current_epoch.max(hello.current_epoch);
            self.durable.config_epoch = hello.config_epoch;
            self.publish_peer("+config-update-from", &hello.id);
            if reseeded {
                self.lineage = None;
            }
            self.adopt(hello.master);
        }
    }

    /// Whether a majority names another master of our very epoch. Of votes no two masters come in one epoch;
    /// they could of a list of members that reached only some, or of two orders of the operator. Then neither
    /// is confirmed by Dukes that name the other one, so that nobody gives orders in a minority's name, and
    /// whoever hears that a majority agrees on the other follows it. Where there is no majority for either the next
    /// election decides, or the operator's next generation.
    fn is_outvoted(&self, hello: &Hello) -> bool {
        let epoch = (hello.generation, hello.config_epoch);
        let rival = epoch == self.configured() && self.durable.master != Some(hello.master);
        let agrees = |peer: &&Peer| {
            peer.believes == Some(epoch) && peer.names == Some(hello.master) && self.is_fresh(peer)
        };
        let agreeing = self.peers.values().filter(agrees).count();
        rival && agreeing >= self.durable.majority()
    }

    /// Generation and epoch of the master.
    fn configured(&self) -> (u64, u64) {
        (self.durable.generation, self.durable.config_epoch)
    }

    /// Whether another Duke's hello is young enough to confirm what we believe.
    pub(crate) fn is_fresh(&self, peer: &Peer) -> bool {
        let young = |at| self.now.since(at) <= HELLO_LIFE;
        peer.down.is_none() && peer.last_hello.is_some_and(young)
    }

    /// Whether another Duke believes in the same master of the same epoch, by its last hello.
    pub(crate) fn is_of_one_mind(&self, peer: &Peer) -> bool {
        peer.believes == Some(self.configured()) && peer.names == self.durable.master
    }

    /// A Duke that names another master of the same epoch.
    pub(crate) fn rival(&self) -> Option<&Peer> {
        let rival = |peer: &&Peer| {
            let same = peer.believes == Some(self.configured());
            same && peer.names != self.durable.master && self.is_fresh(peer)
        };
        self.peers.values().find(rival)
    }

    /// Whether a majority believes in the same master just now, so that orders in its name are right.
    ///
    /// A Duke that is cut off from the others may see data nodes obey a leader it knows nothing of.
    pub(crate) fn is_confirmed(&self) -> bool {
        let agrees = |peer: &&Peer| self.is_of_one_mind(peer) && self.is_fresh(peer);
        let agreeing = self.peers.values().filter(agrees).count();
        self.mutated(Mutant::SteerInMinority)
            || (self.made_master() && self.now.since(self.switched) <= LEADERSHIP)
            || agreeing.saturating_add(1) >= self.durable.majority()
    }

    /// Whether it was this Duke that made the present master, in this life. That it stood in the
    /// master's epoch is not enough: it may have lost that election.
    pub(crate) fn made_master(&self) -> bool {
        self.made == Some(self.configured())
    }

    /// Without memory: asks the others for the group's past.
    pub(crate) fn recover(&mut self) {
        if self.durable.memory {
            return;
        }
        let nonce = self.nonce.to_string();
        let due: Vec<String> = self
            .peers
            .values()
            .filter(|peer| peer.wire.reached().is_some() && peer.next_recovery <= self.now)
            .map(|peer| peer.id.clone())
            .collect();
        let next = self.now.after(RECOVERY_PERIOD);
        for id in due {
            self.ask_peer(&id, Purpose::Recovery, &["DUKE", "RECOVER", &nonce]);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.next_recovery = next;
            }
        }
    }

    /// Another Duke answered what it remembers.
    pub(crate) fn recollection(&mut self, id: &str, reply: &Frame) {
        let Some(items) = reply.as_array() else {
            return;
        };
        let text = |index: usize| {
            items
                .get(index)
                .and_then(Frame::as_text)
                .map(|text| String::from_utf8_lossy(text))
        };
        let number = |index: usize| text(index).and_then(|text| text.parse::<u64>().ok());
        if text(0).as_deref() != Some(self.nonce.to_string().as_str()) || self.durable.memory {
            return;
        }
        let memory = text(1).as_deref() == Some("yes");
        let master = text(6)
            .and_then(|ip| ip.parse().ok())
            .zip(text(7).and_then(|port| port.parse().ok()))
            .map(|(ip, port)| SocketAddr::new(ip, port));
        let read = (|| {
            Some(Recollection {
                generation: number(2)?,
                current_epoch: number(3)?,
                config_epoch: number(4)?,
                leader_epoch: number(5)?,
                master,
            })
        })();
        let told = |past: &Recollection| memory && past.config_epoch <= past.current_epoch;
        if let Some(peer) = self.peers.get_mut(id) {
            peer.memory = Some(memory);
            peer.recollection = read.filter(told);
        }
        self.remember();
    }

    /// Takes the group's past once a majority has told it; this Duke itself does not count.
    fn remember(&mut self) {
        let told: Vec<Recollection> = self
            .peers
            .values()
            .filter_map(|peer| peer.recollection.clone())
            .collect();
        let needed = if self.mutated(Mutant::RecoverFromOne) {
            1
        } else {
            self.durable.majority()
        };
        let told = epoch::reasonable(told, needed);
        if self.durable.size == 0 || told.len() < needed {
            return;
        }
        let Some(newest) = told
            .iter()
            .max_by_key(|past| (past.generation, past.config_epoch))
            .cloned()
        else {
            return;
        };
        let highest = |of: fn(&Recollection) -> u64| told.iter().map(of).max().unwrap_or(0);
        let epoch = highest(|past| past.current_epoch).max(highest(|past| past.leader_epoch));
        self.durable.memory = true;
        self.durable.generation = newest.generation;
        self.durable.current_epoch = epoch;
        // Whom its predecessor voted for is not known: it votes in no epoch up to this one.
        self.durable.leader_epoch = epoch;
        self.durable.leader = String::new();
        self.durable.config_epoch = newest.config_epoch;
        self.lineage = None;
        if let Some(master) = newest.master {
            self.adopt(master);
        } else {
            self.persist();
        }
        self.emit(Output::Ready(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_read_as_it_was_printed() {
        let hello = Hello {
            address: "10.0.0.4:26379".parse().unwrap(),
            id: "c".repeat(40),
            current_epoch: 7,
            group: "lake".into(),
            master: "10.0.0.1:6379".parse().unwrap(),
            config_epoch: 6,
            generation: 2,
        };
        assert_eq!(Hello::read(&hello.print()), Some(hello));
        assert_eq!(Hello::read("10.0.0.4,26379,x"), None);
    }
}

//! What sentinels tell each other on the servers' channel: the text, and what hearing it changes.
//!
//! Whoever is found in this way belongs to the group, as with stock. Nothing here trusts an epoch
//! beyond reason.

pub(super) mod repeat;

use std::time::Duration;

use super::{
    Open,
    address::{Address, is_host},
    event::Level,
    failover::Failover,
    master::Master,
    peer::{Peer, Witness},
    server::Purpose,
    timer::again,
};
use crate::{id::LinkId, mutation::Mutant};
use duke_resp::Bytes;

/// Where sentinels tell each other of themselves.
pub(crate) const CHANNEL: &str = "__sentinel__:hello";

/// As long as so much waits for the disk, no hello is added to it.
const HELD_MAX: usize = 256;
/// Between two looks at that for a master that just became another one: the others wait to hear of it.
/// When many fail at once, it is they that the disk is busy with.
const NEWS_PAUSE: Duration = Duration::from_millis(20);

/// One hello: `ip,port,id,epoch,name,master-ip,master-port,config-epoch`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) id: String,
    pub(crate) current_epoch: u64,
    pub(crate) name: String,
    pub(crate) master_host: String,
    pub(crate) master_port: u16,
    pub(crate) config_epoch: u64,
    /// All of it, as it was said.
    pub(crate) text: Bytes,
}

impl Hello {
    /// Reads a hello; none if it is not one.
    pub(crate) fn read(said: &Bytes) -> Option<Self> {
        let text = std::str::from_utf8(said).ok()?;
        let fields: Vec<&str> = text.split(',').collect();
        let [
            host,
            port,
            id,
            epoch,
            name,
            master_host,
            master_port,
            config_epoch,
        ] = <[&str; 8]>::try_from(fields).ok()?;
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
            id: id.to_owned(),
            current_epoch: epoch.parse().ok()?,
            name: name.to_owned(),
            master_host: master_host.to_owned(),
            master_port: master_port.parse().ok()?,
            config_epoch: config_epoch.parse().ok()?,
            text: said.clone(),
        })
    }
}

/// Whether it can be a sentinel's id: stock's have forty hexadecimal digits.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Open {
    /// Says hello on all channels whose turn it is, and to all sentinels.
    pub(crate) fn greet(&mut self, master: &mut Master) {
        let now = self.now;
        let next = again(now, self.periods.publish);
        if self.outbox.held() > HELD_MAX {
            // The disk hangs: what is said waits for it, and need not be said twice.
            let switched = master.switched.map(|(at, _)| now.since(at));
            let is_news = switched.is_some_and(|since| since <= self.periods.publish);
            let next = if is_news { now.after(NEWS_PAUSE) } else { next };
            let servers = master.servers_mut().map(|server| &mut server.next_hello);
            servers.for_each(|due| *due = (*due).max(next));
            let witnesses = master.sentinels.values_mut();
            witnesses.for_each(|witness| witness.next_hello = witness.next_hello.max(next));
            return;
        }
        let by_name = self.conf.sentinel.announce_hostnames;
        let due: Vec<u64> = master
            .servers()
            .filter(|server| server.next_hello <= now && server.command.up().is_some())
            .map(|server| server.id)
            .collect();
        for id in due {
            let local = master.server_of(id).and_then(|server| server.command.up());
            let text = self.hello_text(master, local, by_name);
            if let Some(server) = master.server_of_mut(id) {
                server.next_hello = next;
            }
            let Some(text) = text else { continue };
            let publish = master.renamed("PUBLISH").to_owned();
            self.ask(master, id, Purpose::Hello, &[&publish, CHANNEL, &text]);
        }
        let due: Vec<u64> = master
            .sentinels
            .values()
            .filter(|witness| witness.next_hello <= now)
            .map(|witness| witness.peer)
            .collect();
        for witness in master.sentinels.values_mut() {
            if witness.next_hello <= now {
                witness.next_hello = next;
            }
        }
        for peer in due {
            let local = self.peers.get(&peer).and_then(|peer| peer.wire.up());
            if let Some(text) = local.and_then(|_| self.hello_text(master, local, by_name)) {
                self.ask_peer(peer, Purpose::Hello, &["PUBLISH", CHANNEL, &text]);
            }
        }
    }

    fn hello_text(&self, master: &Master, link: Option<LinkId>, by_name: bool) -> Option<String> {
        let own = &self.conf.sentinel;
        let host = if own.announce_ip.is_empty() {
            self.locals.get(&link?)?.to_string()
        } else if own.announce_hostnames {
            own.announce_ip.clone()
        } else {
            self.lookup(&own.announce_ip)
                .map_or_else(|| own.announce_ip.clone(), |ip| ip.to_string())
        };
        let current = &master.server.address;
        Some(format!(
            "{host},{},{},{},{},{},{},{}",
            self.announced_port(),
            own.id,
            own.current_epoch,
            master.name,
            current.shown(by_name),
            current.port,
            master.config_epoch,
        ))
    }

    /// The port others are told.
    pub(crate) fn announced_port(&self) -> u16 {
        let server = &self.conf.server;
        let tls = server.tls_port != 0
            && (self
                .conf
                .server
                .tls
                .get("tls-replication")
                .is_some_and(|word| word == "yes")
                || server.port == 0);
        match (self.conf.sentinel.announce_port, tls) {
            (0, true) => server.tls_port,
            (0, false) => server.port,
            (port, _) => port,
        }
    }

    /// The next hello goes to everybody at once.
    pub(crate) fn hurry_hellos(&mut self, master: &mut Master) {
        for server in master.servers_mut() {
            server.next_hello = self.now;
        }
        for witness in master.sentinels.values_mut() {
            witness.next_hello = self.now;
        }
    }

    /// Somebody said this, as a hello.
    pub(crate) fn take_hello(&mut self, text: &Bytes) {
        if self.knows_hello(text) {
            return;
        }
        let hello = Hello::read(text);
        if let Some(hello) = hello.filter(|hello| hello.id != self.conf.sentinel.id) {
            self.heard.push_back(hello);
        }
    }

    /// Takes what another sentinel said in its hello.
    pub(crate) fn hear(&mut self, master: &mut Master, hello: &Hello) {
        let now = self.now;
        let names = self.conf.sentinel.resolve_hostnames;
        let sound = is_host(&hello.host, names)
            && is_host(&hello.master_host, names)
            && is_id(&hello.id)
            && hello.master_port != 0;
        if !sound {
            tracing::warn!(
                ?hello,
                "ignored a hello with an address that cannot be one here"
            );
            return;
        }
        let ip = self.resolve(&hello.host);
        let address = Address::new(&hello.host, hello.port, ip);
        self.meet(master, &hello.id, &address);
        if !self.hear_epoch(hello.current_epoch) {
            return;
        }
        let newer = hello.config_epoch > master.config_epoch
            || (self.mutated(Mutant::HearOlderMasters)
                && hello.config_epoch != master.config_epoch);
        if newer && hello.config_epoch <= self.conf.sentinel.current_epoch {
            master.config_epoch = hello.config_epoch;
            let ip = self.resolve(&hello.master_host);
            let to = Address::new(&hello.master_host, hello.master_port, ip);
            let witness = self.at_sentinel(master, &hello.id);
            if to.same(&master.server.address) {
                self.save();
                self.outdone(master);
                // It was made master anew: what it said before is old.
                master.server.doubt(now);
                master.server.next_info = now;
            } else {
                self.event(
                    Some(master),
                    Level::Warning,
                    "+config-update-from",
                    &witness,
                );
                let from = self.endpoint(&master.server.address);
                let script = self.endpoint(&to);
                self.switch(master, &to, false);
                self.run_reconfig(master, "observer", &from, &script);
            }
        }
        let told_less = hello.config_epoch < master.config_epoch;
        let current = &master.server.address;
        let told = current.is(&hello.master_host, hello.master_port)
            || current.ip.is_some()
                && current.ip == self.lookup(&hello.master_host)
                && current.port == hello.master_port;
        if let Some(witness) = master.sentinels.get_mut(&hello.id) {
            witness.last_hello = now;
            // Two orders of `SENTINEL FAILOVER` may make two masters in one epoch.
            witness.believes = told.then_some(hello.config_epoch);
            witness.differs = (!told).then(|| {
                let address = Address::new(&hello.master_host, hello.master_port, None);
                (hello.config_epoch, address)
            });
            if told_less && now.since(witness.next_hello) < self.periods.publish {
                // Whoever knows less is told soon, not only at the next round.
                witness.next_hello = now;
            }
        }
        self.note_hello(master, hello);
        self.join_majority(master);
    }

    /// Two orders of `SENTINEL FAILOVER` at a time, or one beside an election, may make two masters in one
    /// epoch, and no hello says which is the newer. Whoever finds its own one down goes by the majority, or by
    /// those who are one together with it, or by anybody who names the one that its own one follows: it would
    /// name the wrong one for ever, and stand for elections that nobody else sees a reason for.
    fn join_majority(&mut self, master: &mut Master) {
        let idle = matches!(master.failover, Failover::Idle | Failover::Candidate { .. });
        if master.server.down.is_none() || !idle {
            return;
        }
        let now = self.now;
        let life = self.periods.publish.saturating_mul(2);
        let named = |witness: &Witness| {
            let fresh = now.since(witness.last_hello) <= life;
            let (epoch, address) = witness.differs.clone()?;
            (fresh && epoch == master.config_epoch).then_some(address)
        };
        let all: Vec<Address> = master.sentinels.values().filter_map(named).collect();
        let own = &master.server;
        let agreed = all.iter().find(|one| {
            let mut replicas = master.replicas.values();
            let known = replicas.find(|it| it.address.same(one));
            let is_first = (&one.host, one.port) < (&own.address.host, own.address.port);
            if own.reports_slave && known.is_some_and(|it| it.reports_slave) {
                // Each was made the other's replica: neither is right, and they must not be exchanged for
                // ever. All go to the same one, find it down together, and elect.
                return is_first;
            }
            let others = all.iter().filter(|other| other.same(one)).count();
            let majority = master.majority();
            // With this Duke they may be one. Of two that are down the first is gone to, as above.
            let with_us = others.saturating_add(1) >= majority;
            let is_up = known.is_some_and(|it| it.down.is_none());
            others >= majority
                || (with_us && (is_up || is_first))
                || (own.reports_slave && own.follows(one))
        });
        if let Some(to) = agreed.cloned() {
            let ip = self.resolve(&to.host);
            let to = Address::new(&to.host, to.port, ip);
            let from = self.endpoint(&master.server.address);
            let script = self.endpoint(&to);
            self.switch(master, &to, false);
            self.run_reconfig(master, "observer", &from, &script);
        }
    }

    /// Makes sure that the sentinel `id` at `address` is known, and that nobody else is there.
    pub(crate) fn meet(&mut self, master: &mut Master, id: &str, address: &Address) {
        let known = master.sentinels.get(id).map(|witness| witness.peer);
        let at = known.and_then(|peer| self.peers.get(&peer));
        if at.is_some_and(|peer| peer.address.same(address)) {
            return;
        }
        if let Some(peer) = known {
            let payload = format!(
                "{} ip {} port {} for {id}",
                self.at_master(master),
                self.host(address),
                address.port
            );
            self.event(
                Some(master),
                Level::Notice,
                "+sentinel-address-switch",
                &payload,
            );
            let old = self.peers.get_mut(&peer).map(|peer| {
                peer.address = address.clone();
                peer.wire.link()
            });
            if let Some(Some(link)) = old {
                self.disconnect(link);
            }
            self.save();
            return;
        }
        self.displace(master, id, address);
        let peer = self.peer_for(id, address);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.masters.insert(master.name.clone());
        }
        let witness = Witness::new(self.now, peer);
        master.sentinels.insert(id.to_owned(), witness);
        let payload = self.at_sentinel(master, id);
        self.event(Some(master), Level::Notice, "+sentinel", &payload);
        self.save();
    }

    /// Whoever was known at this address under another id is no more.
    fn displace(&mut self, master: &mut Master, id: &str, address: &Address) {
        let stale: Vec<(u64, String)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.id != id && peer.address.same(address))
            .map(|(number, peer)| (*number, peer.id.clone()))
            .collect();
        for (number, stale) in stale {
            if master.sentinels.contains_key(&stale) {
                let payload = self.at_sentinel(master, &stale);
                self.event(
                    Some(master),
                    Level::Notice,
                    "+sentinel-invalid-addr",
                    &payload,
                );
                master.sentinels.remove(&stale);
            }
            for other in self.masters.values_mut() {
                other.sentinels.remove(&stale);
            }
            self.drop_peer(number);
        }
    }

    /// The connection to the sentinel `id`, shared between all masters it watches.
    pub(crate) fn peer_for(&mut self, id: &str, address: &Address) -> u64 {
        let known = self.peers.iter().find(|(_, peer)| peer.id == id);
        if let Some((number, _)) = known {
            return *number;
        }
        let number = self.number();
        self.peers
            .insert(number, Peer::new(self.now, id, address.clone()));
        self.awake.insert(number);
        number
    }

    /// The sentinel is not known for `master` any more.
    pub(crate) fn leave_peer(&mut self, master: &str, number: u64) {
        let unused = self.peers.get_mut(&number).is_some_and(|peer| {
            peer.masters.remove(master);
            peer.masters.is_empty()
        });
        if unused {
            self.drop_peer(number);
        }
    }

    fn drop_peer(&mut self, number: u64) {
        if let Some(peer) = self.peers.remove(&number) {
            self.timers.set(super::timer::Sleeper::Peer(number), None);
            if let Some(link) = peer.wire.link() {
                self.disconnect(link);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_has_eight_fields() {
        let id = "c".repeat(40);
        let text = format!("10.0.0.4,26379,{id},7,lake,10.0.0.1,6379,6");
        let hello = Hello::read(&Bytes::from(text.clone())).unwrap();
        assert_eq!(
            (hello.port, hello.current_epoch, hello.config_epoch),
            (26379, 7, 6)
        );
        assert_eq!((hello.id, hello.master_host.as_str()), (id, "10.0.0.1"));
        assert_eq!(Hello::read(&Bytes::from(format!("{text},2"))), None);
        assert_eq!(Hello::read(&Bytes::from_static(b"junk")), None);
    }
}

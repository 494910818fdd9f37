//! What Dukes believe: it never goes back, has a source, and is the same for all.

use std::net::SocketAddr;

use duke_resp::Frame;

use super::{Belief, Epoch, Oracle};
use crate::{
    disk::Kept,
    history::{History, Place},
    network::Host,
    options::Group,
    queue::Micros,
    server::{Role, Server},
};

/// No run has so many elections.
const ABSURD_EPOCH: u64 = 1 << 40;

impl Oracle {
    /// A Duke's belief changed.
    pub(super) fn check_progress(&mut self, duke: usize, known: Option<&Belief>, next: &Belief) {
        let name = duke + 1;
        if next.current_epoch >= ABSURD_EPOCH || next.config_epoch >= ABSURD_EPOCH {
            let epoch = next.current_epoch;
            self.fail(format!("d{name} believes in epoch {epoch}"));
        }
        if next.leads.is_some() && !next.memory {
            self.fail(format!("d{name} leads without memory"));
        }
        let Some(known) = known else { return };
        if known.memory && !next.memory {
            self.fail(format!("d{name} forgot its group"));
        }
        if !known.memory && next.memory {
            self.check_recovery(duke, next);
        }
        if !known.memory {
            return;
        }
        for (what, before, after) in [
            ("epoch", known.current_epoch, next.current_epoch),
            ("vote", known.leader_epoch, next.leader_epoch),
        ] {
            if after < before {
                self.fail(format!("d{name} went back from {what} {before} to {after}"));
            }
        }
        let (before, after) = (known.configured(), next.configured());
        if after < before {
            self.fail(format!(
                "d{name} went back from the master of {before:?} to that of {after:?}"
            ));
        }
        // By orders two masters may have been made in it: a Duke may come to believe in the other one.
        let ordered = after.0 == 0 && after.1 > 0 && self.seeds.contains(&after);
        if before == after && known.master != next.master && !ordered {
            self.fail(format!("d{name} changed the master of epoch {after:?}"));
        }
    }

    fn check_recovery(&mut self, duke: usize, next: &Belief) {
        if self.being_seeded == Some(duke) {
            return;
        }
        let told = self.watches[duke].recollections.len();
        if told < self.majority {
            self.fail(format!(
                "d{} remembers epoch {} after {told} others told it",
                duke + 1,
                next.current_epoch
            ));
        }
    }

    /// Another Duke told this one what it remembers.
    pub(crate) fn recollected(&mut self, duke: usize, peer: Host, reply: &Frame) {
        let remembers = reply
            .as_array()
            .and_then(|items| items.get(1)?.as_text())
            .is_some_and(|text| &text[..] == b"yes");
        let told = &mut self.watches[duke].recollections;
        if remembers {
            told.insert(peer);
        } else {
            told.remove(&peer);
        }
    }

    /// A Duke believes in a master: everybody who ever believed in that epoch's believes in the same.
    pub(super) fn check_master(
        &mut self,
        duke: usize,
        now: Micros,
        known: Option<&Belief>,
        next: &Belief,
        nodes: &[Server],
        history: &mut History,
    ) {
        let Some(master) = next.master.filter(|_| next.memory) else {
            return;
        };
        let epoch = next.configured();
        if known.is_some_and(|known| known.memory && known.configured() == epoch) {
            return;
        }
        self.watches[duke].switched = now;
        self.watches[duke].touched.clear();
        match self.masters.get(&epoch) {
            Some(other) if *other != master => {
                self.two_masters(epoch, [*other, master], nodes, history);
            }
            Some(_) => {}
            None => {
                self.masters.insert(epoch, master);
                self.made(epoch, master, nodes, history);
            }
        }
    }

    /// Somebody is master for the first time anybody knows: what it lacks is lost from now on.
    fn made(&mut self, epoch: Epoch, master: SocketAddr, nodes: &[Server], history: &mut History) {
        if !self.leaders.contains_key(&epoch) && !self.seeds.contains(&epoch) {
            self.fail(format!(
                "nobody was elected to make {master} master of {epoch:?}"
            ));
        }
        if let Some(server) = Self::host(nodes, master) {
            if let Some(newest) = self.newest_before(epoch, nodes) {
                // Two leaders promote at a time, and the newer one was quicker: the group goes on with its
                // master. Whatever the older one's takes until it hears of that is lost as on any former
                // master; the newer one's writes are not.
                return history.forsake(server.place.branch, newest);
            }
            let lost = history.give_up(server.place);
            self.lost += lost;
            if lost > 0 && self.orders.contains(&epoch) {
                self.fail(format!(
                    "{lost} acknowledged writes were lost by an ordered move to {master} in {epoch:?}"
                ));
            }
            self.remark = Some(format!(
                "{master} is master of {epoch:?} at {}:{}, {lost} writes are lost",
                server.place.branch, server.place.offset
            ));
        }
    }

    /// Where the data of the newest master ends, if that was made in a later epoch than this.
    fn newest_before(&self, epoch: Epoch, nodes: &[Server]) -> Option<Place> {
        let (newest, master) = self.masters.last_key_value()?;
        let server = Self::host(nodes, *master).filter(|_| *newest > epoch)?;
        Some(server.place)
    }

    /// A Duke's order made a server master. If it is the one they all believe in, which was started anew and
    /// gets its place again, it keeps it even if the leader dies before it can tell: what it lacks is lost
    /// with this order. Whether that had to be was checked when the leader chose.
    pub(crate) fn leads_by_order(&mut self, server: &Server, history: &mut History) {
        let newest = self.masters.last_key_value().map(|(_, master)| *master);
        if newest == Some(server.address) {
            self.lost += history.give_up(server.place);
        }
    }

    /// The group's newest master was told to follow another; `kept` is what the disks of a closed group have.
    /// If those who know that it is the newest are no majority, the others could not know: a leader tells of
    /// a master it made before they all have written it down. What only it has is lost then.
    pub(crate) fn demoted(
        &mut self,
        server: &Server,
        kept: &[&Kept],
        nodes: &[Server],
        history: &mut History,
    ) {
        let Some((newest, master)) = self.masters.last_key_value() else {
            return;
        };
        let informed = match self.group {
            Group::Open => self.informed_files(*newest),
            Group::Closed => kept
                .iter()
                .filter(|kept| kept.configured() >= *newest)
                .count(),
        };
        let Role::Replica { master: to, .. } = server.role else {
            return;
        };
        if *master == server.address
            && informed < self.majority
            && let Some(to) = Self::host(nodes, to)
        {
            history.forsake(server.place.branch, to.place);
        }
    }

    /// What a stranger must not move.
    pub(crate) fn footprint(&self, duke: usize) -> Option<Belief> {
        self.watches[duke].belief.clone()
    }
}

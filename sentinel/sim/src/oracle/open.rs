//! What Dukes of an open group believe, remember and order.
//!
//! Open groups follow stock Sentinel's protocol, which promises less than that of closed ones. What is
//! not demanded here although it is there, and why:
//!
//! - `SENTINEL FAILOVER` makes a master without a vote, in an epoch another Duke may be elected in at the same
//!   time. In such an epoch there may be two masters; no server and no Duke can tell them apart by the wire.
//! - A Duke out of touch with the others may point servers at the master it knows of once it waited long
//!   enough, as stock does: there is no majority in a hello.
//! - A master that restarts in time stays master, with what its disk kept.

use std::net::SocketAddr;

use duke_core::OpenView;

use super::{Belief, Epoch, Oracle, Order, Watch};
use crate::{disk::Kept, history::History, queue::Micros, server::Server};

/// What a Duke's file said at most, over all its lives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    current: u64,
    config: u64,
    leader: u64,
}

impl Oracle {
    /// An open group begins with a master that nobody elected.
    pub(crate) fn begins_with(&mut self, master: SocketAddr) {
        self.seeds.insert((0, 0));
        self.masters.insert((0, 0), master);
        self.written = Some((0, master));
    }

    /// Looks at a Duke of an open group after something happened to it.
    pub(crate) fn observe_open(
        &mut self,
        duke: usize,
        now: Micros,
        view: &OpenView<'_>,
        kept: &Kept,
        nodes: &[Server],
        history: &mut History,
    ) {
        let belief = self.watches[duke].belief.as_ref();
        if belief.is_some_and(|known| known.is(&view.belief)) {
            return;
        }
        let next = Belief::of(&view.belief);
        let known = self.watches[duke].belief.replace(next.clone());
        if known.is_none() {
            self.members.insert(next.id.clone());
            let floor = self.floors[duke];
            let seen = [next.current_epoch, next.config_epoch, next.leader_epoch];
            self.check_floor(duke, floor, seen);
        }
        self.check_progress(duke, known.as_ref(), &next);
        let led = known.as_ref().and_then(|known| known.leads);
        if next.leads != led {
            let watch = &mut self.watches[duke];
            watch.witnesses.clear();
            watch.best.clone_from(&watch.said);
            if let Some(epoch) = next.leads {
                self.begins_to_lead(duke, view, &next, epoch, kept);
            }
        }
        self.check_master(duke, now, known.as_ref(), &next, nodes, history);
        let former = known.as_ref().and_then(|known| known.master);
        let promoted = known.as_ref().and_then(|known| known.target);
        if former != next.master {
            self.watches[duke].made = next.master.filter(|master| promoted == Some(*master));
        }
        let told = known.as_ref().and_then(|known| known.target);
        // Who gives the old master its role back chooses nobody.
        let gives_back = told.is_some() && next.leads == led && next.target == next.master;
        if next.target != told
            && !gives_back
            && let Some(target) = next.target
        {
            self.check_claim(duke, now, &next, target, nodes);
        }
    }

    fn begins_to_lead(
        &mut self,
        duke: usize,
        view: &OpenView<'_>,
        belief: &Belief,
        epoch: u64,
        kept: &Kept,
    ) {
        if view.ordered {
            self.seeds.insert((0, epoch));
        } else {
            self.check_election(duke, belief, epoch, Some(kept));
        }
    }

    /// A Duke's file was written.
    pub(crate) fn kept(&mut self, duke: usize, kept: &Kept) {
        let seen = [kept.current_epoch, kept.config_epoch, kept.leader_epoch];
        self.check_floor(duke, self.floors[duke], seen);
        if let Some(master) = kept.master {
            let epoch = kept.config_epoch;
            let newer = self.written.is_none_or(|(known, _)| epoch > known);
            self.written = Some((epoch, master)).filter(|_| newer).or(self.written);
        }
        let [current, config, leader] = seen;
        self.floors[duke] = Floor {
            current,
            config,
            leader,
        };
    }

    /// Epochs never go back, neither in the file nor over a crash.
    fn check_floor(&mut self, duke: usize, floor: Floor, seen: [u64; 3]) {
        let least = [floor.current, floor.config, floor.leader];
        if least.iter().zip(&seen).any(|(least, seen)| seen < least) {
            self.fail(format!(
                "d{} went back from epochs {least:?} in its file to {seen:?}",
                duke + 1
            ));
        }
    }

    /// Two masters were made in one epoch: permitted if one of them was ordered. Whatever either takes
    /// until a newer one is made may be lost then.
    pub(super) fn two_masters(
        &mut self,
        epoch: Epoch,
        [one, other]: [SocketAddr; 2],
        nodes: &[Server],
        history: &mut History,
    ) {
        let ordered = epoch.0 == 0 && self.seeds.contains(&epoch);
        if !ordered {
            return self.fail(format!("{one} and {other} are masters of {epoch:?}"));
        }
        for master in [one, other] {
            self.rivals.entry(epoch).or_default().insert(master);
            if let Some(server) = Self::host(nodes, master) {
                self.lost += history.give_up(server.place);
            }
        }
    }

    /// A Duke's order leaves it; `kept` is what its disk has.
    pub(crate) fn ordered_open(
        &mut self,
        duke: usize,
        order: Order,
        to: SocketAddr,
        (kept, nodes): (&Kept, &[Server]),
    ) {
        let Some(belief) = self.watches[duke].belief.clone() else {
            return;
        };
        let epoch = belief
            .leads
            .filter(|epoch| kept.has_voted(*epoch, &belief.id));
        if let Some(master) = self.moves_beside(duke, order, to, nodes) {
            let name = duke + 1;
            self.fail(format!(
                "d{name} promotes {to} beside {master}, which takes writes"
            ));
        }
        let meant = match order {
            Order::MakeWay => epoch.is_some() && belief.master == Some(to),
            Order::Promote => {
                if let Some(epoch) = epoch {
                    self.record_vote(&belief.id, (0, epoch), &belief.id);
                }
                epoch.is_some() && belief.target == Some(to)
            }
            // Of a master it made itself the file knows at least that it led.
            Order::Follow(master) => {
                let own = self.watches[duke].made == Some(master);
                belief.master == Some(master) && (own || kept.master == Some(master))
            }
        };
        if !meant {
            self.fail(format!(
                "d{} tells {to} what it does not mean now, or its disk does not know of: {order:?}",
                duke + 1
            ));
        }
    }

    /// A Duke named the master to a client; `kept` is what its disk has.
    pub(crate) fn named_open(&mut self, duke: usize, master: SocketAddr, kept: &Kept) {
        if kept.master != Some(master) {
            let known = kept.master;
            self.fail(format!(
                "d{} names {master} although its disk knows of {known:?}",
                duke + 1
            ));
        }
    }

    /// A client writes to a server: if the group has another master by now, or one besides, that write is lost
    /// as on any former master.
    pub(crate) fn taken(&self, server: &Server, nodes: &[Server], history: &mut History) {
        let newest = self.masters.last_key_value();
        let rivals = newest.and_then(|(epoch, _)| self.rivals.get(epoch));
        let masters = newest.map(|(_, master)| master).into_iter();
        for master in masters.chain(rivals.into_iter().flatten()) {
            if let Some(other) = Self::host(nodes, *master).filter(|one| one.host != server.host) {
                history.forsake(server.place.branch, other.place);
            }
        }
    }

    /// The group's master started anew: what its disk had not kept is lost, unless it is replaced in time. One
    /// that was made master after it may have been forgotten, if no Duke wrote it down; and in the epoch of an
    /// order there may be two.
    pub(crate) fn restarted(&mut self, server: &Server, history: &mut History) {
        let newest = self.masters.last_key_value();
        let written = self.written.map(|(_, master)| master);
        let twofold = newest.is_some_and(|(epoch, _)| epoch.1 > 0 && self.seeds.contains(epoch));
        let is_newest = newest.is_some_and(|(_, master)| *master == server.address);
        if twofold || is_newest || written == Some(server.address) {
            self.lost += history.give_up(server.place);
        }
    }

    /// How many files ever knew of the master of this epoch, or a newer one.
    pub(super) fn informed_files(&self, (_, epoch): Epoch) -> usize {
        let knows = |floor: &&Floor| floor.config >= epoch;
        self.floors.iter().filter(knows).count()
    }

    /// A Duke of an open group starts.
    pub(crate) fn started_open(&mut self, duke: usize) {
        self.watches[duke] = Watch::default();
    }
}

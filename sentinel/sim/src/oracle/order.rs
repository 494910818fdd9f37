//! Orders to data nodes, hellos, and answers to clients.

use std::net::SocketAddr;

use super::{Epoch, Oracle};
use crate::{
    disk::Kept,
    history::Place,
    queue::{MILLI, Micros},
    server::{Role, Server},
};

/// How old another Duke's hello may be that confirms a belief, with what clocks and a tick may add.
const HELLO_LIFE: Micros = 2_900 * MILLI;
/// How long an election alone confirms a belief, with the same on top.
const LEADERSHIP: Micros = 2_400 * MILLI;
/// How soon after its disk was busy an order may be one that waited for it.
const BEHIND: Micros = 50 * MILLI;

/// What a node is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// To become master.
    Promote,
    /// To follow this master.
    Follow(SocketAddr),
    /// To follow nothing, so that another may become master.
    MakeWay,
}

impl Oracle {
    /// A Duke's order leaves it; `kept` is what its disk has.
    pub(crate) fn ordered(
        &mut self,
        duke: usize,
        now: Micros,
        order: Order,
        to: SocketAddr,
        (kept, nodes): (Option<&Kept>, &[Server]),
    ) {
        let Some(belief) = &self.watches[duke].belief else {
            return;
        };
        let name = duke + 1;
        let Some(kept) = kept else {
            return self.fail(format!("d{name} gives orders with nothing on disk"));
        };
        let elected = belief
            .leads
            .is_some_and(|epoch| kept.has_voted(epoch, &belief.id));
        let (known, follows) = match order {
            Order::MakeWay => (elected && belief.master == Some(to), false),
            Order::Promote => {
                // Telling the master to be master changes nothing.
                let meant = elected && belief.target == Some(to);
                (meant || belief.master == Some(to), false)
            }
            Order::Follow(master) => {
                // Of a master made anew in place the disk may know as the one of before.
                let on_disk =
                    kept.configured() >= belief.configured() || kept.master == Some(master);
                (on_disk && belief.master == Some(master), true)
            }
        };
        if !known {
            self.fail(format!(
                "d{name} tells {to} what it does not mean now, or its disk does not know of: {order:?}"
            ));
        } else if follows && !self.is_confirmed(duke, now) {
            let heard: Vec<_> = self.watches[duke].greetings.values().collect();
            self.fail(format!(
                "d{name} orders {to} about without a majority that believes the same; it heard {heard:?}"
            ));
        } else if let Some(master) = self.moves_beside(duke, order, to, nodes) {
            self.fail(format!(
                "d{name} promotes {to} beside {master}, which takes writes"
            ));
        }
    }

    /// The living master beside which a Duke promotes another node because somebody ordered it, if it does.
    pub(super) fn moves_beside(
        &self,
        duke: usize,
        order: Order,
        to: SocketAddr,
        nodes: &[Server],
    ) -> Option<SocketAddr> {
        let belief = self.watches[duke].belief.as_ref()?;
        let epoch = (belief.generation, belief.leads?);
        let ordered = self.orders.contains(&epoch) && !belief.master_down;
        let master = belief.master.filter(|master| ordered && *master != to)?;
        let server = Self::host(nodes, master)?;
        let leads = server.alive && server.role == Role::Master;
        (leads && order == Order::Promote).then_some(master)
    }

    /// A Duke took an order to move the master, while all is well but for Dukes' own troubles.
    pub(crate) fn order_begun(&mut self, duke: usize) {
        if let Some(belief) = &self.watches[duke].belief {
            self.orders
                .insert((belief.generation, belief.current_epoch));
        }
    }

    /// Whether the group is in the middle, or behind, of moves that lose nothing.
    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Something happened to a server or to the network.
    pub(crate) fn disturbed(&mut self) {
        self.orders.clear();
    }

    /// A master was told to follow nothing although its clients' writes are not held.
    pub(crate) fn makes_way_unheld(&mut self, master: SocketAddr) {
        if !self.orders.is_empty() {
            self.fail(format!(
                "{master} made way while its clients' writes were not held"
            ));
        }
    }

    /// A client hears that a write is done which the group has given up already.
    pub(crate) fn lost_by_order(&mut self, place: Place) {
        if !self.orders.is_empty() {
            self.fail(format!(
                "a write that ends at {place:?} was acknowledged and is lost, although only Dukes had trouble"
            ));
        }
    }

    /// Whether a Duke could know, when it decided, that a majority believed in the same master.
    fn is_confirmed(&self, duke: usize, now: Micros) -> bool {
        let watch = &self.watches[duke];
        let Some(belief) = &watch.belief else {
            return false;
        };
        let epoch = belief.configured();
        let busy = watch.disk.pending > 0 || now - watch.disk.until < BEHIND;
        let slack = if busy { now - watch.disk.since } else { 0 };
        // The operator may have given the master it made a new beginning meanwhile.
        let elected = self.leaders.iter().any(|(made, leader)| {
            let same = self.masters.get(made).copied() == belief.master;
            *leader == belief.id && (*made == epoch || (made.0 < epoch.0 && same))
        });
        if elected && now - watch.switched <= LEADERSHIP + slack {
            return true;
        }
        // What waited for the disk was right when it was decided, perhaps before the operator or another
        // leader made the same master anew: it says the same now as then.
        let before = watch.renewed.filter(|_| busy);
        let made = |(epoch, since): (Epoch, Micros)| {
            let leader = self.leaders.get(&epoch);
            leader == Some(&belief.id) && now - since <= LEADERSHIP + slack
        };
        if before.is_some_and(made) {
            return true;
        }
        let agrees = |(at, said): (Micros, Epoch)| {
            let same = said == epoch || before.is_some_and(|(before, _)| said == before);
            same && now - at <= HELLO_LIFE + slack
        };
        let agreeing = watch.greetings.values().filter(|greetings| {
            // A hello may have come since, and an old one at that, of a connection that was cut.
            agrees(greetings.latest) || (busy && agrees(greetings.former))
        });
        agreeing.count() + 1 >= self.majority
    }

    /// A Duke's disk begins to write.
    pub(crate) fn disk_begins(&mut self, duke: usize, now: Micros) {
        let disk = &mut self.watches[duke].disk;
        if disk.pending == 0 && now - disk.until >= BEHIND {
            disk.since = now;
        }
        disk.pending += 1;
    }

    /// It has written.
    pub(crate) fn disk_ends(&mut self, duke: usize, now: Micros) {
        let disk = &mut self.watches[duke].disk;
        disk.pending = disk.pending.saturating_sub(1);
        disk.until = now;
    }

    /// Another Duke's hello reaches this one.
    pub(crate) fn greeted(&mut self, duke: usize, now: Micros, hello: &[u8]) {
        let Some((id, epoch)) = read(hello) else {
            return;
        };
        let watch = &mut self.watches[duke];
        if watch.members.contains(id) {
            let remembers = watch.belief.as_ref().is_some_and(|belief| belief.memory);
            if remembers {
                watch.heard = watch.heard.max(epoch);
            }
            let greetings = watch.greetings.entry(id.to_owned()).or_default();
            if greetings.latest.1 != epoch {
                greetings.former = greetings.latest;
            }
            greetings.latest = (now, epoch);
        }
    }

    /// A Duke named the master to a client.
    pub(crate) fn named(&mut self, duke: usize, master: SocketAddr) {
        let watch = &self.watches[duke];
        let Some(belief) = &watch.belief else { return };
        let superseded = watch.heard > belief.configured();
        if superseded || belief.master != Some(master) {
            let heard = watch.heard;
            self.fail(format!(
                "d{} names {master} although it heard of the master of {heard:?}",
                duke + 1
            ));
        }
    }
}

/// Who says hello, and the generation and epoch of the master it believes in.
fn read(hello: &[u8]) -> Option<(&str, Epoch)> {
    let text = std::str::from_utf8(hello).ok()?;
    let mut fields = text.split(',');
    let id = fields.nth(2)?;
    let epoch = fields.nth(4)?.parse().ok()?;
    let generation = fields.next()?.parse().ok()?;
    Some((id, (generation, epoch)))
}

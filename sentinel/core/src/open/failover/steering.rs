//! Putting right who does not follow the master, and leaving alone who may have been told otherwise
//! by a leader we have not heard of yet.

use std::time::Duration;

use crate::{
    mutation::Mutant,
    open::{Open, event::Level, failover::Failover, link::Way, master::Master, server::Purpose},
    switchover::transaction::Besides,
};

/// Between two orders to one server.
pub(super) const ORDER_PERIOD: Duration = Duration::from_secs(1);
/// How long whoever made the present master may go by that alone.
const LEADERSHIP: Duration = Duration::from_secs(10);

impl Open {
    /// Points replicas at the master that are masters themselves or follow somebody else.
    pub(crate) fn steer(&mut self, master: &mut Master) {
        let now = self.now;
        if !matches!(master.failover, Failover::Idle | Failover::Following { .. })
            || !master.is_sane(now, self.periods.info)
        {
            return;
        }
        let confirmed = self.is_confirmed(master);
        let calm = self.periods.publish.saturating_mul(4);
        let to = master.server.address.clone();
        let following = master.failover.is_on();
        let left_alone = self.mutated(Mutant::LeaveFormerMasters);
        let patience = if confirmed {
            calm
        } else {
            master.conf.failover_timeout
        };
        let mut orders = Vec::new();
        let mut room = master.syncs_to_spare(now);
        for server in master.replicas.values_mut() {
            if server.informed.is_none() || server.command.up().is_none() || server.next_order > now
            {
                continue;
            }
            if !server.reports_slave && left_alone {
                server.stray = None;
            } else if !server.reports_slave {
                let waited = now.since(server.role_since) > calm && server.was_up_for(now, calm);
                // Who was master before the present one, and comes back as such, knows less than a
                // majority does: every write it takes is lost.
                if waited || (server.former && confirmed) {
                    orders.push((server.id, "+convert-to-slave"));
                }
            } else if server.follows(&to) || following {
                server.stray = None;
            } else {
                let since = *server.stray.get_or_insert(now);
                if now.since(since) > patience && server.was_up_for(now, calm) && room > 0 {
                    room = room.saturating_sub(1);
                    orders.push((server.id, "+fix-slave-config"));
                }
            }
        }
        for (id, name) in orders {
            self.point(master, id);
            self.server_event(master, id, Level::Notice, name);
        }
    }

    /// Tells a server to follow the master.
    pub(crate) fn point(&mut self, master: &mut Master, id: u64) {
        self.point_by(Way::Hold, master, id, false);
    }

    /// The same, past the disk in this way, to one that holds its clients' writes, perhaps.
    pub(super) fn point_by(&mut self, way: Way, master: &mut Master, id: u64, held: bool) {
        let by_name = self.conf.sentinel.announce_hostnames;
        let to = &master.server.address;
        let itself = master
            .server_of(id)
            .is_none_or(|server| server.address.same(to));
        if itself {
            // Known under two names until both are looked up: it must never follow itself.
            return;
        }
        let (host, port) = (to.shown(by_name), to.port.to_string());
        let besides = Besides {
            rewrite: true,
            cut: true,
            unpause: held,
        };
        self.order(way, master, id, &Purpose::Order, ([&host, &port], besides));
        let now = self.now;
        if let Some(server) = master.server_of_mut(id) {
            server.next_order = now.after(ORDER_PERIOD);
            server.stray = None;
            server.doubt(now);
        }
        self.inform(master, id);
    }

    /// Whether a majority believes in the same master just now, so that orders in its name are right.
    fn is_confirmed(&self, master: &Master) -> bool {
        let now = self.now;
        let life = self.periods.publish.saturating_mul(2);
        let made = master
            .switched
            .is_some_and(|(at, led)| led && now.since(at) <= LEADERSHIP);
        let agreeing = master
            .sentinels
            .values()
            .filter(|witness| {
                witness.down.is_none()
                    && witness.believes == Some(master.config_epoch)
                    && now.since(witness.last_hello) <= life
            })
            .count();
        made || agreeing.saturating_add(1) >= master.majority()
    }
}

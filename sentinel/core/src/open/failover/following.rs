//! After the switch: the other replicas are told to follow the new master, so many at a time.

use crate::{
    open::{
        Open,
        event::Level,
        failover::Failover,
        master::Master,
        server::{Reconf, Server},
    },
    time::Time,
};

impl Open {
    /// Tells the replicas whom to follow, so many at a time, until all do or time is up.
    pub(super) fn reconfigure(&mut self, master: &mut Master, until: Time) {
        let now = self.now;
        let late: Vec<u64> = master
            .replicas
            .values()
            .filter(|server| {
                matches!(server.reconf, Reconf::Sent(at) if now.since(at) >= self.periods.slave_reconf)
            })
            .map(|server| server.id)
            .collect();
        for id in late {
            self.server_event(master, id, Level::Notice, "-slave-reconf-sent-timeout");
            if let Some(server) = master.server_of_mut(id) {
                server.reconf = Reconf::Done;
            }
        }
        let busy = |master: &Master| {
            let on_its_way =
                |server: &&Server| matches!(server.reconf, Reconf::Sent(_) | Reconf::Following);
            master.replicas.values().filter(on_its_way).count()
        };
        let most = master.syncs_at_once();
        let timed_out = now >= until;
        for id in master
            .replicas
            .values()
            .map(|server| server.id)
            .collect::<Vec<_>>()
        {
            let Some(server) = master.server_of(id) else {
                continue;
            };
            let spared = master.cut.as_ref().is_some_and(|cut| cut.old.at == id);
            let open = server.reconf == Reconf::None && !server.former && !spared;
            if !open || server.command.up().is_none() || (busy(master) >= most && !timed_out) {
                continue;
            }
            let name = if timed_out {
                "+slave-reconf-sent-be"
            } else {
                "+slave-reconf-sent"
            };
            self.point(master, id);
            if let Some(server) = master.server_of_mut(id) {
                server.reconf = Reconf::Sent(now);
            }
            self.server_event(master, id, Level::Notice, name);
        }
        let waits = |server: &Server| {
            server.reconf != Reconf::Done && server.down.is_none() && !server.former
        };
        let finished = !master.replicas.values().any(waits);
        if finished || timed_out {
            if timed_out && !finished {
                self.master_event(master, Level::Warning, "+failover-end-for-timeout");
            }
            self.master_event(master, Level::Warning, "+failover-end");
            master.failover = Failover::Idle;
            for server in master.servers_mut() {
                server.reconf = Reconf::None;
            }
        }
    }
}

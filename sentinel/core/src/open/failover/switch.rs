//! The moment another server is the master: what is kept, what is forgotten, who is told.

use std::time::Duration;

use crate::{
    link::State,
    open::{
        Open,
        address::Address,
        event::Level,
        failover::Failover,
        master::{Candidacy, Master},
        server::{Reconf, Server},
    },
};

/// How long a master that was reset is left alone. Sentinel: until its timer's next round.
const LOOK_AWAY: Duration = Duration::from_millis(100);

impl Open {
    /// The server at `to` is the master from now on, or anew, in the config epoch set before. `led` says
    /// that it was this Duke who made it so.
    pub(crate) fn switch(&mut self, master: &mut Master, to: &Address, led: bool) {
        let now = self.now;
        for server in master.servers_mut().filter(|_| !led) {
            // What was ordered in the name of the old one.
            self.withdraw(server);
        }
        let payload = format!(
            "{} {} {}",
            master.name,
            self.endpoint(&master.server.address),
            self.endpoint(to)
        );
        // A master that had become a replica may be master again.
        let old_id = (!master.server.address.same(to)).then(|| self.exchange(master, to));
        let moved = old_id.is_some();
        for server in master.servers_mut() {
            server.down = None;
            server.last_down = None;
            server.rebooted = None;
            server.role_lost = None;
            server.reconf = Reconf::None;
            server.stray = None;
            // Who failed to take the present master's place is not tried again at once.
            server.unfit_until = server.unfit_until.filter(|_| !moved);
            server.next_order = now;
            server.next_info = now;
            server.role_since = now;
        }
        if !led {
            // What it is about to say may still be of the time before.
            master.server.doubt(now);
        }
        master.odown = None;
        master.leader = None;
        master.failover = Failover::Idle;
        master.cut = None;
        master.candidacy = Candidacy::default();
        master.switched = Some((now, led));
        for witness in master.sentinels.values_mut() {
            witness.master_down = None;
            witness.differs = None;
        }
        master.switch_saved = self.save();
        self.hurry_hellos(master);
        self.event(Some(master), Level::Warning, "+switch-master", &payload);
        let replicas: Vec<u64> = master
            .replicas
            .values()
            .map(|server| server.id)
            .filter(|id| Some(*id) != old_id)
            .chain(old_id)
            .collect();
        for id in replicas {
            self.server_event(master, id, Level::Notice, "+slave");
        }
        self.touched.insert(master.name.clone());
    }

    /// Puts the server at `to` into the master's place, and the master among the replicas; says which server
    /// that was.
    fn exchange(&mut self, master: &mut Master, to: &Address) -> u64 {
        let by_name = self.conf.sentinel.announce_hostnames;
        // It may stand there twice, as an address and as a name.
        let names: Vec<String> = master
            .replicas
            .iter()
            .filter(|(_, server)| server.address.same(to))
            .map(|(name, _)| name.clone())
            .collect();
        let mut known = names.iter().filter_map(|name| master.replicas.remove(name));
        let promoted = known.next();
        let doubles: Vec<Server> = known.collect();
        for double in &doubles {
            self.part(double);
        }
        let promoted = promoted
            .unwrap_or_else(|| Server::new(self.now, self.number(), to.clone(), by_name, false));
        let mut old = std::mem::replace(&mut master.server, promoted);
        let old_id = old.id;
        old.former = true;
        // Others may have made it follow already.
        old.doubt(self.now);
        old.name = old.address.joined(by_name);
        master.replicas.insert(old.name.clone(), old);
        old_id
    }

    /// Forgets what was found out about a master, but its settings, epochs and address.
    pub(crate) fn reset(&mut self, master: &mut Master) {
        let links: Vec<_> = master
            .servers()
            .flat_map(|server| [server.command.link(), server.ears.link()])
            .flatten()
            .collect();
        for link in links {
            self.forget(link);
        }
        for witness in std::mem::take(&mut master.sentinels).into_values() {
            self.leave_peer(&master.name, witness.peer);
        }
        master.replicas.clear();
        let address = master.server.address.clone();
        let by_name = self.conf.sentinel.announce_hostnames;
        master.server = Server::new(self.now, self.number(), address, by_name, false);
        // Whoever resets and looks is to see that it was forgotten.
        let later = State::Idle(self.now.after(LOOK_AWAY));
        (master.server.command.state, master.server.ears.state) = (later, later);
        master.odown = None;
        master.leader = None;
        master.failover = Failover::Idle;
        master.cut = None;
        master.candidacy = Candidacy::default();
        self.master_event(master, Level::Warning, "+reset-master");
    }
}

//! Whom to promote: which replicas come into question, and which has the best claim.

use std::{cmp::Reverse, time::Duration};

use crate::{
    mutation::Mutant,
    open::{Open, master::Master, server::Server},
    time::Time,
};

impl Open {
    /// The server to promote, by stock's order: lowest priority, most data, lowest run id. Whoever is being
    /// given a whole new data set has neither the old one nor the new, and comes last.
    ///
    /// If there is no replica, and the master is lost as one, three more come into question: whoever is a master
    /// already and has the present one for a replica, as after a leader that died before it could tell; the
    /// present one itself; and any other master, although what that took is not the group's data: it is all
    /// there is.
    pub(crate) fn candidate(&self, master: &Master) -> Option<u64> {
        let lowest = self.mutated(Mutant::PromoteLowest);
        let claim = |server: &&Server| {
            let run_id = &server.info.run_id;
            let offset = server.info.offset;
            let unnamed = run_id.is_empty();
            (
                server.info.unsynced,
                server.info.priority,
                Reverse(if lowest {
                    u64::MAX.saturating_sub(offset)
                } else {
                    offset
                }),
                unnamed,
                run_id.clone(),
            )
        };
        let fit = |is_slave: bool| {
            let others = master.replicas.values();
            others.filter(move |server| {
                let asked = server.reports_slave == is_slave && server.down.is_none();
                asked && self.is_fit(master, server)
            })
        };
        let own = &master.server;
        let lost = own.down.is_some() || own.reports_slave;
        let masters = || fit(false).filter(|_| lost);
        fit(true)
            .min_by_key(claim)
            .or_else(|| masters().find(|server| own.follows(&server.address)))
            .or_else(|| self.in_place(master))
            .or_else(|| masters().min_by_key(claim))
            .map(|server| server.id)
    }

    /// The master itself, if it has become a replica: it is made master again.
    fn in_place<'a>(&self, master: &'a Master) -> Option<&'a Server> {
        let own = &master.server;
        (own.reports_slave && self.is_fit(master, own)).then_some(own)
    }

    /// Whether a server could be promoted, if it is not down.
    fn is_fit(&self, master: &Master, server: &Server) -> bool {
        let now = self.now;
        let within = |at: Option<Time>, span: Duration| at.is_some_and(|at| now.since(at) <= span);
        let answers = server.command.up().is_some();
        let alive = now.since(server.command.answered) <= self.periods.ping.saturating_mul(5);
        let told = within(server.info_at, self.periods.info.saturating_mul(3));
        let allowed = server.info.priority > 0 && !server.info.loading;
        let given_up = server.unfit_until.is_some_and(|until| until > now);
        // Sentinel: a replica may have been out of touch ten times down-after before the master was
        // seen to be down.
        let master_down = master
            .server
            .down
            .map_or(Duration::ZERO, |since| now.since(since));
        let longest = master
            .conf
            .down_after
            .saturating_mul(10)
            .saturating_add(master_down);
        let in_time = Duration::from_secs(server.info.link_down_seconds) <= longest;
        answers && alive && told && allowed && !given_up && in_time
    }
}

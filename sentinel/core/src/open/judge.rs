//! Is somebody down? Alone (`S_DOWN`) by silence or by what it says, and together (`O_DOWN`) by
//! asking. And: what a server says of itself in INFO.

use std::time::Duration;

use duke_resp::Frame;

use super::{
    Open,
    address::{Address, is_host},
    event::Level,
    link::INFO_UNSETTLED,
    master::Master,
    server::{Purpose, Reconf, Server},
};
use crate::{
    info::{self, Role},
    time::Time,
};

/// Between two questions to the others about a master that is down. Sentinel: ask-period, a second.
const OPINION_PERIOD: Duration = Duration::from_millis(100);

impl Open {
    /// Marks who is down and who is back.
    pub(super) fn judge(&mut self, master: &mut Master) {
        let now = self.now;
        let down_after = master.conf.down_after;
        let silent = |since: Option<Time>| since.is_some_and(|since| now.since(since) > down_after);
        let reboot = master.conf.reboot_down_after;
        let is_master = master.server.id;
        let mut changed = Vec::new();
        for server in master.servers_mut() {
            let own = server.id == is_master;
            // Sentinel waits for two INFO periods more; who lost its master wants it back sooner. And who
            // restarted has no master's work to go on with: nothing gets better by waiting.
            let for_long = server.role_lost.is_some() || silent(Some(server.role_since));
            let wrong_role = own && server.reports_slave && for_long;
            let loads = own
                && reboot > Duration::ZERO
                && server
                    .rebooted
                    .is_some_and(|since| now.since(since) > reboot);
            let down = silent(server.command.silent_since()) || wrong_role || loads;
            if down {
                server.last_down = Some(now);
            }
            match (down, server.down) {
                (true, None) => {
                    server.down = Some(now);
                    changed.push((server.id, "+sdown"));
                }
                (false, Some(_)) => {
                    server.down = None;
                    server.script_kill_sent = false;
                    changed.push((server.id, "-sdown"));
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        for (id, name) in changed {
            self.server_event(master, id, Level::Warning, name);
            if id == is_master && name == "+sdown" {
                for witness in master.sentinels.values_mut() {
                    witness.next_opinion = now;
                }
            }
        }
        self.judge_sentinels(master);
    }

    fn judge_sentinels(&mut self, master: &mut Master) {
        let now = self.now;
        let down_after = master.conf.down_after;
        let mut changed = Vec::new();
        for (id, witness) in &mut master.sentinels {
            let since = self
                .peers
                .get(&witness.peer)
                .and_then(|peer| peer.wire.silent_since());
            let down = since.is_some_and(|since| now.since(since) > down_after);
            match (down, witness.down) {
                (true, None) => {
                    witness.down = Some(now);
                    changed.push((id.clone(), "+sdown"));
                }
                (false, Some(_)) => {
                    witness.down = None;
                    changed.push((id.clone(), "-sdown"));
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        for (id, name) in changed {
            let payload = self.at_sentinel(master, &id);
            self.event(Some(master), Level::Warning, name, &payload);
        }
    }

    /// Asks the others what they think of the master, and draws the conclusion.
    pub(super) fn consult(&mut self, master: &mut Master) {
        let now = self.now;
        if master.consults() {
            let due: Vec<u64> = master
                .sentinels
                .values()
                .filter(|witness| witness.next_opinion <= now)
                .map(|witness| witness.peer)
                .collect();
            let epoch = master.failover.candidate_epoch();
            for peer in due {
                self.ask_opinion(master, peer, epoch);
            }
        }
        let life = self.periods.ask.saturating_mul(5);
        let mut others = 0_usize;
        for witness in master.sentinels.values_mut() {
            if witness.master_down.is_some_and(|at| now.since(at) > life) {
                witness.master_down = None;
            }
            others = others.saturating_add(usize::from(witness.master_down.is_some()));
        }
        let quorum = master.quorum();
        let count = others.saturating_add(1);
        let agreed = master.server.down.is_some() && count >= quorum;
        match (agreed, master.odown) {
            (true, None) => {
                master.odown = Some(now);
                let payload = format!("{} #quorum {count}/{quorum}", self.at_master(master));
                self.event(Some(master), Level::Warning, "+odown", &payload);
                for server in master.servers_mut() {
                    server.next_info = now;
                }
                self.touched.insert(master.name.clone());
            }
            (false, Some(_)) => {
                master.odown = None;
                self.master_event(master, Level::Warning, "-odown");
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Asks one sentinel whether it finds the master down, and for its vote in `epoch`.
    pub(super) fn ask_opinion(&mut self, master: &mut Master, peer: u64, epoch: Option<u64>) {
        let by_name = self.conf.sentinel.announce_hostnames;
        let address = &master.server.address;
        let (host, port) = (address.shown(by_name), address.port.to_string());
        let current = epoch
            .unwrap_or(self.conf.sentinel.current_epoch)
            .to_string();
        let id = epoch.map_or_else(|| "*".to_owned(), |_| self.conf.sentinel.id.clone());
        let words = [
            "SENTINEL",
            "is-master-down-by-addr",
            &host,
            &port,
            &current,
            &id,
        ];
        let renamed = master.renamed("SENTINEL").to_owned();
        let words = [&[renamed.as_str()][..], &words[1..]].concat();
        let purpose = Purpose::Opinion(master.name.clone(), epoch);
        self.ask_peer(peer, purpose, &words);
        let next = self.now.after(OPINION_PERIOD.min(self.periods.ask));
        for witness in master.sentinels.values_mut() {
            if witness.peer == peer {
                witness.next_opinion = next;
            }
        }
    }

    /// Another sentinel answered what it thinks, and perhaps for whom it voted.
    pub(super) fn opinion(
        &mut self,
        master: &mut Master,
        peer: u64,
        epoch: Option<u64>,
        reply: &Frame,
    ) {
        let Some([down, leader, leader_epoch]) = reply.as_array().and_then(|all| all.first_chunk())
        else {
            return;
        };
        let down = down.as_integer() == Some(1);
        let leader = leader
            .as_text()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let voted = leader_epoch
            .as_integer()
            .and_then(|at| u64::try_from(at).ok());
        let now = self.now;
        let known = master
            .sentinels
            .values_mut()
            .find(|witness| witness.peer == peer);
        let Some(witness) = known else { return };
        witness.master_down = down.then_some(now);
        witness.master_up = (!down).then_some(now);
        if let (Some(_), Some(leader), Some(voted)) = (epoch, leader, voted)
            && leader != "*"
        {
            witness.vote = Some((leader, voted));
        }
    }

    /// A server answered INFO.
    pub(super) fn informed(&mut self, master: &mut Master, id: u64, reply: &Frame) {
        let Some(text) = reply.as_text() else { return };
        let now = self.now;
        let is_master = master.server.id == id;
        let reboots = master.conf.reboot_down_after > Duration::ZERO;
        let down_after = master.conf.down_after;
        let Some(server) = master.server_of_mut(id) else {
            return;
        };
        server.informed = Some(now);
        server.info_at = Some(now);
        let mut other = false;
        if server.info_text.as_ref() != Some(text) {
            server.info_text = Some(text.clone());
            let known = std::mem::replace(&mut server.info, info::read(text));
            other = !known.run_id.is_empty() && known.run_id != server.info.run_id;
        }
        let slave = matches!(server.info.role, Role::Replica { .. });
        let changed = slave != server.reports_slave;
        if changed {
            server.reports_slave = slave;
            server.role_since = now;
            // It was asked as one that has settled.
            server.next_info = server.next_info.min(now.after(INFO_UNSETTLED));
        }
        if other && is_master && reboots {
            server.rebooted = Some(now);
        }
        // Of one that was found down meanwhile the others know; stock's tests want to see it come back.
        let in_time = server.was_up_for(now, down_after);
        let lost = (other && is_master && in_time).then_some(now);
        server.role_lost = server.role_lost.or(lost).filter(|_| slave);
        if slave {
            server.former = false;
        }
        if other {
            self.server_event(master, id, Level::Notice, "+reboot");
        }
        if changed {
            let word = if slave { "slave" } else { "master" };
            let sign = if slave == is_master { "-" } else { "+" };
            if let Some(server) = master.server_of(id) {
                let at = self.at_server(master, server);
                let payload = format!("{at} new reported role is {word}");
                self.event(
                    Some(master),
                    Level::Notice,
                    &format!("{sign}role-change"),
                    &payload,
                );
            }
        }
        if is_master && !slave {
            self.find_replicas(master);
        }
        Self::selection_informed(master, id);
        self.promotion_seen(master, id);
        self.reconf_seen(master, id);
    }

    /// Takes up the replicas the master names.
    fn find_replicas(&mut self, master: &mut Master) {
        let by_name = self.conf.sentinel.announce_hostnames;
        let mut found = false;
        let names = self.conf.sentinel.resolve_hostnames;
        for (host, port) in master.server.info.replicas.clone() {
            if !is_host(&host, names) {
                continue;
            }
            let ip = self.resolve(&host);
            let address = Address::new(&host, port, ip);
            let known = master.servers().any(|server| server.address.same(&address));
            if known || port == 0 {
                continue;
            }
            let server = Server::new(self.now, self.number(), address, by_name, true);
            let id = server.id;
            master.replicas.insert(server.name.clone(), server);
            self.server_event(master, id, Level::Notice, "+slave");
            found = true;
        }
        if found {
            self.save();
            self.touched.insert(master.name.clone());
        }
    }

    /// How far a replica that was told to follow the new master is.
    fn reconf_seen(&mut self, master: &mut Master, id: u64) {
        let to = master.server.address.clone();
        let Some(server) = master.server_of_mut(id) else {
            return;
        };
        let follows = server.follows(&to);
        if matches!(server.reconf, Reconf::Sent(_)) && follows {
            server.reconf = Reconf::Following;
            self.server_event(master, id, Level::Notice, "+slave-reconf-inprog");
        }
        let Some(server) = master.server_of_mut(id) else {
            return;
        };
        if server.reconf == Reconf::Following && follows && server.in_touch() {
            server.reconf = Reconf::Done;
            self.server_event(master, id, Level::Notice, "+slave-reconf-done");
        }
    }
}

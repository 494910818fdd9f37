//! `SENTINEL MONITOR` and `REMOVE`.

use duke_resp::Frame;

use super::{Reply, sentinel::no_master, set::control_character};
use crate::{
    conf::{self, MasterConf, Place},
    open::{Open, event::Level, timer::Sleeper},
    output::Output,
    words::Words,
};

fn refused(text: &'static str) -> Reply {
    Reply::Now(Frame::error(text))
}

impl Open {
    pub(super) fn monitor_command(&mut self, words: Words<'_>) -> Reply {
        if let Some(refusal) = control_character(words, "MONITOR") {
            return Reply::Now(refusal);
        }
        let (name, host) = (words.text(2), words.text(3));
        let Ok(quorum) = words.text(5).parse::<i64>() else {
            return refused("ERR Invalid quorum");
        };
        let Ok(port) = words.text(4).parse::<i64>() else {
            return refused("ERR Invalid port");
        };
        if quorum <= 0 {
            return refused("ERR Quorum must be 1 or greater.");
        }
        let by_name = self.conf.sentinel.resolve_hostnames;
        if host.is_empty() || (conf::ip(host).is_none() && !by_name) {
            return refused("ERR Invalid IP address or hostname specified");
        }
        let Ok(port) = u16::try_from(port) else {
            return refused("ERR Invalid port number.");
        };
        if conf::ip(host).is_none() {
            if !self.names.contains_key(host) {
                self.resolve(host);
                return Reply::AskAgain;
            }
            if self.lookup(host).is_none() {
                // Asked anew the next time.
                self.names.remove(host);
                return refused("ERR Can't resolve instance hostname.");
            }
        }
        if self.masters.contains_key(name) {
            return refused("ERR Duplicate master name.");
        }
        let place = Place {
            host: host.to_owned(),
            port,
        };
        let mut conf = MasterConf::new(place, u32::try_from(quorum).unwrap_or(u32::MAX));
        conf.down_after = self.periods.down_after;
        conf.failover_timeout = self.periods.failover_timeout;
        let name = name.to_owned();
        self.watch(&name, conf);
        if let Some(master) = self.masters.get_mut(&name) {
            // It may have been watched before, and voted about in any epoch until now.
            master.leader_epoch = self.conf.sentinel.current_epoch;
        }
        let sequence = self.save();
        self.with(&name, |open, master| {
            // Nobody is sent there before a crash could make us forget it.
            master.switch_saved = sequence;
            let payload = format!("{} quorum {quorum}", open.at_master(master));
            open.event(Some(master), Level::Warning, "+monitor", &payload);
        });
        Reply::WhenSaved(sequence)
    }

    pub(super) fn remove_command(&mut self, name: &str) -> Reply {
        let Some(master) = self.masters.remove(name) else {
            return Reply::Now(no_master());
        };
        self.master_event(&master, Level::Warning, "-monitor");
        for server in master.servers() {
            self.part(server);
        }
        for witness in master.sentinels.values() {
            self.leave_peer(name, witness.peer);
        }
        self.timers.set(Sleeper::Master(name.to_owned()), None);
        self.touched.remove(name);
        let name = name.to_owned();
        self.tell(Output::Directory { name, reply: None });
        Reply::WhenSaved(self.save())
    }
}

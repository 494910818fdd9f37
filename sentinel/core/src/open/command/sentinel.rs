//! `SENTINEL`: which subcommand is whose.

use duke_resp::Frame;

use super::{Reply, help, unknown_sub};
use crate::{id::ClientId, open::Open, words::Words};

/// Whether a subcommand changes nothing that must be remembered.
pub(super) fn only_looks(words: Words<'_>) -> bool {
    match words.lower(1).as_str() {
        "ckquorum"
        | "debug"
        | "get-master-addr-by-name"
        | "get-primary-addr-by-name"
        | "help"
        | "info-cache"
        | "master"
        | "masters"
        | "myid"
        | "pending-scripts"
        | "primaries"
        | "primary"
        | "replicas"
        | "sentinels"
        | "slaves" => true,
        // Our opinion without our vote.
        "is-master-down-by-addr" | "is-primary-down-by-addr" => words.text(5) == "*",
        "config" => words.lower(2) == "get",
        _ => false,
    }
}

/// The error to answer if there is no such master.
pub(super) fn no_master() -> Frame {
    Frame::error("ERR No such master with that name")
}

impl Open {
    pub(super) fn sentinel_command(&mut self, client: ClientId, words: Words<'_>) -> Reply {
        let name = words.text(2).to_owned();
        let sub = words.lower(1);
        let frame = match sub.as_str() {
            "config" => return self.config_command(words),
            "failover" => self.failover_command(words),
            "flushconfig" => return Reply::WhenSaved(self.save()),
            "monitor" => return self.monitor_command(words),
            "remove" => return self.remove_command(&name),
            "reset" => self.reset_command(words),
            "set" => return self.set_command(words),
            "ckquorum" => self.check_quorum(&name),
            "debug" => self.debug_command(words),
            "get-master-addr-by-name" | "get-primary-addr-by-name" => self.master_address(&name),
            "help" => help::sentinel(),
            "info-cache" => self.info_cache(words),
            "is-master-down-by-addr" | "is-primary-down-by-addr" => self.tell_opinion(words),
            "masters" | "primaries" => {
                let masters = self.masters.values();
                Frame::Array(masters.map(|master| self.report_master(master)).collect())
            }
            "myid" => Frame::bulk(self.conf.sentinel.id.clone()),
            "pending-scripts" => self.pending_scripts(),
            "simulate-failure" => self.simulate_failure(words),
            "master" | "primary" | "replicas" | "slaves" | "sentinels" => {
                match self.masters.get(&name) {
                    None => no_master(),
                    Some(master) if sub == "sentinels" => self.report_sentinels(master),
                    Some(master) if sub == "master" || sub == "primary" => {
                        self.report_master(master)
                    }
                    Some(master) => self.report_replicas(master),
                }
            }
            _ => unknown_sub(words),
        };
        debug_assert!(self.sessions.contains_key(&client), "only clients ask");
        Reply::Now(frame)
    }
}

//! What must survive a restart, as lines of sentinel.conf; and whoever waits for them to be written.

use duke_resp::Frame;

use super::{Open, master::Master};
use crate::{
    conf::{Owned, Place, quote},
    output::LogLevel,
    time::millis,
};

/// Every kind of line the engine owns, in the order in which new ones are added.
const KINDS: &[&str] = &[
    "user",
    "loglevel",
    "requirepass",
    "sentinel myid",
    "sentinel deny-scripts-reconfig",
    "sentinel resolve-hostnames",
    "sentinel announce-hostnames",
    "sentinel monitor",
    "sentinel down-after-milliseconds",
    "sentinel failover-timeout",
    "sentinel parallel-syncs",
    "sentinel notification-script",
    "sentinel client-reconfig-script",
    "sentinel auth-pass",
    "sentinel auth-user",
    "sentinel master-reboot-down-after-period",
    "sentinel primary-reboot-down-after-period",
    "sentinel rename-command",
    "sentinel config-epoch",
    "sentinel leader-epoch",
    "sentinel known-replica",
    "sentinel known-slave",
    "sentinel known-sentinel",
    "sentinel current-epoch",
    "sentinel announce-ip",
    "sentinel announce-port",
    "sentinel sentinel-user",
    "sentinel sentinel-pass",
];

/// The lines of all kinds.
struct Lines(Vec<Owned>);

impl Lines {
    fn new() -> Self {
        let empty = |key: &&str| Owned {
            key: (*key).to_owned(),
            lines: Vec::new(),
        };
        Self(KINDS.iter().map(empty).collect())
    }

    fn add(&mut self, key: &str, words: &str) {
        if let Some(owned) = self.0.iter_mut().find(|owned| owned.key == key) {
            owned.lines.push([key, " ", words].concat());
        }
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

impl Open {
    /// Has the file written before anything emitted from now on leaves; says under which number.
    pub(super) fn save(&mut self) -> u64 {
        self.outbox.persist(String::new())
    }

    /// The whole file as it is to be.
    pub(super) fn printed(&self) -> String {
        let mut lines = Lines::new();
        self.print_own(&mut lines);
        for master in self.masters.values() {
            print_settings(&mut lines, master);
            self.print_state(&mut lines, master);
        }
        let mut owned = lines.0;
        for (key, line) in &self.conf.added {
            if key.starts_with("sentinel ") || owned.iter().any(|owned| owned.key == *key) {
                continue;
            }
            owned.push(Owned {
                key: key.clone(),
                lines: vec![line.clone()],
            });
        }
        self.conf.document.rewrite(&owned)
    }

    fn print_own(&self, lines: &mut Lines) {
        let own = &self.conf.sentinel;
        if self.conf.server.aclfile.is_none() {
            for line in self.users.printed() {
                lines.add("user", &line);
            }
        }
        let loglevel = self.conf.server.loglevel;
        if loglevel != LogLevel::Notice || self.conf.document.has("loglevel") {
            lines.add("loglevel", loglevel.word());
        }
        if !self.conf.server.requirepass.is_empty() {
            lines.add("requirepass", &quote(&self.conf.server.requirepass));
        }
        lines.add("sentinel myid", &own.id);
        for (key, value, usual) in [
            (
                "sentinel deny-scripts-reconfig",
                own.deny_scripts_reconfig,
                true,
            ),
            ("sentinel resolve-hostnames", own.resolve_hostnames, false),
            ("sentinel announce-hostnames", own.announce_hostnames, false),
        ] {
            if value != usual || self.conf.document.has(key) {
                lines.add(key, yes(value));
            }
        }
        lines.add("sentinel current-epoch", &own.current_epoch.to_string());
        for (key, value) in [
            ("sentinel announce-ip", &own.announce_ip),
            ("sentinel sentinel-user", &own.sentinel_user),
            ("sentinel sentinel-pass", &own.sentinel_pass),
        ] {
            if !value.is_empty() {
                lines.add(key, &quote(value));
            }
        }
        if own.announce_port != 0 {
            lines.add("sentinel announce-port", &own.announce_port.to_string());
        }
    }

    fn print_state(&self, lines: &mut Lines, master: &Master) {
        let name = quote(&master.name);
        // A name stays a name: its address may be another one after a restart.
        let by_name =
            |address: &super::Address| address.place(self.conf.sentinel.resolve_hostnames);
        let at = |place: Place| format!("{} {}", place.host, place.port);
        let master_at = at(by_name(&master.server.address));
        lines.add(
            "sentinel monitor",
            &format!("{name} {master_at} {}", master.conf.quorum),
        );
        lines.add(
            "sentinel config-epoch",
            &format!("{name} {}", master.config_epoch),
        );
        lines.add(
            "sentinel leader-epoch",
            &format!("{name} {}", master.leader_epoch),
        );
        for server in master.replicas.values() {
            let at = at(by_name(&server.address));
            lines.add("sentinel known-replica", &format!("{name} {at}"));
        }
        for (id, witness) in &master.sentinels {
            if let Some(peer) = self.peers.get(&witness.peer) {
                let at = at(by_name(&peer.address));
                lines.add(
                    "sentinel known-sentinel",
                    &format!("{name} {at} {}", quote(id)),
                );
            }
        }
    }

    pub(super) fn saved(&mut self, sequence: u64) {
        self.outbox.set_writing(false);
        self.save_fails = false;
        self.outbox.acknowledge(sequence);
        self.settle_saving(sequence, &Frame::ok());
        // A candidate's own vote may be on disk now, or the epoch of an order; and clients may be told of a new
        // master.
        let concerned = self
            .masters
            .values()
            .filter(|master| master.failover.is_on() || master.listed.is_none());
        let names: Vec<String> = concerned.map(|master| master.name.clone()).collect();
        self.touched.extend(names);
    }

    pub(super) fn save_failed(&mut self, sequence: u64) {
        self.outbox.set_writing(false);
        self.save_fails = true;
        let failed = Frame::error("ERR Failed to save config file. Check server logs.");
        self.settle_saving(sequence, &failed);
    }

    fn settle_saving(&mut self, sequence: u64, reply: &Frame) {
        while let Some((wanted, client)) = self.saving.front().copied() {
            if wanted > sequence {
                break;
            }
            self.saving.pop_front();
            self.end_wait(client, reply.clone());
        }
        self.resume();
    }
}

fn print_settings(lines: &mut Lines, master: &Master) {
    let name = quote(&master.name);
    let conf = &master.conf;
    let mut add = |key: &str, value: String| {
        lines.add(&format!("sentinel {key}"), &format!("{name} {value}"));
    };
    let down_after = millis(conf.down_after);
    if down_after != 30_000 {
        add("down-after-milliseconds", down_after.to_string());
    }
    let failover_timeout = millis(conf.failover_timeout);
    if failover_timeout != 180_000 {
        add("failover-timeout", failover_timeout.to_string());
    }
    if conf.parallel_syncs != 1 {
        add("parallel-syncs", conf.parallel_syncs.to_string());
    }
    let reboot = millis(conf.reboot_down_after);
    if reboot != 0 {
        add("master-reboot-down-after-period", reboot.to_string());
    }
    for (key, value) in [
        ("notification-script", &conf.notification_script),
        ("client-reconfig-script", &conf.reconfig_script),
        ("auth-pass", &conf.auth_pass),
        ("auth-user", &conf.auth_user),
    ] {
        if !value.is_empty() {
            add(key, quote(value));
        }
    }
    for (old, new) in &conf.renames {
        add("rename-command", format!("{} {}", quote(old), quote(new)));
    }
}

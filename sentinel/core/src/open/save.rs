//! What must survive a restart, as lines of sentinel.conf; and whoever waits for them to be written.

use std::{
    borrow::Cow,
    fmt::{Arguments, Display, Write as _},
};

use duke_resp::Frame;

use super::Open;
use crate::{
    conf::{MasterConf, Owned, quote},
    output::LogLevel,
    time::millis,
};

/// Room for one line, most of the time.
const LINE_BYTES: usize = 96;

/// All lines the engine owns, kind by kind.
struct Lines(Vec<Owned>);

/// The lines of one kind.
struct Kind {
    key: &'static str,
    lines: Vec<String>,
}

impl Lines {
    /// The lines of the next kind; if there are none, the file has none either from now on.
    fn kind(&mut self, key: &'static str, print: impl FnOnce(&mut Kind)) {
        let mut kind = Kind {
            key,
            lines: Vec::new(),
        };
        print(&mut kind);
        self.0.push(Owned {
            key: key.to_owned(),
            lines: kind.lines,
        });
    }

    /// At most one line, with this value.
    fn one(&mut self, key: &'static str, value: Option<impl Display>) {
        self.kind(key, |kind| {
            if let Some(value) = value {
                kind.line(format_args!("{value}"));
            }
        });
    }
}

impl Kind {
    fn line(&mut self, words: Arguments<'_>) {
        let mut line = String::with_capacity(LINE_BYTES);
        line.push_str(self.key);
        line.push(' ');
        // Writing to a String cannot fail.
        let _ok = line.write_fmt(words);
        self.lines.push(line);
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
        let mut lines = Lines(Vec::new());
        self.print_own(&mut lines);
        self.print_settings(&mut lines);
        self.print_state(&mut lines);
        self.print_announced(&mut lines);
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
        let (own, server) = (&self.conf.sentinel, &self.conf.server);
        lines.kind("user", |kind| {
            if server.aclfile.is_none() {
                for line in self.users.printed() {
                    kind.line(format_args!("{line}"));
                }
            }
        });
        let stands = |key: &str| self.conf.document.has(key);
        let loglevel = server.loglevel;
        let told = loglevel != LogLevel::Notice || stands("loglevel");
        lines.one("loglevel", told.then(|| loglevel.word()));
        lines.one("requirepass", given(&server.requirepass));
        lines.one("sentinel myid", Some(&own.id));
        for (key, value, usual) in [
            (
                "sentinel deny-scripts-reconfig",
                own.deny_scripts_reconfig,
                true,
            ),
            ("sentinel resolve-hostnames", own.resolve_hostnames, false),
            ("sentinel announce-hostnames", own.announce_hostnames, false),
        ] {
            let told = value != usual || stands(key);
            lines.one(key, told.then(|| yes(value)));
        }
    }

    fn print_announced(&self, lines: &mut Lines) {
        let own = &self.conf.sentinel;
        let port = Some(own.announce_port).filter(|port| *port != 0);
        lines.one("sentinel current-epoch", Some(own.current_epoch));
        lines.one("sentinel announce-ip", given(&own.announce_ip));
        lines.one("sentinel announce-port", port);
        lines.one("sentinel sentinel-user", given(&own.sentinel_user));
        lines.one("sentinel sentinel-pass", given(&own.sentinel_pass));
    }

    /// What was configured, or set by command, of every master.
    fn print_settings(&self, lines: &mut Lines) {
        // A name stays a name: its address may be another one after a restart.
        let by_name = self.conf.sentinel.resolve_hostnames;
        lines.kind("sentinel monitor", |kind| {
            for master in self.masters.values() {
                let (at, quorum) = (&master.server.address, master.conf.quorum);
                let at = at.written(by_name);
                kind.line(format_args!("{} {at} {quorum}", quote(&master.name)));
            }
        });
        self.setting(lines, "sentinel down-after-milliseconds", |conf| {
            Some(millis(conf.down_after)).filter(|value| *value != 30_000)
        });
        self.setting(lines, "sentinel failover-timeout", |conf| {
            Some(millis(conf.failover_timeout)).filter(|value| *value != 180_000)
        });
        self.setting(lines, "sentinel parallel-syncs", |conf| {
            Some(conf.parallel_syncs).filter(|value| *value != 1)
        });
        self.setting(lines, "sentinel notification-script", |conf| {
            given(&conf.notification_script)
        });
        self.setting(lines, "sentinel client-reconfig-script", |conf| {
            given(&conf.reconfig_script)
        });
        self.setting(lines, "sentinel auth-pass", |conf| given(&conf.auth_pass));
        self.setting(lines, "sentinel auth-user", |conf| given(&conf.auth_user));
        let reboot = "sentinel master-reboot-down-after-period";
        self.setting(lines, reboot, |conf| {
            Some(millis(conf.reboot_down_after)).filter(|value| *value != 0)
        });
        // The same by Valkey's name: it is written by the other one.
        lines.kind("sentinel primary-reboot-down-after-period", |_| {});
        lines.kind("sentinel rename-command", |kind| {
            for master in self.masters.values() {
                for (old, new) in &master.conf.renames {
                    let name = quote(&master.name);
                    kind.line(format_args!("{name} {} {}", quote(old), quote(new)));
                }
            }
        });
    }

    /// One setting of every master that has it.
    fn setting<'a, T: Display>(
        &'a self,
        lines: &mut Lines,
        key: &'static str,
        of: impl Fn(&'a MasterConf) -> Option<T>,
    ) {
        lines.kind(key, |kind| {
            for master in self.masters.values() {
                if let Some(value) = of(&master.conf) {
                    kind.line(format_args!("{} {value}", quote(&master.name)));
                }
            }
        });
    }

    /// What was found out about every master.
    fn print_state(&self, lines: &mut Lines) {
        let by_name = self.conf.sentinel.resolve_hostnames;
        lines.kind("sentinel config-epoch", |kind| {
            for master in self.masters.values() {
                let (name, epoch) = (quote(&master.name), master.config_epoch);
                kind.line(format_args!("{name} {epoch}"));
            }
        });
        lines.kind("sentinel leader-epoch", |kind| {
            for master in self.masters.values() {
                let (name, epoch) = (quote(&master.name), master.leader_epoch);
                kind.line(format_args!("{name} {epoch}"));
            }
        });
        lines.kind("sentinel known-replica", |kind| {
            for master in self.masters.values() {
                for server in master.replicas.values() {
                    let at = server.address.written(by_name);
                    kind.line(format_args!("{} {at}", quote(&master.name)));
                }
            }
        });
        // The same by stock's older name: it is written by the other one.
        lines.kind("sentinel known-slave", |_| {});
        lines.kind("sentinel known-sentinel", |kind| {
            for master in self.masters.values() {
                for (id, witness) in &master.sentinels {
                    if let Some(peer) = self.peers.get(&witness.peer) {
                        let at = peer.address.written(by_name);
                        let name = quote(&master.name);
                        kind.line(format_args!("{name} {at} {}", quote(id)));
                    }
                }
            }
        });
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

/// A value, if there is one.
fn given(value: &str) -> Option<Cow<'_, str>> {
    (!value.is_empty()).then(|| quote(value))
}

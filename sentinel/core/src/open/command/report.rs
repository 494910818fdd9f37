//! What is told of masters, replicas and sentinels: fields and their order are stock's, since its own
//! suite reads some by position. And INFO about this process.

use std::fmt;

use duke_resp::Frame;

use crate::{
    info::Role,
    link::Wire,
    open::{
        Open,
        command::{Reply, VERSION},
        master::Master,
        peer::{Peer, Witness},
        server::{Purpose, Reconf, Server},
    },
    output::Output,
    switchover::Cause,
    time::{Time, millis},
    words::Words,
};

/// The fields of one instance, in order.
struct Fields(Vec<(Frame, Frame)>);

impl Fields {
    fn add(&mut self, key: &'static str, value: impl fmt::Display) {
        let text = format!("{value}");
        self.0.push((Frame::bulk(key), Frame::bulk(text)));
    }
}

impl Open {
    fn age(&self, since: Time) -> u64 {
        millis(self.now.since(since))
    }

    /// How long the oldest unanswered PING has been waiting.
    fn waiting(&self, wire: &Wire<Purpose>) -> u64 {
        wire.silent_since().map_or(0, |since| self.age(since))
    }

    pub(crate) fn report_master(&self, master: &Master) -> Frame {
        let server = &master.server;
        let mut fields = Fields(Vec::new());
        fields.add("name", &master.name);
        self.add_server(&mut fields, master, server, &master_flags(master));
        fields.add("config-epoch", master.config_epoch);
        fields.add("num-slaves", master.replicas.len());
        fields.add("num-other-sentinels", master.sentinels.len());
        fields.add("quorum", master.conf.quorum);
        fields.add("failover-timeout", millis(master.conf.failover_timeout));
        fields.add("parallel-syncs", master.conf.parallel_syncs);
        for (key, value) in [
            ("notification-script", &master.conf.notification_script),
            ("client-reconfig-script", &master.conf.reconfig_script),
        ] {
            if !value.is_empty() {
                fields.add(key, value);
            }
        }
        Frame::Map(fields.0)
    }

    pub(crate) fn report_replicas(&self, master: &Master) -> Frame {
        let shown = master
            .replicas
            .values()
            .filter(|server| !server.info.hidden);
        Frame::Array(
            shown
                .map(|server| self.report_replica(master, server))
                .collect(),
        )
    }

    fn report_replica(&self, master: &Master, server: &Server) -> Frame {
        let mut fields = Fields(Vec::new());
        fields.add("name", &server.name);
        self.add_server(&mut fields, master, server, &replica_flags(master, server));
        let (host, port) = match &server.info.role {
            Role::Replica { host, port, .. } => (host.as_str(), *port),
            Role::Master | Role::Unknown => ("?", 0),
        };
        let link_down = server.info.link_down_seconds.saturating_mul(1000);
        fields.add("master-link-down-time", link_down);
        fields.add(
            "master-link-status",
            if server.in_touch() { "ok" } else { "err" },
        );
        fields.add("master-host", host);
        fields.add("master-port", port);
        let priority = if server.info_at.is_some() {
            server.info.priority
        } else {
            100
        };
        fields.add("slave-priority", priority);
        fields.add("slave-repl-offset", server.info.offset);
        fields.add("replica-announced", u8::from(!server.info.hidden));
        Frame::Map(fields.0)
    }

    /// The fields masters and replicas share.
    fn add_server(&self, fields: &mut Fields, master: &Master, server: &Server, flags: &str) {
        fields.add("ip", self.host(&server.address));
        fields.add("port", server.address.port);
        fields.add("runid", &server.info.run_id);
        fields.add("flags", flags);
        fields.add("link-pending-commands", server.command.asked.len());
        fields.add("link-refcount", 1);
        let own = server.id == master.server.id;
        if own && master.failover.is_on() {
            fields.add("failover-state", master.failover.word());
        }
        fields.add("last-ping-sent", self.waiting(&server.command));
        fields.add("last-ok-ping-reply", self.age(server.command.answered));
        fields.add("last-ping-reply", self.age(server.replied));
        if let Some(since) = server.down {
            fields.add("s-down-time", self.age(since));
        }
        if let Some(since) = master.odown.filter(|_| own) {
            fields.add("o-down-time", self.age(since));
        }
        fields.add("down-after-milliseconds", millis(master.conf.down_after));
        fields.add("info-refresh", server.info_at.map_or(0, |at| self.age(at)));
        let role = if server.reports_slave {
            "slave"
        } else {
            "master"
        };
        fields.add("role-reported", role);
        fields.add("role-reported-time", self.age(server.role_since));
    }

    pub(crate) fn report_sentinels(&self, master: &Master) -> Frame {
        let told = master.sentinels.values().filter_map(|witness| {
            let peer = self.peers.get(&witness.peer)?;
            Some(self.report_sentinel(master, witness, peer))
        });
        Frame::Array(told.collect())
    }

    fn report_sentinel(&self, master: &Master, witness: &Witness, peer: &Peer) -> Frame {
        let mut fields = Fields(Vec::new());
        let mut flags = Vec::new();
        if witness.down.is_some() {
            flags.push("s_down");
        }
        flags.push("sentinel");
        if peer.wire.up().is_none() {
            flags.push("disconnected");
        }
        if witness.master_down.is_some() {
            flags.push("master_down");
        }
        fields.add("name", &peer.id);
        fields.add("ip", self.host(&peer.address));
        fields.add("port", peer.address.port);
        fields.add("runid", &peer.id);
        fields.add("flags", flags.join(","));
        fields.add("link-pending-commands", peer.wire.asked.len());
        fields.add("link-refcount", peer.masters.len());
        fields.add("last-ping-sent", self.waiting(&peer.wire));
        fields.add("last-ok-ping-reply", self.age(peer.wire.answered));
        fields.add("last-ping-reply", self.age(peer.replied));
        if let Some(since) = witness.down {
            fields.add("s-down-time", self.age(since));
        }
        fields.add("down-after-milliseconds", millis(master.conf.down_after));
        fields.add("last-hello-message", self.age(witness.last_hello));
        let (leader, epoch) = witness.vote.clone().unwrap_or_else(|| ("?".to_owned(), 0));
        fields.add("voted-leader", leader);
        fields.add("voted-leader-epoch", epoch);
        Frame::Map(fields.0)
    }

    pub(crate) fn info_command(&mut self, words: Words<'_>) -> Reply {
        let wanted: Vec<String> = (1..words.len()).map(|index| words.lower(index)).collect();
        let all = wanted.is_empty()
            || wanted
                .iter()
                .any(|name| matches!(name.as_str(), "all" | "default" | "everything"));
        let is_wanted = |name: &str| all || wanted.iter().any(|wanted| wanted == name);
        if is_wanted("cpu") && self.usage.is_none() {
            self.tell(Output::Measure);
            return Reply::AskAgain;
        }
        let sections: Vec<String> = [
            ("server", self.info_server()),
            ("clients", self.info_clients()),
            ("stats", self.info_stats()),
            ("cpu", self.info_cpu()),
            ("sentinel", self.info_sentinel()),
        ]
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(_, section)| section)
        .collect();
        Reply::Now(Frame::bulk(sections.join("\r\n")))
    }

    fn info_cpu(&self) -> String {
        let (user, system) = self.usage.unwrap_or_default();
        format!(
            "# CPU\r\nused_cpu_sys:{:.6}\r\nused_cpu_user:{:.6}\r\n",
            system.as_secs_f64(),
            user.as_secs_f64(),
        )
    }

    fn info_server(&self) -> String {
        let uptime = self.now.since(self.started).as_secs();
        let days = uptime.checked_div(86_400).unwrap_or(0);
        format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\n\
             redis_mode:sentinel\r\narch_bits:64\r\nrun_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{uptime}\r\n\
             uptime_in_days:{days}\r\nhz:10\r\nconfigured_hz:10\r\nexecutable:{}\r\nconfig_file:{}\r\n",
            self.run_id, self.conf.server.port, self.conf.executable, self.conf.path,
        )
    }

    fn info_clients(&self) -> String {
        format!(
            "# Clients\r\nconnected_clients:{}\r\ncluster_connections:0\r\nmaxclients:{}\r\n\
             blocked_clients:0\r\ntracking_clients:0\r\npubsub_clients:{}\r\n",
            self.sessions.len(),
            self.conf.server.clients_max,
            self.subscribers.len(),
        )
    }

    fn info_stats(&self) -> String {
        format!(
            "# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\n",
            self.joined, self.commands,
        )
    }

    fn info_sentinel(&self) -> String {
        let queued = self.scripts.len();
        let flags = u8::from(self.crash_elected) | u8::from(self.crash_promoted) << 1_u8;
        let mut text = format!(
            "# Sentinel\r\nsentinel_masters:{}\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n\
             sentinel_running_scripts:{}\r\nsentinel_scripts_queue_length:{queued}\r\n\
             sentinel_simulate_failure_flags:{flags}\r\n",
            self.masters.len(),
            self.running(),
        );
        for (index, master) in self.masters.values().enumerate() {
            let status = match (master.odown, master.server.down) {
                (Some(_), _) => "odown",
                (None, Some(_)) => "sdown",
                (None, None) => "ok",
            };
            let line = format!(
                "master{index}:name={},status={status},address={}:{},slaves={},sentinels={}\r\n",
                master.name,
                self.host(&master.server.address),
                master.server.address.port,
                master.replicas.len(),
                master.sentinels.len().saturating_add(1),
            );
            text.push_str(&line);
        }
        text
    }
}

fn master_flags(master: &Master) -> String {
    let server = &master.server;
    let is_due_to = |cause| master.failover.is_on() && master.cause == cause;
    let flags = [
        (server.down.is_some(), "s_down"),
        (master.odown.is_some(), "o_down"),
        (true, "master"),
        (server.is_disconnected(), "disconnected"),
        (master.failover.is_on(), "failover_in_progress"),
        (is_due_to(Cause::Order), "force_failover"),
        (is_due_to(Cause::Coordination), "coordinated_failover"),
        (server.script_kill_sent, "script_kill_sent"),
        (server.rebooted.is_some(), "master_reboot"),
    ];
    joined(&flags)
}

fn replica_flags(master: &Master, server: &Server) -> String {
    let flags = [
        (server.down.is_some(), "s_down"),
        (true, "slave"),
        (server.is_disconnected(), "disconnected"),
        (master.failover.target() == Some(server.id), "promoted"),
        (matches!(server.reconf, Reconf::Sent(_)), "reconf_sent"),
        (server.reconf == Reconf::Following, "reconf_inprog"),
        (server.reconf == Reconf::Done, "reconf_done"),
        (server.script_kill_sent, "script_kill_sent"),
    ];
    joined(&flags)
}

fn joined(flags: &[(bool, &str)]) -> String {
    let set = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
    set.collect::<Vec<_>>().join(",")
}

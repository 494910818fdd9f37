//! The maps of `SENTINEL MASTER`, `REPLICAS` and `SENTINELS`: fields in Sentinel's order, because
//! some tools read them by position.

use std::net::SocketAddr;

use duke_resp::Frame;

use crate::{
    closed::{Closed, failover::Failover, member::Peer, node::Node},
    info::Role,
    link::Wire,
};

/// Fields in order, all values as text.
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn add(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.0.push((name, format!("{value}")));
    }

    fn frame(self) -> Frame {
        let pair = |(name, value): (&'static str, String)| (Frame::bulk(name), Frame::bulk(value));
        Frame::Map(self.0.into_iter().map(pair).collect())
    }
}

impl Closed {
    /// The master's flags, comma-joined in Sentinel's order.
    pub(super) fn master_flags(&self) -> String {
        let node = self
            .durable
            .master
            .and_then(|master| self.nodes.get(&master));
        let mut flags = Vec::new();
        if node.is_some_and(|node| node.down.is_some()) {
            flags.push("s_down");
        }
        if self.agreed_down {
            flags.push("o_down");
        }
        flags.push("master");
        if node.is_none_or(|node| node.wire.up().is_none()) {
            flags.push("disconnected");
        }
        if self.failover != Failover::Idle {
            flags.push("failover_in_progress");
        }
        flags.join(",")
    }

    pub(super) fn report_master(&self) -> Option<Frame> {
        let address = self.durable.master?;
        let node = self.nodes.get(&address)?;
        let name = self.settings.group.clone();
        let run_id = node.info.run_id.clone();
        let mut fields = self.begin(name, address, run_id, self.master_flags(), &node.wire);
        if self.failover != Failover::Idle {
            fields.add("failover-state", self.failover.word());
        }
        self.health(&mut fields, &node.wire, node.down);
        if self.agreed_down {
            fields.add("o-down-time", node.down.map_or(0, |since| self.age(since)));
        }
        let settings = self.master_settings();
        let [(_, down_after), (_, failover_timeout), (_, parallel_syncs)] = settings.pairs();
        fields.add("down-after-milliseconds", down_after);
        self.role(&mut fields, node);
        fields.add("config-epoch", self.durable.config_epoch);
        fields.add("num-slaves", self.nodes.len().saturating_sub(1));
        fields.add("num-other-sentinels", self.peers.len());
        fields.add("quorum", self.durable.quorum);
        fields.add("failover-timeout", failover_timeout);
        fields.add("parallel-syncs", parallel_syncs);
        Some(fields.frame())
    }

    pub(super) fn report_replicas(&self) -> Vec<Frame> {
        let others = |node: &&Node| self.durable.master != Some(node.address);
        self.nodes
            .values()
            .filter(others)
            .map(|node| self.report_replica(node))
            .collect()
    }

    fn report_replica(&self, node: &Node) -> Frame {
        let mut flags = vec![];
        if node.down.is_some() {
            flags.push("s_down");
        }
        flags.push("slave");
        if node.wire.up().is_none() {
            flags.push("disconnected");
        }
        let run_id = node.info.run_id.clone();
        let name = node.address.to_string();
        let mut fields = self.begin(name, node.address, run_id, flags.join(","), &node.wire);
        self.health(&mut fields, &node.wire, node.down);
        let [(_, down_after), ..] = self.master_settings().pairs();
        fields.add("down-after-milliseconds", down_after);
        self.role(&mut fields, node);
        let (status, host, port) = match &node.info.role {
            Role::Replica {
                host,
                port,
                link_up,
                ..
            } => (if *link_up { "ok" } else { "err" }, host.clone(), *port),
            Role::Unknown | Role::Master => ("err", "?".to_owned(), 0),
        };
        fields.add(
            "master-link-down-time",
            node.info.link_down_seconds.saturating_mul(1000),
        );
        fields.add("master-link-status", status);
        fields.add("master-host", host);
        fields.add("master-port", port);
        fields.add("slave-priority", node.info.priority);
        fields.add("slave-repl-offset", node.info.offset);
        fields.add("replica-announced", 1);
        fields.frame()
    }

    pub(super) fn report_sentinels(&self) -> Vec<Frame> {
        self.peers
            .values()
            .map(|peer| self.report_sentinel(peer))
            .collect()
    }

    fn report_sentinel(&self, peer: &Peer) -> Frame {
        let mut flags = vec![];
        if peer.down.is_some() {
            flags.push("s_down");
        }
        flags.push("sentinel");
        if peer.wire.up().is_none() {
            flags.push("disconnected");
        }
        if peer.master_down.is_some() {
            flags.push("master_down");
        }
        let id = peer.id.clone();
        let mut fields = self.begin(id.clone(), peer.address, id, flags.join(","), &peer.wire);
        self.health(&mut fields, &peer.wire, peer.down);
        let [(_, down_after), ..] = self.master_settings().pairs();
        fields.add("down-after-milliseconds", down_after);
        fields.add(
            "last-hello-message",
            peer.last_hello.map_or(0, |at| self.age(at)),
        );
        let (leader, epoch) = peer.vote.clone().unwrap_or_else(|| ("?".to_owned(), 0));
        fields.add("voted-leader", leader);
        fields.add("voted-leader-epoch", epoch);
        fields.frame()
    }

    #[expect(clippy::unused_self, reason = "the three steps of a report read alike")]
    fn begin(
        &self,
        name: String,
        address: SocketAddr,
        run_id: String,
        flags: String,
        wire: &Wire,
    ) -> Fields {
        let mut fields = Fields(Vec::new());
        fields.add("name", name);
        fields.add("ip", address.ip());
        fields.add("port", address.port());
        fields.add("runid", run_id);
        fields.add("flags", flags);
        fields.add("link-pending-commands", wire.asked.len());
        fields.add("link-refcount", 1);
        fields
    }

    fn health(&self, fields: &mut Fields, wire: &Wire, down: Option<crate::time::Time>) {
        fields.add(
            "last-ping-sent",
            wire.silent_since().map_or(0, |since| self.age(since)),
        );
        fields.add("last-ok-ping-reply", self.age(wire.answered));
        fields.add("last-ping-reply", self.age(wire.answered));
        if let Some(since) = down {
            fields.add("s-down-time", self.age(since));
        }
        if let Some(refusal) = &wire.refusal {
            fields.add("disconnected-reason", refusal);
        }
    }

    fn role(&self, fields: &mut Fields, node: &Node) {
        fields.add("info-refresh", node.informed.map_or(0, |at| self.age(at)));
        fields.add("role-reported", node.info.role.word());
        fields.add("role-reported-time", self.age(node.role_since));
    }
}

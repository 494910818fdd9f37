//! The events Sentinel publishes: names and payloads as its clients know them.

use std::net::SocketAddr;

use crate::{
    closed::Closed,
    subscription::{Event, published},
};

impl Closed {
    /// Publishes an event to everyone who subscribed to its name.
    pub(crate) fn publish(&mut self, name: &str, payload: &str) {
        tracing::info!(event = name, payload, "published");
        let event = Event::new(name, payload);
        let sessions = self.sessions.values();
        let all = sessions.map(|session| (session.id, &session.subscriptions));
        let all: Vec<_> = all.collect();
        for output in published(&event, &all) {
            self.emit(output);
        }
    }

    /// Publishes an event about the master: `master <name> <ip> <port>` and more.
    pub(crate) fn publish_master(&mut self, name: &str, more: &str) {
        let Some(master) = self.durable.master else {
            return;
        };
        let group = self.settings.group.clone();
        let space = if more.is_empty() { "" } else { " " };
        self.publish(
            name,
            &format!(
                "master {group} {} {}{space}{more}",
                master.ip(),
                master.port()
            ),
        );
    }

    /// Publishes an event about a replica: `slave <ip:port> <ip> <port> @ <master> <ip> <port>`.
    pub(crate) fn publish_node(&mut self, name: &str, node: SocketAddr) {
        if self.durable.master == Some(node) {
            return self.publish_master(name, "");
        }
        let at = self.at();
        self.publish(
            name,
            &format!("slave {node} {} {}{at}", node.ip(), node.port()),
        );
    }

    /// Publishes an event about another Duke: `sentinel <id> <ip> <port> @ <master> <ip> <port>`.
    pub(crate) fn publish_peer(&mut self, name: &str, id: &str) {
        let Some(address) = self.peers.get(id).map(|peer| peer.address) else {
            return;
        };
        let at = self.at();
        self.publish(
            name,
            &format!("sentinel {id} {} {}{at}", address.ip(), address.port()),
        );
    }

    fn at(&self) -> String {
        let group = &self.settings.group;
        self.durable
            .master
            .map(|master| format!(" @ {group} {} {}", master.ip(), master.port()))
            .unwrap_or_default()
    }
}

//! The events Sentinel publishes: who is told, in which words, and which of them run a script.

use super::{Open, address::Address, master::Master, server::Server};
use crate::subscription::{Event, published};

/// How much an event matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// Published.
    Notice,
    /// Published, and told to the notification script.
    Warning,
}

impl Open {
    /// Publishes an event, and runs the master's notification script if it is a warning.
    pub(crate) fn event(
        &mut self,
        master: Option<&Master>,
        level: Level,
        name: &str,
        payload: &str,
    ) {
        match level {
            Level::Notice => tracing::info!(target: "duke::event", "{name} {payload}"),
            Level::Warning => tracing::warn!(target: "duke::event", "{name} {payload}"),
        }
        let event = Event::new(name, payload);
        let subscribers = self.subscribers.iter().filter_map(|client| {
            let session = self.sessions.get(client)?;
            Some((*client, &session.subscriptions))
        });
        let subscribers: Vec<_> = subscribers.collect();
        for output in published(&event, &subscribers) {
            self.emit(output);
        }
        let script = master.map(|master| master.conf.notification_script.clone());
        if let Some(script) = script.filter(|path| level == Level::Warning && !path.is_empty()) {
            self.schedule(vec![script, name.to_owned(), payload.to_owned()]);
        }
    }

    /// A host as others are told of it.
    pub(crate) fn host(&self, address: &Address) -> String {
        address.shown(self.conf.sentinel.announce_hostnames)
    }

    /// `ip port`
    pub(crate) fn endpoint(&self, address: &Address) -> String {
        format!("{} {}", self.host(address), address.port)
    }

    /// `master <name> <ip> <port>`
    pub(crate) fn at_master(&self, master: &Master) -> String {
        format!(
            "master {} {}",
            master.name,
            self.endpoint(&master.server.address)
        )
    }

    /// The same, or `slave <name> <ip> <port> @ <master> <ip> <port>`.
    pub(crate) fn at_server(&self, master: &Master, server: &Server) -> String {
        if server.id == master.server.id {
            return self.at_master(master);
        }
        let own = self.endpoint(&server.address);
        format!("slave {} {own}{}", server.name, self.at(master))
    }

    /// `sentinel <id> <ip> <port> @ <master> <ip> <port>`
    pub(crate) fn at_sentinel(&self, master: &Master, id: &str) -> String {
        let peer = master
            .sentinels
            .get(id)
            .and_then(|witness| self.peers.get(&witness.peer));
        let own = peer
            .map(|peer| self.endpoint(&peer.address))
            .unwrap_or_default();
        format!("sentinel {id} {own}{}", self.at(master))
    }

    fn at(&self, master: &Master) -> String {
        format!(
            " @ {} {}",
            master.name,
            self.endpoint(&master.server.address)
        )
    }

    /// Publishes an event about the master.
    pub(crate) fn master_event(&mut self, master: &Master, level: Level, name: &str) {
        let payload = self.at_master(master);
        self.event(Some(master), level, name, &payload);
    }

    /// Publishes an event about one of its servers.
    pub(crate) fn server_event(&mut self, master: &Master, server: u64, level: Level, name: &str) {
        if let Some(server) = master.server_of(server) {
            let payload = self.at_server(master, server);
            self.event(Some(master), level, name, &payload);
        }
    }
}

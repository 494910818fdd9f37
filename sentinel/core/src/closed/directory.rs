//! Where the master is, as clients are told all the time: handed to the shell, which then answers by
//! itself.
//!
//! Decides what stands in the directory and who is trusted to be answered from it. A master that is not
//! on disk yet does not stand there: who is told of it writes there.

use std::net::SocketAddr;

use crate::{
    closed::{Closed, command::address_reply},
    id::ClientId,
    output::Output,
};

impl Closed {
    /// The master, unless it is one that clients could not use.
    pub(crate) fn usable_master(&self) -> Option<SocketAddr> {
        self.durable.master.filter(|_| !self.agreed_down)
    }

    /// Brings the one entry up to date.
    pub(crate) fn list(&mut self) {
        let reply = self
            .is_durable(self.switch_saved)
            .then(|| address_reply(self.usable_master()));
        if self.listed != reply {
            self.listed.clone_from(&reply);
            let name = self.settings.group.clone();
            self.tell(Output::Directory { name, reply });
        }
    }

    /// Has the shell answer a client's questions, if it is owed nothing and may not only listen.
    pub(crate) fn trust(&mut self, client: ClientId) {
        let Some(session) = self.sessions.get(&client) else {
            return;
        };
        if !session.only_listens() && !self.outbox.is_owed(client) {
            self.tell(Output::Trust { client });
        }
    }
}

//! Where masters are, as clients are told all the time: printed once, and handed to the shell, which
//! then answers by itself.
//!
//! Decides what stands in the directory and who is trusted to be answered from it. A master whose present
//! address is not on disk yet does not stand there: who is told of it writes there. Trusted is who has no
//! request under way, may ask, and wants to be answered as usual.

use duke_resp::{Bytes, Frame};

use crate::{
    id::ClientId,
    open::{Open, address::Address, master::Master, session::Replies},
    output::Output,
    question::{self, asked_master},
    time::Time,
};

/// A master's entry in the directory.
#[derive(Debug)]
pub(crate) struct Entry {
    address: Address,
    by_name: bool,
    reply: Frame,
}

impl Open {
    /// The answer to the question where a master is.
    pub(crate) fn address_reply(&self, address: &Address) -> Frame {
        Frame::Array(vec![
            Frame::bulk(self.host(address)),
            Frame::bulk(address.port.to_string()),
        ])
    }

    /// Brings a master's entry up to date.
    pub(crate) fn list(&mut self, master: &mut Master) {
        let address = &master.server.address;
        let by_name = self.conf.sentinel.announce_hostnames;
        let durable = self.outbox.is_durable(master.switch_saved);
        let is_right = match &master.listed {
            None => !durable,
            Some(it) => durable && it.by_name == by_name && it.address == *address,
        };
        if is_right {
            return;
        }
        master.listed = durable.then(|| Entry {
            address: address.clone(),
            by_name,
            reply: self.address_reply(address),
        });
        let reply = master.listed.as_ref().map(|entry| entry.reply.clone());
        let name = master.name.clone();
        self.tell(Output::Directory { name, reply });
    }

    /// Answers the question where a master is if nothing about it is unusual; false if it must be looked
    /// at like any other command.
    pub(crate) fn answer_quickly(&mut self, client: ClientId, words: &[Bytes]) -> bool {
        let [command, sub, name] = words else {
            return false;
        };
        let name = asked_master([command, sub, name]);
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let master = name.and_then(|name| self.masters.get(name));
        let Some(entry) = master.and_then(|master| master.listed.as_ref()) else {
            return false;
        };
        if !self.is_trusted(client) {
            return false;
        }
        let reply = entry.reply.clone();
        self.note_command(client, "sentinel");
        self.tell(Output::Answer { client, reply });
        self.tell(Output::Trust { client });
        true
    }

    /// Has the shell answer a client's questions, if that may be.
    pub(crate) fn trust(&mut self, client: ClientId) {
        if self.is_trusted(client) {
            self.tell(Output::Trust { client });
        }
    }

    /// Whether the client is owed nothing, and would be answered from the directory.
    fn is_trusted(&self, client: ClientId) -> bool {
        let Some(session) = self.sessions.get(&client) else {
            return false;
        };
        let busy = session.waiting || !session.backlog.is_empty() || self.outbox.is_owed(client);
        if busy || session.only_listens() || session.replies != Replies::All {
            return false;
        }
        let user = session.user.as_ref();
        let user = user.and_then(|user| self.users.0.get(user));
        let may = |sub: &&str| user.is_some_and(|user| user.may("sentinel", sub));
        question::SUBCOMMANDS.iter().all(may)
    }

    /// The shell answered so many questions of a client, the last one at this time.
    pub(crate) fn served(&mut self, client: ClientId, count: u64, at: Time) {
        self.commands = self.commands.saturating_add(count);
        if let Some(session) = self.sessions.get_mut(&client) {
            session.note("sentinel", at);
        }
    }
}

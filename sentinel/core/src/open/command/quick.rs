//! The one question that clients ask all the time, answered without a detour.

use duke_resp::{Bytes, Frame};

use crate::{
    id::ClientId,
    open::{Open, address::Address, session::Replies},
    output::Output,
};

/// Where a master is, as clients are told: printed once, not for each of them.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<Printed>);

#[derive(Debug)]
struct Printed {
    address: Address,
    by_name: bool,
    words: [Bytes; 2],
}

impl Told {
    fn reply(&mut self, address: &Address, by_name: bool) -> Frame {
        let known = self.0.take();
        let same = known.filter(|it| it.address == *address && it.by_name == by_name);
        let printed = self.0.insert(same.unwrap_or_else(|| Printed {
            address: address.clone(),
            by_name,
            words: [address.shown(by_name), address.port.to_string()].map(Bytes::from),
        }));
        Frame::Array(printed.words.iter().cloned().map(Frame::Bulk).collect())
    }
}

const SUBCOMMANDS: [&str; 2] = ["get-master-addr-by-name", "get-primary-addr-by-name"];

impl Open {
    /// Answers `SENTINEL GET-MASTER-ADDR-BY-NAME name` if nothing about it is unusual; false if it must
    /// be looked at like any other command.
    pub(crate) fn answer_quickly(&mut self, client: ClientId, words: &[Bytes]) -> bool {
        let [command, sub, name] = words else {
            return false;
        };
        let sub = SUBCOMMANDS
            .iter()
            .find(|known| sub.eq_ignore_ascii_case(known.as_bytes()));
        let Some(sub) = sub.filter(|_| command.eq_ignore_ascii_case(b"sentinel")) else {
            return false;
        };
        let Some(session) = self.sessions.get(&client) else {
            return false;
        };
        let busy = session.waiting || !session.backlog.is_empty();
        if busy || session.only_listens() || session.replies != Replies::All {
            return false;
        }
        let user = session.user.as_ref();
        let user = user.and_then(|user| self.users.0.get(user));
        if !user.is_some_and(|user| user.may("sentinel", sub)) {
            return false;
        }
        let name = std::str::from_utf8(name).unwrap_or_default();
        let master = self.masters.get(name);
        if !master.is_some_and(|master| self.outbox.is_durable(master.switch_saved)) {
            return false;
        }
        self.note_command(client, "sentinel");
        let by_name = self.conf.sentinel.announce_hostnames;
        let Some(master) = self.masters.get_mut(name) else {
            return false;
        };
        let reply = master.told.reply(&master.server.address, by_name);
        self.tell(Output::Answer { client, reply });
        true
    }
}

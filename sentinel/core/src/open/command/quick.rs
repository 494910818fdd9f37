//! The one question that clients ask all the time, answered without a detour.

use duke_resp::Bytes;

use crate::{
    id::ClientId,
    open::{Open, session::Replies},
    output::Output,
};

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
        let reply = self.master_address(name);
        self.tell(Output::Answer { client, reply });
        true
    }
}

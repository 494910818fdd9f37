//! The one question that clients ask all the time, answered without a detour.

use duke_resp::Bytes;

use crate::{
    id::ClientId,
    open::{Open, session::Replies},
    output::Output,
};

impl Open {
    /// Answers `SENTINEL GET-MASTER-ADDR-BY-NAME name` if nothing about it is unusual; false if it must
    /// be looked at like any other command.
    pub(crate) fn answer_quickly(&mut self, client: ClientId, words: &[Bytes]) -> bool {
        let [command, sub, name] = words else {
            return false;
        };
        let known = sub.eq_ignore_ascii_case(b"get-master-addr-by-name")
            || sub.eq_ignore_ascii_case(b"get-primary-addr-by-name");
        if !known || !command.eq_ignore_ascii_case(b"sentinel") {
            return false;
        }
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&client) else {
            return false;
        };
        let busy = session.waiting || !session.backlog.is_empty();
        let listens = session.subscriptions() > 0 && !session.typed;
        if busy || listens || session.replies != Replies::All {
            return false;
        }
        let user = session.user.as_ref();
        let user = user.and_then(|user| self.users.0.get(user));
        let sub_name = if sub.get(4) == Some(&b'm') || sub.get(4) == Some(&b'M') {
            "get-master-addr-by-name"
        } else {
            "get-primary-addr-by-name"
        };
        if !user.is_some_and(|user| user.may("sentinel", sub_name)) {
            return false;
        }
        let name = std::str::from_utf8(name).unwrap_or_default();
        let early = |at: u64| !self.outbox.is_durable(at);
        if self
            .masters
            .get(name)
            .is_none_or(|master| early(master.switch_saved))
        {
            return false;
        }
        session.commands = session.commands.saturating_add(1);
        self.commands = self.commands.saturating_add(1);
        session.last_at = now;
        if session.last_command != "sentinel" {
            "sentinel".clone_into(&mut session.last_command);
        }
        let reply = self.master_address(name);
        self.tell(Output::Answer { client, reply });
        true
    }
}

//! `ACL LOAD` and `ACL SAVE`: users in a file of their own. The file is read and written beside the
//! loop; whoever asked is answered then, and nobody else waits.

use duke_resp::Frame;

use crate::{
    conf::{Conf, ConfError},
    id::ClientId,
    open::{Open, acl::Users, command::Reply},
    output::Output,
};

const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the \
     ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file \
     set) in order to store users in the Redis configuration.";
const NOT_SAVED: &str = "ERR There was an error trying to save the ACLs. Please check the server logs for more information";

impl Open {
    pub(super) fn load_users(&mut self, client: ClientId) -> Reply {
        let Some(path) = self.conf.server.aclfile.clone() else {
            return Reply::Now(Frame::error(NO_FILE));
        };
        self.loading.push_back(client);
        self.tell(Output::Read { path });
        Reply::Later
    }

    pub(super) fn save_users(&mut self, client: ClientId) -> Reply {
        let Some(path) = self.conf.server.aclfile.clone() else {
            return Reply::Now(Frame::error(NO_FILE));
        };
        let line = |line: String| format!("user {line}\n");
        let text = self.users.printed().into_iter().map(line).collect();
        self.storing.push_back(client);
        self.tell(Output::Write { path, text });
        Reply::Later
    }

    /// The file of users was read.
    pub(crate) fn users_read(&mut self, path: &str, text: Result<String, String>) {
        let Some(client) = self.loading.pop_front() else {
            return;
        };
        let reply = match text {
            Ok(text) => self.take_users(client, path, &text),
            Err(error) => Frame::error(format!(
                "ERR Error loading ACLs, opening file '{path}': {error}"
            )),
        };
        self.answer_later(client, reply);
    }

    /// The file of users was written, or why it was not.
    pub(crate) fn users_written(&mut self, error: Option<String>) {
        let Some(client) = self.storing.pop_front() else {
            return;
        };
        let reply = match error {
            None => Frame::ok(),
            Some(error) => {
                tracing::warn!(%error, "could not write the ACL file");
                Frame::error(NOT_SAVED)
            }
        };
        self.answer_later(client, reply);
    }

    /// Takes all users of the text, or none.
    fn take_users(&mut self, client: ClientId, path: &str, text: &str) -> Frame {
        let mut conf = Conf::default();
        self.conf
            .server
            .requirepass
            .clone_into(&mut conf.server.requirepass);
        if let Err(ConfError { line, reason, .. }) = conf.read_users(text) {
            return Frame::error(format!(
                "ERR {path}:{line}: {reason}. WARNING: ACL errors detected, no change to the previously \
                 active ACL rules was performed"
            ));
        }
        let old = std::mem::replace(&mut self.users, Users::new(&conf.server));
        self.tell(Output::Distrust);
        let changed: Vec<String> = old
            .0
            .iter()
            .filter(|(name, user)| *name != "default" && self.users.0.get(*name) != Some(user))
            .map(|(name, _)| name.clone())
            .collect();
        self.part_from(client, |user| changed.iter().any(|name| name == user));
        Frame::ok()
    }
}

//! The words of a command, the refusals all commands share, and the one command that is the same everywhere.

use std::fmt::Write as _;

use duke_resp::{Bytes, Frame};

/// A command's words, with the checks all commands share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a>(pub(crate) &'a [Bytes]);

impl<'a> Words<'a> {
    /// The word at `index` as text, empty if there is none or it is no text.
    pub(crate) fn text(self, index: usize) -> &'a str {
        self.0
            .get(index)
            .and_then(|word| std::str::from_utf8(word).ok())
            .unwrap_or_default()
    }

    /// The same in lower case.
    pub(crate) fn lower(self, index: usize) -> String {
        self.text(index).to_ascii_lowercase()
    }

    pub(crate) fn len(self) -> usize {
        self.0.len()
    }
}

/// `-ERR wrong number of arguments for 'x' command`.
pub(crate) fn wrong_arity(command: &str) -> Frame {
    Frame::error(format!(
        "ERR wrong number of arguments for '{command}' command"
    ))
}

/// `-NOPERM`: the client is not who may do this.
pub(crate) fn no_permission(command: &str) -> Frame {
    Frame::error(format!(
        "NOPERM this user has no permissions to run the '{command}' command"
    ))
}

/// At most 128 characters of something a client said, on one line.
pub(crate) fn shortened(text: &str) -> String {
    text.chars()
        .take(128)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// `PING [message]`, as it is answered to somebody who subscribed in RESP2, and to everybody else.
pub(crate) fn ping(words: Words<'_>, subscribed: bool) -> Frame {
    let message = words.0.get(1).cloned();
    if subscribed {
        return Frame::Array(vec![
            Frame::bulk("pong"),
            Frame::bulk(message.unwrap_or_default()),
        ]);
    }
    message.map_or_else(|| Frame::simple("PONG"), Frame::Bulk)
}

/// Sentinel's answer to a command it does not have, with the arguments and a trailing space.
pub(crate) fn unknown(words: Words<'_>) -> Frame {
    let mut arguments = String::new();
    for index in 1..words.len() {
        if arguments.len() >= 128 {
            break;
        }
        // Writing to a String cannot fail.
        let _ok = write!(arguments, "'{}' ", shortened(words.text(index)));
    }
    let name = shortened(words.text(0));
    Frame::error(format!(
        "ERR unknown command '{name}', with args beginning with: {arguments}"
    ))
}

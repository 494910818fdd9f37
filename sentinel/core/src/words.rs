//! The words of a command, and the refusals all commands share.

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

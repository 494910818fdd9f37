//! The names of a server's stream of writes, by which offsets can be compared. Pure.
//!
//! A server names its stream (`master_replid`) and, if it was promoted or follows somebody who was,
//! the stream that this one goes on from (`master_replid2`) and where it left it
//! (`second_repl_offset`). Offsets of one stream can be compared; offsets of different streams say
//! nothing. A server that reads an RDB file as a replica takes name and offset from it; one that
//! reads an append-only file begins a stream of its own.

use super::info::Info;

/// The history of one server's data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History {
    /// The name of its stream of writes.
    pub id: String,
    /// The stream that this one goes on from, empty if there is none.
    pub before: String,
    /// How much of the stream before it holds.
    pub left: u64,
}

impl History {
    /// Reads the history from an `INFO` reply.
    #[must_use]
    pub fn of(info: &Info) -> Self {
        let before = info.text("master_replid2");
        let is_named = before.bytes().any(|byte| byte != b'0');
        Self {
            id: info.text("master_replid").to_owned(),
            before: if is_named { before } else { "" }.to_owned(),
            // The first byte of the present stream; -1 without one before it.
            left: info.number("second_repl_offset").saturating_sub(1),
        }
    }

    /// Whether this stream goes on from that of `other`.
    #[must_use]
    pub fn succeeds(&self, other: &Self) -> bool {
        !self.before.is_empty() && self.before == other.id
    }

    /// The beginning of its name, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(text: &str) -> History {
        History::of(&Info::parse(text))
    }

    #[test]
    fn a_promoted_server_goes_on_from_the_stream_before() {
        let zeros = "0".repeat(40);
        let first = history(&format!(
            "master_replid:aaaaaaaaaaaa\r\nmaster_replid2:{zeros}\r\nsecond_repl_offset:-1\r\n"
        ));
        let second = history(
            "master_replid:bbbbbbbbbbbb\r\nmaster_replid2:aaaaaaaaaaaa\r\nsecond_repl_offset:41\r\n",
        );
        assert_eq!((first.before.as_str(), first.left), ("", 0));
        assert_eq!((second.left, second.short()), (40, "bbbbbbbb"));
        assert!(second.succeeds(&first) && !first.succeeds(&second));
        assert!(!first.succeeds(&History::default()));
    }
}

//! What clients send: inline commands and arrays of bulk strings.
//!
//! Decides where a request ends, and which ones are malformed or too large, in the server's own
//! words. Input may come in pieces of any size: a byte is looked at once, however it is split.
//!
//! Nothing is reserved on the word of the other side: memory grows with the bytes that came.

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

use crate::inline::split_words;
use crate::number;

/// The longest inline command, and the longest line that holds a length, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most words of a request while a password is still to be given.
const UNAUTHENTICATED_WORDS_MAX: usize = 10;
/// The longest word of a request while a password is still to be given, in bytes.
const UNAUTHENTICATED_WORD_BYTES_MAX: usize = 16 * 1024;

/// Why a connection cannot be read any further; the text is the server's.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RequestError {
    /// The word before the bulk strings does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// The request line of another protocol (`POST`, `Host:`), as a browser would be led to send.
    /// The server closes such a connection without a word.
    #[error("Possible SECURITY ATTACK detected")]
    ForeignProtocol,
    /// The length of a bulk string is no number, negative or beyond the limit.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// The number of words is no number or beyond the limit.
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// A line with a bulk string's length does not end.
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    /// An inline command does not end.
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// A line with the number of words does not end.
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    /// A word longer than is taken before a password was given.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// More words than are taken before a password was given.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// Quotes of an inline command do not match.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// How much a client may send in one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestLimit {
    /// The most words, the command's name included.
    pub words: usize,
    /// The longest word in bytes.
    pub word_bytes: usize,
    /// All words together, in bytes.
    pub request_bytes: usize,
}

impl Default for RequestLimit {
    /// Generous for every Sentinel command, and small enough for ten thousand clients.
    fn default() -> Self {
        Self {
            words: 1024,
            word_bytes: 64 * 1024,
            request_bytes: 256 * 1024,
        }
    }
}

/// Reads the requests of one connection.
///
/// After an error the connection is beyond repair: answer, close, and drop the decoder.
#[derive(Debug)]
pub struct RequestDecoder {
    limit: RequestLimit,
    password_needed: bool,
    stage: Stage,
    /// How far the current line was searched for its end.
    searched: usize,
}

#[derive(Debug)]
enum Stage {
    /// Before the first byte of a request.
    Start,
    /// Inside an array of bulk strings.
    Words {
        missing: usize,
        word_bytes: Option<usize>,
        taken_bytes: usize,
        words: Vec<Bytes>,
    },
}

impl RequestDecoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub const fn new(limit: RequestLimit) -> Self {
        Self {
            limit,
            password_needed: false,
            stage: Stage::Start,
            searched: 0,
        }
    }

    /// Tells whether the client still has to give a password, and so may send only little.
    pub const fn require_password(&mut self, needed: bool) {
        self.password_needed = needed;
    }

    /// Whether nothing of the next request was taken or looked at yet.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        matches!(self.stage, Stage::Start) && self.searched == 0
    }

    /// Takes the next whole request off the front of `buffer`: its words, never none.
    ///
    /// `None` asks for more bytes. Empty lines and empty arrays are skipped, as the server does.
    ///
    /// # Errors
    ///
    /// Bytes that are no request or one beyond the limits.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, RequestError> {
        loop {
            let request = match self.stage {
                Stage::Start => match buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => {
                        if !self.open_array(buffer)? {
                            return Ok(None);
                        }
                        continue;
                    }
                    Some(_) => self.read_inline(buffer)?,
                },
                Stage::Words { .. } => self.read_words(buffer)?,
            };
            match request {
                None => return Ok(None),
                Some(words) => {
                    self.stage = Stage::Start;
                    match words.first() {
                        None => {}
                        Some(name) if is_foreign(name) => {
                            return Err(RequestError::ForeignProtocol);
                        }
                        Some(_) => return Ok(Some(words)),
                    }
                }
            }
        }
    }

    fn read_inline(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, RequestError> {
        let Some(end) = self.find(b'\n', buffer, RequestError::TooBigInline)? else {
            return Ok(None);
        };
        let line = buffer.split_to(end);
        buffer.advance(1);
        split_words(&line)
            .map(Some)
            .map_err(|_| RequestError::UnbalancedQuotes)
    }

    /// Reads `*<count>`; false asks for more bytes.
    fn open_array(&mut self, buffer: &mut BytesMut) -> Result<bool, RequestError> {
        let Some(end) = self.read_count(buffer, RequestError::TooBigMultibulkCount)? else {
            return Ok(false);
        };
        let count = buffer.get(1..end).and_then(number::parse);
        buffer.advance(end.saturating_add(2));
        let count = count.ok_or(RequestError::InvalidMultibulkLength)?;
        // A count of nothing or less is an empty request.
        let missing = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        if missing > self.limit.words {
            return Err(RequestError::InvalidMultibulkLength);
        }
        if self.password_needed && missing > UNAUTHENTICATED_WORDS_MAX {
            return Err(RequestError::UnauthenticatedMultibulkLength);
        }
        if missing > 0 {
            let words = Vec::with_capacity(missing.min(16));
            self.stage = Stage::Words {
                missing,
                word_bytes: None,
                taken_bytes: 0,
                words,
            };
        }
        Ok(true)
    }

    fn read_words(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, RequestError> {
        loop {
            let Stage::Words {
                missing,
                word_bytes,
                taken_bytes,
                words,
            } = &mut self.stage
            else {
                return Ok(None);
            };
            if *missing == 0 {
                return Ok(Some(std::mem::take(words)));
            }
            let Some(bytes) = *word_bytes else {
                if !self.open_word(buffer)? {
                    return Ok(None);
                }
                continue;
            };
            // The two bytes after a word are not looked at, as in the server.
            if buffer.len() < bytes.saturating_add(2) {
                return Ok(None);
            }
            // Copied, so that a word kept for long does not keep the whole buffer alive.
            words.push(Bytes::copy_from_slice(
                buffer.get(..bytes).unwrap_or_default(),
            ));
            buffer.advance(bytes.saturating_add(2));
            *taken_bytes = taken_bytes.saturating_add(bytes);
            *word_bytes = None;
            *missing = missing.saturating_sub(1);
        }
    }

    /// Reads `$<length>`; false asks for more bytes.
    fn open_word(&mut self, buffer: &mut BytesMut) -> Result<bool, RequestError> {
        let Some(end) = self.read_count(buffer, RequestError::TooBigBulkCount)? else {
            return Ok(false);
        };
        let length = match buffer.get(..end).unwrap_or_default() {
            [b'$', digits @ ..] => number::parse(digits),
            // An empty line: what was met is the carriage return that ended it.
            [] => return Err(RequestError::ExpectedBulk(b'\r')),
            [other, ..] => return Err(RequestError::ExpectedBulk(*other)),
        };
        buffer.advance(end.saturating_add(2));
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(RequestError::InvalidBulkLength)?;
        let Stage::Words {
            word_bytes,
            taken_bytes,
            ..
        } = &mut self.stage
        else {
            return Ok(false);
        };
        let total = taken_bytes.saturating_add(length);
        if length > self.limit.word_bytes || total > self.limit.request_bytes {
            return Err(RequestError::InvalidBulkLength);
        }
        if self.password_needed && length > UNAUTHENTICATED_WORD_BYTES_MAX {
            return Err(RequestError::UnauthenticatedBulkLength);
        }
        *word_bytes = Some(length);
        Ok(true)
    }

    /// Where the line in front ends: in a carriage return and one more byte, which the server assumes
    /// to be the line feed.
    fn read_count(
        &mut self,
        buffer: &BytesMut,
        too_big: RequestError,
    ) -> Result<Option<usize>, RequestError> {
        let Some(end) = self.find(b'\r', buffer, too_big)? else {
            return Ok(None);
        };
        if buffer.len() < end.saturating_add(2) {
            // The carriage return is found again at once.
            self.searched = end;
            return Ok(None);
        }
        Ok(Some(end))
    }

    /// Where `wanted` stands in `buffer`, going on from where the last search ended.
    fn find(
        &mut self,
        wanted: u8,
        buffer: &BytesMut,
        too_big: RequestError,
    ) -> Result<Option<usize>, RequestError> {
        let fresh = buffer.get(self.searched..).unwrap_or_default();
        let found = fresh.iter().position(|byte| *byte == wanted);
        let end = found.map(|offset| self.searched.saturating_add(offset));
        if end.unwrap_or(buffer.len()) > LINE_BYTES_MAX {
            return Err(too_big);
        }
        self.searched = if end.is_some() { 0 } else { buffer.len() };
        Ok(end)
    }
}

fn is_foreign(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

#[cfg(test)]
mod tests;

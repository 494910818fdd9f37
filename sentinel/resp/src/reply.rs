//! What servers send: every type of both dialects.
//!
//! Decides where a reply ends and refuses what is malformed or beyond the limits: a data server is
//! trusted as little as a client. Input may come in pieces of any size: a byte is looked at once,
//! and an array that arrives slowly is not started over. Nesting costs no stack while decoding.

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

use crate::frame::Frame;
use crate::number;

/// The longest status, error or length line in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Why a server's bytes cannot be read any further.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ReplyError {
    /// A line that ends without a carriage return, or a string without its line end.
    #[error("a value does not end where it should")]
    BadEnd,
    /// A length that is no number, or negative where nothing may be absent.
    #[error("a length is not a number")]
    BadLength,
    /// A number, boolean, double or text format that is not one.
    #[error("a value does not fit its type")]
    BadValue,
    /// A line beyond 64 KiB.
    #[error("a line is too long")]
    LongLine,
    /// Arrays within arrays beyond the limit.
    #[error("values are nested too deeply")]
    TooDeep,
    /// More bytes or more elements than the limit in one reply.
    #[error("a reply is too large")]
    TooLarge,
    /// A first byte that begins no type.
    #[error("unknown type {:?}", char::from(*.0))]
    UnknownType(u8),
}

/// How much a server may send in one reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyLimit {
    /// Aggregates within aggregates.
    pub depth: usize,
    /// Values in one reply, at all depths together.
    pub values: usize,
    /// All strings of one reply together, in bytes.
    pub reply_bytes: usize,
}

impl Default for ReplyLimit {
    /// Room for an INFO of a very large server, and for SENTINEL replies about thousands of
    /// groups.
    fn default() -> Self {
        Self {
            depth: 16,
            values: 1024 * 1024,
            reply_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Reads the replies of one connection.
///
/// After an error the connection is beyond repair: close it and drop the decoder.
#[derive(Debug)]
pub struct ReplyDecoder {
    limit: ReplyLimit,
    /// The aggregates that are still open, outermost first.
    open: Vec<Aggregate>,
    /// The string whose bytes are awaited.
    string: Option<(StringKind, usize)>,
    /// How far the current line was searched for its end.
    searched: usize,
    values: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum StringKind {
    Bulk,
    Error,
    Verbatim,
}

#[derive(Clone, Copy, Debug)]
enum AggregateKind {
    Array,
    /// Remarks about the value that follows; read and dropped.
    Attribute,
    Map,
    Push,
    Set,
}

#[derive(Debug)]
struct Aggregate {
    kind: AggregateKind,
    missing: usize,
    items: Vec<Frame>,
}

/// What one step of reading gave.
enum Step {
    /// More bytes are needed.
    Starved,
    /// An aggregate or a string was opened; go on.
    Opened,
    /// A whole value.
    Value(Frame),
}

impl ReplyDecoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub const fn new(limit: ReplyLimit) -> Self {
        Self {
            limit,
            open: Vec::new(),
            string: None,
            searched: 0,
            values: 0,
            bytes: 0,
        }
    }

    /// Takes the next whole reply off the front of `buffer`; `None` asks for more bytes.
    ///
    /// # Errors
    ///
    /// Bytes that are no reply or one beyond the limits.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ReplyError> {
        loop {
            let step = match self.string {
                Some((kind, length)) => self.read_string(kind, length, buffer)?,
                None => self.read_line(buffer)?,
            };
            let value = match step {
                Step::Starved => return Ok(None),
                Step::Opened => self.close_full(None),
                Step::Value(value) => self.close_full(Some(value)),
            };
            if let Some(value) = value {
                self.values = 0;
                self.bytes = 0;
                return Ok(Some(value));
            }
        }
    }

    /// Files `value` into the innermost open aggregate and closes all that are full; returns a
    /// value that belongs to none.
    fn close_full(&mut self, mut value: Option<Frame>) -> Option<Frame> {
        loop {
            let Some(innermost) = self.open.last_mut() else {
                return value;
            };
            if let Some(value) = value.take() {
                innermost.items.push(value);
                innermost.missing = innermost.missing.saturating_sub(1);
            }
            if innermost.missing > 0 {
                return None;
            }
            let full = self.open.pop()?;
            // An attribute is no element, and the value it talks about is still to come.
            value = Some(full.close()?);
        }
    }

    fn read_string(
        &mut self,
        kind: StringKind,
        length: usize,
        buffer: &mut BytesMut,
    ) -> Result<Step, ReplyError> {
        if buffer.len() < length.saturating_add(2) {
            return Ok(Step::Starved);
        }
        self.string = None;
        // Copied, so that a value kept for long does not keep the whole buffer alive.
        let text = Bytes::copy_from_slice(&buffer.split_to(length));
        if !buffer.starts_with(b"\r\n") {
            return Err(ReplyError::BadEnd);
        }
        buffer.advance(2);
        let value = match kind {
            StringKind::Bulk => Frame::Bulk(text),
            StringKind::Error => Frame::Error(text),
            StringKind::Verbatim => match text.as_ref() {
                [a, b, c, b':', ..] => Frame::Verbatim {
                    format: [*a, *b, *c],
                    text: text.slice(4..),
                },
                _ => return Err(ReplyError::BadValue),
            },
        };
        Ok(Step::Value(value))
    }

    fn read_line(&mut self, buffer: &mut BytesMut) -> Result<Step, ReplyError> {
        let fresh = buffer.get(self.searched..).unwrap_or_default();
        let found = fresh.iter().position(|byte| *byte == b'\n');
        let end = found.map(|offset| self.searched.saturating_add(offset));
        if end.unwrap_or(buffer.len()) > LINE_BYTES_MAX {
            return Err(ReplyError::LongLine);
        }
        let Some(end) = end else {
            self.searched = buffer.len();
            return Ok(Step::Starved);
        };
        self.searched = 0;
        let line = buffer.split_to(end);
        buffer.advance(1);
        match line.as_ref() {
            [kind, text @ .., b'\r'] => self.read_value(*kind, text),
            _ => Err(ReplyError::BadEnd),
        }
    }

    fn read_value(&mut self, kind: u8, text: &[u8]) -> Result<Step, ReplyError> {
        self.count(1, 0)?;
        let value = match kind {
            b'$' => return self.open_string(StringKind::Bulk, text),
            b'!' => return self.open_string(StringKind::Error, text),
            b'=' => return self.open_string(StringKind::Verbatim, text),
            b'*' => return self.open_aggregate(AggregateKind::Array, text),
            b'|' => return self.open_aggregate(AggregateKind::Attribute, text),
            b'%' => return self.open_aggregate(AggregateKind::Map, text),
            b'>' => return self.open_aggregate(AggregateKind::Push, text),
            b'~' => return self.open_aggregate(AggregateKind::Set, text),
            b'+' => Frame::Simple(self.keep(text)?),
            b'-' => Frame::Error(self.keep(text)?),
            b'(' => Frame::BigNumber(self.keep(text)?),
            b':' => Frame::Integer(number::parse(text).ok_or(ReplyError::BadValue)?),
            b',' => Frame::Double(parse_double(text).ok_or(ReplyError::BadValue)?),
            b'#' => match text {
                b"t" => Frame::Boolean(true),
                b"f" => Frame::Boolean(false),
                _ => return Err(ReplyError::BadValue),
            },
            b'_' if text.is_empty() => Frame::Null,
            b'_' => return Err(ReplyError::BadValue),
            other => return Err(ReplyError::UnknownType(other)),
        };
        Ok(Step::Value(value))
    }

    fn open_string(&mut self, kind: StringKind, text: &[u8]) -> Result<Step, ReplyError> {
        let length = number::parse(text).ok_or(ReplyError::BadLength)?;
        if length == -1 && matches!(kind, StringKind::Bulk) {
            return Ok(Step::Value(Frame::Null));
        }
        let length = usize::try_from(length).map_err(|_| ReplyError::BadLength)?;
        self.count(0, length)?;
        self.string = Some((kind, length));
        Ok(Step::Opened)
    }

    fn open_aggregate(&mut self, kind: AggregateKind, text: &[u8]) -> Result<Step, ReplyError> {
        let length = number::parse(text).ok_or(ReplyError::BadLength)?;
        if length == -1 && matches!(kind, AggregateKind::Array) {
            return Ok(Step::Value(Frame::NullArray));
        }
        let length = usize::try_from(length).map_err(|_| ReplyError::BadLength)?;
        let missing = match kind {
            AggregateKind::Attribute | AggregateKind::Map => length.saturating_mul(2),
            AggregateKind::Array | AggregateKind::Push | AggregateKind::Set => length,
        };
        if missing > self.limit.values {
            return Err(ReplyError::TooLarge);
        }
        if self.open.len() >= self.limit.depth {
            return Err(ReplyError::TooDeep);
        }
        let items = Vec::with_capacity(missing.min(64));
        self.open.push(Aggregate {
            kind,
            missing,
            items,
        });
        Ok(Step::Opened)
    }

    fn keep(&mut self, text: &[u8]) -> Result<Bytes, ReplyError> {
        self.count(0, text.len())?;
        Ok(Bytes::copy_from_slice(text))
    }

    fn count(&mut self, values: usize, bytes: usize) -> Result<(), ReplyError> {
        self.values = self.values.saturating_add(values);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.values > self.limit.values || self.bytes > self.limit.reply_bytes {
            return Err(ReplyError::TooLarge);
        }
        Ok(())
    }
}

impl Aggregate {
    /// The value its elements make; none for an attribute.
    fn close(self) -> Option<Frame> {
        match self.kind {
            AggregateKind::Array => Some(Frame::Array(self.items)),
            AggregateKind::Attribute => None,
            AggregateKind::Map => {
                let mut items = self.items.into_iter();
                let mut pairs = Vec::with_capacity(items.len().div_euclid(2));
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Some(Frame::Map(pairs))
            }
            AggregateKind::Push => Some(Frame::Push(self.items)),
            AggregateKind::Set => Some(Frame::Set(self.items)),
        }
    }
}

fn parse_double(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;

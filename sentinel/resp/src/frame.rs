//! One value of the wire protocol, and how it is written in either dialect.
//!
//! Decides how a value looks in RESP2 and RESP3; touches only the buffer it is given. Code that
//! answers a client builds a [`Frame`] without knowing which dialect the client speaks: whatever
//! RESP2 cannot say is lowered while encoding, as the server does.

use std::fmt::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};

/// The dialect of one connection; RESP2 until the client says `HELLO 3`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// The dialect every client starts with.
    #[default]
    Resp2,
    /// The typed dialect, with maps, sets, pushes, booleans and doubles.
    Resp3,
}

/// One value of the wire protocol.
///
/// Text is kept as bytes, because nothing on the wire promises UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// An array; RESP2 `*`, RESP3 `*`.
    Array(Vec<Self>),
    /// A number of any size as decimal text; RESP3 `(`, in RESP2 a bulk string.
    BigNumber(Bytes),
    /// A boolean; RESP3 `#`, in RESP2 the integer 0 or 1.
    Boolean(bool),
    /// A binary-safe string; `$`.
    Bulk(Bytes),
    /// A floating point number; RESP3 `,`, in RESP2 a bulk string.
    Double(f64),
    /// An error line without the leading `-`, for example `ERR syntax error`.
    Error(Bytes),
    /// A signed 64-bit number; `:`.
    Integer(i64),
    /// Key and value pairs in order; RESP3 `%`, in RESP2 a flat array.
    Map(Vec<(Self, Self)>),
    /// The absent value; RESP3 `_`, in RESP2 the null bulk string `$-1`.
    Null,
    /// The absent array; RESP3 `_`, in RESP2 `*-1`.
    NullArray,
    /// Out-of-band data; RESP3 `>`, in RESP2 an array.
    Push(Vec<Self>),
    /// Distinct values; RESP3 `~`, in RESP2 an array.
    Set(Vec<Self>),
    /// A status line without the leading `+`, for example `OK`.
    Simple(Bytes),
    /// Text with a three-letter format such as `txt`; RESP3 `=`, in RESP2 a bulk string.
    Verbatim {
        /// The format, normally `txt` or `mkd`.
        format: [u8; 3],
        /// The text itself.
        text: Bytes,
    },
}

impl Frame {
    /// The status `+OK`.
    #[must_use]
    pub const fn ok() -> Self {
        Self::Simple(Bytes::from_static(b"OK"))
    }

    /// A bulk string of anything that turns into bytes.
    #[must_use]
    pub fn bulk(text: impl Into<Bytes>) -> Self {
        Self::Bulk(text.into())
    }

    /// An error line; `text` begins with its code, as in `ERR syntax error`.
    #[must_use]
    pub fn error(text: impl Into<Bytes>) -> Self {
        Self::Error(text.into())
    }

    /// An integer; one that the wire cannot say becomes the greatest it can.
    #[must_use]
    pub fn number(number: impl TryInto<i64>) -> Self {
        Self::Integer(number.try_into().unwrap_or(i64::MAX))
    }

    /// A status line.
    #[must_use]
    pub fn simple(text: impl Into<Bytes>) -> Self {
        Self::Simple(text.into())
    }

    /// A request as clients send it: an array of bulk strings.
    #[must_use]
    pub fn command<I>(words: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Bytes>,
    {
        Self::Array(words.into_iter().map(Self::bulk).collect())
    }

    /// The bytes of a string of any kind (bulk, status, verbatim, big number).
    #[must_use]
    pub const fn as_text(&self) -> Option<&Bytes> {
        match self {
            Self::BigNumber(text)
            | Self::Bulk(text)
            | Self::Simple(text)
            | Self::Verbatim { text, format: _ } => Some(text),
            Self::Array(_)
            | Self::Boolean(_)
            | Self::Double(_)
            | Self::Error(_)
            | Self::Integer(_)
            | Self::Map(_)
            | Self::Null
            | Self::NullArray
            | Self::Push(_)
            | Self::Set(_) => None,
        }
    }

    /// The number, whether it came as an integer or as a string holding one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self {
            return Some(*number);
        }
        std::str::from_utf8(self.as_text()?).ok()?.parse().ok()
    }

    /// The elements of an array, a set or a push.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) | Self::Push(items) | Self::Set(items) => Some(items),
            Self::BigNumber(_)
            | Self::Boolean(_)
            | Self::Bulk(_)
            | Self::Double(_)
            | Self::Error(_)
            | Self::Integer(_)
            | Self::Map(_)
            | Self::Null
            | Self::NullArray
            | Self::Simple(_)
            | Self::Verbatim { .. } => None,
        }
    }

    /// The error line, if this is one.
    #[must_use]
    pub const fn as_error(&self) -> Option<&Bytes> {
        if let Self::Error(text) = self {
            Some(text)
        } else {
            None
        }
    }
}

/// Appends `frame` to `buffer` as `protocol` writes it.
///
/// Line breaks inside a status or an error would end the line early; they become spaces, as in the
/// server.
pub fn encode(frame: &Frame, protocol: Protocol, buffer: &mut BytesMut) {
    let typed = protocol == Protocol::Resp3;
    match frame {
        Frame::Array(items) => encode_items(b'*', items, protocol, buffer),
        Frame::BigNumber(digits) if typed => encode_line(b'(', digits, buffer),
        Frame::Boolean(value) if typed => {
            buffer.put_slice(if *value { b"#t\r\n" } else { b"#f\r\n" });
        }
        Frame::Boolean(value) => encode_number(b':', i64::from(*value), buffer),
        Frame::Double(value) if typed => encode_line(b',', double(*value).as_bytes(), buffer),
        Frame::Double(value) => encode_bulk(b'$', double(*value).as_bytes(), buffer),
        Frame::Error(text) => encode_line(b'-', text, buffer),
        Frame::Integer(number) => encode_number(b':', *number, buffer),
        Frame::Map(pairs) => {
            let fields = if typed {
                pairs.len()
            } else {
                pairs.len().saturating_mul(2)
            };
            encode_length(if typed { b'%' } else { b'*' }, fields, buffer);
            for (key, value) in pairs {
                encode(key, protocol, buffer);
                encode(value, protocol, buffer);
            }
        }
        Frame::Null | Frame::NullArray if typed => buffer.put_slice(b"_\r\n"),
        Frame::Null => buffer.put_slice(b"$-1\r\n"),
        Frame::NullArray => buffer.put_slice(b"*-1\r\n"),
        Frame::Push(items) => {
            encode_items(if typed { b'>' } else { b'*' }, items, protocol, buffer);
        }
        Frame::Set(items) => {
            encode_items(if typed { b'~' } else { b'*' }, items, protocol, buffer);
        }
        Frame::Simple(text) => encode_line(b'+', text, buffer),
        Frame::Verbatim { format, text } if typed => {
            encode_length(b'=', text.len().saturating_add(4), buffer);
            buffer.put_slice(format);
            buffer.put_u8(b':');
            buffer.put_slice(text);
            buffer.put_slice(b"\r\n");
        }
        Frame::BigNumber(text) | Frame::Bulk(text) | Frame::Verbatim { text, format: _ } => {
            encode_bulk(b'$', text, buffer);
        }
    }
}

fn encode_items(kind: u8, items: &[Frame], protocol: Protocol, buffer: &mut BytesMut) {
    encode_length(kind, items.len(), buffer);
    for item in items {
        encode(item, protocol, buffer);
    }
}

fn encode_bulk(kind: u8, text: &[u8], buffer: &mut BytesMut) {
    encode_length(kind, text.len(), buffer);
    buffer.put_slice(text);
    buffer.put_slice(b"\r\n");
}

fn encode_line(kind: u8, text: &[u8], buffer: &mut BytesMut) {
    buffer.put_u8(kind);
    buffer.extend(text.iter().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        other => *other,
    }));
    buffer.put_slice(b"\r\n");
}

fn encode_length(kind: u8, length: usize, buffer: &mut BytesMut) {
    // Nearly all are short, and formatting is dear.
    if let Ok(digit @ 0..=9) = u8::try_from(length) {
        return buffer.put_slice(&[kind, b'0'.saturating_add(digit), b'\r', b'\n']);
    }
    buffer.put_u8(kind);
    print(format_args!("{length}\r\n"), buffer);
}

fn encode_number(kind: u8, number: i64, buffer: &mut BytesMut) {
    buffer.put_u8(kind);
    print(format_args!("{number}\r\n"), buffer);
}

fn print(text: std::fmt::Arguments<'_>, buffer: &mut BytesMut) {
    let printed = buffer.write_fmt(text);
    assert!(printed.is_ok(), "a growing buffer takes every short number");
}

fn double(value: f64) -> String {
    if value.is_nan() {
        "nan".into()
    } else if value.is_infinite() {
        if value > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(frame: &Frame, protocol: Protocol) -> String {
        let mut buffer = BytesMut::new();
        encode(frame, protocol, &mut buffer);
        String::from_utf8(buffer.to_vec()).unwrap()
    }

    #[test]
    fn what_resp2_cannot_say_is_lowered() {
        let map = Frame::Map(vec![(Frame::bulk("a"), Frame::Boolean(true))]);
        assert_eq!(written(&map, Protocol::Resp2), "*2\r\n$1\r\na\r\n:1\r\n");
        assert_eq!(written(&map, Protocol::Resp3), "%1\r\n$1\r\na\r\n#t\r\n");
        let push = Frame::Push(vec![Frame::Double(1.5)]);
        assert_eq!(written(&push, Protocol::Resp2), "*1\r\n$3\r\n1.5\r\n");
        assert_eq!(written(&push, Protocol::Resp3), ">1\r\n,1.5\r\n");
        let verbatim = Frame::Verbatim {
            format: *b"txt",
            text: Bytes::from_static(b"hi"),
        };
        assert_eq!(written(&verbatim, Protocol::Resp2), "$2\r\nhi\r\n");
        assert_eq!(written(&verbatim, Protocol::Resp3), "=6\r\ntxt:hi\r\n");
    }

    #[test]
    fn both_nulls_are_one_in_resp3() {
        assert_eq!(written(&Frame::Null, Protocol::Resp2), "$-1\r\n");
        assert_eq!(written(&Frame::NullArray, Protocol::Resp2), "*-1\r\n");
        assert_eq!(written(&Frame::Null, Protocol::Resp3), "_\r\n");
        assert_eq!(written(&Frame::NullArray, Protocol::Resp3), "_\r\n");
    }

    #[test]
    fn a_line_break_cannot_end_an_error_early() {
        let error = Frame::error("ERR a\r\n+OK");
        assert_eq!(written(&error, Protocol::Resp2), "-ERR a  +OK\r\n");
    }
}

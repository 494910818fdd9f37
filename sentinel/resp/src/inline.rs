//! Splitting one line typed by a person into words, with the server's quoting rules.
//!
//! The same rules hold for inline commands and for the lines of a configuration file, which is why
//! the function is public. Pure.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// A quote that is never closed, or is closed in the middle of a word.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("unbalanced quotes")]
pub struct UnbalancedQuotes;

/// Splits `line` at white space into words.
///
/// Inside double quotes `\n`, `\r`, `\t`, `\b`, `\a` and `\xHH` are escapes and a backslash keeps
/// any other character as it is; inside single quotes only `\'` is one. A closing quote must end
/// its word. A zero byte ends the line, as it does for the server.
///
/// # Errors
///
/// [`UnbalancedQuotes`] for a quote left open or followed by more of the word.
pub fn split_words(line: &[u8]) -> Result<Vec<Bytes>, UnbalancedQuotes> {
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut rest = skip_space(line);
    let mut words = Vec::new();
    while !rest.is_empty() {
        let mut word = BytesMut::new();
        rest = skip_space(read_word(rest, &mut word)?);
        words.push(word.freeze());
    }
    Ok(words)
}

/// Reads one word off the front of `rest` and returns what follows it.
fn read_word<'a>(mut rest: &'a [u8], word: &mut BytesMut) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [b'"', quoted @ ..] => return closed(read_double_quoted(quoted, word)?),
            [b'\'', quoted @ ..] => return closed(read_single_quoted(quoted, word)?),
            [byte, tail @ ..] => {
                word.extend_from_slice(&[*byte]);
                tail
            }
        };
    }
}

/// A closing quote is followed by white space or nothing.
fn closed(rest: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match rest.first() {
        Some(byte) if !is_space(*byte) => Err(UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn read_double_quoted<'a>(
    mut rest: &'a [u8],
    word: &mut BytesMut,
) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                let (high, low) = (hex(*high).unwrap_or(0), hex(*low).unwrap_or(0));
                (high << 4 | low, tail)
            }
            [b'\\', escaped, tail @ ..] => (unescape(*escaped), tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.extend_from_slice(&[byte]);
        rest = tail;
    }
}

fn read_single_quoted<'a>(
    mut rest: &'a [u8],
    word: &mut BytesMut,
) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.extend_from_slice(&[byte]);
        rest = tail;
    }
}

const fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// White space in the C locale; unlike [`u8::is_ascii_whitespace`] it has the vertical tab.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn skip_space(mut rest: &[u8]) -> &[u8] {
    while let [byte, tail @ ..] = rest
        && is_space(*byte)
    {
        rest = tail;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        split_words(line.as_bytes())
            .unwrap()
            .iter()
            .map(|word| word.to_vec())
            .collect()
    }

    #[test]
    fn words_are_split_at_white_space() {
        assert_eq!(
            words("  SENTINEL \t masters\r"),
            [b"SENTINEL".to_vec(), b"masters".to_vec()]
        );
        assert_eq!(words(" \r"), Vec::<Vec<u8>>::new());
        assert_eq!(words("a\0 b"), [b"a".to_vec()]);
    }

    #[test]
    fn quotes_keep_white_space_and_know_escapes() {
        assert_eq!(
            words(r#"a "b c\x41\n\"" 'd\'\n e'"#),
            [b"a".to_vec(), b"b cA\n\"".to_vec(), b"d'\\n e".to_vec()]
        );
        assert_eq!(words(r#""" ''"#), [b"".to_vec(), b"".to_vec()]);
        assert_eq!(words(r#"ab"c d""#), [b"abc d".to_vec()]);
        assert_eq!(words(r#""\xg1""#), [b"xg1".to_vec()]);
    }

    #[test]
    fn a_quote_must_end_its_word() {
        for line in ["\"a", "'a", "\"a\"b", "'a'b", "\"a\\\"", "\"a\\"] {
            assert_eq!(
                split_words(line.as_bytes()),
                Err(UnbalancedQuotes),
                "{line}"
            );
        }
    }
}

//! One line of a custom configuration, read as the servers read it.
//!
//! Words are split at blanks; double quotes hold escapes, single quotes hold only `\'`. What a
//! server would not read is refused here, before it stands in a file that a server starts with.

/// A directive with its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directive {
    /// Its name in lower case.
    pub name: String,
    /// Its values, unquoted and joined by blanks: what `CONFIG SET` takes.
    pub value: String,
    /// The line as it was written, without blanks around it.
    pub line: String,
}

/// Why a line is no directive.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LineError {
    /// It holds a line break or another character that no line of a file can hold.
    #[error("it holds a line break or a zero byte; write one directive per item")]
    Breaks,
    /// It does not begin with a plain name.
    #[error("it does not begin with the name of a directive; write the name first and unquoted")]
    Nameless,
    /// A quote is not closed, or something follows a closing quote at once.
    #[error("its quotes do not match; close every quote, and put a blank behind it")]
    Quotes,
    /// The directive has no value.
    #[error("it has no value; write one behind the name, \"\" for an empty one")]
    Valueless,
}

/// Reads a line; `None` for an empty one and for a comment.
///
/// # Errors
/// When a server could not read the line.
pub fn parse(line: &str) -> Result<Option<Directive>, LineError> {
    if line.contains(['\n', '\r', '\0']) {
        return Err(LineError::Breaks);
    }
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_plain) {
        return Err(LineError::Nameless);
    }
    let words = words(rest)?;
    if words.is_empty() {
        return Err(LineError::Valueless);
    }
    Ok(Some(Directive {
        name: name.to_ascii_lowercase(),
        value: words.join(" "),
        line: line.to_owned(),
    }))
}

/// Splits a text into words.
fn words(text: &str) -> Result<Vec<String>, LineError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Takes the first word off a text that begins with one.
fn word(text: &str) -> Result<(String, &str), LineError> {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if character.is_whitespace() => return Ok((word, &text[at..])),
            (Some(open), _) if character == open => {
                let after = &text[at + character.len_utf8()..];
                if !after.is_empty() && !after.starts_with(char::is_whitespace) {
                    return Err(LineError::Quotes);
                }
                return Ok((word, after));
            }
            (Some('"'), '\\') => match characters.next() {
                Some((_, escaped)) => word.push(unescape(escaped)),
                None => return Err(LineError::Quotes),
            },
            (Some('\''), '\\') if text[at..].starts_with("\\'") => {
                characters.next();
                word.push('\'');
            }
            (None | Some(_), _) => word.push(character),
        }
    }
    if quote.is_some() {
        Err(LineError::Quotes)
    } else {
        Ok((word, ""))
    }
}

/// What a backslash and a letter stand for inside double quotes.
fn unescape(letter: char) -> char {
    match letter {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'a' => '\u{7}',
        'b' => '\u{8}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, String) {
        let directive = parse(line).unwrap().unwrap();
        (directive.name, directive.value)
    }

    #[test]
    fn a_directive_is_a_name_and_its_values() {
        for (line, name, value) in [
            ("maxmemory 50mb", "maxmemory", "50mb"),
            (
                "  MaxMemory-Policy\tallkeys-lru ",
                "maxmemory-policy",
                "allkeys-lru",
            ),
            ("save 900 1 300 10", "save", "900 1 300 10"),
            ("save \"\"", "save", ""),
            ("save '900 1'", "save", "900 1"),
            (
                r#"proc-title-template "{title} \"x\"\n""#,
                "proc-title-template",
                "{title} \"x\"\n",
            ),
            (
                "client-output-buffer-limit replica 1mb 1mb 60",
                "client-output-buffer-limit",
                "replica 1mb 1mb 60",
            ),
        ] {
            assert_eq!(read(line), (name.to_owned(), value.to_owned()), "{line}");
        }
    }

    #[test]
    fn empty_lines_and_comments_say_nothing() {
        for line in ["", "  ", "# maxmemory 5", "\t#"] {
            assert_eq!(parse(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn what_a_server_cannot_read_is_refused() {
        for (line, error) in [
            ("maxmemory 1\nport 7", LineError::Breaks),
            ("\"port\" 7", LineError::Nameless),
            ("--port 7", LineError::Nameless),
            ("port: 7", LineError::Nameless),
            ("maxmemory", LineError::Valueless),
            ("save \"900 1", LineError::Quotes),
            ("save \"900\"1", LineError::Quotes),
            ("save \"900\\", LineError::Quotes),
        ] {
            assert_eq!(parse(line), Err(error), "{line:?}");
        }
    }
}

//! The command line: `duke CONF [--sentinel] [--OPTION VALUE …]`, as the stock sentinel has it.
//!
//! Decides only how words become lines of configuration. Each `--OPTION VALUE …` is a line that is
//! read after the file's own; `--sentinel announce-ip 10.0.0.1` is the line
//! `sentinel announce-ip 10.0.0.1`, while a bare `--sentinel` says what Duke is anyway.

use std::path::PathBuf;

use thiserror::Error;

/// What the command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Arguments {
    /// Print how Duke is started.
    Help,
    /// Run with a configuration.
    Run {
        /// The configuration file.
        config: PathBuf,
        /// Further lines of configuration, in order.
        lines: Vec<String>,
    },
    /// Print the version.
    Version,
}

/// A command line that asks for nothing Duke can do.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ArgumentError {
    /// No file to start from.
    #[error("Sentinel needs config file on disk to save state. Exiting...")]
    NoConfig,
    /// A value before any option.
    #[error("'{0}' follows no option; options begin with --")]
    StrayValue(String),
}

/// How Duke is started.
pub const USAGE: &str = "Usage: duke CONF [--sentinel] [--OPTION VALUE ...]
       duke -h or --help
       duke -v or --version

CONF is a sentinel.conf. Every --OPTION with its values is read as one more line
of it, for example: duke /etc/duke/duke.conf --sentinel announce-ip 10.0.0.1
";

/// Reads the words after the program's name.
///
/// # Errors
///
/// No configuration file, or a value that belongs to no option.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, ArgumentError> {
    let mut words = words.into_iter();
    let config = match words.next() {
        Some(word) if word == "-h" || word == "--help" => return Ok(Arguments::Help),
        Some(word) if word == "-v" || word == "--version" => return Ok(Arguments::Version),
        Some(word) if !word.starts_with("--") => PathBuf::from(word),
        _ => return Err(ArgumentError::NoConfig),
    };
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match (word.strip_prefix("--"), lines.last_mut()) {
            (Some(option), _) => lines.push(option.to_owned()),
            (None, Some(line)) => {
                line.push(' ');
                line.push_str(&quoted(&word));
            }
            (None, None) => return Err(ArgumentError::StrayValue(word)),
        }
    }
    lines.retain(|line| !line.eq_ignore_ascii_case("sentinel"));
    Ok(Arguments::Run { config, lines })
}

/// `word` as the grammar of a configuration line reads it back.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for byte in word.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            other => {
                let escape = [other >> 4, other & 0xf]
                    .map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                quoted.extend(['\\', 'x'].into_iter().chain(escape));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, ArgumentError> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_become_lines_of_configuration() {
        let expected = Arguments::Run {
            config: "/etc/duke/duke.conf".into(),
            lines: vec!["sentinel announce-ip 10.0.0.1".into(), "port 7000".into()],
        };
        let line = "/etc/duke/duke.conf --sentinel announce-ip 10.0.0.1 --sentinel --port 7000";
        assert_eq!(parsed(line), Ok(expected));
    }

    #[test]
    fn values_survive_the_grammar_of_a_line() {
        for word in ["", "a b", "q\"'\\", "ü\n", "plain"] {
            let line = quoted(word);
            let words = duke_resp::split_words(line.as_bytes()).unwrap();
            assert_eq!(words, [word.as_bytes()], "{line}");
        }
    }

    #[test]
    fn a_configuration_file_is_needed() {
        assert_eq!(parsed("--sentinel"), Err(ArgumentError::NoConfig));
        assert_eq!(parse([]), Err(ArgumentError::NoConfig));
        assert_eq!(
            parsed("duke.conf 7"),
            Err(ArgumentError::StrayValue("7".into()))
        );
    }
}

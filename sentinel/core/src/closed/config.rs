//! The configuration file: sentinel.conf's directives that a closed group needs, and those that
//! begin with `duke`.
//!
//! Parses text to [`Settings`] and prints them back; touches no file. The operator renders with the
//! same types, so that what it writes is what Duke reads.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use thiserror::Error;

use crate::time::millis;

/// Where clients connect unless told otherwise, as with Sentinel.
pub const PORT: u16 = 26379;

/// A parsed configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The master's name, `duke group NAME`.
    pub group: String,
    /// The port for clients, operator and other Dukes.
    pub port: u16,
    /// The addresses to listen on; all of IPv4 unless given.
    pub bind: Vec<IpAddr>,
    /// The file that keeps what must survive a restart.
    pub state: PathBuf,
    /// The folder with one password per file.
    pub users: PathBuf,
    /// A port that listens only while this Duke has memory of its group.
    pub ready_port: Option<u16>,
    /// Clients served at a time.
    pub clients_max: usize,
    /// The address other Dukes and clients are told.
    pub announce_ip: Option<IpAddr>,
    /// Settings of the monitored master.
    pub master: MasterSettings,
}

/// What `SENTINEL SET` can change on a running Duke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MasterSettings {
    /// Silence longer than this is down.
    pub down_after: Duration,
    /// The longest a failover may take before it is given up.
    pub failover_timeout: Duration,
    /// How many replicas are re-pointed at the same time.
    pub parallel_syncs: u32,
}

impl Default for MasterSettings {
    fn default() -> Self {
        Self {
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(10),
            parallel_syncs: 1,
        }
    }
}

/// A line that cannot be obeyed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ConfigError {
    /// One line is wrong.
    #[error("line {line}: '{text}': {reason}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A directive that must be there is not.
    #[error("the configuration has no '{directive}': add the line '{example}'")]
    Missing {
        /// The directive.
        directive: &'static str,
        /// A line that would do.
        example: &'static str,
    },
}

/// Reads a configuration. Of a directive that stands twice the later one counts.
///
/// # Errors
/// The first line that cannot be obeyed, or a directive that is missing.
pub fn parse(text: &str) -> Result<Settings, ConfigError> {
    let mut group = None;
    let mut settings = Settings {
        group: String::new(),
        port: PORT,
        bind: Vec::new(),
        state: PathBuf::new(),
        users: PathBuf::new(),
        ready_port: None,
        clients_max: 10_000,
        announce_ip: None,
        master: MasterSettings::default(),
    };
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = index.saturating_add(1);
        let wrong = |reason: String| ConfigError::Line {
            line: number,
            text: line.to_owned(),
            reason,
        };
        match read_line(&words, &mut settings).map_err(wrong)? {
            Line::Done => {}
            Line::Group(name) => group = Some(name),
            Line::Named(name) => names.push((number, line.to_owned(), name)),
        }
    }
    settings.group = group.ok_or(ConfigError::Missing {
        directive: "duke group",
        example: "duke group mymaster",
    })?;
    if settings.state.as_os_str().is_empty() {
        return Err(ConfigError::Missing {
            directive: "duke state",
            example: "duke state /data/duke.state",
        });
    }
    if settings.bind.is_empty() {
        settings.bind.push(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    for (line, text, name) in names {
        if name != settings.group {
            let reason = format!(
                "No such master with specified name: '{}' is",
                settings.group
            );
            return Err(ConfigError::Line { line, text, reason });
        }
    }
    Ok(settings)
}

enum Line {
    Done,
    Group(String),
    /// A directive about the master of this name.
    Named(String),
}

fn read_line(words: &[&str], settings: &mut Settings) -> Result<Line, String> {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let heads: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (heads.as_slice(), words) {
        (["port", _], [_, value]) => settings.port = number(value)?,
        (["bind", ..], [_, addresses @ ..]) => {
            settings.bind = addresses
                .iter()
                .map(|word| address(word))
                .collect::<Result<_, _>>()?;
        }
        (["maxclients", _], [_, value]) => settings.clients_max = number(value)?,
        // The shell needs no working directory: every path in a closed group's file is absolute.
        (["dir", _], _) => {}
        (["duke", "group", _], [_, _, name]) => return Ok(Line::Group((*name).to_owned())),
        (["duke", "state", _], [_, _, path]) => settings.state = PathBuf::from(path),
        (["duke", "users", _], [_, _, path]) => settings.users = PathBuf::from(path),
        (["duke", "ready-port", _], [_, _, value]) => settings.ready_port = Some(number(value)?),
        (["sentinel", "announce-ip", _], [_, _, value]) => {
            settings.announce_ip = Some(address(value)?);
        }
        (["sentinel", option, _, _], [_, _, name, value]) => {
            set(&mut settings.master, option, value)?;
            return Ok(Line::Named((*name).to_owned()));
        }
        _ => return Err("Bad directive or wrong number of arguments".to_owned()),
    }
    Ok(Line::Done)
}

/// Changes one setting of the master, by the name `SENTINEL SET` gives it.
///
/// # Errors
/// What is wrong with the option or its value.
pub fn set(settings: &mut MasterSettings, option: &str, value: &str) -> Result<(), String> {
    let positive = || match value.parse::<u32>() {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(format!("'{value}' is no number above 0")),
    };
    match option {
        "down-after-milliseconds" => {
            settings.down_after = Duration::from_millis(u64::from(positive()?));
        }
        "failover-timeout" => {
            settings.failover_timeout = Duration::from_millis(u64::from(positive()?));
        }
        "parallel-syncs" => settings.parallel_syncs = positive()?,
        _ => return Err("Unrecognized sentinel configuration statement".to_owned()),
    }
    Ok(())
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("'{word}' is no number that fits here"))
}

fn address(word: &str) -> Result<IpAddr, String> {
    if word == "*" {
        return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    word.parse()
        .map_err(|_| format!("'{word}' is no IP address: names are not looked up"))
}

impl Settings {
    /// The text that [`parse`] reads back.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ok = text.write_fmt(format_args!("{words}\n"));
        };
        line(format_args!("port {}", self.port));
        if !self.bind.is_empty() {
            let bind: Vec<String> = self.bind.iter().map(ToString::to_string).collect();
            line(format_args!("bind {}", bind.join(" ")));
        }
        line(format_args!("maxclients {}", self.clients_max));
        line(format_args!("duke group {}", self.group));
        line(format_args!("duke state {}", self.state.display()));
        if !self.users.as_os_str().is_empty() {
            line(format_args!("duke users {}", self.users.display()));
        }
        if let Some(port) = self.ready_port {
            line(format_args!("duke ready-port {port}"));
        }
        if let Some(ip) = self.announce_ip {
            line(format_args!("sentinel announce-ip {ip}"));
        }
        for (option, value) in self.master.pairs() {
            line(format_args!("sentinel {option} {} {value}", self.group));
        }
        text
    }
}

impl MasterSettings {
    /// Option and value as `SENTINEL SET` takes them.
    #[must_use]
    pub fn pairs(&self) -> [(&'static str, u64); 3] {
        [
            ("down-after-milliseconds", millis(self.down_after)),
            ("failover-timeout", millis(self.failover_timeout)),
            ("parallel-syncs", u64::from(self.parallel_syncs)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_settings() -> impl Strategy<Value = Settings> {
        let address = any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()));
        let address = prop_oneof![address, any::<u32>().prop_map(|b| Ipv4Addr::from(b).into())];
        let master = (1..=u32::MAX, 1..=u32::MAX, 1..=u32::MAX).prop_map(|(down, time, syncs)| {
            MasterSettings {
                down_after: Duration::from_millis(u64::from(down)),
                failover_timeout: Duration::from_millis(u64::from(time)),
                parallel_syncs: syncs,
            }
        });
        let path = "(/[a-z.-]{1,8}){1,3}";
        let ports = (any::<u16>(), proptest::option::of(any::<u16>()));
        let bind = proptest::collection::vec(address.clone(), 1..3);
        let announce = proptest::option::of(address);
        let paths = (path, path);
        (
            "[a-z0-9._-]{1,12}",
            ports,
            bind,
            paths,
            any::<u16>(),
            announce,
            master,
        )
            .prop_map(
                |(group, ports, bind, paths, clients_max, announce_ip, master)| Settings {
                    group,
                    port: ports.0,
                    bind,
                    state: paths.0.into(),
                    users: paths.1.into(),
                    ready_port: ports.1,
                    clients_max: clients_max.into(),
                    announce_ip,
                    master,
                },
            )
    }

    proptest! {
        #[test]
        fn any_configuration_survives_its_text(settings in any_settings()) {
            prop_assert_eq!(parse(&settings.print()), Ok(settings));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(port|bind|duke|sentinel|[ a-z0-9\\n\"-]){0,40}") {
            let _read = parse(&text);
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let text = "port 7\nbind 127.0.0.1 ::1\nduke group lake\nduke state /s/x\nduke users /u\n\
                    duke ready-port 8\nsentinel announce-ip 10.1.2.3\n\
                    sentinel down-after-milliseconds lake 250\n";
        let settings = parse(text).unwrap();
        assert_eq!(settings.master.down_after, Duration::from_millis(250));
        assert_eq!(parse(&settings.print()), Ok(settings));
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number() {
        let error =
            parse("duke group a\nduke state /x\nsentinel parallel-syncs a none").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3: 'sentinel parallel-syncs a none': 'none' is no number above 0"
        );
        let error = parse("port 1\n").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("add the line 'duke group mymaster'")
        );
        let error =
            parse("duke group a\nduke state /x\nsentinel failover-timeout b 3").unwrap_err();
        assert!(error.to_string().contains("No such master"), "{error}");
    }
}

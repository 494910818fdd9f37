//! sentinel.conf, as the stock sentinels of Redis and Valkey read and rewrite it.
//!
//! Decides what every directive means and what is wrong with a line; touches no file. The text is
//! kept line by line, so that a rewrite changes only the lines the engine owns.

mod bytes;
mod directive;
mod document;
mod sentinel;
mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use duke_resp::split_words;
use thiserror::Error;

pub use bytes::{decode, encode};
pub use document::{Document, Owned, quote};

use crate::output::LogLevel;

/// A line that cannot be obeyed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("line {line}: '{text}': {reason}")]
pub struct ConfError {
    /// Its number, from 1; those of the command line are counted on.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What is wrong, in the stock server's words.
    pub reason: String,
}

/// A file another one includes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Included {
    /// Where it is.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// How many files may include one another in a row.
const INCLUDED_MAX: usize = 16;

/// Reads the files that the argument of an `include` names, or says why they cannot be read.
pub type Include<'a> = &'a dyn Fn(&str) -> Result<Vec<Included>, String>;

/// Everything a sentinel.conf says.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    /// The lines.
    pub document: Document,
    /// What every server is told: ports, paths, passwords.
    pub server: ServerConf,
    /// What this Duke is told about itself.
    pub sentinel: SentinelConf,
    /// The monitored masters by name.
    pub masters: BTreeMap<String, MasterConf>,
    /// Where the file is, for INFO.
    pub path: String,
    /// The running program, for INFO.
    pub executable: String,
    /// When this process started, in milliseconds since 1970, for `ACL LOG`.
    pub started_unix_ms: u64,
    /// What the command line said besides, which is owned by this process: `(key, line)`.
    pub added: Vec<(String, String)>,
}

/// Directives that Sentinel shares with the data server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerConf {
    /// The port for plain connections, 0 for none.
    pub port: u16,
    /// The port for TLS connections, 0 for none.
    pub tls_port: u16,
    /// Addresses to listen on; all unless given.
    pub bind: Vec<String>,
    /// The folder relative paths and scripts start from.
    pub dir: Option<String>,
    /// The log; standard output unless given.
    pub logfile: String,
    /// What is logged.
    pub loglevel: LogLevel,
    /// Where the process's number is written, if anywhere.
    pub pidfile: Option<String>,
    /// Clients served at a time.
    pub clients_max: usize,
    /// How long a client may say nothing before its connection is closed; for ever unless given.
    pub idle_max: Option<Duration>,
    /// A socket in the file system besides the ports.
    pub local: LocalConf,
    /// Without a password only clients of this host are served.
    pub protected: bool,
    /// The password of the user `default`.
    pub requirepass: String,
    /// The rules of every `user` line, after that word.
    pub users: Vec<Vec<String>>,
    /// The file of users, instead of `user` lines.
    pub aclfile: Option<String>,
    /// TLS: paths and switches by directive, as they stand (`tls-cert-file`, …).
    pub tls: BTreeMap<String, String>,
}

impl Default for ServerConf {
    fn default() -> Self {
        Self {
            port: crate::closed::config::PORT,
            tls_port: 0,
            bind: Vec::new(),
            dir: None,
            logfile: String::new(),
            loglevel: LogLevel::Notice,
            pidfile: None,
            clients_max: 10_000,
            idle_max: None,
            local: LocalConf::default(),
            protected: false,
            requirepass: String::new(),
            users: Vec::new(),
            aclfile: None,
            tls: BTreeMap::new(),
        }
    }
}

/// A socket in the file system.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LocalConf {
    /// Where it is; empty for none.
    pub path: String,
    /// Who may use it, as chmod(2) says it; as the process's mask has it unless given.
    pub permissions: Option<u32>,
    /// The group it belongs to, by name or number; the process's unless given.
    pub group: Option<String>,
}

/// Directives about this Duke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SentinelConf {
    /// Forty hexadecimal digits; empty before the first start.
    pub id: String,
    /// The highest epoch heard of.
    pub current_epoch: u64,
    /// The address others are told, instead of the one they see.
    pub announce_ip: String,
    /// The port others are told; 0 for the one listened on.
    pub announce_port: u16,
    /// Host names may stand where addresses do.
    pub resolve_hostnames: bool,
    /// Host names are told where addresses would be.
    pub announce_hostnames: bool,
    /// `SENTINEL SET` may not change scripts.
    pub deny_scripts_reconfig: bool,
    /// Who to log in as at other sentinels.
    pub sentinel_user: String,
    /// With which password.
    pub sentinel_pass: String,
}

impl Default for SentinelConf {
    fn default() -> Self {
        Self {
            id: String::new(),
            current_epoch: 0,
            announce_ip: String::new(),
            announce_port: 0,
            resolve_hostnames: false,
            announce_hostnames: false,
            deny_scripts_reconfig: true,
            sentinel_user: String::new(),
            sentinel_pass: String::new(),
        }
    }
}

/// Where somebody is, as it was written: an IP address or a host's name, and a port.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Address or name.
    pub host: String,
    /// Port; 0 is nobody's.
    pub port: u16,
}

/// One monitored master.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterConf {
    /// Where it is.
    pub place: Place,
    /// How many sentinels must find it down.
    pub quorum: u32,
    /// Silence longer than this is down.
    pub down_after: Duration,
    /// The longest a failover may take.
    pub failover_timeout: Duration,
    /// Replicas re-pointed at a time.
    pub parallel_syncs: u32,
    /// How long a master that restarted may load; zero for ever.
    pub reboot_down_after: Duration,
    /// Who to log in as.
    pub auth_user: String,
    /// With which password.
    pub auth_pass: String,
    /// Run at every warning.
    pub notification_script: String,
    /// Run when the master changes.
    pub reconfig_script: String,
    /// Commands that are called otherwise there, upper case to new name.
    pub renames: BTreeMap<String, String>,
    /// The epoch its address is of.
    pub config_epoch: u64,
    /// The epoch of the last vote.
    pub leader_epoch: u64,
    /// Its replicas.
    pub replicas: BTreeSet<Place>,
    /// The other sentinels, by id.
    pub sentinels: BTreeMap<String, Place>,
}

impl MasterConf {
    /// A master with Sentinel's defaults.
    #[must_use]
    pub const fn new(place: Place, quorum: u32) -> Self {
        Self {
            place,
            quorum,
            down_after: Duration::from_secs(30),
            failover_timeout: Duration::from_mins(3),
            parallel_syncs: 1,
            reboot_down_after: Duration::ZERO,
            auth_user: String::new(),
            auth_pass: String::new(),
            notification_script: String::new(),
            reconfig_script: String::new(),
            renames: BTreeMap::new(),
            config_epoch: 0,
            leader_epoch: 0,
            replicas: BTreeSet::new(),
            sentinels: BTreeMap::new(),
        }
    }
}

/// Whether a configuration is that of a closed group, which the operator writes.
#[must_use]
pub fn is_closed(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace().map(str::to_ascii_lowercase);
        words.next().as_deref() == Some("duke") && words.next().as_deref() == Some("group")
    })
}

impl Conf {
    /// Reads the file's text and then `added`, the command line's; no other file.
    ///
    /// # Errors
    /// The first line that cannot be obeyed.
    pub fn read(text: &str, added: &[String]) -> Result<Self, ConfError> {
        let nothing = |_: &str| Err("no file can be included here".to_owned());
        Self::read_including(text, added, &nothing)
    }

    /// The same with the files it includes, each obeyed where it is named.
    ///
    /// `sentinel` directives are obeyed in stock's order, wherever they stand: what is said of the
    /// sentinel itself, then the masters, then what is said of these.
    ///
    /// # Errors
    /// The first line that cannot be obeyed.
    pub fn read_including(
        text: &str,
        added: &[String],
        include: Include<'_>,
    ) -> Result<Self, ConfError> {
        let mut conf = Self {
            document: Document::read(text),
            ..Self::default()
        };
        let mut lines = Vec::new();
        gather(&mut lines, text, None, include, 0)?;
        let count = text.lines().count();
        for (index, raw) in added.iter().enumerate() {
            let number = count.saturating_add(index).saturating_add(1);
            let Some(line) = Line::read(number, raw, None)? else {
                continue;
            };
            lines.push(line);
            if let Some(key) = document::key(raw) {
                conf.added.push((key, raw.to_owned()));
            }
        }
        let mut passes: [Vec<Line>; 3] = Default::default();
        for line in lines {
            if line.name(0) == "sentinel" {
                if let Some(pass) = passes.get_mut(sentinel::pass(&line.name(1))) {
                    pass.push(line);
                }
            } else {
                let obeyed = directive::obey(&mut conf.server, &line.words);
                obeyed.map_err(|reason| line.wrong(reason))?;
            }
        }
        for line in passes.iter().flatten() {
            let arguments = line.words.get(1..).unwrap_or_default();
            sentinel::obey(&mut conf, arguments).map_err(|reason| line.wrong(reason))?;
        }
        Ok(conf)
    }

    /// Takes the users of an `aclfile`'s text: lines `user <name> <rule> …`, comments and nothing else.
    ///
    /// # Errors
    /// The first line that names no user or breaks the rules' grammar.
    pub fn read_users(&mut self, text: &str) -> Result<(), ConfError> {
        for (index, raw) in text.lines().enumerate() {
            let Some(line) = Line::read(index.saturating_add(1), raw, None)? else {
                continue;
            };
            if line.name(0) != "user" {
                let reason = "should start with user keyword followed by the username";
                return Err(line.wrong(reason.to_owned()));
            }
            let obeyed = directive::obey(&mut self.server, &line.words);
            obeyed.map_err(|reason| line.wrong(reason))?;
        }
        Ok(())
    }

    /// Files that must be there and executable, each with the error if they are not.
    #[must_use]
    pub fn scripts(&self) -> Vec<(&str, &'static str)> {
        let named = |path: &'_ String| !path.is_empty();
        let mut scripts = Vec::new();
        for master in self.masters.values() {
            let notification = Some(&master.notification_script).filter(|path| named(path));
            let reconfig = Some(&master.reconfig_script).filter(|path| named(path));
            scripts.extend(notification.map(|path| {
                let reason = "Notification script seems non existing or non executable.";
                (path.as_str(), reason)
            }));
            scripts.extend(reconfig.map(|path| {
                let reason = "Client reconfiguration script seems non existing or non executable.";
                (path.as_str(), reason)
            }));
        }
        scripts
    }
}

/// Collects the directives of a text and of what it includes, in order. `file` is where it stands, if that
/// is not the file itself.
fn gather(
    lines: &mut Vec<Line>,
    text: &str,
    file: Option<&str>,
    include: Include<'_>,
    depth: usize,
) -> Result<(), ConfError> {
    for (index, raw) in text.lines().enumerate() {
        let Some(line) = Line::read(index.saturating_add(1), raw, file)? else {
            continue;
        };
        if line.name(0) != "include" {
            // It would stand in the file that is rewritten, too, and be a second one at the next start.
            if file.is_some() && line.name(0) == "sentinel" && line.name(1) == "monitor" {
                let reason =
                    "a master must be named in the file that Duke rewrites, not in one it includes";
                return Err(line.wrong(reason.to_owned()));
            }
            lines.push(line);
            continue;
        }
        let [_, wanted] = line.words.as_slice() else {
            return Err(line.wrong("wrong number of arguments".to_owned()));
        };
        if depth >= INCLUDED_MAX {
            return Err(line.wrong("the files include each other in circles".to_owned()));
        }
        let found = include(wanted).map_err(|reason| line.wrong(reason))?;
        for Included { path, text } in found {
            gather(lines, &text, Some(&path), include, depth.saturating_add(1))?;
        }
    }
    Ok(())
}

/// One directive.
struct Line {
    number: usize,
    /// The file it stands in, if that is not the one Duke was started with.
    file: Option<String>,
    text: String,
    words: Vec<String>,
}

impl Line {
    fn read(number: usize, raw: &str, file: Option<&str>) -> Result<Option<Self>, ConfError> {
        let text = raw.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let mut line = Self {
            number,
            file: file.map(str::to_owned),
            text: text.to_owned(),
            words: Vec::new(),
        };
        let unbalanced = |_| line.wrong("Unbalanced quotes in configuration line".to_owned());
        let words = split_words(&encode(text)).map_err(unbalanced)?;
        let words: Result<_, _> = words
            .into_iter()
            .map(|word| String::from_utf8(word.into()))
            .collect();
        let foreign = |_| line.wrong("outside of comments Duke takes UTF-8 only".to_owned());
        line.words = words.map_err(foreign)?;
        Ok(Some(line))
    }

    fn name(&self, index: usize) -> String {
        self.words
            .get(index)
            .map(|word| word.to_ascii_lowercase())
            .unwrap_or_default()
    }

    fn wrong(&self, reason: String) -> ConfError {
        ConfError {
            line: self.number,
            text: self.text.clone(),
            reason: match &self.file {
                Some(file) => format!("{reason} (in {file})"),
                None => reason,
            },
        }
    }
}

/// An address as it was announced, if it is one.
#[must_use]
pub fn ip(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

#[cfg(test)]
mod tests;

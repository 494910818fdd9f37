//! The command line: where the server, the Dukes and the password are.
//!
//! Decides only what words mean. No secret is among them: the password is in a file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// What the command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Arguments {
    /// Print how the agent is started.
    Help,
    /// Run.
    Run(Settings),
    /// Print the version.
    Version,
}

/// What the agent is told at its start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The address by which the Dukes know the server, without its port; probes are answered on it.
    pub announce_ip: IpAddr,
    /// `HOST:PORT` of the Dukes. Each connection may reach another one.
    pub dukes: String,
    /// How long the server and the agent have from being told to stop until they are killed.
    pub grace_period: Duration,
    /// The port of `/ready` and `/stopping`.
    pub port: u16,
    /// The server.
    pub server: SocketAddr,
    /// The folder with the password, in the file `agent`.
    pub users: PathBuf,
}

impl Settings {
    /// Where the Dukes find the server.
    #[must_use]
    pub const fn announced(&self) -> SocketAddr {
        SocketAddr::new(self.announce_ip, self.server.port())
    }
}

/// A command line that cannot be obeyed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ArgumentError {
    /// A value that does not fit its option.
    #[error("'{value}' is no value for {option}: give {wanted}")]
    BadValue {
        /// The option.
        option: String,
        /// The value.
        value: String,
        /// What a value looks like.
        wanted: &'static str,
    },
    /// An option that has to be given.
    #[error("{0} is missing; --help lists all options")]
    Missing(&'static str),
    /// An option without a value behind it.
    #[error("{0} needs a value")]
    NoValue(String),
    /// A word that is no option.
    #[error("'{0}' is no option; --help lists all options")]
    Unknown(String),
}

/// How the agent is started.
pub const USAGE: &str =
    "Usage: duke-agent --announce-ip IP --dukes HOST:PORT --users FOLDER [OPTION VALUE]...

  --announce-ip IP        the address by which the Dukes know the server; /ready is served on it
  --dukes HOST:PORT       where Dukes answer
  --users FOLDER          holds the password of the user `agent`, in a file of that name
  --grace-period SECONDS  from the order to stop until the end by force (default 30)
  --port PORT             where /ready and /stopping are served (default 26381)
  --server IP:PORT        the server (default 127.0.0.1:6379)
  -h, --help              prints this
  -v, --version           prints the version
";

/// Reads the words after the program's name.
///
/// # Errors
///
/// A word that is no option, a value that does not fit, or an option that is missing.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, ArgumentError> {
    let (mut announce_ip, mut dukes, mut users) = (None, None, None);
    let mut grace_period = Duration::from_secs(30);
    let mut port = 26381;
    let mut server = SocketAddr::from((Ipv4Addr::LOCALHOST, 6379));
    let mut words = words.into_iter();
    while let Some(option) = words.next() {
        match option.as_str() {
            "-h" | "--help" => return Ok(Arguments::Help),
            "-v" | "--version" => return Ok(Arguments::Version),
            "--announce-ip" | "--dukes" | "--grace-period" | "--port" | "--server" | "--users" => {}
            _ => return Err(ArgumentError::Unknown(option)),
        }
        let Some(value) = words.next() else {
            return Err(ArgumentError::NoValue(option));
        };
        match option.as_str() {
            "--announce-ip" => announce_ip = Some(read(&option, &value, "an IP address")?),
            "--dukes" => {
                let given = value.rsplit_once(':');
                let fits = given.is_some_and(|(host, port)| {
                    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
                });
                if !fits {
                    return Err(bad(&option, &value, "HOST:PORT"));
                }
                dukes = Some(value);
            }
            "--grace-period" => {
                grace_period = Duration::from_secs(read::<u32>(&option, &value, "seconds")?.into());
            }
            "--port" => port = read(&option, &value, "a port")?,
            "--server" => server = read(&option, &value, "IP:PORT")?,
            _ => users = Some(PathBuf::from(value)),
        }
    }
    Ok(Arguments::Run(Settings {
        announce_ip: announce_ip.ok_or(ArgumentError::Missing("--announce-ip"))?,
        dukes: dukes.ok_or(ArgumentError::Missing("--dukes"))?,
        grace_period,
        port,
        server,
        users: users.ok_or(ArgumentError::Missing("--users"))?,
    }))
}

fn read<T: std::str::FromStr>(
    option: &str,
    value: &str,
    wanted: &'static str,
) -> Result<T, ArgumentError> {
    value.parse().map_err(|_| bad(option, value, wanted))
}

fn bad(option: &str, value: &str, wanted: &'static str) -> ArgumentError {
    ArgumentError::BadValue {
        option: option.to_owned(),
        value: value.to_owned(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, ArgumentError> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let line = "--announce-ip fd00::7 --dukes duke-shop:26379 --users /etc/agent";
        let expected = Settings {
            announce_ip: "fd00::7".parse().unwrap(),
            dukes: "duke-shop:26379".to_owned(),
            grace_period: Duration::from_secs(30),
            port: 26381,
            server: "127.0.0.1:6379".parse().unwrap(),
            users: "/etc/agent".into(),
        };
        assert_eq!(expected.announced(), "[fd00::7]:6379".parse().unwrap());
        assert_eq!(parsed(line), Ok(Arguments::Run(expected)));
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_by_name() {
        for (line, said) in [
            ("--announce-ip 10.0.0.7", "--dukes is missing"),
            ("--announce-ip $(POD_IP)", "give an IP address"),
            ("--dukes 26379", "give HOST:PORT"),
            ("--dukes duke-shop:http", "give HOST:PORT"),
            ("--grace-period -1", "give seconds"),
            ("--port 70000", "give a port"),
            ("--server localhost", "give IP:PORT"),
            ("--users", "--users needs a value"),
            ("--password secret", "'--password' is no option"),
        ] {
            let error = parsed(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn help_needs_nothing_else() {
        assert_eq!(parsed("--help"), Ok(Arguments::Help));
        assert_eq!(parsed("-v"), Ok(Arguments::Version));
    }
}

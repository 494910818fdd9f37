//! From a command line to a running Duke.
//!
//! Decides the order of a start: read the configuration, the passwords and the state; open every
//! listening socket; only then may anything be written or anybody be contacted. A second Duke on a
//! busy port thus ends without having touched a thing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use duke_core::conf::{self, ConfError};
use duke_core::config::{self, ConfigError, Settings};
use duke_core::{Durable, DurableError, Engine, Secrets, Time};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::connection::client::{Reception, accept};
use crate::connection::entrance::{Entrance, LocalError};
use crate::connection::listener::{ListenError, listen};
use crate::connection::tls::TlsError;
use crate::driver::{Driver, Ended, Sources};
use crate::errand::Errands;
use crate::ready::Ready;
use crate::secret::{self, SecretError};
use crate::store::{self, Form, Store, StoreError};
use crate::{log, open};

/// Events that may wait for the driver from each side before their senders do.
pub(crate) const EVENTS_MAX: usize = 1024;
/// Files Duke needs besides those of its clients and of its masters: state, log, listeners, scripts.
const RESERVED_FILES: usize = 64;
/// Files for each master: two links to it and to every replica, one to every other sentinel.
const FILES_PER_MASTER: usize = 16;
/// How long scripts that run may keep Duke from ending. Stock leaves them behind at once.
const SCRIPTS_PATIENCE: Duration = Duration::from_secs(2);

/// Why Duke could not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// A line of the configuration that cannot be obeyed; told as the stock server tells it.
    #[error("{}", fatal(.0))]
    Config(ConfigError),
    /// A line of a sentinel.conf that cannot be obeyed.
    #[error("{}", fatal_line(.0.line, &.0.text, &.0.reason))]
    Conf(ConfError),
    /// The folder to work in cannot be entered.
    #[error("Can't chdir to '{dir}'")]
    Dir {
        /// The folder.
        dir: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An address that cannot be listened on.
    #[error("Failed listening on port {port} (TCP), aborting")]
    Listen {
        /// The port.
        port: u16,
        /// Which address, and what the operating system said.
        source: ListenError,
    },
    /// A socket in the file system that cannot be listened on.
    #[error("Failed opening Unix socket, aborting")]
    Local(#[source] LocalError),
    /// What is wrong stands in the log file already.
    #[error("the log file says why Duke could not start")]
    Logged,
    /// The log file cannot be written.
    #[error("Can't open the log file")]
    Log(#[source] io::Error),
    /// A sentinel.conf that cannot be rewritten.
    #[error("Sentinel config file {} is not writable: {source}. Exiting...", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The signals of the operating system cannot be heard.
    #[error("cannot listen to signals")]
    Signal(#[source] io::Error),
    /// A password that cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A state that is whole but makes no sense.
    #[error("the state file {}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What makes no sense.
        source: DurableError,
    },
    /// A state file that cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directive that means something and that this Duke cannot do.
    #[error("'{0}' is not supported; remove the line")]
    Unsupported(String),
    /// TLS that cannot be set up as configured.
    #[error("Failed to configure TLS")]
    Tls(#[source] TlsError),
    /// The configuration file cannot be read.
    #[error("Fatal error, can't open config file '{}'", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Runs Duke with the configuration file at `config` and further `lines` of configuration.
///
/// Returns when Duke was told to end.
///
/// # Errors
///
/// Anything that keeps Duke from starting; nothing was written then.
pub async fn run(config: &Path, lines: &[String]) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    let bytes = fs::read(config).map_err(|source| RunError::Unreadable {
        path: config.to_owned(),
        source,
    })?;
    let text = conf::decode(&bytes);
    if conf::is_closed(&text) {
        log::start(None, None);
        let driver = assemble(configure(text, lines)?)?;
        tokio::select! {
            _ = terminate.recv() => info!(signal = "SIGTERM", "ended"),
            _ = interrupt.recv() => info!(signal = "SIGINT", "ended"),
            () = driver => {}
        }
        return Ok(());
    }
    let (driver, leavings, scripts) = open::assemble(config, &text, lines)?;
    let mut crash = None;
    tokio::select! {
        _ = terminate.recv() => info!(signal = "SIGTERM", "ended"),
        _ = interrupt.recv() => info!(signal = "SIGINT", "ended"),
        ended = driver => if let Ended::Crashed(status) = ended {
            crash = Some(status);
        }
    }
    // Half a notification helps nobody.
    if timeout(SCRIPTS_PATIENCE, scripts.ended()).await.is_err() {
        warn!("left scripts running");
    }
    if let Some(status) = crash {
        log::finish();
        std::process::exit(status.into());
    }
    for path in leavings {
        // Whoever removed it already wanted the same.
        drop(fs::remove_file(path));
    }
    Ok(())
}

/// Reads the configuration: the file's lines, then those of the command line.
fn configure(mut text: String, lines: &[String]) -> Result<Settings, RunError> {
    for line in lines {
        text.push('\n');
        text.push_str(line);
    }
    config::parse(&text).map_err(RunError::Config)
}

const FATAL: &str = concat!(
    "\n*** FATAL CONFIG FILE ERROR (Duke ",
    env!("CARGO_PKG_VERSION"),
    ") ***"
);

fn fatal(error: &ConfigError) -> String {
    match error {
        ConfigError::Line { line, text, reason } => fatal_line(*line, text, reason),
        ConfigError::Missing { .. } => format!("{FATAL}\n{error}"),
    }
}

fn fatal_line(line: usize, text: &str, reason: &str) -> String {
    format!("{FATAL}\nReading the configuration file, at line {line}\n>>> '{text}'\n{reason}")
}

/// Opens every socket, then starts all tasks; the returned future is the driver.
fn assemble(settings: Settings) -> Result<impl Future<Output = ()>, RunError> {
    let secrets = secrets(&settings.users)?;
    let kept = remember(&settings.state)?;
    let listeners = listen(&settings.bind, settings.port).map_err(|source| RunError::Listen {
        port: settings.port,
        source,
    })?;

    let (client_sender, clients) = mpsc::channel(EVENTS_MAX);
    let (link_sender, links) = mpsc::channel(EVENTS_MAX);
    let (durable_sender, durable) = mpsc::unbounded_channel();
    let reception = Reception::open(places(settings.clients_max, 1), None, client_sender);
    for listener in listeners {
        tokio::spawn(accept(Entrance::Plain(listener), Arc::clone(&reception)));
    }
    info!(port = settings.port, kept = kept.is_some(), "started");
    let (errand_sender, errands) = mpsc::unbounded_channel();
    let store = Store::start(settings.state.clone(), Form::Sealed, durable_sender);
    let ready = settings
        .ready_port
        .map(|port| Ready::new(settings.bind.clone(), port));
    let engine = Engine::new(settings, secrets, kept, rand::random(), Time::default());
    let (errands_of_driver, _no_scripts) = Errands::new(errand_sender);
    let driver = Driver::new(
        engine,
        store,
        ready,
        link_sender,
        None,
        errands_of_driver,
        reception,
    );
    Ok(async move {
        let ended = driver
            .run(Sources {
                clients,
                links,
                durable,
                errands,
            })
            .await;
        info!(?ended, "ended");
    })
}

/// The passwords of all users; none without a folder, and then nobody can log in.
fn secrets(folder: &Path) -> Result<Secrets, SecretError> {
    if folder.as_os_str().is_empty() {
        return Ok(Secrets::default());
    }
    Ok(Secrets {
        data: secret::read(folder, "duke")?,
        admin: secret::read(folder, "operator")?,
        peer: secret::read(folder, "peer")?,
        agent: secret::read_optional(folder, "agent")?,
    })
}

/// What an earlier process made durable, if there was one.
fn remember(path: &Path) -> Result<Option<Durable>, RunError> {
    let Some(text) = store::load(path)? else {
        return Ok(None);
    };
    let kept = Durable::read(&text);
    kept.map(Some).map_err(|source| RunError::State {
        path: path.to_owned(),
        source,
    })
}

/// How many clients there may be, given how many files the system lets us open.
///
/// Asks it for as many as `wanted` clients and the links of `masters` need. Clients get what is left
/// beside the links, so that they can never take these from Duke; one at least.
pub(crate) fn places(wanted: usize, masters: usize) -> usize {
    let reserved = RESERVED_FILES.saturating_add(masters.saturating_mul(FILES_PER_MASTER));
    let needed = wanted.saturating_add(reserved);
    let files = allow_files(u64::try_from(needed).unwrap_or(u64::MAX));
    let most = usize::try_from(files)
        .unwrap_or(usize::MAX)
        .saturating_sub(reserved)
        .max(1);
    if most < wanted {
        warn!(
            wanted,
            most, files, reserved, "the limit of open files allows fewer clients than wanted"
        );
    }
    wanted.min(most)
}

/// Raises the limit of open files to `needed` if it is lower; says what it is then.
fn allow_files(needed: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= needed {
        return current;
    }
    let raised = needed.min(limit.maximum.unwrap_or(u64::MAX));
    let wanted = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => raised,
        Err(error) => {
            warn!(%error, "could not raise the limit of open files");
            current
        }
    }
}

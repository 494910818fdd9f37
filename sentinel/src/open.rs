//! The start of a Duke with a sentinel.conf of its own, in stock's order: read everything, enter the
//! folder, open every listening socket; only then is anything written.

use std::fs::{self, File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use duke_core::conf::{Conf, ConfError, Included, ServerConf, decode};
use duke_core::{Engine, Time};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::info;

use crate::connection::client::{Reception, accept};
use crate::connection::entrance::{Entrance, listen_locally};
use crate::connection::listener::listen;
use crate::connection::tls::{Caller, Tls};
use crate::driver::{Driver, Ended, Sources};
use crate::errand::{Errands, Scripts, is_executable};
use crate::log;
use crate::run::{EVENTS_MAX, RunError, places};
use crate::store::{Form, Store};

/// Opens every socket, then starts all tasks; the returned future is the driver. With it come files that
/// are to be removed at the end: the one with the process's number, and the socket.
pub(crate) fn assemble(
    path: &Path,
    text: &str,
    added: &[String],
) -> Result<(impl Future<Output = Ended>, Vec<PathBuf>, Scripts), RunError> {
    let mut conf = Conf::read_including(text, added, &include).map_err(RunError::Conf)?;
    let Prepared {
        path,
        entrances,
        caller,
        leavings,
    } = prepare(&mut conf, path)?;

    let (client_sender, clients) = mpsc::channel(EVENTS_MAX);
    let (link_sender, links) = mpsc::channel(EVENTS_MAX);
    let (durable_sender, durable) = mpsc::unbounded_channel();
    let (errand_sender, errands) = mpsc::unbounded_channel();
    let places = places(conf.server.clients_max, conf.masters.len());
    let reception = Reception::open(places, conf.server.idle_max, client_sender);
    for entrance in entrances {
        tokio::spawn(accept(entrance, Arc::clone(&reception)));
    }
    info!(
        port = conf.server.port,
        tls_port = conf.server.tls_port,
        "started"
    );
    let store = Store::start(path, Form::Plain, durable_sender);
    let engine = Engine::open(conf, rand::random(), Time::default());
    let (errands_of_driver, scripts) = Errands::new(errand_sender);
    let driver = Driver::new(
        engine,
        store,
        None,
        link_sender,
        caller,
        errands_of_driver,
        reception,
    );
    let running = async move {
        let ended = driver
            .run(Sources {
                clients,
                links,
                durable,
                errands,
            })
            .await;
        info!(?ended, "ended");
        ended
    };
    Ok((running, leavings, scripts))
}

/// The files an `include` names. Redis: a pattern may match none, anything else must be there.
fn include(wanted: &str) -> Result<Vec<Included>, String> {
    if !wanted.contains(['*', '?', '[']) {
        return Ok(vec![included(Path::new(wanted))?]);
    }
    let found = glob::glob(wanted).map_err(|error| format!("not a pattern of files: {error}"))?;
    found
        .map(|path| included(&path.map_err(|error| error.to_string())?))
        .collect()
}

fn included(path: &Path) -> Result<Included, String> {
    let path_shown = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| format!("can't open '{path_shown}': {error}"))?;
    Ok(Included {
        path: path_shown,
        text: decode(&bytes),
    })
}

/// Everything that can go wrong before anything is written.
struct Prepared {
    path: PathBuf,
    entrances: Vec<Entrance>,
    caller: Option<Caller>,
    leavings: Vec<PathBuf>,
}

fn prepare(conf: &mut Conf, path: &Path) -> Result<Prepared, RunError> {
    // Before the folder is entered: the path may be relative to where we were started.
    let path = fs::canonicalize(path).map_err(|source| RunError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(|source| RunError::NotWritable {
            path: path.clone(),
            source,
        })?;
    enter(&conf.server)?;
    check_scripts(conf)?;
    read_users(conf)?;
    let log_to = open_log(&conf.server)?;
    let has_log = log_to.is_some();
    log::start(log_to, Some(conf.server.loglevel));
    let opened = open_entrances(&conf.server);
    let (entrances, caller) = opened.map_err(|error| {
        if !has_log {
            return error;
        }
        // As stock: whoever named a log looks there.
        tracing::error!("{:#}", anyhow::Error::from(error));
        RunError::Logged
    })?;
    let pidfile = conf.server.pidfile.clone().map(PathBuf::from);
    if let Some(pidfile) = &pidfile {
        // As stock: a number that cannot be written is no reason not to run.
        drop(fs::write(pidfile, format!("{}\n", std::process::id())));
    }
    let local = Some(&conf.server.local.path).filter(|path| !path.is_empty());
    let leavings = pidfile.into_iter().chain(local.map(PathBuf::from));
    let leavings = leavings.collect();
    conf.path = path.display().to_string();
    conf.executable = std::env::current_exe()
        .map(|program| program.display().to_string())
        .unwrap_or_default();
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    conf.started_unix_ms = since_1970.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    Ok(Prepared {
        path,
        entrances,
        caller,
        leavings,
    })
}

/// Listens wherever clients may come in; says as well how links are to be made.
fn open_entrances(server: &ServerConf) -> Result<(Vec<Entrance>, Option<Caller>), RunError> {
    let Tls { door, caller } = Tls::read(server).map_err(RunError::Tls)?;
    let plain = listeners(server, server.port)?.into_iter();
    let mut entrances: Vec<Entrance> = plain.map(Entrance::Plain).collect();
    if let Some(door) = door {
        let secured = listeners(server, server.tls_port)?.into_iter();
        entrances.extend(secured.map(|listener| Entrance::Secured(listener, door.clone())));
    }
    // Last: a second process of this configuration fails at a port, and must not take the first one's.
    if !server.local.path.is_empty() {
        let local = listen_locally(&server.local).map_err(RunError::Local)?;
        entrances.push(Entrance::Local(local));
    }
    Ok((entrances, caller))
}

fn enter(server: &ServerConf) -> Result<(), RunError> {
    let Some(dir) = server.dir.clone() else {
        return Ok(());
    };
    std::env::set_current_dir(&dir).map_err(|source| RunError::Dir { dir, source })
}

fn check_scripts(conf: &Conf) -> Result<(), RunError> {
    for (path, reason) in conf.scripts() {
        if !is_executable(path) {
            return Err(RunError::Conf(ConfError {
                line: conf.document.line_of(path),
                text: path.to_owned(),
                reason: reason.to_owned(),
            }));
        }
    }
    Ok(())
}

fn read_users(conf: &mut Conf) -> Result<(), RunError> {
    let Some(aclfile) = conf.server.aclfile.clone() else {
        return Ok(());
    };
    let users = fs::read(&aclfile).map_err(|source| RunError::Unreadable {
        path: aclfile.into(),
        source,
    })?;
    conf.read_users(&decode(&users)).map_err(RunError::Conf)
}

fn open_log(server: &ServerConf) -> Result<Option<File>, RunError> {
    if server.logfile.is_empty() {
        return Ok(None);
    }
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&server.logfile);
    opened.map(Some).map_err(RunError::Log)
}

fn listeners(server: &ServerConf, port: u16) -> Result<Vec<TcpListener>, RunError> {
    if port == 0 {
        return Ok(Vec::new());
    }
    let wrong = |source| RunError::Listen { port, source };
    if server.bind.is_empty() {
        return listen(&[], port).map_err(wrong);
    }
    let mut listeners = Vec::new();
    for word in &server.bind {
        // Redis: an address behind a minus may be missing on this host.
        let (optional, word) = match word.strip_prefix('-') {
            Some(word) => (true, word),
            None => (false, word.as_str()),
        };
        let address = match word {
            "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            word => word
                .parse()
                .map_err(|_| RunError::Unsupported(format!("bind {word}")))?,
        };
        match listen(&[address], port) {
            Ok(opened) => listeners.extend(opened),
            Err(_) if optional => {}
            Err(source) => return Err(wrong(source)),
        }
    }
    Ok(listeners)
}

//! Where clients come in: TCP ports, with TLS or without, and a socket in the file system.
//!
//! Decides nothing about clients: takes them in, and makes one kind of stream of all of them.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duke_core::conf::LocalConf;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::debug;

use crate::connection::tls::{Door, Stream};

/// What groups there are.
const GROUPS: &str = "/etc/group";

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// A port for plain connections.
    Plain(TcpListener),
    /// A port for TLS.
    Secured(TcpListener, Door),
    /// A socket in the file system.
    Local(UnixListener),
}

/// Somebody who came in, and has said nothing yet.
#[derive(Debug)]
pub(crate) enum Guest {
    Plain(TcpStream, SocketAddr),
    Secured(TcpStream, SocketAddr, Door),
    Local(UnixStream),
}

impl Entrance {
    /// Waits for the next one.
    pub(crate) async fn accept(&self) -> io::Result<Guest> {
        match self {
            Self::Plain(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Guest::Plain(stream, address))
            }
            Self::Secured(listener, door) => {
                let (stream, address) = listener.accept().await?;
                Ok(Guest::Secured(stream, address, door.clone()))
            }
            Self::Local(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Guest::Local(stream))
            }
        }
    }
}

impl Guest {
    /// Where it comes from. Whoever comes by the file system is on this host, and nothing more is known.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Plain(_, address) | Self::Secured(_, address, _) => *address,
            Self::Local(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    /// Shows it out with a line. Best effort: the socket's buffer is empty, so the line fits or the client is
    /// gone.
    pub(crate) fn refuse(self, line: &[u8]) {
        let address = self.address();
        let told = match self {
            Self::Plain(stream, _) | Self::Secured(stream, ..) => stream.try_write(line),
            Self::Local(stream) => stream.try_write(line),
        };
        debug!(%address, ?told, "refused a client");
    }

    /// Shakes hands where that is to be done; None if it came to nothing.
    pub(crate) async fn enter(self) -> Option<Stream> {
        match self {
            Self::Plain(stream, _) => Some(Stream::Plain(Arc::new(stream))),
            Self::Secured(stream, address, door) => door.greet(stream, address).await,
            Self::Local(stream) => Some(Stream::Local(stream)),
        }
    }
}

/// A socket in the file system that cannot be listened on.
#[derive(Debug, Error)]
#[error("could not create the Unix socket '{}'", path.display())]
pub struct LocalError {
    path: PathBuf,
    source: io::Error,
}

/// Listens on a socket in the file system; one that an earlier process left behind is replaced.
///
/// # Errors
///
/// A path that cannot be used or is something else's, or a group that there is not.
pub(crate) fn listen_locally(conf: &LocalConf) -> Result<UnixListener, LocalError> {
    let path = PathBuf::from(&conf.path);
    let opened = || {
        let group = conf.group.as_deref().map(group_id).transpose()?;
        make_room(&path)?;
        let listener = UnixListener::bind(&path)?;
        if let Some(mode) = conf.permissions {
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        chown(&path, None, group)?;
        Ok(listener)
    };
    opened().map_err(|source| LocalError { path, source })
}

/// Removes a socket. Stock removes whatever is there.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something else already; name another path, or remove it",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The number of a group, which may be given as such.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string(Path::new(GROUPS))?;
    // As group(5): name:password:number:members
    let numbered = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    };
    groups
        .lines()
        .find_map(numbered)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group '{group}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_makes_room() {
        let path = std::env::temp_dir().join(format!("duke-room-{}", std::process::id()));
        fs::write(&path, "precious").unwrap();
        let conf = LocalConf {
            path: path.display().to_string(),
            ..LocalConf::default()
        };
        let refused = listen_locally(&conf).unwrap_err();
        assert_eq!(refused.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        make_room(&path).unwrap();
    }

    #[test]
    fn groups_have_numbers() {
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("42").unwrap(), 42);
        assert!(group_id("nobody knows it").is_err());
    }
}

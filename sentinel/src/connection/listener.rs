//! Listening sockets: opened before anything is written, on every address asked for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::warn;

/// Connections the kernel keeps until they are accepted; it lowers this to its own limit.
const BACKLOG: i32 = 1024;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("could not create server TCP listening socket {address}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens on `port` of every address in `addresses`, or of all there are if none is given.
///
/// # Errors
///
/// An address that is taken or not ours. Only when none was asked for may IPv6 be missing, since
/// many hosts have none.
pub(crate) fn listen(addresses: &[IpAddr], port: u16) -> Result<Vec<TcpListener>, ListenError> {
    if !addresses.is_empty() {
        return addresses
            .iter()
            .map(|ip| open(SocketAddr::new(*ip, port)))
            .collect();
    }
    let mut listeners = vec![open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?];
    // Port 0 means any; both families are to have the same one.
    let port = listeners
        .first()
        .and_then(|listener| listener.local_addr().ok());
    let address = SocketAddr::new(
        Ipv6Addr::UNSPECIFIED.into(),
        port.map_or(0, |own| own.port()),
    );
    match open(address) {
        Ok(listener) => listeners.push(listener),
        Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(error) => warn!(error = %error.source, "listens on IPv4 only"),
    }
    Ok(listeners)
}

fn open(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let opened = || {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    opened().map_err(|source| ListenError { address, source })
}

//! The way from the machine's loopback to a cluster's API server.
//!
//! The listening socket is made outside and inherited by a process inside the host's network namespace: a socket
//! stays in the namespace it was made in, so that process accepts outside and connects inside.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::{
    machine::Machine,
    name::{API_PORT, HOST_ADDRESS},
};
use crate::{
    place,
    process::{self, Identity},
};

/// Starts the forwarder; returns it and the port on 127.0.0.1 that leads to the API server.
pub(crate) fn start(host: &Machine, log: &Path) -> Result<(Identity, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on loopback")?;
    let port = listener.local_addr().context("asking for the port")?.port();
    let mut command = host.command(place::program()?);
    command.args(["forward", &format!("{HOST_ADDRESS}:{API_PORT}")]);
    command.stdin(OwnedFd::from(listener));
    Ok((process::spawn(&mut command, log)?, port))
}

/// What `testbed forward ADDRESS` does: serves the listening socket that is its standard input, for ever.
///
/// # Errors
/// When standard input is no listening socket.
pub async fn serve(target: SocketAddr) -> Result<()> {
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("taking standard input")?;
    let listener = TcpListener::from(socket);
    listener
        .set_nonblocking(true)
        .context("standard input is no socket")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("it does not listen")?;
    loop {
        let (mut outer, _) = listener.accept().await.context("accepting")?;
        tokio::spawn(async move {
            // A client whose server is away sees its connection closed, as by any proxy.
            if let Ok(mut inner) = TcpStream::connect(target).await {
                outer.set_nodelay(true).ok();
                inner.set_nodelay(true).ok();
                tokio::io::copy_bidirectional(&mut outer, &mut inner)
                    .await
                    .ok();
            }
        });
    }
}

//! The readiness port: a socket that listens only while Duke may be counted on.
//!
//! Who watches it needs no protocol: a connection is accepted and closed, or refused.

use std::net::IpAddr;
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::connection::listener::listen;

/// Rest after the port could not be opened.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Opens and closes the readiness port.
#[derive(Debug)]
pub(crate) struct Ready {
    addresses: Vec<IpAddr>,
    port: u16,
    listening: Option<AbortHandle>,
}

impl Ready {
    pub(crate) const fn new(addresses: Vec<IpAddr>, port: u16) -> Self {
        Self {
            addresses,
            port,
            listening: None,
        }
    }

    /// Listens from now on, or no longer.
    pub(crate) fn set(&mut self, ready: bool) {
        match (&self.listening, ready) {
            (Some(task), false) => {
                task.abort();
                self.listening = None;
                info!(port = self.port, "closed the readiness port");
            }
            (None, true) => {
                let task = tokio::spawn(serve(self.addresses.clone(), self.port));
                self.listening = Some(task.abort_handle());
                info!(port = self.port, "opened the readiness port");
            }
            (Some(_), true) | (None, false) => {}
        }
    }
}

async fn serve(addresses: Vec<IpAddr>, port: u16) {
    let listeners = loop {
        match listen(&addresses, port) {
            Ok(listeners) => break listeners,
            Err(error) => warn!(%error, "could not open the readiness port"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    };
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(async move {
            loop {
                if let Err(error) = listener.accept().await {
                    warn!(%error, "could not accept a readiness probe");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

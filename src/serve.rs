//! The operator's HTTP: `/healthz`, `/readyz`, `/metrics`.
//!
//! Health is local only: a process that answers is alive, whatever the API server does. Ready
//! means that the API server has answered us once; a standby is ready, too.

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::metrics::Metrics;

/// How many connections are served at once; more wait.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take to send a request's head.
const HEADER_LIMIT: Duration = Duration::from_secs(5);

/// What the probes see.
#[derive(Debug, Default)]
pub struct Readiness {
    ready: AtomicBool,
}

impl Readiness {
    /// The API server has answered.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Whether the process can do its work or stand by for it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = listen(address).await?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (accepted, place) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            both = async { (listener.accept().await, Arc::clone(&places).acquire_owned().await) } => both,
        };
        let (Ok((stream, peer)), Ok(place)) = (accepted, place) else {
            // Out of file descriptors: let some connections end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (metrics, readiness) = (Arc::clone(&metrics), Arc::clone(&readiness));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &metrics, &readiness);
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                debug!(%peer, %error, "lost an HTTP client");
            }
            drop(place);
        });
    }
}

/// Listens on an address; on all of IPv4 where all of IPv6 was asked for and there is none.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
    match TcpListener::bind(address).await {
        Err(error) if address == any && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// The answer to one request.
fn answer(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    if method != Method::GET {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match path {
        "/healthz" => respond(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if readiness.is_ready() => respond(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => respond(
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server has not answered yet\n".to_owned(),
        ),
        "/metrics" => {
            let mut response = respond(StatusCode::OK, metrics.text());
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static(
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                ),
            );
            response
        }
        _ => respond(StatusCode::NOT_FOUND, "no such page\n".to_owned()),
    }
}

fn respond(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &Method, path: &str, readiness: &Readiness) -> u16 {
        answer(method, path, &Metrics::new(), readiness)
            .status()
            .as_u16()
    }

    #[test]
    fn health_does_not_depend_on_the_api_server_and_readiness_does() {
        let readiness = Readiness::default();
        assert_eq!(status(&Method::GET, "/healthz", &readiness), 200);
        assert_eq!(status(&Method::GET, "/readyz", &readiness), 503);
        readiness.set_ready();
        assert_eq!(status(&Method::GET, "/readyz", &readiness), 200);
    }

    #[test]
    fn anything_else_is_refused() {
        let readiness = Readiness::default();
        assert_eq!(status(&Method::POST, "/metrics", &readiness), 405);
        assert_eq!(status(&Method::GET, "/secrets", &readiness), 404);
        assert_eq!(status(&Method::GET, "/metrics", &readiness), 200);
    }
}

//! What the kubelet asks: `/ready`, whether the server may be counted on, and `/stopping`, which is
//! answered when the server may be stopped.
//!
//! Anybody may ask, and nobody changes anything by it: `/stopping` waits for a hand-over that the order
//! to stop began, and begins none. Requests, connections and the time they take are bounded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::connections::Connections;
use crate::handover::Phase;
use crate::monitor::Monitor;

/// How old the answer may be that `/ready` goes by; a newer one is asked for otherwise.
const AGE: Duration = Duration::from_millis(200);
/// How long `/ready` waits for a newer answer. The kubelet waits a second.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long `/ready` puts off a no that is no news. The kubelet asks once a second: so it hears of a
/// server that becomes ready at once, and not at its next question.
const HOPE: Duration = Duration::from_millis(800);
/// From one look at the server to the next meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// How long `/stopping` waits for the order to stop. The kubelet gives it at the same time, to another
/// process; if it does not come, only the server is being stopped, and there is nothing to wait for.
const ORDER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a client may take to say what it wants.
const REQUEST_PATIENCE: Duration = Duration::from_secs(2);
/// The largest request, in bytes: the least that hyper allows.
const REQUEST_BYTES_MAX: usize = 8192;
/// How long answers may take beyond the grace period.
const EXTRA: Duration = Duration::from_secs(5);
/// Rest after the port could not be listened on, or a connection not accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// What requests are answered from.
#[derive(Debug)]
pub struct Endpoints {
    /// What is known of the server.
    pub monitor: Arc<Monitor>,
    /// How far its end has come.
    pub phase: watch::Receiver<Phase>,
    /// How long a hand-over may take.
    pub grace_period: Duration,
    /// Whether the last answer to `/ready` was no.
    pub denied: AtomicBool,
}

/// Serves for ever.
///
/// An address that cannot be listened on yet is tried again: the host's network may come up later
/// than the process.
pub async fn serve(address: SocketAddr, endpoints: Endpoints) -> ! {
    let endpoints = Arc::new(endpoints);
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => warn!(%address, %error, "could not listen"),
        }
        sleep(PAUSE).await;
    };
    info!(%address, "listens");
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let task = tokio::spawn(converse(stream, Arc::clone(&endpoints)));
                connections.admit(peer.ip(), task.abort_handle());
            }
            Err(error) => {
                warn!(%error, "could not accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one request.
async fn converse(stream: TcpStream, endpoints: Arc<Endpoints>) {
    let service = service_fn(|request: Request<Incoming>| {
        let endpoints = Arc::clone(&endpoints);
        async move { Ok::<_, Infallible>(endpoints.answer(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_PATIENCE)
        .max_buf_size(REQUEST_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(endpoints.grace_period + EXTRA, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "lost a client"),
        Err(_) => debug!("a client took too long"),
    }
}

impl Endpoints {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return respond(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match request.uri().path() {
            "/ready" => self.ready().await,
            "/stopping" => respond(StatusCode::OK, format!("{}\n", self.stopping().await)),
            _ => respond(StatusCode::NOT_FOUND, "no such page\n".to_owned()),
        }
    }

    async fn ready(&self) -> Response<Full<Bytes>> {
        let begun = Instant::now();
        let mut verdict = self.look(AGE, PATIENCE).await;
        while verdict.is_err() && self.denied.load(Ordering::Relaxed) {
            sleep(LOOK).await;
            let left = HOPE.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            verdict = self.look(LOOK, left.min(PATIENCE)).await;
        }
        self.denied.store(verdict.is_err(), Ordering::Relaxed);
        match verdict {
            Ok(role) => respond(StatusCode::OK, format!("{role}\n")),
            Err(reason) => respond(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    }

    /// Whether the server may be counted on, by an answer that is no older than `age`, if one comes in time.
    async fn look(&self, age: Duration, patience: Duration) -> Result<&'static str, String> {
        let knowledge = self.monitor.look(age, patience).await;
        knowledge.readiness(Instant::now())
    }

    /// Waits until the server may be stopped; says why it may.
    async fn stopping(&self) -> &'static str {
        let mut phase = self.phase.clone();
        let ordered = phase.wait_for(|phase| *phase != Phase::Running);
        if timeout(ORDER_PATIENCE, ordered).await.is_err() {
            return "nobody ordered the agent to stop";
        }
        // The other end is dropped only with the process.
        drop(phase.wait_for(|phase| *phase == Phase::Over).await);
        "the hand-over is over"
    }
}

fn respond(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::stage::{DEMOTED, IN_SYNC, MASTER, Server};

    struct Scene {
        endpoints: Endpoints,
        phase: watch::Sender<Phase>,
    }

    fn scene(server: &Server) -> Scene {
        let monitor = Arc::new(Monitor::new(server.address, server.users.clone()));
        let running = Arc::clone(&monitor);
        tokio::spawn(async move { running.run().await });
        let (phase, receiver) = watch::channel(Phase::Running);
        let endpoints = Endpoints {
            monitor,
            phase: receiver,
            grace_period: Duration::from_secs(30),
            denied: AtomicBool::new(true),
        };
        Scene { endpoints, phase }
    }

    impl Scene {
        async fn get(&self, path: &str) -> (u16, String) {
            self.ask(&Method::GET, path).await
        }

        async fn ask(&self, method: &Method, path: &str) -> (u16, String) {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(())
                .unwrap();
            let response = self.endpoints.answer(&request).await;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ready_follows_the_server_from_one_probe_to_the_next() {
        let server = Server::start(DEMOTED);
        let scene = scene(&server);
        assert_eq!(scene.get("/ready").await.0, 503);
        for (role, status) in [(IN_SYNC, 200), (MASTER, 200), (DEMOTED, 503)] {
            server.become_role(role);
            sleep(Duration::from_millis(300)).await;
            assert_eq!(scene.get("/ready").await.0, status, "{role:?}");
        }
        server.become_role(&["LOADING Redis is loading the dataset in memory"]);
        sleep(Duration::from_millis(300)).await;
        let expected = (503, "the server is loading its data\n".to_owned());
        assert_eq!(scene.get("/ready").await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_becomes_ready_is_told_of_before_the_next_probe() {
        let server = Server::start(DEMOTED);
        let scene = scene(&server);
        let begun = Instant::now();
        let sync = async {
            sleep(Duration::from_millis(500)).await;
            server.become_role(IN_SYNC);
        };
        let ((status, _), ()) = tokio::join!(scene.get("/ready"), sync);
        assert_eq!(status, 200);
        assert!(begun.elapsed() <= Duration::from_millis(600));
        // That it is ready no longer is told at once.
        server.become_role(DEMOTED);
        sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        assert_eq!(scene.get("/ready").await.0, 503);
        assert!(begun.elapsed() <= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn ready_is_answered_in_time_whatever_the_server_does() {
        let server = Server::start(MASTER);
        let scene = scene(&server);
        assert_eq!(scene.get("/ready").await.0, 200);
        server.hold(true);
        for second in 0..30 {
            let begun = Instant::now();
            let (status, text) = scene.get("/ready").await;
            assert!(begun.elapsed() <= Duration::from_millis(900));
            let expected = if second < 5 { 200 } else { 503 };
            assert!(
                status == expected || (5..=7).contains(&second),
                "{second} s: {text}"
            );
            sleep(Duration::from_secs(1).saturating_sub(begun.elapsed())).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_is_answered_when_the_hand_over_is_over() {
        let server = Server::start(MASTER);
        let scene = scene(&server);
        let begun = Instant::now();
        let hand_over = async {
            sleep(Duration::from_secs(1)).await;
            scene.phase.send_replace(Phase::HandingOver);
            sleep(Duration::from_secs(10)).await;
            scene.phase.send_replace(Phase::Over);
        };
        let ((status, _), ()) = tokio::join!(scene.get("/stopping"), hand_over);
        assert_eq!(status, 200);
        assert_eq!(begun.elapsed(), Duration::from_secs(11));
        assert_eq!(scene.get("/stopping").await.0, 200);
        assert_eq!(begun.elapsed(), Duration::from_secs(11), "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_causes_nothing_and_does_not_hang() {
        let server = Server::start(MASTER);
        let scene = scene(&server);
        let begun = Instant::now();
        let (status, text) = scene.get("/stopping").await;
        assert_eq!(
            (status, text.as_str()),
            (200, "nobody ordered the agent to stop\n")
        );
        assert_eq!(begun.elapsed(), ORDER_PATIENCE);
        assert_eq!(*scene.phase.borrow(), Phase::Running);
    }

    #[tokio::test(start_paused = true)]
    async fn anything_else_is_refused() {
        let server = Server::start(MASTER);
        let scene = scene(&server);
        for (method, path, status) in [
            (Method::POST, "/stopping", 405),
            (Method::DELETE, "/ready", 405),
            (Method::GET, "/", 404),
            (Method::GET, "/ready/../stopping", 404),
        ] {
            assert_eq!(scene.ask(&method, path).await.0, status, "{method} {path}");
        }
    }
}

//! From settings to a running agent, and from the order to stop to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::handover::{Handover, Phase};
use crate::http::{Endpoints, serve};
use crate::monitor::Monitor;
use crate::readiness::Contact;
use crate::settings::Settings;

/// From one look for the server to the next, when only its end is awaited.
const LOOK: Duration = Duration::from_millis(50);
/// How long one such look may take.
const LOOK_PATIENCE: Duration = Duration::from_millis(500);
/// How long a server that is not there may still be starting, and somebody ask whether it may stop.
const LATE: Duration = Duration::from_secs(2);

/// Runs until the agent was told to stop and the server is gone.
///
/// # Errors
///
/// When the signals of the operating system cannot be heard.
pub async fn run(settings: Settings) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let monitor = Arc::new(Monitor::new(settings.server, settings.users.clone()));
    let (phase, phases) = watch::channel(Phase::Running);
    let endpoints = Endpoints {
        monitor: Arc::clone(&monitor),
        phase: phases,
        grace_period: settings.grace_period,
        denied: AtomicBool::new(true),
    };
    let address = SocketAddr::new(settings.announce_ip, settings.port);
    let asking = Arc::clone(&monitor);
    tokio::spawn(async move { asking.run().await });
    tokio::spawn(async move { serve(address, endpoints).await });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("was told to stop");
    let told = Instant::now();
    phase.send_replace(Phase::HandingOver);
    let is_there = !is_gone(&monitor).await;
    Handover::new(
        &monitor,
        settings.announced(),
        settings.dukes.clone(),
        &settings.users,
        settings.grace_period,
    )
    .run()
    .await;
    phase.send_replace(Phase::Over);
    while !is_gone(&monitor).await || !(is_there || told.elapsed() > LATE) {
        sleep(LOOK).await;
    }
    info!("ended, for the server is gone");
    Ok(())
}

async fn is_gone(monitor: &Monitor) -> bool {
    let knowledge = monitor.look(LOOK, LOOK_PATIENCE).await;
    knowledge.contact == Contact::Absent
}

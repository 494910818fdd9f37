//! The operator's life: serve, stand for the Lease, work while it is held, give it back.
//!
//! A replica that lost the Lease ends its process at once. Whatever it was about to write could
//! reach the API server after another replica has begun; a fresh process has nothing in mind.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::{Client, Config};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    cli::Run,
    controller::{self, Setup, resolve::Defaults},
    leadership::Leader,
    metrics::Metrics,
    serve::{self, Readiness},
    shutdown,
};

/// How long a request to the API server may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How long passes that are under way may take to end after a signal.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);

/// Runs until a signal, or until the lead is lost.
///
/// # Errors
/// When the API server cannot be found, the address for HTTP is taken, or the lead was lost.
pub async fn run(arguments: Run) -> anyhow::Result<()> {
    let stop = shutdown::on_signal().context("watching for signals")?;
    let config = Config::infer().await.context("finding the API server")?;
    let requests = requests(config.clone())?;
    let watches = Client::try_from(config).context("making a client for watches")?;
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::default());
    // Probes are answered until the very end: giving the lease back takes a moment.
    let never = CancellationToken::new();
    let serving = serve::serve(
        arguments.listen,
        Arc::clone(&metrics),
        Arc::clone(&readiness),
        never,
    );
    let instance = format!("{}_{:08x}", arguments.pod_name, rand::random::<u32>());
    let mut leader = Leader::new(
        requests.clone(),
        &arguments.pod_namespace,
        &arguments.lease_name,
        instance.clone(),
    );
    let setup = Setup {
        requests,
        watches,
        namespace: Some(arguments.watch_namespace).filter(|namespace| !namespace.is_empty()),
        defaults: Defaults {
            duke_image: arguments.duke_image,
        },
        metrics: Arc::clone(&metrics),
        instance,
    };
    info!(version = env!("CARGO_PKG_VERSION"), "started");
    tokio::select! {
        served = serving => served.with_context(|| format!("serving on {}", arguments.listen)),
        led = lead(&mut leader, setup, &metrics, &readiness, &stop) => led,
    }
}

/// Waits for the lead, and works while it lasts.
async fn lead(
    leader: &mut Leader,
    setup: Setup,
    metrics: &Metrics,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = leader.stand(|| readiness.set_ready()) => {}
    }
    metrics.lead(true);
    let mut working = std::pin::pin!(controller::run(setup, stop.clone()));
    tokio::select! {
        lost = leader.hold() => {
            error!(error = %lost, "lost the lead, ending the process");
            return Err(lost.into());
        }
        () = &mut working => {}
        () = async {
            stop.cancelled().await;
            tokio::time::sleep(FAREWELL_LIMIT).await;
        } => {}
    }
    leader.give_back().await;
    Ok(())
}

/// A client for requests: bounded, and without retries of its own. Retrying is the controller's
/// business, and a refused eviction must not be taken for a server that is busy.
fn requests(mut config: Config) -> anyhow::Result<Client> {
    config.read_timeout = Some(REQUEST_LIMIT);
    config.write_timeout = Some(REQUEST_LIMIT);
    config.default_retry = false;
    Client::try_from(config).context("making a client for requests")
}

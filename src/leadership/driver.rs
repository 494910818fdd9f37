//! Carries the election's moves to the API server.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tracing::{info, warn};

use super::{Election, Move, Record, Terms};

/// How long one request about the lease may take; two fit between a renewal and giving up.
const REQUEST_LIMIT: Duration = Duration::from_millis(1_500);

/// Pause after a failed request.
const RETRY: Duration = Duration::from_millis(250);

/// The lease could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// No renewal succeeded in time.
    #[error("the lease was not renewed within {} ms", .limit.as_millis())]
    Expired {
        /// The time allowed.
        limit: Duration,
    },
    /// Another replica's name is in the lease.
    #[error("the lease was taken by {holder}")]
    Taken {
        /// The other one.
        holder: String,
    },
}

/// One replica standing for, and then holding, the lease.
pub struct Leader {
    api: Api<Lease>,
    name: String,
    election: Election,
    acquired: Option<Timestamp>,
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leader")
            .field("election", &self.election)
            .finish_non_exhaustive()
    }
}

impl Leader {
    /// A candidate for the lease `name` in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            election: Election::new(identity, Terms::DEFAULT),
            acquired: None,
        }
    }

    /// Waits until this replica leads. `looked` is called after every answered look.
    pub async fn stand(&mut self, looked: impl Fn()) {
        info!(
            identity = self.election.identity(),
            lease = self.name,
            "stood for the lease"
        );
        loop {
            match self.step().await {
                Ok(pause) => {
                    looked();
                    if self.election.leads(Instant::now()) {
                        info!(identity = self.election.identity(), "took the lead");
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(error) => {
                    warn!(%error, lease = self.name, "failed to look at the lease");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Renews until the lease is lost; resolves then, never before.
    pub async fn hold(&mut self) -> Lost {
        loop {
            let limit = self.election.terms().give_up;
            let Some(until) = self.election.leads_until() else {
                return Lost::Expired { limit };
            };
            let renewed = tokio::time::timeout_at(until.into(), async {
                tokio::time::sleep(self.election.terms().renew).await;
                loop {
                    match self.renew().await {
                        Ok(taken) => return taken,
                        Err(error) => warn!(%error, lease = self.name, "failed to renew the lease"),
                    }
                    tokio::time::sleep(RETRY).await;
                }
            })
            .await;
            match renewed {
                Ok(None) => {}
                Ok(Some(holder)) => return Lost::Taken { holder },
                Err(_elapsed) => return Lost::Expired { limit },
            }
        }
    }

    /// Gives the lease back so that a standby need not wait for it to expire.
    pub async fn give_back(&mut self) {
        let Ok(Some(record)) = self.read().await else {
            return;
        };
        if record.holder != self.election.identity() {
            return;
        }
        let version = record.resource_version.clone();
        match self.write(Some(version), record.transitions, "").await {
            Ok(()) => info!(lease = self.name, "gave the lease back"),
            Err(error) => warn!(%error, lease = self.name, "failed to give the lease back"),
        }
        self.election.depose();
    }

    /// One renewal; the name of the new holder if it is no longer us.
    async fn renew(&mut self) -> Result<Option<String>, kube::Error> {
        let record = self.read().await?;
        if let Some(record) = &record
            && record.holder != self.election.identity()
        {
            self.election.depose();
            return Ok(Some(record.holder.clone()));
        }
        self.carry_out(record.as_ref()).await?;
        Ok(None)
    }

    /// One look and, if it is ours to take, one write; says how long to wait before the next.
    async fn step(&mut self) -> Result<Duration, kube::Error> {
        let record = self.read().await?;
        self.carry_out(record.as_ref()).await
    }

    async fn carry_out(&mut self, record: Option<&Record>) -> Result<Duration, kube::Error> {
        let sent = Instant::now();
        let identity = self.election.identity().to_owned();
        let (version, transitions) = match self.election.judge(sent, record) {
            Move::Create => (None, 0),
            Move::Renew {
                resource_version,
                transitions,
            }
            | Move::Take {
                resource_version,
                transitions,
            } => (Some(resource_version), transitions),
            Move::Wait(pause) => return Ok(pause),
        };
        self.write(version, transitions, &identity).await?;
        self.election.confirm(sent);
        Ok(self.election.terms().renew)
    }

    async fn read(&self) -> Result<Option<Record>, kube::Error> {
        let lease = bounded(self.api.get_opt(&self.name)).await?;
        Ok(lease.map(|lease| {
            let spec = lease.spec.unwrap_or_default();
            let seconds = spec.lease_duration_seconds.unwrap_or(0);
            Record {
                resource_version: lease.metadata.resource_version.unwrap_or_default(),
                holder: spec.holder_identity.unwrap_or_default(),
                lease: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
                transitions: spec.lease_transitions.unwrap_or(0),
            }
        }))
    }

    async fn write(
        &mut self,
        version: Option<String>,
        transitions: i32,
        holder: &str,
    ) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let acquired = *self.acquired.get_or_insert(now);
        let seconds = self.election.terms().lease.as_secs();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(MicroTime(acquired)),
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
                lease_transitions: Some(transitions),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams::default();
        if version.is_some() {
            bounded(self.api.replace(&self.name, &params, &lease)).await?;
        } else {
            bounded(self.api.create(&params, &lease)).await?;
        }
        Ok(())
    }
}

/// One request with the lease's own, short limit.
async fn bounded<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(REQUEST_LIMIT, request)
        .await
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))))
}

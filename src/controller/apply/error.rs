//! Why a step could not be taken, and what that means for the next pass.

use crate::redis;

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("{step} {target} was not accepted")]
    Api {
        /// The kind of step.
        step: &'static str,
        /// What it was about.
        target: String,
        /// The API server's words.
        source: Box<kube::Error>,
    },
    /// An object of the name that we want belongs to somebody else.
    #[error(
        "{target} exists already and is somebody else's: {why}. It is left as it is; rename or \
         delete it, or give the Pipeline another name"
    )]
    Foreign {
        /// Its kind and name.
        target: String,
        /// Why it is not ours, a clause.
        why: String,
    },
    /// There are no credentials yet to talk to servers with.
    #[error("{step} needs credentials that do not exist yet")]
    NoCredentials {
        /// The kind of step.
        step: &'static str,
    },
    /// A data node or Duke refused, or could not be reached.
    #[error("{step} was not accepted")]
    Server {
        /// The kind of step.
        step: &'static str,
        /// What the server said or did.
        source: redis::Error,
    },
}

impl Error {
    /// One word for metrics and backoff.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api { source, .. } if is_conflict(source) => "Conflict",
            Self::Api { source, .. } if is_gone(source) => "Gone",
            Self::Api { .. } => "ApiRefused",
            Self::Foreign { .. } => "ForeignObject",
            Self::NoCredentials { .. } => "NoCredentials",
            Self::Server { source, .. } => source.reason(),
        }
    }

    /// Whether the server did not even answer.
    pub(super) fn is_deaf(&self) -> bool {
        match self {
            Self::Server { source, .. } => source.answer().is_none(),
            Self::Api { .. } | Self::Foreign { .. } | Self::NoCredentials { .. } => false,
        }
    }

    /// Whether the world merely moved on since it was observed: look again, nothing is wrong.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Api { source, .. } => is_conflict(source) || is_gone(source),
            Self::Server { source, .. } => matches!(source, redis::Error::Changed { .. }),
            Self::Foreign { .. } | Self::NoCredentials { .. } => false,
        }
    }

    /// What people have to know of it; the API server's words in full.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Api { target, source, .. } => format!("{target}: {source}"),
            Self::Foreign { .. } | Self::NoCredentials { .. } | Self::Server { .. } => {
                self.to_string()
            }
        }
    }
}

fn status_code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error {
        Some(status.code)
    } else {
        None
    }
}

pub(super) fn is_conflict(error: &kube::Error) -> bool {
    status_code(error) == Some(409)
}

pub(super) fn is_gone(error: &kube::Error) -> bool {
    status_code(error) == Some(404)
}

//! The operator's client to data nodes and Dukes.
//!
//! Everything here is I/O with a bound: a connection that cannot be opened and a question that is
//! not answered in time are values ([`Error`]), never a hang. Decisions are made elsewhere, from
//! what [`node`] and [`duke`] report. No secret leaves this module: [`Credentials`] does not print
//! its password, and errors carry the server's words only.

use std::{fmt, net::SocketAddr, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, aio::MultiplexedConnection,
};

pub mod duke;
pub mod history;
pub mod info;
pub mod listen;
pub mod node;

/// Who the operator is at a data node or a Duke.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The ACL user.
    pub user: String,
    /// Its password, never printed.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// Why a question to a server has no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The server answered with an error; its own words.
    #[error("{address} answered: {message}")]
    Answered {
        /// The server.
        address: SocketAddr,
        /// Its error text, code first.
        message: String,
    },
    /// The server is not what was decided on any more, so it was left alone.
    #[error("{address} was left alone: {message}")]
    Changed {
        /// The server.
        address: SocketAddr,
        /// What is different.
        message: String,
    },
    /// The answer has a shape that the protocol does not have.
    #[error("{address} sent an answer that cannot be read: {message}")]
    Garbled {
        /// The server.
        address: SocketAddr,
        /// What is wrong with it.
        message: String,
    },
    /// No connection, or it broke before the answer.
    #[error("{address} is not reachable: {message}")]
    Unreachable {
        /// The server.
        address: SocketAddr,
        /// The operating system's words.
        message: String,
    },
    /// Nothing came within the time allowed.
    #[error("{address} did not answer within {} ms", .limit.as_millis())]
    Silent {
        /// The server.
        address: SocketAddr,
        /// The time allowed.
        limit: Duration,
    },
}

impl Error {
    /// One word for logs, conditions and metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Answered { .. } => "Answered",
            Self::Changed { .. } => "Changed",
            Self::Garbled { .. } => "Garbled",
            Self::Silent { .. } => "Silent",
            Self::Unreachable { .. } => "Unreachable",
        }
    }

    /// The server's error text if it answered with one.
    #[must_use]
    pub fn answer(&self) -> Option<&str> {
        match self {
            Self::Answered { message, .. } => Some(message),
            Self::Changed { .. }
            | Self::Garbled { .. }
            | Self::Silent { .. }
            | Self::Unreachable { .. } => None,
        }
    }

    /// Sorts a client library's error into one of ours.
    fn from_redis(address: SocketAddr, limit: Duration, error: &RedisError) -> Self {
        let message = error.to_string();
        if error.is_timeout() {
            return Self::Silent { address, limit };
        }
        if error.is_io_error() || error.is_connection_dropped() {
            return Self::Unreachable { address, message };
        }
        match error.code() {
            Some(code) => Self::Answered {
                address,
                message: format!("{code} {}", error.detail().unwrap_or_default()),
            },
            None => Self::Garbled { address, message },
        }
    }
}

/// One authenticated connection to a server, for a handful of questions.
///
/// Opened for one round of questions and dropped: a pooled connection would hide that the node
/// behind it has become unreachable, and at one round every few seconds it would save nothing.
pub struct Connection {
    address: SocketAddr,
    limit: Duration,
    inner: MultiplexedConnection,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.address)
    }
}

impl Connection {
    /// Connects and authenticates; `limit` bounds the connection and then each question.
    ///
    /// # Errors
    /// Whatever keeps the server from accepting us.
    pub async fn open(
        address: SocketAddr,
        credentials: &Credentials,
        limit: Duration,
    ) -> Result<Self, Error> {
        let client = client(address, credentials)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit));
        let opened = tokio::time::timeout(
            limit,
            client.get_multiplexed_async_connection_with_config(&config),
        )
        .await;
        match opened {
            Ok(Ok(inner)) => Ok(Self {
                address,
                limit,
                inner,
            }),
            Ok(Err(error)) => Err(Error::from_redis(address, limit, &error)),
            Err(_elapsed) => Err(Error::Silent { address, limit }),
        }
    }

    /// The server at the other end.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks one question and reads its answer as `T`.
    ///
    /// # Errors
    /// The server's error answer, silence, a broken connection, or an answer that is no `T`.
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Error> {
        let asked =
            tokio::time::timeout(self.limit, command.query_async::<T>(&mut self.inner)).await;
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::from_redis(self.address, self.limit, &error)),
            Err(_elapsed) => Err(Error::Silent {
                address: self.address,
                limit: self.limit,
            }),
        }
    }
}

/// A client for one address; nothing is sent before it is asked to connect.
fn client(address: SocketAddr, credentials: &Credentials) -> Result<Client, Error> {
    let garbled = |error: &RedisError| Error::Garbled {
        address,
        message: error.to_string(),
    };
    let settings = RedisConnectionInfo::default()
        .set_username(&credentials.user)
        .set_password(&credentials.password)
        .set_skip_set_lib_name();
    let info = ConnectionAddr::Tcp(address.ip().to_string(), address.port())
        .into_connection_info()
        .map_err(|error| garbled(&error))?
        .set_redis_settings(settings);
    Client::open(info).map_err(|error| garbled(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_print_no_password() {
        let credentials = Credentials {
            user: "operator".into(),
            password: "hunter2".into(),
        };
        assert_eq!(format!("{credentials:?}"), "Credentials(operator)");
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_and_not_a_hang() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let credentials = Credentials {
            user: "operator".into(),
            password: "x".into(),
        };
        let error = Connection::open(address, &credentials, Duration::from_secs(5))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "Unreachable");
    }

    #[tokio::test]
    async fn a_mute_server_is_silent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let credentials = Credentials {
            user: "operator".into(),
            password: "x".into(),
        };
        let error = Connection::open(address, &credentials, Duration::from_millis(20))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "Silent");
    }
}

//! TLS: what the `tls-*` directives mean for accepting connections and for making them.
//!
//! Decides who is trusted, what is presented, and how long and how many handshakes may be under way.
//! Reads the files named once, at the start. As stock does, peers must have a certificate of a trusted
//! authority, and whatever name stands in it: data servers are known by address.

mod files;
mod stream;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duke_core::conf::ServerConf;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::debug;

pub(crate) use self::stream::Stream;
use self::verify::ChainVerifier;

/// Handshakes of clients under way at a time; a connection beyond is closed.
const HANDSHAKES_MAX: usize = 1024;
/// How long a client's handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// TLS directives that cannot be obeyed.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A key that needs a password to be read.
    #[error("the private key '{}' is encrypted; Duke reads plain keys only", .0.display())]
    Encrypted(PathBuf),
    /// A certificate and a key that do not belong together, or that cannot be used.
    #[error("cannot use the certificate '{}' with the key '{}'", certificate.display(), key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// A directive that the others make necessary.
    #[error("no {0} configured")]
    Missing(&'static str),
    /// Nobody is trusted, and somebody must be.
    #[error(
        "either tls-ca-cert-file or tls-ca-cert-dir must be given when tls-replication or tls-auth-clients is enabled"
    )]
    NoAuthority,
    /// A file without what it is to hold.
    #[error("'{}' holds no {what} that Duke can read", path.display())]
    Nothing {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A combination that no handshake could succeed with.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    /// A file that cannot be read.
    #[error("cannot read '{}'", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A directive whose meaning Duke has no means for.
    #[error("'{0}' is not supported; remove the line")]
    Unsupported(String),
    /// None of the protocols can be spoken.
    #[error("tls-protocols must name TLSv1.2 or TLSv1.3")]
    Versions,
}

/// Both directions, as configured.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// For clients that come to the TLS port, if there is one.
    pub(crate) door: Option<Door>,
    /// For links to servers and sentinels, if they are to use TLS.
    pub(crate) caller: Option<Caller>,
}

impl Tls {
    /// Reads everything the directives name; nothing if none of them turns TLS on.
    pub(crate) fn read(conf: &ServerConf) -> Result<Self, TlsError> {
        let calls = word(conf, "tls-replication") == Some("yes");
        if conf.tls_port == 0 && !calls {
            return Ok(Self::default());
        }
        refuse_unsupported(conf)?;
        let provider = Arc::new(ring::default_provider());
        let versions = versions(word(conf, "tls-protocols"))?;
        let identity = Identity::read(conf, "tls-cert-file", "tls-key-file")?
            .ok_or(TlsError::Missing("tls-cert-file"))?;
        let asks = word(conf, "tls-auth-clients").unwrap_or("yes");
        let trusted = Arc::new(files::authorities(
            word(conf, "tls-ca-cert-file"),
            word(conf, "tls-ca-cert-dir"),
        )?);
        if trusted.is_empty() && (calls || asks != "no") {
            return Err(TlsError::NoAuthority);
        }
        let caller = if calls {
            let own = Identity::read(conf, "tls-client-cert-file", "tls-client-key-file")?;
            let own = own.as_ref().unwrap_or(&identity);
            Some(Caller::new(&provider, &versions, &trusted, own)?)
        } else {
            None
        };
        let door = if conf.tls_port == 0 {
            None
        } else {
            let own_order = word(conf, "tls-prefer-server-ciphers") == Some("yes");
            Some(Door::new(
                &provider, &versions, &trusted, asks, own_order, &identity,
            )?)
        };
        Ok(Self { door, caller })
    }
}

/// A directive's value; an empty one counts as none, as in stock.
fn word<'a>(conf: &'a ServerConf, name: &str) -> Option<&'a str> {
    let value = conf.tls.get(name)?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}

/// To ignore these would be to accept what somebody wanted refused.
fn refuse_unsupported(conf: &ServerConf) -> Result<(), TlsError> {
    for name in ["tls-ciphers", "tls-ciphersuites"] {
        if word(conf, name).is_some() {
            return Err(TlsError::Unsupported(name.to_owned()));
        }
    }
    match word(conf, "tls-auth-clients-user") {
        None | Some("off") => Ok(()),
        Some(_) => Err(TlsError::Unsupported("tls-auth-clients-user".to_owned())),
    }
}

/// The versions spoken. Older ones may be named, and are not spoken.
fn versions(words: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let known = [("tlsv1.2", &version::TLS12), ("tlsv1.3", &version::TLS13)];
    let named = |name: &str| {
        words.is_none_or(|words| {
            words
                .split_whitespace()
                .any(|word| word.eq_ignore_ascii_case(name))
        })
    };
    let spoken: Vec<_> = known
        .into_iter()
        .filter(|(name, _)| named(name))
        .map(|(_, version)| version)
        .collect();
    if spoken.is_empty() {
        return Err(TlsError::Versions);
    }
    Ok(spoken)
}

/// Who we are, to others.
struct Identity {
    certificate: PathBuf,
    key_file: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The identity in two files; None if no certificate is configured.
    fn read(
        conf: &ServerConf,
        certificate: &'static str,
        key: &'static str,
    ) -> Result<Option<Self>, TlsError> {
        let (chain, key) = match (word(conf, certificate), word(conf, key)) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(TlsError::Missing(certificate)),
            (Some(_), None) => return Err(TlsError::Missing(key)),
            (Some(chain), Some(key)) => (chain, key),
        };
        Ok(Some(Self {
            certificate: chain.into(),
            key_file: key.into(),
            chain: files::chain(chain)?,
            key: files::key(key)?,
        }))
    }

    fn unfit(&self, source: rustls::Error) -> TlsError {
        TlsError::Identity {
            certificate: self.certificate.clone(),
            key: self.key_file.clone(),
            source,
        }
    }
}

/// The way in: handshakes of clients.
#[derive(Clone)]
pub(crate) struct Door {
    acceptor: TlsAcceptor,
    pending: Arc<Semaphore>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    fn new(
        provider: &Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
        trusted: &Arc<RootCertStore>,
        asks: &str,
        own_order: bool,
        identity: &Identity,
    ) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Setup)?;
        let builder = if asks == "no" {
            builder.with_no_client_auth()
        } else {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::clone(trusted),
                Arc::clone(provider),
            );
            let verifier = if asks == "optional" {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let built = verifier.build().map_err(|_| TlsError::NoAuthority)?;
            builder.with_client_cert_verifier(built)
        };
        let made = builder.with_single_cert(identity.chain.clone(), identity.key.clone_key());
        let mut config = made.map_err(|source| identity.unfit(source))?;
        config.ignore_client_order = own_order;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            pending: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        })
    }

    /// Shakes hands; None if the client does not, or takes too long, or too many do so at once.
    pub(crate) async fn greet(&self, stream: TcpStream, address: SocketAddr) -> Option<Stream> {
        let Ok(_pending) = self.pending.try_acquire() else {
            debug!(%address, "closed a connection: too many handshakes are under way");
            return None;
        };
        match timeout(HANDSHAKE_PATIENCE, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream.into()))),
            Ok(Err(error)) => {
                debug!(%address, %error, "a client's handshake failed");
                None
            }
            Err(_) => {
                debug!(%address, "a client's handshake took too long");
                None
            }
        }
    }
}

/// The way out: handshakes with servers and other sentinels.
#[derive(Clone)]
pub(crate) struct Caller(TlsConnector);

impl std::fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Caller {
    fn new(
        provider: &Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
        trusted: &Arc<RootCertStore>,
        identity: &Identity,
    ) -> Result<Self, TlsError> {
        let verifier = ChainVerifier::new(Arc::clone(trusted), provider);
        let made = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key());
        let config = made.map_err(|source| identity.unfit(source))?;
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands with whoever listens at `address`; when to give up is the caller's business.
    pub(crate) async fn greet(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> std::io::Result<Stream> {
        let name = ServerName::IpAddress(address.ip().into());
        let stream = self.0.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

//! Encrypted connections, in and out, by the server's own directives.
//!
//! Decides whom to believe: who shows a certificate that one of ours vouches for. Names are not looked
//! at, as the server does not: sentinels know addresses, and certificates of servers seldom name any.

mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duke_core::conf::ServerConf;
use thiserror::Error;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::warn;

use self::verify::ByChain;

/// Directives that mean something to the stock server's library only.
const WITHOUT_EFFECT: &[&str] = &[
    "tls-ciphers",
    "tls-ciphersuites",
    "tls-dh-params-file",
    "tls-prefer-server-ciphers",
    "tls-session-cache-size",
    "tls-session-cache-timeout",
    "tls-session-caching",
];

/// Why connections cannot be encrypted as they are to be.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A key with a passphrase.
    #[error(
        "Keys with a passphrase are not supported: write the key without one with `openssl pkey`, and \
         remove the line '{0}'"
    )]
    Encrypted(String),
    /// A directive that must be there.
    #[error("No {0} configured!")]
    Missing(&'static str),
    /// A version that is not spoken.
    #[error("tls-protocols: '{0}' is not supported, only TLSv1.2 and TLSv1.3 are")]
    Protocol(String),
    /// A file that cannot be used.
    #[error("Failed to load {what} from {}: {reason}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key, or the certificates to trust, do not go together.
    #[error("{what}: {reason}")]
    Unfit {
        /// What was to be made of them.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A word that means nothing.
    #[error("{directive}: argument must be {expected}")]
    Word {
        /// The directive.
        directive: &'static str,
        /// What it could be.
        expected: &'static str,
    },
}

/// What encrypts connections, in and out.
#[derive(Default)]
pub(crate) struct Tls {
    /// For clients; none without a `tls-port`.
    pub(crate) acceptor: Option<TlsAcceptor>,
    /// For connections to servers and other sentinels; none without `tls-replication yes`.
    pub(crate) connector: Option<TlsConnector>,
    ignored: Vec<String>,
}

impl Tls {
    /// Reads every file that is needed.
    ///
    /// # Errors
    /// Whatever keeps a wanted connection from being encrypted as the directives say.
    pub(crate) fn read(server: &ServerConf) -> Result<Self, TlsError> {
        let wanted = Wanted(&server.tls);
        let replication = wanted.yes("tls-replication")?;
        let mut tls = Self::default();
        if server.tls_port == 0 && !replication {
            return Ok(tls);
        }
        let known = |name: &&String| WITHOUT_EFFECT.contains(&name.as_str());
        tls.ignored = server.tls.keys().filter(known).cloned().collect();
        let versions = wanted.versions()?;
        let provider = Arc::new(ring::default_provider());
        if server.tls_port != 0 {
            let config = wanted.acceptor(Arc::clone(&provider), &versions)?;
            tls.acceptor = Some(TlsAcceptor::from(Arc::new(config)));
        }
        if replication {
            let config = wanted.connector(provider, &versions)?;
            tls.connector = Some(TlsConnector::from(Arc::new(config)));
        }
        Ok(tls)
    }

    /// Says which directives are read and change nothing.
    pub(crate) fn warn_of_what_has_no_effect(&self) {
        for directive in &self.ignored {
            warn!(%directive, "has no effect: ciphers, sessions and curves are chosen by the TLS library");
        }
    }
}

/// The directives, by name.
struct Wanted<'a>(&'a BTreeMap<String, String>);

impl Wanted<'_> {
    fn text(&self, directive: &str) -> Option<&str> {
        let text = self.0.get(directive).map(String::as_str);
        text.filter(|text| !text.is_empty())
    }

    fn yes(&self, directive: &'static str) -> Result<bool, TlsError> {
        match self.text(directive).map(str::to_ascii_lowercase).as_deref() {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(_) => Err(TlsError::Word {
                directive,
                expected: "'yes' or 'no'",
            }),
        }
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let Some(words) = self.text("tls-protocols") else {
            return Ok(vec![&TLS13, &TLS12]);
        };
        words
            .split_whitespace()
            .map(|word| match word.to_ascii_lowercase().as_str() {
                "tlsv1.2" => Ok(&TLS12),
                "tlsv1.3" => Ok(&TLS13),
                _ => Err(TlsError::Protocol(word.to_owned())),
            })
            .collect()
    }

    fn acceptor(
        &self,
        provider: Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig, TlsError> {
        let (chain, key) = self
            .identity("tls-cert-file", "tls-key-file", "tls-key-file-pass")?
            .ok_or(TlsError::Missing("tls-cert-file"))?;
        let clients = self.clients(Arc::clone(&provider))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| unfit("tls-protocols", &error))?;
        let config = match clients {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        config
            .with_single_cert(chain, key)
            .map_err(|error| unfit("tls-cert-file and tls-key-file", &error))
    }

    /// Whose certificates clients must show; the server's default is that they must.
    fn clients(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let word = self.text("tls-auth-clients").unwrap_or("yes");
        let optional = match word.to_ascii_lowercase().as_str() {
            "no" => return Ok(None),
            "optional" => true,
            "yes" => false,
            _ => {
                return Err(TlsError::Word {
                    directive: "tls-auth-clients",
                    expected: "'yes', 'no' or 'optional'",
                });
            }
        };
        let roots = store(&self.trusted()?)?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if optional {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        let verifier = builder.build().map_err(|error| TlsError::Unfit {
            what: "tls-ca-cert-file",
            reason: error.to_string(),
        })?;
        Ok(Some(verifier))
    }

    fn connector(
        &self,
        provider: Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ClientConfig, TlsError> {
        let verifier = ByChain::new(&self.trusted()?, Arc::clone(&provider))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| unfit("tls-protocols", &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let own = self.identity(
            "tls-client-cert-file",
            "tls-client-key-file",
            "tls-client-key-file-pass",
        )?;
        let shared = || self.identity("tls-cert-file", "tls-key-file", "tls-key-file-pass");
        match own.map_or_else(shared, |own| Ok(Some(own)))? {
            None => Ok(config.with_no_client_auth()),
            Some((chain, key)) => config
                .with_client_auth_cert(chain, key)
                .map_err(|error| unfit("the client's certificate and key", &error)),
        }
    }

    /// A certificate with its chain, and the key.
    fn identity(
        &self,
        cert: &'static str,
        key: &'static str,
        pass: &'static str,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, TlsError> {
        let Some(cert) = self.text(cert) else {
            return Ok(None);
        };
        let key = self.text(key).ok_or(TlsError::Missing(key))?;
        if self.text(pass).is_some() {
            return Err(TlsError::Encrypted(pass.to_owned()));
        }
        let chain = certificates(Path::new(cert), "certificate")?;
        let read = PrivateKeyDer::from_pem_file(key);
        let key = read.map_err(|error| file("private key", Path::new(key), &error))?;
        Ok(Some((chain, key)))
    }

    /// The certificates that vouch for others.
    fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let (file_name, folder) = (self.text("tls-ca-cert-file"), self.text("tls-ca-cert-dir"));
        if file_name.is_none() && folder.is_none() {
            return Err(TlsError::Missing("tls-ca-cert-file or tls-ca-cert-dir"));
        }
        let mut all = Vec::new();
        if let Some(path) = file_name {
            all = certificates(Path::new(path), "CA certificates")?;
        }
        if let Some(folder) = folder.map(Path::new) {
            let wrong = |error| file("CA certificates", folder, &error);
            for entry in fs::read_dir(folder).map_err(wrong)? {
                let path = entry.map_err(wrong)?.path();
                // Keys, lists of serial numbers and the like may lie beside them.
                all.extend(certificates(&path, "CA certificates").unwrap_or_default());
            }
        }
        Ok(all)
    }
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let all: Vec<_> = read.map_err(|error| file(what, path, &error))?;
    if all.is_empty() {
        return Err(file(what, path, &"it holds no certificate in PEM form"));
    }
    Ok(all)
}

fn store(trusted: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots
            .add(certificate.clone())
            .map_err(|error| unfit("tls-ca-cert-file", &error))?;
    }
    Ok(roots)
}

fn file(what: &'static str, path: &Path, reason: &impl ToString) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn unfit(what: &'static str, error: &rustls::Error) -> TlsError {
    TlsError::Unfit {
        what,
        reason: error.to_string(),
    }
}

//! Certificates and keys in PEM files.
//!
//! Decides nothing: what is missing or cannot be read ends the start with the file's name.

use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

fn text(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// All certificates in a file, at least one: the own one first, then those that lead to an authority.
pub(super) fn chain(path: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.as_ref();
    let nothing = || TlsError::Nothing {
        path: path.to_owned(),
        what: "certificate",
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text(path)?).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(nothing)
}

/// The private key in a file.
pub(super) fn key(path: impl AsRef<Path>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = path.as_ref();
    let text = text(path)?;
    if is_encrypted(&text) {
        return Err(TlsError::Encrypted(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::Nothing {
        path: path.to_owned(),
        what: "private key",
    })
}

/// Both forms there are: a section of its own, and a header in the old ones.
fn is_encrypted(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).lines().any(|line| {
        let line = line.trim();
        line == "-----BEGIN ENCRYPTED PRIVATE KEY-----"
            || (line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED"))
    })
}

/// Whom to trust: the certificates of a file, of a folder, or of both.
pub(super) fn authorities(
    file: Option<&str>,
    folder: Option<&str>,
) -> Result<RootCertStore, TlsError> {
    let mut trusted = RootCertStore::empty();
    if let Some(file) = file {
        add(&mut trusted, Path::new(file))?;
    }
    let Some(folder) = folder.map(Path::new) else {
        return Ok(trusted);
    };
    let unreadable = |source| TlsError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if is_hash(&entry.file_name().to_string_lossy()) {
            add(&mut trusted, &entry.path())?;
        }
    }
    if trusted.is_empty() {
        return Err(TlsError::Nothing {
            path: folder.to_owned(),
            what: "certificate under its hash",
        });
    }
    Ok(trusted)
}

fn add(trusted: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    for certificate in chain(path)? {
        trusted.add(certificate).map_err(|_| TlsError::Nothing {
            path: path.to_owned(),
            what: "authority's certificate",
        })?;
    }
    Ok(())
}

/// Files by other names are not looked at by the libraries for which such folders are made.
fn is_hash(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypted_keys_are_told_from_plain_ones() {
        assert!(is_encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA\n"));
        assert!(is_encrypted(
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n"
        ));
        assert!(!is_encrypted(b"-----BEGIN PRIVATE KEY-----\nAA\n"));
    }

    #[test]
    fn only_hashed_names_stand_for_authorities() {
        assert!(is_hash("9d66eef0.0"));
        for other in ["ca.crt", "9d66eef0", "9d66eef0.r0", "9d66eef.0", ".0"] {
            assert!(!is_hash(other), "{other}");
        }
    }
}

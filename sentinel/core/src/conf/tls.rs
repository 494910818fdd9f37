//! The directives about TLS.
//!
//! Decides which there are and which values they may have; what they mean is the shell's business,
//! which alone may read the files they name.

use std::collections::BTreeMap;

const YES_NO: &[&str] = &[
    "tls-cluster",
    "tls-prefer-server-ciphers",
    "tls-replication",
    "tls-session-caching",
];
const NUMBERS: &[&str] = &["tls-session-cache-size", "tls-session-cache-timeout"];
const TEXTS: &[&str] = &[
    "tls-auth-clients-user",
    "tls-ca-cert-dir",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-ciphers",
    "tls-ciphersuites",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-client-key-file-pass",
    "tls-dh-params-file",
    "tls-key-file",
    "tls-key-file-pass",
];
const CLIENTS: &[&str] = &["no", "yes", "optional"];
const PROTOCOLS: &[&str] = &["tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"];

/// Keeps one directive; words of a fixed choice in lower case.
pub(super) fn obey(
    tls: &mut BTreeMap<String, String>,
    name: &str,
    value: &str,
) -> Result<(), String> {
    let lower = value.to_ascii_lowercase();
    let kept = if YES_NO.contains(&name) {
        if !["yes", "no"].contains(&lower.as_str()) {
            return Err("argument must be 'yes' or 'no'".to_owned());
        }
        lower
    } else if NUMBERS.contains(&name) {
        if value.parse::<u32>().is_err() {
            return Err("argument couldn't be parsed into an integer".to_owned());
        }
        lower
    } else if name == "tls-auth-clients" {
        if !CLIENTS.contains(&lower.as_str()) {
            return Err(format!(
                "argument(s) must be one of the following: {}",
                CLIENTS.join(", ")
            ));
        }
        lower
    } else if name == "tls-protocols" {
        if !lower
            .split_whitespace()
            .all(|word| PROTOCOLS.contains(&word))
        {
            return Err("protocols are TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3".to_owned());
        }
        lower
    } else if TEXTS.contains(&name) {
        value.to_owned()
    } else {
        return Err("Bad directive or wrong number of arguments".to_owned());
    };
    tls.insert(name.to_owned(), kept);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, value: &str) -> Result<String, String> {
        let mut tls = BTreeMap::new();
        obey(&mut tls, name, value)?;
        Ok(tls.remove(name).unwrap_or_default())
    }

    #[test]
    fn choices_are_kept_in_lower_case_and_paths_as_they_stand() {
        assert_eq!(kept("tls-replication", "YES").as_deref(), Ok("yes"));
        assert_eq!(
            kept("tls-auth-clients", "Optional").as_deref(),
            Ok("optional")
        );
        assert_eq!(kept("tls-cert-file", "/A b").as_deref(), Ok("/A b"));
        assert_eq!(kept("tls-protocols", "TLSv1.3").as_deref(), Ok("tlsv1.3"));
    }

    #[test]
    fn what_stock_does_not_know_is_no_directive() {
        for (name, value) in [
            ("tls-replication", "maybe"),
            ("tls-auth-clients", "perhaps"),
            ("tls-protocols", "SSLv3"),
            ("tls-session-cache-size", "many"),
            ("tls-everything", "yes"),
        ] {
            assert!(kept(name, value).is_err(), "{name} {value}");
        }
    }
}

//! The system users of a Pipeline: their passwords, their rights, and the Secret that holds both.
//!
//! A password is made once and kept, whatever somebody writes over it: running servers go on with
//! it, so another one would lock everybody out. The Secret holds each twice, once for its reader
//! and once among all that are in force; everything derived from passwords is rendered anew each
//! time. Data servers see hashes, and in clear text only the password that replicas show to their
//! master; each other reader gets its own files.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use sha2::{Digest, Sha256};

use super::{hash::hex, metadata};
use crate::api::{REDIS_PORT, label::Component, resolved::Resolved};

/// How many random bytes [`Passwords::complete`] takes.
pub const RANDOM_BYTES: usize = BYTES * Identity::ALL.len();
/// How many random bytes make one password.
const BYTES: usize = 32;

/// Key of the Secret: the servers' users, with the hashes of their passwords.
pub const USERS_ACL: &str = "users.acl";
/// Key of the Secret: how a replica shows itself to its master.
pub const REPLICATION_CONF: &str = "replication.conf";
/// Key of the Secret: the exporter's password in the form it reads.
pub const EXPORTER_JSON: &str = "exporter.json";

/// Key of the Secret: all passwords in force, from which one that somebody changed is put back.
/// Nobody mounts it.
pub const IN_FORCE_JSON: &str = "in-force.json";

/// Who has a password.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Identity {
    /// The Dukes, at data servers.
    Duke,
    /// A replica, at its master.
    Replica,
    /// The operator, at data servers and Dukes.
    Operator,
    /// The metrics exporter, at its data server.
    Exporter,
    /// A Duke, at other Dukes.
    Peer,
    /// The agent beside a data server, at that server and at Dukes.
    Agent,
}

impl Identity {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Duke,
        Self::Replica,
        Self::Operator,
        Self::Exporter,
        Self::Peer,
        Self::Agent,
    ];

    /// The key of the Secret that holds the password; also the name of the servers' user.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Duke => "duke",
            Self::Replica => "replica",
            Self::Operator => "operator",
            Self::Exporter => "exporter",
            Self::Peer => "peer",
            Self::Agent => "agent",
        }
    }
}

/// The passwords of a Pipeline's system users, none of them ever printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Passwords(BTreeMap<Identity, String>);

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    /// Takes the passwords that are in use, then those that a Secret has in force, then those in its
    /// single keys, and makes the rest from random bytes.
    ///
    /// What could not stand in a configuration file unquoted is no password and made anew.
    #[must_use]
    pub fn complete(
        in_use: Option<&Self>,
        present: Option<&Secret>,
        random: &[u8; RANDOM_BYTES],
    ) -> Self {
        let in_force = present.map(in_force).unwrap_or_default();
        let known = |identity: Identity| {
            in_use
                .and_then(|passwords| passwords.0.get(&identity))
                .or_else(|| in_force.get(identity.key()))
                .cloned()
                .or_else(|| plain(&present?.data.as_ref()?.get(identity.key())?.0))
        };
        let made = Identity::ALL.into_iter().zip(random.chunks(BYTES));
        Self(
            made.map(|(who, bytes)| (who, known(who).unwrap_or_else(|| hex(bytes))))
                .collect(),
        )
    }

    /// The keys in which a Secret has another password than these, or none.
    #[must_use]
    pub fn keys_that_differ(&self, present: &Secret) -> Vec<&'static str> {
        let held = |key: &str| Some(present.data.as_ref()?.get(key)?.0.as_slice());
        self.0
            .iter()
            .filter(|(identity, password)| held(identity.key()) != Some(password.as_bytes()))
            .map(|(identity, _)| identity.key())
            .collect()
    }

    /// The password of one user.
    #[must_use]
    pub fn of(&self, identity: Identity) -> &str {
        self.0.get(&identity).map_or("", String::as_str)
    }
}

/// The passwords that a Secret has in force, by key; none of them if that cannot be read.
fn in_force(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.as_ref();
    let text = data.and_then(|data| Some(&data.get(IN_FORCE_JSON)?.0));
    let read = text.and_then(|text| serde_json::from_slice(text).ok());
    let passwords: BTreeMap<String, String> = read.unwrap_or_default();
    passwords
        .into_iter()
        .filter_map(|(key, password)| Some((key, plain(password.as_bytes())?)))
        .collect()
}

/// Whether a Secret says which passwords are in force, so that a changed one can be put back.
#[must_use]
pub fn says_what_is_in_force(secret: &Secret) -> bool {
    !in_force(secret).is_empty()
}

/// A password that can stand in a configuration file unquoted.
fn plain(bytes: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let text = String::from_utf8(bytes.to_vec()).ok()?;
    (!bytes.is_empty() && bytes.iter().all(is_plain)).then_some(text)
}

/// The keys of a Secret whose passwords its own ACL file does not know, of one that does not say
/// what is in force: somebody has changed them, and what they were nobody can tell.
#[must_use]
pub fn doubtful_keys(secret: &Secret) -> Vec<&'static str> {
    if says_what_is_in_force(secret) {
        return Vec::new();
    }
    let held = |key: &str| Some(secret.data.as_ref()?.get(key)?.0.as_slice());
    let acl = held(USERS_ACL).unwrap_or_default();
    let acl = String::from_utf8_lossy(acl);
    Identity::ALL
        .into_iter()
        .map(Identity::key)
        .filter(|key| {
            let user = format!("user {key} ");
            let hash = format!("#{}", hex(&Sha256::digest(held(key).unwrap_or_default())));
            let mut line = acl.lines().filter(|line| line.starts_with(&user));
            line.any(|line| !line.contains(&hash))
        })
        .collect()
}

/// The rights of the user that needs no password: all data, and nothing that takes the group over.
///
/// Everything is allowed but what changes who follows whom, streams the data set out, stops or
/// blocks the server, changes its users or its configuration, or cuts others' connections. Reading
/// the configuration is allowed, because clients do it; it shows the password that replicas show to
/// their master, which buys no more than the data that this user may read anyway.
const DEFAULT_RIGHTS: &str = "~* &* +@all -replicaof -slaveof -failover -psync -sync -replconf \
     -shutdown -debug -module -cluster -acl +acl|whoami -config +config|get +config|help \
     +config|resetstat -client|kill -client|pause -client|unpause";

/// The rights of the Dukes: watching, giving roles, and holding writes while the master is moved.
const DUKE_RIGHTS: &str = "+ping +info +role +multi +exec +replicaof +client|kill +client|setname \
     +client|pause +client|unpause";

/// The rights of a replica at its master: following.
const REPLICA_RIGHTS: &str = "+ping +psync +replconf";

/// The rights of the operator: watching, applying configuration, and seeding a group.
const OPERATOR_RIGHTS: &str = "+ping +info +role +config|get +config|set +replicaof";

/// The rights of the exporter: reading what it shows.
const EXPORTER_RIGHTS: &str = "+ping +info +config|get +client|list +client|setname +slowlog|get \
     +slowlog|len +latency|latest +latency|histogram";

/// The rights of the agent: seeing whether its server is there, and who it is.
const AGENT_RIGHTS: &str = "+ping +role";

/// The servers' users as an ACL file.
#[must_use]
pub fn users_acl(passwords: &Passwords) -> String {
    let mut lines = vec![format!(
        "user default on nopass sanitize-payload {DEFAULT_RIGHTS}\n"
    )];
    for (identity, rights) in [
        (Identity::Duke, DUKE_RIGHTS),
        (Identity::Replica, REPLICA_RIGHTS),
        (Identity::Operator, OPERATOR_RIGHTS),
        (Identity::Exporter, EXPORTER_RIGHTS),
        (Identity::Agent, AGENT_RIGHTS),
    ] {
        let hash = hex(&Sha256::digest(passwords.of(identity).as_bytes()));
        let user = identity.key();
        lines.push(format!(
            "user {user} on #{hash} resetkeys resetchannels -@all {rights}\n"
        ));
    }
    lines.concat()
}

/// The exporter's password file: a password by address.
///
/// Older exporters look for the address as they were given it (1.45 does), newer ones for the
/// address with the user in it (1.69 does). Either stays the default user without a word when it
/// finds nothing, so both are there.
fn exporter_json(password: &str) -> String {
    let user = Identity::Exporter.key();
    format!(
        "{{\"redis://localhost:{REDIS_PORT}\":\"{password}\",\
         \"redis://{user}@localhost:{REDIS_PORT}\":\"{password}\"}}\n"
    )
}

/// The Secret of a Pipeline's system users.
#[must_use]
pub fn secret(resolved: &Resolved, passwords: &Passwords) -> Secret {
    let mut data: BTreeMap<String, String> = Identity::ALL
        .into_iter()
        .map(|identity| (identity.key().to_owned(), passwords.of(identity).to_owned()))
        .collect();
    let in_force = serde_json::Value::from_iter(data.clone());
    data.insert(IN_FORCE_JSON.to_owned(), in_force.to_string());
    data.insert(USERS_ACL.to_owned(), users_acl(passwords));
    let replica = Identity::Replica;
    data.insert(
        REPLICATION_CONF.to_owned(),
        format!(
            "masteruser {}\nmasterauth {}\n",
            replica.key(),
            passwords.of(replica)
        ),
    );
    let exporter = Identity::Exporter;
    data.insert(
        EXPORTER_JSON.to_owned(),
        exporter_json(passwords.of(exporter)),
    );
    Secret {
        data: Some(
            data.into_iter()
                .map(|(key, text)| (key, ByteString(text.into())))
                .collect(),
        ),
        metadata: metadata(resolved, Component::Data, resolved.names.users_secret()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u8) -> [u8; RANDOM_BYTES] {
        let mut bytes = [seed; RANDOM_BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = byte.wrapping_add(u8::try_from(index % 251).unwrap());
        }
        bytes
    }

    fn secret_of(data: &[(&str, &str)]) -> Secret {
        let data = data
            .iter()
            .map(|(key, text)| ((*key).to_owned(), ByteString((*text).into())));
        Secret {
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn passwords_are_long_distinct_and_unprintable() {
        let passwords = Passwords::complete(None, None, &random(7));
        let mut all: Vec<&str> = Identity::ALL
            .iter()
            .map(|identity| passwords.of(*identity))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Identity::ALL.len());
        assert!(all.iter().all(|password| password.len() == 2 * BYTES));
        assert_eq!(format!("{passwords:?}"), "Passwords");
    }

    #[test]
    fn what_a_secret_has_is_kept_and_only_the_rest_is_made() {
        let first = Passwords::complete(None, None, &random(1));
        let present = secret_of(&[
            ("duke", first.of(Identity::Duke)),
            ("replica", "two words"),
            ("operator", ""),
        ]);
        let second = Passwords::complete(None, Some(&present), &random(2));
        assert_eq!(second.of(Identity::Duke), first.of(Identity::Duke));
        let made = Passwords::complete(None, None, &random(2));
        for identity in [Identity::Replica, Identity::Operator, Identity::Peer] {
            assert_eq!(second.of(identity), made.of(identity), "{identity:?}");
        }
    }

    /// A Secret as it is written, with one key changed.
    fn edited(passwords: &Passwords, key: &str, text: &str) -> Secret {
        let data = Identity::ALL.map(|who| (who.key(), passwords.of(who)));
        let mut secret = secret_of(&data);
        let data = secret.data.get_or_insert_default();
        let acl = users_acl(passwords);
        data.insert(USERS_ACL.to_owned(), ByteString(acl.into()));
        data.insert(key.to_owned(), ByteString(text.into()));
        secret
    }

    #[test]
    fn a_password_in_use_or_in_force_goes_before_one_that_somebody_wrote() {
        let before = Passwords::complete(None, None, &random(1));
        let mut secret = edited(&before, "duke", "hunter2");
        let kept = Passwords::complete(Some(&before), Some(&secret), &random(2));
        assert_eq!(kept, before, "as long as the operator runs");
        assert_eq!(kept.keys_that_differ(&secret), ["duke"]);

        let all = Identity::ALL.map(|who| (who.key(), before.of(who)));
        let all = serde_json::Value::from_iter(all).to_string();
        let data = secret.data.get_or_insert_default();
        data.insert(IN_FORCE_JSON.to_owned(), ByteString(all.into()));
        let kept = Passwords::complete(None, Some(&secret), &random(2));
        assert_eq!(kept, before, "by what the Secret says is in force");
        assert_eq!(doubtful_keys(&secret), [""; 0]);
    }

    #[test]
    fn a_changed_password_of_which_nobody_knows_the_former_one_is_doubtful() {
        let before = Passwords::complete(None, None, &random(1));
        let duke = before.of(Identity::Duke);
        for (key, text, doubtful) in [
            ("duke", duke, &[][..]),
            ("duke", "hunter2", &["duke"][..]),
            ("operator", "", &["operator"][..]),
        ] {
            assert_eq!(
                doubtful_keys(&edited(&before, key, text)),
                doubtful,
                "{key}"
            );
        }
    }

    #[test]
    fn servers_get_hashes_only() {
        let passwords = Passwords::complete(None, None, &random(3));
        let text = users_acl(&passwords);
        assert_eq!(text.lines().count(), 6);
        for identity in Identity::ALL {
            assert!(!text.contains(passwords.of(identity)), "{identity:?}");
        }
        assert!(
            !text.contains("user peer"),
            "the peers' password is none of the servers' business"
        );
    }
}

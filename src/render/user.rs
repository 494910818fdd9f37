//! The system users of a Pipeline: their passwords, their rights, and the Secret that holds both.
//!
//! A password is made once and kept for as long as the Secret has it; everything derived from
//! passwords is rendered anew each time. Data servers see hashes, and in clear text only the
//! password that replicas show to their master; each other reader gets its own files.

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
    /// Takes the passwords that a Secret has, and makes those that it has not from random bytes.
    ///
    /// What could not stand in a configuration file unquoted is no password and made anew.
    #[must_use]
    pub fn complete(present: Option<&Secret>, random: &[u8; RANDOM_BYTES]) -> Self {
        let data = present.and_then(|secret| secret.data.as_ref());
        let kept = |identity: Identity| {
            let bytes = &data?.get(identity.key())?.0;
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            let text = String::from_utf8(bytes.clone()).ok()?;
            (!bytes.is_empty() && bytes.iter().all(is_plain)).then_some(text)
        };
        let made = Identity::ALL.into_iter().zip(random.chunks(BYTES));
        Self(
            made.map(|(who, bytes)| (who, kept(who).unwrap_or_else(|| hex(bytes))))
                .collect(),
        )
    }

    /// The password of one user.
    #[must_use]
    pub fn of(&self, identity: Identity) -> &str {
        self.0.get(&identity).map_or("", String::as_str)
    }
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
        let passwords = Passwords::complete(None, &random(7));
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
        let first = Passwords::complete(None, &random(1));
        let present = secret_of(&[
            ("duke", first.of(Identity::Duke)),
            ("replica", "two words"),
            ("operator", ""),
        ]);
        let second = Passwords::complete(Some(&present), &random(2));
        assert_eq!(second.of(Identity::Duke), first.of(Identity::Duke));
        let made = Passwords::complete(None, &random(2));
        for identity in [Identity::Replica, Identity::Operator, Identity::Peer] {
            assert_eq!(second.of(identity), made.of(identity), "{identity:?}");
        }
    }

    #[test]
    fn servers_get_hashes_only() {
        let passwords = Passwords::complete(None, &random(3));
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

//! The hash of a rendered object: whether there is anything to apply.

use kube::ResourceExt;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::label;

/// How many hexadecimal digits of a hash are kept; enough that no two renderings of one object
/// ever share them.
const DIGITS: usize = 16;

/// The hash of bytes, as text.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let mut text = hex(&Sha256::digest(bytes));
    text.truncate(DIGITS);
    text
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Notes an object's hash in its annotations.
///
/// # Panics
/// Never in practice: rendered objects are plain data.
#[must_use]
pub fn stamp<K: ResourceExt + Serialize>(mut object: K) -> K {
    let bytes = match serde_json::to_vec(&object) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("a rendered object is plain data: {error}"),
    };
    object
        .annotations_mut()
        .insert(label::HASH.to_owned(), digest(&bytes));
    object
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn a_stamp_tells_objects_apart_and_nothing_else() {
        let one = stamp(ConfigMap::default());
        let same = stamp(ConfigMap::default());
        let other = stamp(ConfigMap {
            immutable: Some(true),
            ..ConfigMap::default()
        });
        assert_eq!(one, same);
        assert_ne!(
            one.annotations()[label::HASH],
            other.annotations()[label::HASH]
        );
        assert_eq!(one.annotations()[label::HASH].len(), DIGITS);
    }
}

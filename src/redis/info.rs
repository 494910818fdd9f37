//! Reads the text of `INFO`: sections, `key:value` lines, and the `db0:keys=…` lines.
//!
//! Pure. Unknown keys are kept, unknown lines skipped: servers differ between versions.

use std::collections::BTreeMap;

/// The lines of one `INFO` reply.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Info {
    fields: BTreeMap<String, String>,
}

impl Info {
    /// Reads the reply's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim_end().to_owned()))
            .collect();
        Self { fields }
    }

    /// The value of a field, empty if the server did not send it.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }

    /// The value of a numeric field, 0 if it is absent or no number.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }

    /// Whether a field has the value `1`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.text(key) == "1"
    }

    /// The number of keys over all databases.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.fields
            .iter()
            .filter(|(name, _)| {
                name.strip_prefix("db")
                    .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
            })
            .filter_map(|(_, value)| value.split(',').find_map(|part| part.strip_prefix("keys=")))
            .filter_map(|keys| keys.parse::<u64>().ok())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n# Replication\r\n\
        role:slave\r\nmaster_sync_in_progress:1\r\nslave_repl_offset:42\r\n\r\n# Keyspace\r\n\
        db0:keys=3,expires=0,avg_ttl=0\r\ndb11:keys=4,expires=1,avg_ttl=9\r\ndbx:keys=100\r\n";

    #[test]
    fn fields_flags_and_numbers_are_read() {
        let info = Info::parse(TEXT);
        assert_eq!(info.text("redis_version"), "7.0.15");
        assert_eq!(info.number("slave_repl_offset"), 42);
        assert!(info.flag("master_sync_in_progress"));
        assert_eq!(info.text("absent"), "");
        assert_eq!(info.number("role"), 0);
    }

    #[test]
    fn keys_are_summed_over_databases_only() {
        assert_eq!(Info::parse(TEXT).keys(), 7);
        assert_eq!(Info::parse("").keys(), 0);
    }
}

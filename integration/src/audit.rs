//! The API server's own record of who asked what, for tests that assert on requests.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

/// What is recorded: every request, without bodies, once it is answered.
pub const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{ level: Metadata }]
";

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `patch`, ….
    pub verb: String,
    /// `pods`, `leases`, ….
    pub resource: String,
    /// The object's namespace, empty for none.
    pub namespace: String,
    /// The object's name, empty for none.
    pub name: String,
}

impl Request {
    /// Whether it changes something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        Self {
            user: text(&event["user"]["username"]),
            verb: text(&event["verb"]),
            resource: text(&object["resource"]),
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}/{}",
            self.verb, self.resource, self.namespace, self.name
        )
    }
}

/// Every request recorded so far, oldest first.
///
/// # Errors
/// When the record cannot be read.
pub fn read(log: &Path) -> Result<Vec<Request>> {
    let text = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    // The last line may still be being written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(whole
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|event| Request::of(&event))
        .collect())
}

//! Reads the API server's audit log: who wrote what.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;

use super::Result;

/// What is logged: one line for each write, when it has ended.
pub(super) const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
  - level: None
"#;

/// A request that changes nothing, and that the policy takes for a write.
pub(super) const MARKER_BODY: &[u8] = br#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
const MARKER_RESOURCE: &str = "selfsubjectreviews";

/// One write to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub(crate) verb: String,
    pub(crate) user: String,
    pub(crate) user_agent: String,
    /// Empty for the core group.
    pub(crate) group: String,
    /// In the plural: `workflows`.
    pub(crate) resource: String,
    /// `status` and the like; empty for the object itself.
    pub(crate) subresource: String,
    /// Empty for objects of the cluster.
    pub(crate) namespace: String,
    /// Empty for collections, and where the server chose the name.
    pub(crate) name: String,
    /// The HTTP status of the answer: below 300 where something was written.
    pub(crate) code: u16,
}

/// The path of a new marker, different from all others of this process.
pub(super) fn new_marker() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("/apis/authentication.k8s.io/v1/{MARKER_RESOURCE}?fieldManager=audit-marker-{count}.")
}

/// All writes that are logged before `marker`; `None` while that is not in the log.
pub(super) fn writes_before(log: &Path, marker: &str) -> Result<Option<Vec<Write>>> {
    parse(&fs::read_to_string(log)?, marker)
}

fn parse(log: &str, marker: &str) -> Result<Option<Vec<Write>>> {
    let mut writes = Vec::new();
    for line in log.split_inclusive('\n') {
        // The last line may be half written.
        if !line.ends_with('\n') {
            return Ok(None);
        }
        let entry: Entry = serde_json::from_str(line)?;
        if entry.request_uri == marker {
            return Ok(Some(writes));
        }
        if entry.stage == "ResponseComplete" && entry.object.resource != MARKER_RESOURCE {
            writes.push(entry.into_write());
        }
    }
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default, rename = "objectRef")]
    object: Object,
    #[serde(default, rename = "responseStatus")]
    response: Response,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response {
    code: u16,
}

impl Entry {
    fn into_write(self) -> Write {
        Write {
            verb: self.verb,
            user: self.user.username,
            user_agent: self.user_agent,
            group: self.object.api_group,
            resource: self.object.resource,
            subresource: self.object.subresource,
            namespace: self.object.namespace,
            name: self.object.name,
            code: self.response.code,
        }
    }
}

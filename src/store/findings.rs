//! What workers found when they used a Connection; controllers show it in the object's status.

use jiff::Timestamp;

use super::{Error, Store};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// UID of the Connection.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The generation that was tried.
    pub generation: i64,
    /// Whether it works.
    pub ready: bool,
    /// Why not, as a CamelCase constant; `Connected` when it works.
    pub reason: String,
    /// For people; never holds a secret.
    pub message: String,
    /// When, by the database's clock. Ignored by `record_finding`.
    pub checked_at: Timestamp,
}

impl Store {
    /// What was found about these Connections; those nobody has used are absent.
    pub async fn connection_findings(&self, uids: &[String]) -> Result<Vec<Finding>, Error> {
        let _ = uids;
        Err(Error::NotFound)
    }

    /// Findings newer than `since`, oldest first, at most `limit`: whose status is to be written.
    pub async fn findings_since(&self, since: Timestamp, limit: i64) -> Result<Vec<Finding>, Error> {
        let _ = (since, limit);
        Err(Error::NotFound)
    }

    /// Records a finding, unless one of a newer generation is there.
    pub async fn record_finding(&self, finding: &Finding) -> Result<(), Error> {
        let _ = finding;
        Err(Error::NotFound)
    }
}

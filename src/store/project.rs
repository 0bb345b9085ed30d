//! Runs whose summary the object's status does not show yet.

use uuid::Uuid;

use super::{Error, Store};

/// One such run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The run.
    pub run: Uuid,
    /// UID of the object that owns it.
    pub owner_uid: String,
    /// Kind of that object.
    pub owner_kind: String,
    /// Namespace of that object.
    pub namespace: String,
    /// Name of that object.
    pub owner_name: String,
    /// What `mark_projected` is to be told once the status shows it.
    pub summary_seq: i32,
}

impl Store {
    /// At most `limit` runs of objects whose newest summary was not projected.
    pub async fn changed(&self, limit: i64) -> Result<Vec<Changed>, Error> {
        let _ = limit;
        Err(Error::NotFound)
    }

    /// Notes what the objects' statuses show now: (run, `summary_seq`). Never goes backwards.
    pub async fn mark_projected(&self, runs: &[(Uuid, i32)]) -> Result<(), Error> {
        let _ = runs;
        Err(Error::NotFound)
    }
}

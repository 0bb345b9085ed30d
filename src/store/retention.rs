//! Retention: what is kept of finished runs, and how long.

use super::{Error, Store};

/// What one batch removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retired {
    /// Runs whose journal, snapshot and payloads were removed.
    pub runs: u64,
    /// Start keys whose tombstone ended.
    pub tombstones: u64,
}

impl Store {
    /// Retires up to `limit` expired runs, and ends up to `limit` tombstones. Call again while it did something.
    pub async fn retire(&self, limit: i64) -> Result<Retired, Error> {
        let _ = limit;
        Err(Error::NotFound)
    }
}

//! The schema: forward-only migrations with a history of their own.

use super::{Error, Store};

/// What to do about the schema at start: `--migrations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrations {
    /// Apply what is missing.
    Auto,
    /// Refuse to start when something is missing.
    Verify,
    /// Do not look, but refuse a newer schema.
    Off,
}

/// What [`Store::migrate`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// The newest migration now in the database.
    pub version: i32,
    /// Names of those that were applied by this call, oldest first.
    pub applied: Vec<&'static str>,
}

impl Store {
    /// Brings the schema to this release, or checks it. Safe to call from many processes at once.
    ///
    /// # Errors
    /// `Refused` for a newer schema, a changed checksum, a missing migration (`Verify`) or missing privileges.
    pub async fn migrate(&self, mode: Migrations) -> Result<MigrationReport, Error> {
        let _ = mode;
        Err(Error::NotFound)
    }
}

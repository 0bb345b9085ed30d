//! Runs whose object is gone: suspicion, cancellation, and taking it back.

use std::time::Duration;

use jiff::Timestamp;

use super::{DeletionPolicy, Error, Store};

/// An object with live runs, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOwner {
    /// UID of the object.
    pub uid: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is to happen when it is gone.
    pub deletion_policy: DeletionPolicy,
    /// Runs that are not terminal.
    pub live_runs: i64,
    /// Of these, the ones that no cancel was sent to.
    pub uncancelled_runs: i64,
    /// Since when it is suspected to be gone, without a break.
    pub suspected_at: Option<Timestamp>,
    /// When its runs were first cancelled because it was gone.
    pub gone_at: Option<Timestamp>,
    /// When this was read, by the database's clock.
    pub read_at: Timestamp,
}

/// What [`Store::cancel_orphans`] did to one object's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// UID of the object.
    pub uid: String,
    /// Runs that were sent a cancel by this call.
    pub runs: i64,
}

impl Store {
    /// A page of objects with live runs, ordered by UID; `after` is the last UID of the page before.
    pub async fn live_owners(&self, after: Option<&str>, limit: i64) -> Result<Vec<LiveOwner>, Error> {
        let _ = (after, limit);
        Err(Error::NotFound)
    }

    /// How many live runs are owned by objects: what the brake weighs against.
    pub async fn live_owned_runs(&self) -> Result<i64, Error> {
        Err(Error::NotFound)
    }

    /// Marks objects as suspects, or confirms that they still are. `suspected_at` keeps the first time.
    pub async fn suspect(&self, uids: &[String]) -> Result<(), Error> {
        let _ = uids;
        Err(Error::NotFound)
    }

    /// Objects were seen alive: no suspicion remains, and a cancellation in their name is not repeated.
    pub async fn seen_alive(&self, uids: &[String]) -> Result<(), Error> {
        let _ = uids;
        Err(Error::NotFound)
    }

    /// Sends a cancel to every live run of these objects, if they are still suspects and the suspicion was confirmed
    /// within `fresh` by the database's clock. One audit row an object; the same again changes nothing.
    pub async fn cancel_orphans(&self, uids: &[String], fresh: Duration, actor: &str) -> Result<Vec<Cancelled>, Error> {
        let _ = (uids, fresh, actor);
        Err(Error::NotFound)
    }
}

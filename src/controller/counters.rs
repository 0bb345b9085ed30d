//! What a controller has done since it started, as plain counters. Not the metrics' names: see `metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one controller process. They only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Statuses written.
    pub statuses_written: AtomicU64,
    /// Statuses not written, because their object had changed since it was read, or was gone.
    pub statuses_outdated: AtomicU64,
    /// Statuses that the API server did not take.
    pub statuses_failed: AtomicU64,
    /// Events told.
    pub events_written: AtomicU64,
    /// Events that the API server did not take.
    pub events_lost: AtomicU64,
    /// Signals that came to lie in an inbox.
    pub signals_stored: AtomicU64,
    /// Signals that a step has taken.
    pub signals_consumed: AtomicU64,
    /// Signals whose dedup key their run had seen.
    pub signals_duplicate: AtomicU64,
    /// Signals that were not stored and never will be.
    pub signals_refused: AtomicU64,
    /// Stored signals that no step will ever take.
    pub signals_undelivered: AtomicU64,
    /// Reconciles that came to their end.
    pub reconciled: AtomicU64,
    /// Reconciles given up because the database or the API server was away.
    pub failed_by_outage: AtomicU64,
    /// Reconciles that failed for another reason, panics included.
    pub failed_by_object: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

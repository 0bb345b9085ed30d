//! What the orphan passes of this process have done, as plain counters. Not the metrics' names: see `metrics`.

use std::sync::atomic::{AtomicBool, AtomicU64};

/// Counters of the orphan passes. Numbers only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Objects that became suspects.
    pub suspected: AtomicU64,
    /// Suspects, or objects that had been found gone, that were seen alive.
    pub returned: AtomicU64,
    /// Objects whose runs were cancelled.
    pub cancelled: AtomicU64,
    /// Passes that came to their end.
    pub passes: AtomicU64,
    /// Passes given up: no answer, or one that proves nothing.
    pub given_up: AtomicU64,
    /// Whether the brake holds.
    pub brake: AtomicBool,
}

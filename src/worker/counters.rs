//! What a worker has done since it started, as plain counters. Not the metrics' names: see `metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// Counters of one worker process; they survive a new registration.
#[derive(Debug, Default)]
pub struct Counters {
    /// Registrations: the first, and one more each time it was fenced.
    pub registrations: Counter,
    /// Runs taken into memory.
    pub loaded: Counter,
    /// Runs left alone because this release cannot carry them: their definition does not compile, or their rows are
    /// corrupt.
    pub set_aside: Counter,
    /// Batches that were answered.
    pub settle_batches: Counter,
    /// Batches that were sent again because their first answer was lost or the database was away.
    pub settle_retries: Counter,
    /// Appends that became journal rows.
    pub appended: Counter,
    /// Appends that lost against another writer; the run's memory was dropped (`append_conflicts`).
    pub lost: Counter,
    /// Runs released to wait for a timer, a signal or another worker.
    pub parked: Counter,
    /// Runs that ended.
    pub finished: Counter,
    /// Attempts that began.
    pub attempts_started: Counter,
    /// Attempts that ended with a result.
    pub attempts_succeeded: Counter,
    /// Attempts that ended with an error.
    pub attempts_failed: Counter,
    /// Attempts ended from here: a cancel, a timeout of the run, a lost run, a fence.
    pub attempts_aborted: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_only_grows() {
        let counters = Counters::default();
        counters.appended.add(2);
        counters.appended.add(3);
        assert_eq!(counters.appended.get(), 5);
        assert_eq!(counters.lost.get(), 0);
    }
}

//! What a worker has done since it started. Not the metrics' names: see `metrics`.

use std::sync::Arc;

use super::finished::Finished;
use crate::{
    engine::{Request, Verdict},
    tally::{Counter, Durations, Sizes},
};

/// Counters of one worker process; they survive a new registration.
#[derive(Debug, Default)]
pub struct Counters {
    /// Registrations: the first, and one more each time it was fenced.
    pub registrations: Counter,
    /// Runs taken into memory.
    pub loaded: Counter,
    /// Times a run was left alone because it cannot be carried here: its definition does not compile under this release, or
    /// its rows cannot be read or written.
    pub set_aside: Counter,
    /// Decisions of each batch that was answered.
    pub settle_size: Sizes,
    /// From when such a batch was sent first until it was answered.
    pub settle_time: Durations,
    /// Batches that were sent again because their first answer was lost or the database was away.
    pub settle_retries: Counter,
    /// Appends that became journal rows.
    pub appended: Counter,
    /// Appends that lost against another writer; the run's memory was dropped (`append_conflicts`).
    pub lost: Counter,
    /// Runs released to wait for a timer, a signal or another worker.
    pub parked: Counter,
    /// Runs that ended.
    pub finished: Finished,
    /// How long after it was due a timer was decided on.
    pub timer_lateness: Durations,
    /// Attempts that began.
    pub attempts_started: Counter,
    /// Attempts at SQL steps.
    pub sql: Arc<Attempted>,
    /// Attempts at HTTP steps.
    pub http: Arc<Attempted>,
    /// Attempts at the benchmark's steps: none is ever a task.
    #[cfg(feature = "bench")]
    pub noop: Arc<Attempted>,
    /// Claims of dead workers that were freed from here.
    pub claims_expired: Counter,
}

/// What came of the attempts at one kind of action.
#[derive(Debug, Default)]
pub struct Attempted {
    /// Their step succeeded by them.
    pub succeeded: Counter,
    /// They are made again, or failed their step.
    pub failed: Counter,
    /// They were ended from here: a cancel, a timeout of the run, a lost run, a fence.
    pub aborted: Counter,
    /// How long those took that ended by themselves.
    pub time: Durations,
}

impl Counters {
    /// Attempts by action, which is named as in a step.
    pub fn by_action(&self) -> [(&'static str, &Attempted); 2] {
        [("sql", &self.sql), ("http", &self.http)]
    }

    pub(super) fn of(&self, request: &Request) -> &Arc<Attempted> {
        match request {
            Request::Sql(_) => &self.sql,
            Request::Http(_) => &self.http,
            #[cfg(feature = "bench")]
            Request::Noop => &self.noop,
        }
    }
}

impl Attempted {
    pub(super) fn judged(&self, verdict: Verdict) {
        match verdict {
            Verdict::Succeeded => self.succeeded.add(1),
            Verdict::Failed => self.failed.add(1),
        }
    }
}

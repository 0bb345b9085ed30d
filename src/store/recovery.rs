//! Runs whose worker is dead, and rows that nobody else removes.

use uuid::Uuid;

use super::{Append, AppendError, Appended, Error, Loaded, Store, Unreadable};

/// A run and the dead worker that holds it, read in one snapshot (P3).
#[derive(Debug, Clone, PartialEq)]
pub struct Dead {
    /// The worker.
    pub worker: Uuid,
    /// The run.
    pub loaded: Loaded,
}

/// What [`Store::dead`] read.
#[derive(Debug, Default)]
pub struct Deaths {
    /// Runs to take over; terminal ones are to be discarded.
    pub runs: Vec<Dead>,
    /// Runs that this release cannot read.
    pub unreadable: Vec<Unreadable>,
}

/// A decision on [`TakenOver`](crate::engine::Input::TakenOver), to be appended if the worker is still dead.
#[derive(Debug, Clone, PartialEq)]
pub struct TakeOver {
    /// The dead worker.
    pub dead: Uuid,
    /// The decision. Its `then` is `Keep`: the run becomes free, and whoever claims it next goes on.
    pub append: Append,
}

impl Store {
    /// Runs in `active` whose worker is no live one, at most `limit`; nothing unless `me` is alive.
    pub async fn dead(&self, me: Uuid, limit: i64) -> Result<Deaths, Error> {
        let _ = (me, limit);
        Err(Error::NotFound)
    }

    /// Appends `TakenOver` and frees the runs in one statement (P3), where the worker is still dead and `me` is alive.
    /// An ambiguous end needs no care: the next pass sees what is.
    pub async fn take_over(&self, me: Uuid, batch: &[TakeOver]) -> Result<Vec<Appended>, AppendError> {
        let _ = (me, batch);
        Err(Error::NotFound.into())
    }

    /// Removes what is left of terminal runs: `active` and `timers` rows, untaken mail (P4). Others are not touched.
    pub async fn discard(&self, runs: &[Uuid]) -> Result<u64, Error> {
        let _ = runs;
        Err(Error::NotFound)
    }
}

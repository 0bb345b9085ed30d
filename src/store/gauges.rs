//! Figures for metrics.

use std::time::Duration;

use super::{Error, Store};
use crate::engine::Phase;

/// How many runs are in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseCount {
    /// The phase.
    pub phase: Phase,
    /// How many.
    pub runs: i64,
}

impl Store {
    /// Live runs by phase. Terminal phases are not counted: they are counters of the process that saw the end.
    pub async fn phase_counts(&self) -> Result<Vec<PhaseCount>, Error> {
        Err(Error::NotFound)
    }

    /// How long the oldest ready and unclaimed run has waited; zero when there is none.
    pub async fn ready_oldest(&self) -> Result<Duration, Error> {
        Err(Error::NotFound)
    }
}

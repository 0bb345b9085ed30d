//! What a run wants from the world now: computed from its state, never stored.
//!
//! Effects are a level, not an edge: an attempt that runs and is no longer among them is to be aborted.

use jiff::Timestamp;

use super::{event::StepName, key::StepKey};

/// One want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Perform this attempt; [`request`](super::request()) says what it is.
    Perform {
        /// The step.
        step: StepName,
        /// Which attempt; 1 is the first.
        attempt: u32,
        /// The same for every attempt of the step, and for a start repeated after a lost failover.
        key: StepKey,
    },
    /// Tell the run [`TimersDue`](super::Input::TimersDue) at this instant: its earliest timer.
    WakeAt {
        /// When, by the database's clock.
        at: Timestamp,
    },
}

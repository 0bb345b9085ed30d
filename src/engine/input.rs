//! What the world tells a run.

use serde::{Deserialize, Serialize};

use super::{event::StepName, request::Outcome};

/// One thing that happened, for [`decide`](super::decide()).
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A worker holds the run: what has not begun begins.
    Claimed,
    /// An attempt ended. An attempt that is not open any more changes nothing.
    StepEnded {
        /// The step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// `now` may have reached a timer.
    TimersDue,
    /// Rows of the run's inbox, oldest first.
    Mail(Vec<Mail>),
    /// The rescuer found the run's worker dead.
    TakenOver,
}

/// What lies in a run's inbox. Stored as `inbox.kind` and `inbox.payload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Mail {
    /// End the run; `finally` still runs. Cancelling twice equals once.
    Cancel {
        /// Why, for people.
        reason: String,
    },
}

//! What the world tells a run.

use serde::{Deserialize, Serialize};

use super::{event::StepName, request::Outcome, signal::Signal};

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

/// What lies in a run's inbox. A command is stored as `inbox.kind` and `inbox.payload`; a signal's fields have columns of
/// their own.
///
/// In one decision commands come before signals, whatever the order of arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Mail {
    /// End the run: what was done is undone, and `finally` runs. Cancelling twice equals once.
    Cancel {
        /// Why, for people.
        reason: String,
    },
    /// End the run without undoing anything, also where a compensation is under way; `finally` still runs.
    Terminate {
        /// Why, for people.
        reason: String,
    },
    /// No step and no attempt begins any more; running attempts finish. One of a generation below the highest one seen
    /// changes nothing: it comes from somebody who is behind.
    Pause {
        /// Generation of the object that says so.
        generation: i64,
    },
    /// Go on after a pause. Generations count as for [`Pause`](Self::Pause).
    Resume {
        /// Generation of the object that says so.
        generation: i64,
    },
    /// Go on with a run that is parked by a failure or by a failed compensation: what failed begins afresh.
    Retry {
        /// The step to begin with; it must be one that failed.
        from: Option<String>,
    },
    /// Something that a step may wait for.
    Signal(Signal),
}

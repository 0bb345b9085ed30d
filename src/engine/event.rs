//! What was decided, and is remembered for ever. One journal row holds the events of one decision.
//!
//! Names and fields are a stored format: variants and fields are only ever added (golden journals hold this).
//! An event carries all that [`apply`](super::apply()) needs, so that a journal means the same on any later release.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{error::StepError, phase::RunResult};

/// The name of a step; unique in a definition.
pub type StepName = Arc<str>;

/// One fact of a run's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A worker carried the run for the first time.
    RunStarted {
        /// When, by the database's clock.
        at: Timestamp,
        /// When the run times out, if its definition has a `timeout`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// An attempt may be performed from now on; 1 is the first.
    StepStarted {
        /// The step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// When, by the database's clock.
        at: Timestamp,
    },
    /// An attempt failed, and another follows at `retry_at`.
    AttemptFailed {
        /// The step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// Why.
        error: StepError,
        /// When the next attempt begins.
        retry_at: Timestamp,
    },
    /// A step waits for a point in time.
    TimerArmed {
        /// The step.
        step: StepName,
        /// When it ends.
        fire_at: Timestamp,
    },
    /// A step ended well; `output` is what later expressions see.
    StepSucceeded {
        /// The step.
        step: StepName,
        /// Its output.
        output: Value,
    },
    /// A step failed for good.
    StepFailed {
        /// The step.
        step: StepName,
        /// Why.
        error: StepError,
        /// Its `continueOnError` lets dependants run and the run succeed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tolerated: bool,
    },
    /// A step's `when` was false.
    StepSkipped {
        /// The step.
        step: StepName,
    },
    /// An open step was ended by a cancel or a timeout of the run.
    StepCancelled {
        /// The step.
        step: StepName,
    },
    /// Somebody asked for the end of the run.
    CancelRequested {
        /// Why, for people.
        reason: String,
    },
    /// The steps are over and the result is final; what remains is `finally`.
    RunEnding {
        /// The result.
        result: RunResult,
        /// Why it is not `Succeeded`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<RunError>,
        /// The run's output, of a run that succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    },
    /// The worker that carried the run was found dead.
    TakenOver {
        /// The run waits until then before it goes on; set from the second takeover in a row without a result between.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_until: Option<Timestamp>,
    },
    /// The wait after a takeover is over.
    HoldEnded,
    /// The end.
    RunFinished {
        /// When, by the database's clock.
        at: Timestamp,
    },
}

/// Why a run did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// The step that failed; none for a cancel, a timeout or a failing `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// What happened.
    #[serde(flatten)]
    pub error: StepError,
}

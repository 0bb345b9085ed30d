//! What was decided, and is remembered for ever. One journal row holds the events of one decision.
//!
//! Names and fields are a stored format: variants and fields are only ever added (golden journals hold this).
//! An event carries all that [`apply`](super::apply()) needs, so that a journal means the same on any later release.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    error::StepError,
    key::Deed,
    phase::{Parking, RunResult},
    signal::{Rejection, Signal},
};

/// The name of a step; unique in a definition.
pub type StepName = Arc<str>;

/// What an attempt is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its step succeeded.
    Succeeded,
    /// Another attempt follows, or its step failed.
    Failed,
}

/// What a decision found an attempt at this step to be; nothing when it was too late to matter.
pub fn verdict(events: &[Event], of: &StepName) -> Option<Verdict> {
    events.iter().find_map(|event| match event {
        Event::StepSucceeded { step, .. } if step == of => Some(Verdict::Succeeded),
        Event::AttemptFailed { step, .. } | Event::StepFailed { step, .. } if step == of => Some(Verdict::Failed),
        _ => None,
    })
}

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
    /// The run takes over what an earlier run did, and does not execute the step. A journal begins with these.
    StepReused {
        /// The step.
        step: StepName,
        /// The earlier run.
        from: Uuid,
        /// The name of its object.
        name: String,
        /// How the step went.
        status: Reused,
        /// How many attempts it took.
        #[serde(default)]
        attempts: u32,
        /// Its output.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
        /// Why it failed, of one that was tolerated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<StepError>,
        /// The step has a compensation: it is undone if this run does not succeed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undoable: bool,
    },
    /// An attempt may be performed from now on; 1 is the first.
    StepStarted {
        /// The step.
        step: StepName,
        /// Which attempt. Numbers never repeat: a compensation, and what is retried by hand, count on.
        attempt: u32,
        /// When, by the database's clock.
        at: Timestamp,
        /// Of the step itself, or of its compensation.
        #[serde(default, skip_serializing_if = "Deed::is_do")]
        deed: Deed,
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
        /// Of the step itself, or of its compensation.
        #[serde(default, skip_serializing_if = "Deed::is_do")]
        deed: Deed,
    },
    /// A step waits for a point in time.
    TimerArmed {
        /// The step.
        step: StepName,
        /// When it ends.
        fire_at: Timestamp,
    },
    /// A step waits for a signal, of which the run has none.
    SignalAwaited {
        /// The step.
        step: StepName,
        /// The signal's name.
        signal: Arc<str>,
        /// When the wait ends without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A signal came that no step waits for yet: it is kept.
    SignalBuffered {
        /// The signal.
        signal: Signal,
    },
    /// A step took a signal, one that just came or one that was kept. Its success or failure follows.
    SignalConsumed {
        /// The step.
        step: StepName,
        /// The signal's id in the inbox.
        id: i64,
    },
    /// A signal came that the run cannot keep.
    SignalRejected {
        /// The signal's id in the inbox.
        id: i64,
        /// Why.
        reason: Rejection,
    },
    /// A step ended well, or was undone; `output` is what later expressions see, and null for a compensation.
    StepSucceeded {
        /// The step.
        step: StepName,
        /// Its output.
        output: Value,
        /// The step itself, or its compensation.
        #[serde(default, skip_serializing_if = "Deed::is_do")]
        deed: Deed,
        /// The step has a compensation: it is undone if the run does not succeed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undoable: bool,
    },
    /// A wait ended without its signal, and `onTimeout: Continue` lets the run go on.
    StepTimedOut {
        /// The step.
        step: StepName,
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
        /// The step itself, or its compensation.
        #[serde(default, skip_serializing_if = "Deed::is_do")]
        deed: Deed,
    },
    /// A step's `when` was false.
    StepSkipped {
        /// The step.
        step: StepName,
    },
    /// An open step, or an open compensation, was given up: by a cancel, a timeout or a failure of the run.
    StepCancelled {
        /// The step.
        step: StepName,
        /// The step itself, or its compensation.
        #[serde(default, skip_serializing_if = "Deed::is_do")]
        deed: Deed,
    },
    /// Somebody asked for the end of the run.
    CancelRequested {
        /// Why, for people.
        reason: String,
    },
    /// Somebody asked for the end of the run without a compensation.
    TerminateRequested {
        /// Why, for people.
        reason: String,
    },
    /// Nothing begins until the run is resumed.
    RunPaused {
        /// Generation of the object that said so.
        generation: i64,
        /// When, by the database's clock.
        at: Timestamp,
    },
    /// A pause is over.
    RunResumed {
        /// Generation of the object that said so.
        generation: i64,
        /// The run's deadline from now on, when the time that it stood still moved it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// The run stands still until it is retried or ended: nothing begins.
    RunParked {
        /// Why.
        reason: Parking,
        /// The failure, where no step's event told it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<RunError>,
        /// When, by the database's clock.
        at: Timestamp,
    },
    /// A parked run goes on: these begin afresh, in a new round, whose effects have new keys.
    RunRetried {
        /// What failed.
        steps: Vec<StepName>,
        /// The steps themselves, or their compensations.
        #[serde(default, skip_serializing_if = "Deed::is_do")]
        deed: Deed,
        /// The run's deadline from now on, when the time that it stood still moved it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// A retry was asked for that is none, and nothing followed.
    RetryRefused {
        /// Why, for people.
        reason: String,
    },
    /// The steps are over and the result is final; what remains is compensation, if `undo` says so, and `finally`.
    RunEnding {
        /// The result.
        result: RunResult,
        /// Why it is not `Succeeded`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<RunError>,
        /// The run's output, of a run that succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// What was done is undone first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
    },
    /// Nothing is undone any more: all is, or the run was terminated. What remains is `finally`.
    CompensationEnded,
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

/// How a step went that another run takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reused {
    /// It ended well.
    Succeeded,
    /// Its `when` was false.
    Skipped,
    /// Its signal did not come, and `onTimeout: Continue` let the run go on.
    TimedOut,
    /// It failed, and its `continueOnError` let the run go on.
    Failed,
}

impl Reused {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Skipped => "Skipped",
            Self::TimedOut => "TimedOut",
            Self::Failed => "Failed",
        }
    }
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

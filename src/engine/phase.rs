//! Where a run is, coarsely, and how it ended.

use serde::{Deserialize, Serialize};

/// The phase of a run, as users see it and as `runs.phase` stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// No worker has carried it yet.
    Pending,
    /// A step is open.
    Running,
    /// Only waits are open, one of them for a signal.
    Waiting,
    /// Only sleeps are open.
    Sleeping,
    /// Nothing begins until somebody says so: paused by a command, or parked by a failure.
    Paused,
    /// A cancel was accepted; `finally` runs.
    Cancelling,
    /// What was done is being undone.
    Compensating,
    /// Ended well.
    Succeeded,
    /// A step failed for good, or `output` did.
    Failed,
    /// Ended by request.
    Cancelled,
    /// Ended by the run's `timeout`.
    TimedOut,
}

impl Phase {
    /// All phases, for tables and metrics.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Sleeping,
        Self::Paused,
        Self::Cancelling,
        Self::Compensating,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Waiting => "Waiting",
            Self::Sleeping => "Sleeping",
            Self::Paused => "Paused",
            Self::Cancelling => "Cancelling",
            Self::Compensating => "Compensating",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::TimedOut => "TimedOut",
        }
    }

    /// The phase of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }

    /// A terminal run never changes again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending
            | Self::Running
            | Self::Waiting
            | Self::Sleeping
            | Self::Paused
            | Self::Cancelling
            | Self::Compensating => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut => true,
        }
    }
}

/// Why a run stands still until somebody tells it to go on, of itself: no command did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Parking {
    /// It failed, and its definition says `onFailure: Pause`. Moved by a retry or a cancel.
    Failure,
    /// A compensation failed for good. Moved by a retry or by terminating the run.
    CompensationFailed,
}

impl Parking {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Failure, Self::CompensationFailed];

    /// The one that users see as this reason.
    pub fn parse(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|parking| parking.as_str() == reason)
    }

    /// The one whose run is said to wait for this.
    pub fn of_waiting(waits_for: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|parking| parking.waits_for() == waits_for)
    }

    /// The reason that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "PausedOnFailure",
            Self::CompensationFailed => "CompensationFailed",
        }
    }

    /// What a run that stands still so is said to wait for.
    pub fn waits_for(self) -> &'static str {
        match self {
            Self::Failure => "retry or cancel",
            Self::CompensationFailed => "retry or terminate",
        }
    }
}

/// How a run ended: what `run.result` is in `finally`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunResult {
    /// Every step succeeded, was skipped, or failed under `continueOnError`.
    Succeeded,
    /// A step failed for good, or `output` did, or the input contradicts `params`.
    Failed,
    /// Ended by request.
    Cancelled,
    /// Ended by the run's `timeout`.
    TimedOut,
}

impl RunResult {
    /// The terminal phase of a run with this result.
    pub fn phase(self) -> Phase {
        match self {
            Self::Succeeded => Phase::Succeeded,
            Self::Failed => Phase::Failed,
            Self::Cancelled => Phase::Cancelled,
            Self::TimedOut => Phase::TimedOut,
        }
    }

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        self.phase().as_str()
    }
}

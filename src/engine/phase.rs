//! Where a run is, coarsely, and how it ended.

use serde::{Deserialize, Serialize};

/// The phase of a run, as users see it and as `runs.phase` stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// No worker has carried it yet.
    Pending,
    /// A step is open.
    Running,
    /// Only sleeps are open.
    Sleeping,
    /// A cancel was accepted; `finally` runs.
    Cancelling,
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
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Sleeping,
        Self::Cancelling,
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
            Self::Sleeping => "Sleeping",
            Self::Cancelling => "Cancelling",
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
            Self::Pending | Self::Running | Self::Sleeping | Self::Cancelling => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut => true,
        }
    }
}

/// How a run ended: what `run.result` is in `finally`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunResult {
    /// Every step succeeded, was skipped, or failed under `continueOnError`.
    Succeeded,
    /// A step failed for good, or `output` did.
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

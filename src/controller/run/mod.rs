//! What an object shows of its run, whatever its kind: the run in short, the verdicts about it, when they are written
//! and what is told of them. Pure but for `show`, which does it. What an object asks for is its kind's own affair.

pub(crate) mod announce;
pub(crate) mod pace;
pub(crate) mod show;
pub(crate) mod shown;
pub(crate) mod verdict;

use crate::api::v1alpha1::{Condition, ConditionStatus, ConditionType, RunStatus, WorkflowRunStatus, WorkflowStatus};
use crate::controller::condition::get;

/// The part of a status that all kinds with a run have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) run: Option<&'a RunStatus>,
    pub(crate) conditions: &'a [Condition],
}

impl Look<'_> {
    /// Whether this generation was judged, so that an outage has nothing to say about it.
    pub(crate) fn is_judged(self, generation: i64) -> bool {
        self.observed_generation == Some(generation)
            && get(self.conditions, ConditionType::Accepted)
                .is_some_and(|condition| condition.status != ConditionStatus::Unknown)
    }
}

impl<'a> From<&'a WorkflowStatus> for Look<'a> {
    fn from(status: &'a WorkflowStatus) -> Self {
        Self {
            observed_generation: status.observed_generation,
            run: status.run.as_ref(),
            conditions: &status.conditions,
        }
    }
}

impl<'a> From<&'a WorkflowRunStatus> for Look<'a> {
    fn from(status: &'a WorkflowRunStatus) -> Self {
        Self {
            observed_generation: status.observed_generation,
            run: status.run.as_ref(),
            conditions: &status.conditions,
        }
    }
}

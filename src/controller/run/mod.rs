//! What an object shows of its run, whatever its kind: the run in short, the verdicts about it, when they are written
//! and what is told of them. Pure. What an object asks for is its kind's own affair.

pub(crate) mod announce;
pub(crate) mod pace;
pub(crate) mod shown;
pub(crate) mod verdict;

use crate::api::v1alpha1::{Condition, RunStatus, WorkflowRunStatus, WorkflowStatus};

/// The part of a status that all kinds with a run have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) run: Option<&'a RunStatus>,
    pub(crate) conditions: &'a [Condition],
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

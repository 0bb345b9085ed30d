//! Facts and statuses for the tests of the pure parts.

use jiff::Timestamp;
use uuid::Uuid;

use super::intent::{Intent, Readiness, Start};
pub(crate) use super::status::{Known, of};
use crate::api::v1alpha1::WorkflowStatus;
use crate::engine::{Phase, Summary, Violation};
use crate::store::{DeletionPolicy, Facts, Retention, RunFacts};

pub(crate) const REVISION: &str = "00000000000000aa";

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A run whose id is made of `name`, in the revision that the object has.
pub(crate) fn run(name: &str, phase: Phase) -> RunFacts {
    let summary = Summary {
        phase,
        started_at: Some(at(1)),
        finished_at: phase.is_terminal().then(|| at(5)),
        step: (!phase.is_terminal()).then(|| "greet".to_owned()),
        waiting_for: None,
        wake_at: None,
        stalled: None,
        still_since: None,
        progress: "1/3".to_owned(),
        attempts: 1,
        error: None,
        output: None,
        output_omitted: false,
    };
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    RunFacts {
        id: Uuid::from_bytes(id),
        start_key: format!("uid/u/{REVISION}"),
        revision: REVISION.to_owned(),
        phase,
        reason: None,
        summary_seq: 3,
        projected_seq: -1,
        created_at: at(0),
        started_at: summary.started_at,
        finished_at: summary.finished_at,
        summary: Some(summary),
    }
}

/// Facts with that one run, of the wished start and of the object.
pub(crate) fn facts(run: &RunFacts) -> Facts {
    Facts {
        run: Some(run.clone()),
        last: Some(run.clone()),
        wished: Some(run.clone()),
        active: i64::from(!run.phase.is_terminal()),
        succeeded: i64::from(run.phase == Phase::Succeeded),
        failed: i64::from(run.phase.is_terminal() && run.phase != Phase::Succeeded),
        ..no_facts()
    }
}

pub(crate) fn no_facts() -> Facts {
    Facts {
        uid: "u".to_owned(),
        owner: None,
        run: None,
        wished: None,
        last: None,
        run_row_missing: false,
        retired: false,
        unpaused: false,
        active: 0,
        stuck: None,
        succeeded: 0,
        failed: 0,
    }
}

pub(crate) fn intent() -> Intent {
    Intent {
        revision: REVISION.to_owned(),
        body: "{}".to_owned(),
        start: Start::OnApply {
            start_key: format!("uid/u/{REVISION}"),
        },
        readiness: Readiness::Completed,
        retention: Retention::default(),
        deletion_policy: DeletionPolicy::Background,
        suspend: false,
    }
}

/// The first status of an accepted object with that run.
pub(crate) fn accepted(run: &RunFacts, now: Timestamp) -> WorkflowStatus {
    of(
        &WorkflowStatus::default(),
        1,
        Known::Accepted(&intent(), &facts(run)),
        now,
    )
}

/// The first status of an object that cannot be run.
pub(crate) fn invalid() -> WorkflowStatus {
    let violation = Violation {
        path: "spec.steps[0]".to_owned(),
        message: "wrong".to_owned(),
    };
    of(&WorkflowStatus::default(), 1, Known::Invalid(&[violation], None), at(1))
}

//! What a Workflow's status says. Pure: from the object, what it asks for, and the facts, to the whole status.
//!
//! What is said about a run is the same for all kinds: `run::verdict`. Here is what only a Workflow has: definitions that
//! start on demand, revisions, counts. When it is written is another question, and so is what is told about it.

use jiff::Timestamp;

use super::intent::{Intent, Start};
use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{ConditionStatus, ConditionType, Counts, WorkflowStatus};
use crate::controller::condition::{Draft, follow};
use crate::controller::run::Look;
use crate::controller::run::shown::{is_same, run_status};
use crate::controller::run::verdict::{ended, going_on, invalid, store_unavailable, stuck, suspended, why};
use crate::engine::{self, Violation};
use crate::store::{Facts, RunFacts};

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Finished, LastRunSucceeded, Ready, Succeeded, Suspended};

/// What a run that ended badly wants.
const FURTHER: &str = "the run has ended; a changed spec starts another one";

/// What is known about an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// Its spec cannot be run; facts of an earlier generation, when the database could be asked.
    Invalid(&'a [Violation], Option<&'a Facts>),
    /// It was accepted.
    Accepted(&'a Intent, &'a Facts),
    /// The database cannot be asked.
    StoreUnavailable(&'a str),
}

/// The status of an object at `generation` whose status is `before`.
pub(crate) fn of(before: &WorkflowStatus, generation: i64, known: Known<'_>, now: Timestamp) -> WorkflowStatus {
    let (mut status, drafts) = match known {
        Known::Invalid(violations, facts) => {
            let kept = facts.map_or_else(|| before.clone(), |facts| shown(None, facts, before));
            let mut drafts = invalid(violations);
            drafts.extend(facts.and_then(stuck));
            (kept, drafts)
        }
        Known::Accepted(intent, facts) => (shown(Some(intent), facts, before), accepted(intent, facts)),
        // What was true when the database was last asked is the best we know.
        Known::StoreUnavailable(_) if Look::from(before).is_judged(generation) => return before.clone(),
        Known::StoreUnavailable(why) => (before.clone(), store_unavailable(why)),
    };
    status.observed_generation = Some(generation);
    status.conditions = follow(drafts, &before.conditions, generation, now);
    status
}

/// The run that the status is about: the one that goes on, or the one of this revision; on demand the last one, whoever
/// started it.
fn current_run<'a>(start: &Start, facts: &'a Facts) -> Option<&'a RunFacts> {
    match start {
        Start::OnApply { .. } => facts
            .run
            .as_ref()
            .filter(|run| !run.phase.is_terminal())
            .or(facts.wished.as_ref()),
        Start::OnDemand => facts.last.as_ref(),
    }
}

/// When the run began whose end the first look may wait for. The last of a definition may be a younger one at each look.
pub(crate) fn began(start: &Start, facts: &Facts) -> Option<Timestamp> {
    match start {
        Start::OnApply { .. } => current_run(start, facts).map(|run| run.created_at),
        Start::OnDemand => None,
    }
}

/// All but conditions and generation.
fn shown(intent: Option<&Intent>, facts: &Facts, before: &WorkflowStatus) -> WorkflowStatus {
    let run = match intent {
        Some(intent) => current_run(&intent.start, facts),
        None => facts.run.as_ref().or(facts.last.as_ref()),
    };
    let counts = Counts {
        active: facts.active,
        stuck: facts.stuck.map_or(0, |stuck| stuck.runs),
        succeeded: facts.succeeded,
        failed: facts.failed,
    };
    WorkflowStatus {
        revision: intent
            .map(|intent| intent.revision.clone())
            .or_else(|| before.revision.clone()),
        sequence: run.map(|run| run.summary_seq.into()),
        run: run.map(run_status),
        counts: Some(counts),
        ..WorkflowStatus::default()
    }
}

fn accepted(intent: &Intent, facts: &Facts) -> Vec<Draft> {
    let mut drafts = vec![Draft::new(Accepted, True, reason::ACCEPTED, "")];
    let run = current_run(&intent.start, facts);
    match (&intent.start, run) {
        (Start::OnDemand, run) => drafts.extend(registered(intent.suspend, run)),
        (Start::OnApply { .. }, Some(run)) if run.phase.is_terminal() => drafts.extend(ended(run, FURTHER)),
        (Start::OnApply { .. }, None) if facts.retired => drafts.extend(retired()),
        (Start::OnApply { .. }, run) if intent.suspend => drafts.extend(suspended(run)),
        (Start::OnApply { .. }, run) => drafts.extend(going_on(intent.readiness, run, &earlier(intent, run))),
    }
    drafts.extend(stuck(facts));
    drafts
}

/// What there is to say of a run that goes on under an earlier revision.
fn earlier(intent: &Intent, run: Option<&RunFacts>) -> String {
    match run {
        Some(run) if run.revision != intent.revision => format!(
            "the run of revision {} goes on; revision {} starts when it has ended",
            run.revision, intent.revision
        ),
        Some(_) | None => String::new(),
    }
}

fn registered(suspend: bool, last: Option<&RunFacts>) -> Vec<Draft> {
    let mut drafts = match suspend {
        false => vec![Draft::new(Ready, True, reason::REGISTERED, "")],
        true => vec![
            Draft::new(Ready, True, reason::SUSPENDED, ""),
            Draft::new(Suspended, True, reason::SUSPENDED, ""),
        ],
    };
    if let Some(run) = last {
        let status = match run.phase {
            engine::Phase::Succeeded => True,
            engine::Phase::Failed | engine::Phase::Cancelled | engine::Phase::TimedOut => False,
            engine::Phase::Pending
            | engine::Phase::Running
            | engine::Phase::Waiting
            | engine::Phase::Sleeping
            | engine::Phase::Paused
            | engine::Phase::Cancelling
            | engine::Phase::Compensating => Unknown,
        };
        drafts.push(Draft::new(LastRunSucceeded, status, run.phase.as_str(), why(run)));
    }
    drafts
}

/// A revision that ran before, and whose run is not kept any more: it is not run again.
fn retired() -> Vec<Draft> {
    const RETIRED: &str = "Retired";
    let message = "this revision has run before, and its run is not kept any more";
    vec![
        Draft::new(Succeeded, Unknown, RETIRED, message),
        Draft::new(Ready, True, RETIRED, message),
        Draft::new(Finished, True, RETIRED, ""),
    ]
}

/// Whether two statuses say the same.
pub(crate) fn says_the_same(a: &WorkflowStatus, b: &WorkflowStatus) -> bool {
    let rest = |of: &WorkflowStatus| WorkflowStatus {
        observed_generation: None,
        run: None,
        conditions: Vec::new(),
        ..of.clone()
    };
    is_same(a.into(), b.into()) && rest(a) == rest(b)
}

#[cfg(test)]
mod tests;

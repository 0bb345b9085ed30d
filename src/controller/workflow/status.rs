//! What a Workflow's status says. Pure: from the object, what it asks for, and the facts, to the whole status.
//!
//! ```text
//!              what is known                    Accepted               Succeeded          Ready
//!   violations                                  False/InvalidSpec      –                  False/InvalidSpec, Stalled
//!   no database, generation not accepted yet    Unknown/Store…         –                  Unknown, Reconciling
//!   run going on                                True                   Unknown/<phase>    readiness decides
//!   run parked by a failure                     True                   Unknown/<reason>   False, Stalled
//!   run ended well                              True                   True               True, Finished
//!   run ended otherwise                         True                   False/<phase>      False, Finished, Stalled
//!   on demand                                   True                   –                  True/Registered
//! ```
//! When it is written is another question: `pace`. What is told about it: `announce`.

use jiff::Timestamp;
use serde_json::Value;

use super::intent::{Intent, Readiness, Start};
use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{ConditionStatus, ConditionType, Counts, Phase, RunError, RunStatus, WorkflowStatus};
use crate::controller::condition::{Draft, follow, time};
use crate::controller::events::cut;
use crate::engine::{self, Violation};
use crate::store::{Facts, RunFacts};

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Finished, LastRunSucceeded, Ready, Reconciling, Stalled, Succeeded, Waiting};

/// Violations that a message names; it says how many more there are.
const NAMED_VIOLATIONS: usize = 10;
/// So that ten of them fit into a message.
const MAX_VIOLATION: usize = 380;

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
            (kept, invalid(violations))
        }
        Known::Accepted(intent, facts) => (shown(Some(intent), facts, before), accepted(intent, facts)),
        // What was true when the database was last asked is the best we know.
        Known::StoreUnavailable(_) if is_accepted(before, generation) => return before.clone(),
        Known::StoreUnavailable(why) => (before.clone(), store_unavailable(why)),
    };
    status.observed_generation = Some(generation);
    status.conditions = follow(drafts, &before.conditions, generation, now);
    status
}

/// Whether this generation was judged, so that an outage has nothing to say about it.
fn is_accepted(before: &WorkflowStatus, generation: i64) -> bool {
    before.observed_generation == Some(generation)
        && before
            .conditions
            .iter()
            .any(|condition| condition.kind == Accepted && condition.status != Unknown)
}

/// The run that the status is about: the one that goes on, or the one of this revision; on demand the last one.
pub(crate) fn current_run<'a>(start: &Start, facts: &'a Facts) -> Option<&'a RunFacts> {
    match start {
        Start::OnApply { .. } => facts
            .run
            .as_ref()
            .filter(|run| !run.phase.is_terminal())
            .or(facts.wished.as_ref()),
        Start::OnDemand => facts.run.as_ref(),
    }
}

/// All but conditions and generation.
fn shown(intent: Option<&Intent>, facts: &Facts, before: &WorkflowStatus) -> WorkflowStatus {
    let run = match intent {
        Some(intent) => current_run(&intent.start, facts),
        None => facts.run.as_ref(),
    };
    let counts = Counts {
        active: facts.active,
        stuck: facts.stuck,
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

fn run_status(run: &RunFacts) -> RunStatus {
    let summary = run.summary.as_ref();
    let text = |text: Option<&String>, most| text.map(|text| cut(text, most).to_owned());
    RunStatus {
        id: run.id.to_string(),
        phase: phase(run.phase),
        started_at: run.started_at.map(time),
        finished_at: run.finished_at.map(time),
        step: text(summary.and_then(|summary| summary.step.as_ref()), 256),
        waiting_for: text(summary.and_then(|summary| summary.waiting_for.as_ref()), 512),
        progress: text(summary.map(|summary| &summary.progress), 32),
        attempts: summary.map(|summary| summary.attempts.into()),
        error: summary
            .and_then(|summary| summary.error.as_ref())
            .map(|error| RunError {
                step: text(error.step.as_ref(), 256),
                code: cut(&error.code, 64).to_owned(),
                message: cut(&error.message, 1024).to_owned(),
            }),
        output: summary
            .and_then(|summary| summary.output.clone())
            .filter(|output| !output.is_null()),
        output_omitted: summary.is_some_and(|summary| summary.output_omitted).then_some(true),
    }
}

fn phase(phase: engine::Phase) -> Phase {
    match phase {
        engine::Phase::Pending => Phase::Pending,
        engine::Phase::Running => Phase::Running,
        engine::Phase::Waiting => Phase::Waiting,
        engine::Phase::Sleeping => Phase::Sleeping,
        engine::Phase::Paused => Phase::Paused,
        engine::Phase::Cancelling => Phase::Cancelling,
        engine::Phase::Compensating => Phase::Compensating,
        engine::Phase::Succeeded => Phase::Succeeded,
        engine::Phase::Failed => Phase::Failed,
        engine::Phase::Cancelled => Phase::Cancelled,
        engine::Phase::TimedOut => Phase::TimedOut,
    }
}

fn invalid(violations: &[Violation]) -> Vec<Draft> {
    let message = violations_message(violations);
    let first = violations.first().map(ToString::to_string).unwrap_or_default();
    let first = cut(&first, MAX_VIOLATION);
    vec![
        Draft::new(Accepted, False, reason::INVALID_SPEC, message),
        Draft::new(Ready, False, reason::INVALID_SPEC, first),
        Draft::new(Stalled, True, reason::INVALID_SPEC, "the spec must be corrected"),
    ]
}

/// The first ten, and how many more.
pub(crate) fn violations_message(violations: &[Violation]) -> String {
    let named = violations.iter().take(NAMED_VIOLATIONS);
    let mut lines: Vec<String> = named
        .map(|violation| cut(&violation.to_string(), MAX_VIOLATION).to_owned())
        .collect();
    match violations.len().saturating_sub(NAMED_VIOLATIONS) {
        0 => {}
        more => lines.push(format!("and {more} more")),
    }
    lines.join("\n")
}

fn store_unavailable(why: &str) -> Vec<Draft> {
    vec![
        Draft::new(Accepted, Unknown, reason::STORE_UNAVAILABLE, why),
        Draft::new(Ready, Unknown, reason::STORE_UNAVAILABLE, "waiting for PostgreSQL"),
        Draft::new(Reconciling, True, reason::STORE_UNAVAILABLE, "waiting for PostgreSQL"),
    ]
}

fn accepted(intent: &Intent, facts: &Facts) -> Vec<Draft> {
    let mut drafts = vec![Draft::new(Accepted, True, reason::ACCEPTED, "")];
    let run = current_run(&intent.start, facts);
    match (&intent.start, run) {
        (Start::OnDemand, run) => drafts.extend(registered(run)),
        (Start::OnApply { .. }, Some(run)) if run.phase.is_terminal() => drafts.extend(ended(run)),
        (Start::OnApply { .. }, None) if facts.retired => drafts.extend(retired()),
        (Start::OnApply { .. }, run) => drafts.extend(going_on(intent, run)),
    }
    drafts
}

fn registered(last: Option<&RunFacts>) -> Vec<Draft> {
    let mut drafts = vec![Draft::new(Ready, True, reason::REGISTERED, "")];
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

fn ended(run: &RunFacts) -> Vec<Draft> {
    let phase = run.phase.as_str();
    let result = if run.phase == engine::Phase::Succeeded {
        True
    } else {
        False
    };
    let mut drafts = vec![
        Draft::new(Succeeded, result, phase, why(run)),
        Draft::new(Ready, result, phase, why(run)),
        Draft::new(Finished, True, phase, ""),
    ];
    if result == False {
        drafts.push(Draft::new(
            Stalled,
            True,
            phase,
            "the run has ended; a changed spec starts another one",
        ));
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

fn going_on(intent: &Intent, run: Option<&RunFacts>) -> Vec<Draft> {
    let phase = run.map_or(engine::Phase::Pending, |run| run.phase).as_str();
    let message = match run {
        Some(run) if run.revision != intent.revision => format!(
            "the run of revision {} goes on; revision {} starts when it has ended",
            run.revision, intent.revision
        ),
        Some(_) | None => String::new(),
    };
    let ready = match intent.readiness {
        Readiness::Accepted => True,
        Readiness::Completed => False,
    };
    if let Some((run, why_stalled)) = run.and_then(|run| Some((run, stalled(run)?))) {
        return vec![
            Draft::new(Succeeded, Unknown, why_stalled, why(run)),
            Draft::new(Ready, False, phase, why(run)),
            Draft::new(
                Stalled,
                True,
                why_stalled,
                "the run stands still until somebody moves it",
            ),
        ];
    }
    let mut drafts = vec![
        Draft::new(Succeeded, Unknown, phase, &*message),
        Draft::new(Ready, ready, phase, &*message),
    ];
    if ready == False {
        drafts.push(Draft::new(Reconciling, True, phase, "the run goes on"));
    }
    match run.map(|run| run.phase) {
        Some(engine::Phase::Sleeping) => drafts.push(Draft::new(Waiting, True, phase, "")),
        Some(engine::Phase::Waiting) => {
            drafts[0] = Draft::new(Succeeded, Unknown, reason::WAITING_FOR_SIGNAL, &*message);
            drafts.push(Draft::new(Waiting, True, reason::WAITING_FOR_SIGNAL, ""));
        }
        Some(_) | None => {}
    }
    drafts
}

/// Why only a person can move the run, if that is so.
fn stalled(run: &RunFacts) -> Option<&str> {
    let summary = run.summary.as_ref().filter(|_| run.phase == engine::Phase::Paused)?;
    summary.stalled.as_deref()
}

/// Why a run did not end well.
pub(crate) fn why(run: &RunFacts) -> String {
    let Some(error) = run.summary.as_ref().and_then(|summary| summary.error.as_ref()) else {
        return String::new();
    };
    if run.phase == engine::Phase::Succeeded {
        return String::new();
    }
    let step = error
        .step
        .as_ref()
        .map(|step| format!("step {step}: "))
        .unwrap_or_default();
    format!("{step}{}: {}", error.code, error.message)
}

/// Whether two statuses say the same. What the API server makes of free JSON counts as the same: it writes 1 for 1.0
/// and may drop a null.
pub(crate) fn says_the_same(a: &WorkflowStatus, b: &WorkflowStatus) -> bool {
    let output = |of: &WorkflowStatus| of.run.as_ref().and_then(|run| run.output.clone()).unwrap_or_default();
    let rest = |of: &WorkflowStatus| {
        let mut of = of.clone();
        of.conditions.sort_by_key(|condition| condition.kind);
        if let Some(run) = &mut of.run {
            run.output = None;
        }
        of
    };
    rest(a) == rest(b) && same_json(&output(a), &output(b))
}

fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let null = Value::Null;
            let keys = a.keys().chain(b.keys());
            keys.into_iter()
                .all(|key| same_json(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;

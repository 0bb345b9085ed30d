//! Conditions about a run, whatever object it belongs to.
//!
//! ```text
//!              what is known              Accepted               Succeeded                 Ready
//!   violations                            False/InvalidSpec      –                         False/InvalidSpec, Stalled
//!   no database, not accepted yet         Unknown/Store…         –                         Unknown, Reconciling
//!   run going on                          True                   Unknown/<phase>           readiness decides
//!   run waiting                           True                   Unknown/WaitingForSignal  readiness decides, Waiting
//!   told to begin nothing new             True                   Unknown/Suspended         False/Suspended, Suspended
//!   stands still until a person acts      True                   Unknown, False/<reason>   False/<reason>, Stalled
//!   ended well                            True                   True                      True, Finished
//!   ended otherwise                       True                   False/<phase>             False, Finished, Stalled
//! ```
//! `Stuck` stands beside any of them, and changes none.

use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{ConditionStatus, ConditionType};
use crate::controller::condition::{Draft, time};
use crate::controller::events::cut;
use crate::controller::workflow::intent::Readiness;
use crate::engine::{Parking, Phase, Violation};
use crate::store::{Facts, RunFacts, StuckFacts, StuckReason};

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Finished, Ready, Reconciling, Stalled, Stuck, Succeeded, Suspended, Waiting};

/// Violations that a message names; it says how many more there are.
const NAMED_VIOLATIONS: usize = 10;
/// So that ten of them fit into a message.
const MAX_VIOLATION: usize = 380;

/// A spec that cannot be run.
pub(crate) fn invalid(violations: &[Violation]) -> Vec<Draft> {
    let first = violations.first().map(ToString::to_string).unwrap_or_default();
    let first = cut(&first, MAX_VIOLATION);
    vec![
        refused(violations),
        Draft::new(Ready, False, reason::INVALID_SPEC, first),
        Draft::new(Stalled, True, reason::INVALID_SPEC, "the spec must be corrected"),
    ]
}

/// That a spec cannot be run, and why.
pub(crate) fn refused(violations: &[Violation]) -> Draft {
    Draft::new(Accepted, False, reason::INVALID_SPEC, violations_message(violations))
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

/// A spec that nobody could judge yet.
pub(crate) fn store_unavailable(why: &str) -> Vec<Draft> {
    vec![
        Draft::new(Accepted, Unknown, reason::STORE_UNAVAILABLE, why),
        Draft::new(Ready, Unknown, reason::STORE_UNAVAILABLE, "waiting for PostgreSQL"),
        Draft::new(Reconciling, True, reason::STORE_UNAVAILABLE, "waiting for PostgreSQL"),
    ]
}

/// A run that has ended; `further` says what can be done about a bad end.
pub(crate) fn ended(run: &RunFacts, further: &str) -> Vec<Draft> {
    let phase = run.phase.as_str();
    let result = if run.phase == Phase::Succeeded { True } else { False };
    let mut drafts = vec![
        Draft::new(Succeeded, result, phase, why(run)),
        Draft::new(Ready, result, phase, why(run)),
        Draft::new(Finished, True, phase, ""),
    ];
    if result == False {
        drafts.push(Draft::new(Stalled, True, phase, further));
    }
    drafts
}

/// A run that goes on, or is about to start.
pub(crate) fn going_on(readiness: Readiness, run: Option<&RunFacts>, message: &str) -> Vec<Draft> {
    if let Some((run, reason)) = run.and_then(|run| Some((run, standstill(run)?))) {
        return stalled(run, reason);
    }
    let phase = run.map_or(Phase::Pending, |run| run.phase);
    let so_far = match phase {
        Phase::Waiting => reason::WAITING_FOR_SIGNAL,
        other => other.as_str(),
    };
    let ready = match readiness {
        Readiness::Accepted => True,
        Readiness::Completed => False,
    };
    let mut drafts = vec![
        Draft::new(Succeeded, Unknown, so_far, message),
        Draft::new(Ready, ready, phase.as_str(), message),
    ];
    if ready == False {
        drafts.push(Draft::new(Reconciling, True, phase.as_str(), "the run goes on"));
    }
    if matches!(phase, Phase::Sleeping | Phase::Waiting) {
        let waits = run.and_then(|run| run.summary.as_ref()?.waiting_for.clone());
        // What a sleep waits for changes with each of its steps, and is shown in `run`.
        let waits = waits.filter(|_| phase == Phase::Waiting).unwrap_or_default();
        drafts.push(Draft::new(Waiting, True, so_far, waits));
    }
    drafts
}

/// A run that was told to begin nothing new, or one that is not started for that.
pub(crate) fn suspended(run: Option<&RunFacts>) -> Vec<Draft> {
    if let Some((run, reason)) = run.and_then(|run| Some((run, standstill(run)?))) {
        return stalled(run, reason);
    }
    let message = match run.map(|run| run.phase) {
        None => "no run is started",
        Some(Phase::Paused) => "no step begins",
        Some(_) => "no step begins once the run has heard of it; running attempts finish",
    };
    held(message)
}

/// Nothing begins, because somebody said so; `message` says what.
pub(crate) fn held(message: &str) -> Vec<Draft> {
    vec![
        Draft::new(Succeeded, Unknown, reason::SUSPENDED, message),
        Draft::new(Ready, False, reason::SUSPENDED, message),
        Draft::new(Suspended, True, reason::SUSPENDED, message),
        Draft::new(Reconciling, True, reason::SUSPENDED, message),
    ]
}

/// Why the run stands still until a person acts.
pub(crate) fn standstill(run: &RunFacts) -> Option<Parking> {
    Parking::parse(run.summary.as_ref()?.stalled.as_deref()?)
}

fn stalled(run: &RunFacts, parking: Parking) -> Vec<Draft> {
    let (so_far, help) = match parking {
        Parking::Failure => (Unknown, "the run waits to be retried or cancelled"),
        Parking::CompensationFailed => (False, "what was done is not all undone: retry, or terminate the run"),
    };
    let reason = parking.as_str();
    vec![
        Draft::new(Succeeded, so_far, reason, why(run)),
        Draft::new(Ready, False, reason, why(run)),
        Draft::new(Stalled, True, reason, help),
    ]
}

/// That a run of the object is stuck: why, since when, and what to do.
pub(crate) fn stuck(facts: &Facts) -> Option<Draft> {
    let StuckFacts { runs, reason, since } = facts.stuck?;
    let (what, help) = match reason {
        StuckReason::Unclaimed => (
            "the run is ready and no worker takes it",
            "start workers for this namespace",
        ),
        StuckReason::ClaimExpired => (
            "the run's worker is dead and no other took the run over",
            "start workers for this namespace",
        ),
        StuckReason::TimerOverdue => (
            "the run's time has come and nobody wakes it",
            "start workers for this namespace",
        ),
        StuckReason::DeadlineOverdue => (
            "the run's timeout has passed and its worker lives",
            "see the log of the worker",
        ),
        StuckReason::SetAside => (
            "the run's worker lives and cannot carry it",
            "see the log of the worker, which says why",
        ),
        StuckReason::Paused => (
            "the run was paused",
            "take back `suspend`, or `desiredState: Paused`, when it shall go on",
        ),
        StuckReason::PausedOnFailure => (
            "a step failed for good",
            "correct the cause and retry the run, or cancel it",
        ),
        StuckReason::CompensationFailed => (
            "an undo failed for good",
            "correct the cause and retry the run, or terminate it",
        ),
        StuckReason::Blocked => ("the definition changed in what has begun", "revert the edit"),
        StuckReason::NoMover => (
            "nothing moves the run",
            "it is put back within five minutes; if it is not, please report it with `everstep history` of the run",
        ),
    };
    let others = match runs {
        ..=1 => String::new(),
        _ => format!(" ({runs} runs of this object are stuck; this one for longest)"),
    };
    let message = format!("since {}: {what}{others}; {help}", time(since).0);
    Some(Draft::new(Stuck, True, reason.as_str(), message))
}

/// Why a run did not end well, or does not go on.
pub(crate) fn why(run: &RunFacts) -> String {
    let Some(error) = run.summary.as_ref().and_then(|summary| summary.error.as_ref()) else {
        return String::new();
    };
    if run.phase == Phase::Succeeded {
        return String::new();
    }
    let step = error
        .step
        .as_ref()
        .map(|step| format!("step {step}: "))
        .unwrap_or_default();
    format!("{step}{}: {}", error.code, error.message)
}

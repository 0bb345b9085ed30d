//! What a new status tells that the old one did not: the Events of a Workflow. Pure.

use super::pace::is_terminal;
use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{ConditionType, Phase, RunStatus, WorkflowStatus};
use crate::controller::condition::get;
use crate::controller::events::{Announcement, Severity};

/// The transitions from `before` to `after`, to be told once `after` is written.
pub(crate) fn transitions(before: &WorkflowStatus, after: &WorkflowStatus) -> Vec<Announcement> {
    let mut all = Vec::new();
    all.extend(invalid(before, after));
    all.extend(after.run.as_ref().and_then(|run| moved(before.run.as_ref(), run)));
    all
}

/// One for each generation that cannot be run.
fn invalid(before: &WorkflowStatus, after: &WorkflowStatus) -> Option<Announcement> {
    let refused = |status: &WorkflowStatus| {
        get(&status.conditions, ConditionType::Accepted)
            .filter(|condition| condition.reason == reason::INVALID_SPEC)
            .map(|condition| (condition.observed_generation, condition.message.clone()))
    };
    let (generation, message) = refused(after)?;
    let told = refused(before).is_some_and(|(before, _)| before == generation);
    (!told).then(|| Announcement {
        severity: Severity::Warning,
        reason: reason::INVALID_SPEC,
        note: message,
        about: format!("generation {}", generation.unwrap_or_default()),
    })
}

/// A run that began or ended. One that is first seen when it has ended is told once.
fn moved(before: Option<&RunStatus>, run: &RunStatus) -> Option<Announcement> {
    let before = before.filter(|before| before.id == run.id);
    match before {
        Some(before) if is_terminal(before.phase) || !is_terminal(run.phase) => None,
        Some(_) | None => Some(told(run)),
    }
}

fn told(run: &RunStatus) -> Announcement {
    let id = &run.id;
    let why = run.error.as_ref().map_or_else(String::new, |error| {
        let step = error
            .step
            .as_ref()
            .map(|step| format!("step {step}: "))
            .unwrap_or_default();
        format!(": {step}{}: {}", error.code, error.message)
    });
    let (severity, reason, note) = match run.phase {
        Phase::Succeeded => (Severity::Normal, "Finished", format!("run {id} succeeded")),
        Phase::Failed => (Severity::Warning, "Failed", format!("run {id} failed{why}")),
        Phase::TimedOut => (Severity::Warning, "TimedOut", format!("run {id} timed out{why}")),
        Phase::Cancelled => (Severity::Normal, "Cancelled", format!("run {id} was cancelled{why}")),
        Phase::Pending
        | Phase::Running
        | Phase::Waiting
        | Phase::Sleeping
        | Phase::Paused
        | Phase::Blocked
        | Phase::Cancelling
        | Phase::Compensating => (Severity::Normal, "Started", format!("run {id} started")),
    };
    Announcement {
        severity,
        reason,
        note,
        about: id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{accepted, at, invalid, run};
    use super::*;
    use crate::engine;

    fn reasons(before: &WorkflowStatus, after: &WorkflowStatus) -> Vec<&'static str> {
        transitions(before, after).into_iter().map(|told| told.reason).collect()
    }

    #[test]
    fn run_is_told_when_it_begins_and_when_it_ends_and_not_between() {
        let seen = |phase| accepted(&run("r", phase), at(1));
        let fresh = WorkflowStatus::default();
        assert_eq!(reasons(&fresh, &seen(engine::Phase::Running)), ["Started"]);
        assert!(reasons(&seen(engine::Phase::Running), &seen(engine::Phase::Sleeping)).is_empty());
        assert_eq!(
            reasons(&seen(engine::Phase::Sleeping), &seen(engine::Phase::Succeeded)),
            ["Finished"]
        );
        assert!(reasons(&seen(engine::Phase::Failed), &seen(engine::Phase::Failed)).is_empty());
        for (phase, reason) in [
            (engine::Phase::Succeeded, "Finished"),
            (engine::Phase::Failed, "Failed"),
            (engine::Phase::Cancelled, "Cancelled"),
            (engine::Phase::TimedOut, "TimedOut"),
        ] {
            assert_eq!(
                reasons(&fresh, &seen(phase)),
                [reason],
                "a short run is told once, by its end"
            );
        }
    }

    #[test]
    fn next_run_is_told_again() {
        let old = accepted(&run("old", engine::Phase::Failed), at(1));
        let new = accepted(&run("new", engine::Phase::Running), at(2));
        assert_eq!(reasons(&old, &new), ["Started"]);
    }

    #[test]
    fn invalid_spec_is_told_once_for_each_generation() {
        let fresh = WorkflowStatus::default();
        let first = invalid();
        assert_eq!(reasons(&fresh, &first), ["InvalidSpec"]);
        assert!(reasons(&first, &first.clone()).is_empty(), "resync or restart");
        let mut second = invalid();
        for condition in &mut second.conditions {
            condition.observed_generation = Some(2);
        }
        assert_eq!(reasons(&first, &second), ["InvalidSpec"]);
        assert_ne!(
            transitions(&fresh, &first)[0].about,
            transitions(&first, &second)[0].about
        );
    }
}

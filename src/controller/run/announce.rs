//! What a new status tells that the old one did not: the Events of an object with a run. Pure.

use super::Look;
use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{Condition, ConditionStatus, ConditionType, Phase, RunStatus};
use crate::controller::condition::get;
use crate::controller::events::{Announcement, Severity};
use crate::engine::Parking;
use crate::store::StuckReason;

/// The transitions from `before` to `after`, to be told once `after` is written.
pub(crate) fn transitions(before: Look<'_>, after: Look<'_>) -> Vec<Announcement> {
    let mut all = Vec::new();
    all.extend(invalid(before, after));
    all.extend(stuck(before, after));
    // The last run of a definition is told by the object that owns it, and by nobody when SQL has started it.
    let is_own = get(after.conditions, ConditionType::LastRunSucceeded).is_none();
    if let Some(run) = after.run.filter(|_| is_own) {
        let earlier = before.run.filter(|before| before.id == run.id);
        all.extend(moved(earlier, run));
        all.extend(undoing(earlier, run));
        all.extend(halted(before, after, run));
        all.extend(suspended(before, after));
    }
    all
}

/// One for each generation that cannot be run.
fn invalid(before: Look<'_>, after: Look<'_>) -> Option<Announcement> {
    let refused = |look: Look<'_>| {
        get(look.conditions, ConditionType::Accepted)
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
    match before {
        Some(before) if before.phase.is_terminal() || !run.phase.is_terminal() => None,
        Some(_) | None => Some(told(run)),
    }
}

/// A run that began to undo what it did.
fn undoing(before: Option<&RunStatus>, run: &RunStatus) -> Option<Announcement> {
    let began = run.phase == Phase::Compensating && before.is_none_or(|before| before.phase != Phase::Compensating);
    began.then(|| Announcement {
        severity: Severity::Normal,
        reason: "CompensationStarted",
        note: format!("run {} undoes what it did{}", run.id, why(run)),
        about: run.id.clone(),
    })
}

/// A run that stands still until a person acts; each time that it comes to that.
fn halted(before: Look<'_>, after: Look<'_>, run: &RunStatus) -> Option<Announcement> {
    let stalled = |look: Look<'_>| get(look.conditions, ConditionType::Stalled).cloned();
    let after: Condition = stalled(after)?;
    let parking = Parking::parse(&after.reason)?;
    let told = stalled(before).is_some_and(|before| before.reason == after.reason);
    (!told).then(|| Announcement {
        severity: Severity::Warning,
        reason: parking.as_str(),
        note: format!("run {}: {}{}", run.id, after.message, why(run)),
        about: format!("{} at {}", run.id, after.last_transition_time.0),
    })
}

/// A run that got stuck; again when the reason is another one. What waits for a person was told by what led to it.
fn stuck(before: Look<'_>, after: Look<'_>) -> Option<Announcement> {
    let stuck = |look: Look<'_>| get(look.conditions, ConditionType::Stuck).cloned();
    let after: Condition = stuck(after)?;
    let told = stuck(before).is_some_and(|before| before.reason == after.reason);
    let news = !told && !StuckReason::parse(&after.reason).is_some_and(StuckReason::waits_for_a_person);
    news.then(|| Announcement {
        severity: Severity::Warning,
        reason: "RunStuck",
        note: format!("{}: {}", after.reason, after.message),
        about: format!("{} at {}", after.reason, after.last_transition_time.0),
    })
}

/// An object whose run was told to begin nothing new, or to go on. One that only stopped to say so, since its spec is
/// wrong, the database is away, or the run stands still for another reason, is not said to go on.
fn suspended(before: Look<'_>, after: Look<'_>) -> Option<Announcement> {
    let is = |look: Look<'_>, kind| {
        get(look.conditions, kind).is_some_and(|condition| condition.status == ConditionStatus::True)
    };
    let goes_on = after.run.is_some_and(|run| !run.phase.is_terminal())
        && is(after, ConditionType::Accepted)
        && !is(after, ConditionType::Stalled);
    let suspended = |look| is(look, ConditionType::Suspended);
    let (reason, note) = match (suspended(before), suspended(after)) {
        (false, true) => ("Suspended", "no step begins until the run is resumed"),
        (true, false) if goes_on => ("Resumed", "the run goes on"),
        (true, false | true) | (false, false) => return None,
    };
    Some(Announcement {
        severity: Severity::Normal,
        reason,
        note: note.to_owned(),
        about: format!("generation {}", after.observed_generation.unwrap_or_default()),
    })
}

fn why(run: &RunStatus) -> String {
    run.error.as_ref().map_or_else(String::new, |error| {
        let step = error
            .step
            .as_ref()
            .map(|step| format!("step {step}: "))
            .unwrap_or_default();
        format!(": {step}{}: {}", error.code, error.message)
    })
}

fn told(run: &RunStatus) -> Announcement {
    let id = &run.id;
    let why = why(run);
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
    use super::*;
    use crate::api::v1alpha1::WorkflowStatus;
    use crate::controller::workflow::fixtures::{Known, accepted, at, facts, intent, invalid, of, run};
    use crate::controller::workflow::intent::{Intent, Start};
    use crate::engine;
    use crate::store::{RunFacts, StuckFacts};

    fn reasons(before: &WorkflowStatus, after: &WorkflowStatus) -> Vec<&'static str> {
        transitions(before.into(), after.into())
            .into_iter()
            .map(|told| told.reason)
            .collect()
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
    fn last_run_of_a_definition_is_told_by_its_own_object() {
        let demanded = Intent {
            start: Start::OnDemand,
            ..intent()
        };
        let last = |name, phase| {
            let facts = facts(&run(name, phase));
            let known = Known::Accepted(&demanded, &facts);
            of(&WorkflowStatus::default(), 1, known, at(1))
        };
        let before = last("old", engine::Phase::Running);
        for phase in [
            engine::Phase::Running,
            engine::Phase::Failed,
            engine::Phase::Compensating,
        ] {
            assert!(reasons(&before, &last("new", phase)).is_empty(), "{phase:?}");
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
            transitions((&fresh).into(), (&first).into())[0].about,
            transitions((&first).into(), (&second).into())[0].about
        );
    }

    fn stuck(reason: StuckReason, second: i64) -> WorkflowStatus {
        let facts = crate::store::Facts {
            stuck: Some(StuckFacts {
                runs: 1,
                reason,
                since: at(0),
            }),
            ..facts(&run("r", engine::Phase::Running))
        };
        let before = accepted(&run("r", engine::Phase::Running), at(1));
        of(&before, 1, Known::Accepted(&intent(), &facts), at(second))
    }

    #[test]
    fn stuck_run_is_told_once_for_each_time_and_reason_and_not_when_it_waits_for_a_person() {
        let moves = accepted(&run("r", engine::Phase::Running), at(1));
        let unclaimed = stuck(StuckReason::Unclaimed, 70);
        assert_eq!(reasons(&moves, &unclaimed), ["RunStuck"]);
        assert!(reasons(&unclaimed, &unclaimed.clone()).is_empty(), "resync or restart");
        assert!(reasons(&unclaimed, &moves).is_empty(), "it moves again");
        let expired = stuck(StuckReason::ClaimExpired, 70);
        assert_eq!(reasons(&unclaimed, &expired), ["RunStuck"]);
        let told = |after: &WorkflowStatus| transitions((&moves).into(), after.into()).remove(0);
        assert_eq!(told(&unclaimed).severity, Severity::Warning);
        assert!(
            told(&unclaimed).note.starts_with("Unclaimed: since "),
            "{}",
            told(&unclaimed).note
        );
        let again = stuck(StuckReason::Unclaimed, 300);
        for other in [&expired, &again] {
            assert_ne!(told(&unclaimed).about, told(other).about);
        }
        for reason in StuckReason::ALL {
            let expected: &[&str] = if reason.waits_for_a_person() {
                &[]
            } else {
                &["RunStuck"]
            };
            assert_eq!(reasons(&moves, &stuck(reason, 70)), expected, "{reason:?}");
        }
    }

    /// What follows `before` at generation 2, in which the object says `suspend`.
    fn edited(before: &WorkflowStatus, suspend: bool, run: &RunFacts) -> WorkflowStatus {
        let intent = Intent { suspend, ..intent() };
        of(before, 2, Known::Accepted(&intent, &facts(run)), at(20))
    }

    fn parked(parking: Parking) -> RunFacts {
        let mut run = run("r", engine::Phase::Paused);
        run.summary.as_mut().unwrap().stalled = Some(parking.as_str().to_owned());
        run
    }

    #[test]
    fn run_is_said_to_be_resumed_only_when_it_goes_on() {
        let live = run("r", engine::Phase::Running);
        let paused = edited(&WorkflowStatus::default(), true, &run("r", engine::Phase::Paused));
        let violation = engine::Violation {
            path: "spec".to_owned(),
            message: "wrong".to_owned(),
        };
        let refused = Known::Invalid(std::slice::from_ref(&violation), None);
        let table = [
            ("resumed", edited(&paused, false, &live), &["Resumed"][..]),
            ("still suspended", edited(&paused, true, &live), &[]),
            ("refused", of(&paused, 3, refused, at(20)), &["InvalidSpec"]),
            (
                "not judged yet",
                of(&paused, 3, Known::StoreUnavailable("away"), at(20)),
                &[],
            ),
            (
                "compensation failed",
                edited(&paused, true, &parked(Parking::CompensationFailed)),
                &["CompensationFailed"],
            ),
            (
                "ended",
                edited(&paused, true, &run("r", engine::Phase::Cancelled)),
                &["Cancelled"],
            ),
        ];
        for (name, after, expected) in table {
            assert_eq!(reasons(&paused, &after), expected, "{name}");
        }
        assert_eq!(
            reasons(&edited(&WorkflowStatus::default(), false, &live), &paused),
            ["Suspended"]
        );
    }

    #[test]
    fn compensation_is_told_when_it_begins_and_when_it_fails() {
        let seen = |phase| accepted(&run("r", phase), at(1));
        let undoing = seen(engine::Phase::Compensating);
        let failed = accepted(&parked(Parking::CompensationFailed), at(2));
        assert_eq!(
            reasons(&seen(engine::Phase::Running), &undoing),
            ["CompensationStarted"]
        );
        assert!(reasons(&undoing, &undoing.clone()).is_empty());
        assert_eq!(reasons(&undoing, &failed), ["CompensationFailed"]);
        assert_eq!(reasons(&failed, &undoing), ["CompensationStarted"], "it was retried");
        assert_eq!(
            reasons(&WorkflowStatus::default(), &undoing),
            ["Started", "CompensationStarted"],
            "both are news of a run that was not seen before"
        );
    }

    #[test]
    fn run_that_waits_for_a_person_is_told_each_time_that_it_comes_to_that() {
        let going_on = accepted(&run("r", engine::Phase::Running), at(1));
        let halted = |before: &WorkflowStatus, second| {
            let facts = facts(&parked(Parking::Failure));
            of(before, 1, Known::Accepted(&intent(), &facts), at(second))
        };
        let first = halted(&going_on, 2);
        assert_eq!(reasons(&going_on, &first), ["PausedOnFailure"]);
        assert!(reasons(&first, &halted(&first, 3)).is_empty(), "resync or restart");
        let about = |after: &WorkflowStatus| transitions((&going_on).into(), after.into())[0].about.clone();
        assert_ne!(about(&first), about(&halted(&going_on, 4)), "retried, and failed again");
    }
}

//! When a status that says something new is written: at once, or later. Pure.
//!
//! Verdicts are written at once, progress at most once a second an object, and the first status of a run waits half a
//! second for it to end: then one write says it all.

use jiff::{SignedDuration, Timestamp};

use super::Look;
use crate::api::v1alpha1::{Condition, ConditionStatus, ConditionType};
use crate::controller::condition::get;

/// A run that ends sooner is shown once, when it has ended.
pub(crate) const FIRST_LOOK: SignedDuration = SignedDuration::from_millis(500);
/// Between two writes of progress.
const PROGRESS: SignedDuration = SignedDuration::from_secs(1);

/// Conditions that people and tools wait for.
const VERDICTS: [ConditionType; 8] = [
    ConditionType::Accepted,
    ConditionType::Succeeded,
    ConditionType::Ready,
    ConditionType::Finished,
    ConditionType::Stalled,
    ConditionType::Stuck,
    ConditionType::Suspended,
    ConditionType::LastRunSucceeded,
];

/// When to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Now.
    Now,
    /// Not before this.
    At(Timestamp),
}

/// When to write `next` over `before`. `run_since`: when the run that goes on was started; `written`: when we last
/// wrote this object.
pub(crate) fn when(
    before: Look<'_>,
    next: Look<'_>,
    run_since: Option<Timestamp>,
    written: Option<Timestamp>,
    now: Timestamp,
) -> When {
    let earliest = if is_first_look(before, next) {
        run_since.map(|since| since + FIRST_LOOK)
    } else if verdicts(before) != verdicts(next) {
        None
    } else {
        written.map(|written| written + PROGRESS)
    };
    match earliest {
        Some(at) if at > now => When::At(at),
        Some(_) | None => When::Now,
    }
}

/// Whether `next` is the first to show a run, and that run goes on.
fn is_first_look(before: Look<'_>, next: Look<'_>) -> bool {
    let shown = |look: Look<'_>| look.run.map(|run| run.id.clone());
    let goes_on = next.run.is_some_and(|run| !run.phase.is_terminal());
    goes_on && (shown(before) != shown(next) || before.observed_generation != next.observed_generation)
}

fn verdicts(look: Look<'_>) -> [Option<ConditionStatus>; VERDICTS.len()] {
    VERDICTS.map(|kind| get(look.conditions, kind).map(|condition: &Condition| condition.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::WorkflowStatus;
    use crate::controller::workflow::fixtures::{accepted, at, invalid, run};
    use crate::engine;

    fn when(
        before: &WorkflowStatus,
        next: &WorkflowStatus,
        run_since: Option<Timestamp>,
        written: Option<Timestamp>,
        now: Timestamp,
    ) -> When {
        super::when(before.into(), next.into(), run_since, written, now)
    }

    #[test]
    fn first_status_of_a_run_waits_half_a_second_for_its_end() {
        let fresh = WorkflowStatus::default();
        let running = accepted(&run("r", engine::Phase::Running), at(10));
        let look = at(10) + FIRST_LOOK;
        assert_eq!(when(&fresh, &running, Some(at(10)), None, at(10)), When::At(look));
        assert_eq!(when(&fresh, &running, Some(at(10)), None, look), When::Now);
        let ended = accepted(&run("r", engine::Phase::Succeeded), at(10));
        assert_eq!(
            when(&fresh, &ended, None, None, at(10)),
            When::Now,
            "it has ended: one write says it all"
        );
    }

    #[test]
    fn next_run_of_an_object_waits_as_the_first_did() {
        let before = accepted(&run("old", engine::Phase::Succeeded), at(1));
        let next = accepted(&run("new", engine::Phase::Running), at(10));
        assert!(matches!(
            when(&before, &next, Some(at(10)), Some(at(1)), at(10)),
            When::At(_)
        ));
    }

    #[test]
    fn verdict_is_written_at_once() {
        let running = accepted(&run("r", engine::Phase::Running), at(10));
        let ended = accepted(&run("r", engine::Phase::Failed), at(10));
        assert_eq!(when(&running, &ended, None, Some(at(10)), at(10)), When::Now);
        assert_eq!(when(&running, &invalid(), None, Some(at(10)), at(10)), When::Now);
    }

    #[test]
    fn progress_is_written_at_most_once_a_second() {
        let running = accepted(&run("r", engine::Phase::Running), at(10));
        let sleeping = accepted(&run("r", engine::Phase::Sleeping), at(10));
        let when = |written, now| when(&running, &sleeping, Some(at(0)), written, now);
        assert_eq!(when(Some(at(10)), at(10)), When::At(at(11)));
        assert_eq!(when(Some(at(10)), at(11)), When::Now);
        assert_eq!(when(None, at(10)), When::Now);
    }
}

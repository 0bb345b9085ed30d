//! What a WorkflowRun's status says. Pure. What is said about a run is the same for all kinds: `run::verdict`.

use jiff::Timestamp;

use super::intent::{Desired, Wish};
use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{Condition, ConditionStatus, ConditionType, WorkflowRunStatus};
use crate::controller::condition::{Draft, follow, get};
use crate::controller::run::Look;
use crate::controller::run::shown::{is_same, run_status};
use crate::controller::run::verdict::{
    self, ended, going_on, held, invalid, store_unavailable, stuck, suspended, violations_message,
};
use crate::engine::Violation;
use crate::store::{Facts, RunFacts};

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Finished, Ready, Reconciling, Stalled, Succeeded};

/// What a run that ended badly wants.
const FURTHER: &str = "the run has ended; create another WorkflowRun";

/// Why a run may not do what its object says.
const FOREIGN: &str = "the run was started under the same key by somebody else, who alone commands it";

/// What is waited for.
const WORKFLOW: &str = "the Workflow";
const EARLIER: &str = "the run that is to be retried";

/// What is known about an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// It cannot be run; facts of the run that it started before, when the database could be asked.
    Invalid(&'a [Violation], Option<&'a Facts>),
    /// The Workflow of this name is not there.
    NoWorkflow(&'a str),
    /// The Workflow cannot be run.
    BadWorkflow(&'a [Violation]),
    /// The Workflow of this name is suspended, and no run was started yet.
    Suspended(&'a str),
    /// The WorkflowRun of this name, whose run is to be taken up again, has started none.
    NoRun(&'a str),
    /// The run that is to be taken up again has not ended.
    NotEnded(&'a str),
    /// The run cannot be taken up again: reason and message.
    Refused(&'a str, &'a str),
    /// It was accepted; how things are.
    Accepted(&'a Wish, &'a Facts),
    /// The database cannot be asked.
    StoreUnavailable(&'a str),
}

/// The status of an object at `generation` whose status is `before`.
pub(crate) fn of(before: &WorkflowRunStatus, generation: i64, known: Known<'_>, now: Timestamp) -> WorkflowRunStatus {
    let (mut status, drafts) = match known {
        Known::Invalid(violations, facts) => refused(violations, facts, before),
        Known::NoWorkflow(name) => {
            let message = format!("there is no Workflow {name} yet");
            (before.clone(), awaits(reason::WORKFLOW_NOT_FOUND, &message, WORKFLOW))
        }
        Known::BadWorkflow(violations) => {
            let message = format!("the Workflow cannot be run:\n{}", violations_message(violations));
            (before.clone(), awaits(reason::WORKFLOW_INVALID, &message, WORKFLOW))
        }
        Known::NoRun(name) => {
            let message = format!("there is no WorkflowRun {name} that has started a run yet");
            (before.clone(), awaits(reason::RUN_NOT_FOUND, &message, EARLIER))
        }
        Known::NotEnded(message) => (before.clone(), awaits(reason::RUN_NOT_ENDED, message, EARLIER)),
        Known::Refused(reason, message) => (before.clone(), no_way(reason, message)),
        Known::Suspended(name) => (before.clone(), held_back(name)),
        Known::Accepted(_, facts) if is_over(before, facts) => {
            (before.clone(), [vec![acceptance()], kept(before)].concat())
        }
        Known::Accepted(wish, facts) => (shown(facts), accepted(wish, facts)),
        // What was true when the database was last asked is the best we know; and an end stays one.
        Known::StoreUnavailable(_) if Look::from(before).is_judged(generation) || finished(before).is_some() => {
            return before.clone();
        }
        Known::StoreUnavailable(why) => (before.clone(), store_unavailable(why)),
    };
    status.observed_generation = Some(generation);
    status.conditions = follow(drafts, &before.conditions, generation, now);
    status
}

/// Whether two statuses say the same.
pub(crate) fn says_the_same(a: &WorkflowRunStatus, b: &WorkflowRunStatus) -> bool {
    is_same(a.into(), b.into()) && (&a.revision, a.sequence) == (&b.revision, b.sequence)
}

/// Whether the run was started under the same key for another object, or by SQL: it is shown, and takes no commands from
/// here. An object starts one run at most.
pub(crate) fn is_foreign(facts: &Facts) -> bool {
    facts.wished.is_some() && facts.active + facts.succeeded + facts.failed == 0
}

/// Whether the object has said all: that it has ended, of a run that the database knows no more, or of none. What anybody
/// starts under the same key afterwards is not what was asked for here. An object runs once, however long it lives.
pub(crate) fn is_over(before: &WorkflowRunStatus, facts: &Facts) -> bool {
    let shown = before.run.as_ref().map(|run| &*run.id);
    let is_another = |run: &RunFacts| is_foreign(facts) && shown != Some(&run.id.to_string());
    finished(before).is_some() && !facts.run_row_missing && facts.wished.as_ref().is_none_or(is_another)
}

/// When the object's work ended: with its run, or when it was said that there is none, if the database knows of none.
pub(crate) fn ended_at(status: &WorkflowRunStatus, facts: &Facts) -> Option<Timestamp> {
    match is_over(status, facts) {
        true => finished(status).map(|condition| condition.last_transition_time.0),
        false => facts.wished.as_ref()?.finished_at,
    }
}

/// Whether the object has said that its work is over.
pub(crate) fn has_ended(status: &WorkflowRunStatus) -> bool {
    finished(status).is_some()
}

fn finished(status: &WorkflowRunStatus) -> Option<&Condition> {
    get(&status.conditions, Finished).filter(|condition| condition.status == True)
}

/// An edit that is refused takes nothing back: the run that was started before goes on, and an end stays one.
fn refused(
    violations: &[Violation],
    facts: Option<&Facts>,
    before: &WorkflowRunStatus,
) -> (WorkflowRunStatus, Vec<Draft>) {
    let run = facts.and_then(|facts| facts.run.as_ref());
    let refused = || vec![verdict::refused(violations)];
    match run {
        _ if finished(before).is_some() => (before.clone(), [refused(), kept(before)].concat()),
        Some(run) if run.phase.is_terminal() => (shown_run(run), [refused(), ended(run, FURTHER)].concat()),
        Some(run) => {
            let mut drafts = invalid(violations);
            drafts.extend(facts.and_then(stuck));
            (shown_run(run), drafts)
        }
        None => (before.clone(), invalid(violations)),
    }
}

fn shown(facts: &Facts) -> WorkflowRunStatus {
    let accepted = facts.owner.as_ref().map(|owner| owner.revision.clone());
    match &facts.wished {
        Some(run) => shown_run(run),
        None => WorkflowRunStatus {
            revision: accepted,
            ..WorkflowRunStatus::default()
        },
    }
}

fn shown_run(run: &RunFacts) -> WorkflowRunStatus {
    WorkflowRunStatus {
        revision: Some(run.revision.clone()),
        sequence: Some(run.summary_seq.into()),
        run: Some(run_status(run)),
        ..WorkflowRunStatus::default()
    }
}

/// What was said of the run.
fn kept(before: &WorkflowRunStatus) -> Vec<Draft> {
    let conditions = before.conditions.iter().filter(|said| said.kind != Accepted);
    conditions
        .map(|said| Draft::new(said.kind, said.status, &said.reason, &said.message))
        .collect()
}

/// The definition may still come, or come right.
fn awaits(reason: &str, message: &str, what: &str) -> Vec<Draft> {
    vec![
        Draft::new(Accepted, Unknown, reason, message),
        Draft::new(Ready, Unknown, reason, message),
        Draft::new(Reconciling, True, reason, format!("waiting for {what}")),
    ]
}

/// No waiting helps: nothing is started.
fn no_way(reason: &str, message: &str) -> Vec<Draft> {
    vec![
        Draft::new(Accepted, False, reason, message),
        Draft::new(Ready, False, reason, message),
        Draft::new(Stalled, True, reason, "no run is started: create another WorkflowRun"),
    ]
}

/// Nothing is started, and nothing is accepted: it may be another definition that is run in the end.
fn held_back(name: &str) -> Vec<Draft> {
    let message = format!("no run is started: Workflow {name} is suspended");
    let mut drafts = vec![Draft::new(Accepted, Unknown, reason::SUSPENDED, &message)];
    drafts.extend(held(&message));
    drafts
}

fn acceptance() -> Draft {
    Draft::new(Accepted, True, reason::ACCEPTED, "")
}

fn accepted(wish: &Wish, facts: &Facts) -> Vec<Draft> {
    let mut drafts = vec![acceptance()];
    drafts.extend(match (&facts.wished, wish.desired) {
        (Some(run), _) if run.phase.is_terminal() => ended(run, FURTHER),
        (None, _) if facts.retired => retired(),
        (run, _) if is_foreign(facts) => going_on(wish.readiness, run.as_ref(), FOREIGN),
        (run, Desired::Paused) => suspended(run.as_ref()),
        (None, Desired::Cancelled | Desired::Terminated) => never(),
        (run, Desired::Running | Desired::Cancelled | Desired::Terminated) => {
            going_on(wish.readiness, run.as_ref(), "")
        }
    });
    drafts.extend(stuck(facts));
    drafts
}

/// A run that was cancelled before it was started.
fn never() -> Vec<Draft> {
    const CANCELLED: &str = "Cancelled";
    let message = "no run was started";
    vec![
        Draft::new(Succeeded, False, CANCELLED, message),
        Draft::new(Ready, False, CANCELLED, message),
        Draft::new(Finished, True, CANCELLED, message),
        Draft::new(Stalled, True, CANCELLED, FURTHER),
    ]
}

/// A run that is not kept any more: it is not run again.
fn retired() -> Vec<Draft> {
    const RETIRED: &str = "Retired";
    let message = "this run has ended, and is not kept any more";
    vec![
        Draft::new(Succeeded, Unknown, RETIRED, message),
        Draft::new(Ready, True, RETIRED, message),
        Draft::new(Finished, True, RETIRED, ""),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::intent;
    use super::*;
    use crate::controller::workflow::fixtures::{at, facts, no_facts, run};
    use crate::engine::Phase;
    use crate::store::{StuckFacts, StuckReason};

    fn wish(desired: &str) -> Wish {
        let spec = json!({"workflowRef": {"name": "w"}, "desiredState": desired});
        intent::of("u", "r", &spec).unwrap()
    }

    fn row(known: Known<'_>) -> String {
        words(&of(&WorkflowRunStatus::default(), 1, known, at(10)))
    }

    fn words(status: &WorkflowRunStatus) -> String {
        let conditions = status.conditions.iter();
        let words = conditions.map(|c| format!("{:?}={:?}/{}", c.kind, c.status, c.reason));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn conditions_follow_the_table() {
        let of = |phase| facts(&run("r", phase));
        let table = [
            (
                "Running",
                no_facts(),
                "Accepted=True/Accepted Succeeded=Unknown/Pending Ready=False/Pending Reconciling=True/Pending",
            ),
            (
                "Running",
                of(Phase::Waiting),
                "Accepted=True/Accepted Succeeded=Unknown/WaitingForSignal Ready=False/Waiting \
                 Waiting=True/WaitingForSignal Reconciling=True/Waiting",
            ),
            (
                "Cancelled",
                of(Phase::Compensating),
                "Accepted=True/Accepted Succeeded=Unknown/Compensating Ready=False/Compensating \
                 Reconciling=True/Compensating",
            ),
            (
                "Paused",
                of(Phase::Paused),
                "Accepted=True/Accepted Succeeded=Unknown/Suspended Ready=False/Suspended Reconciling=True/Suspended \
                 Suspended=True/Suspended",
            ),
            (
                "Paused",
                no_facts(),
                "Accepted=True/Accepted Succeeded=Unknown/Suspended Ready=False/Suspended Reconciling=True/Suspended \
                 Suspended=True/Suspended",
            ),
            (
                "Paused",
                of(Phase::Succeeded),
                "Accepted=True/Accepted Succeeded=True/Succeeded Ready=True/Succeeded Finished=True/Succeeded",
            ),
            (
                "Cancelled",
                of(Phase::Cancelled),
                "Accepted=True/Accepted Succeeded=False/Cancelled Ready=False/Cancelled Finished=True/Cancelled \
                 Stalled=True/Cancelled",
            ),
            (
                "Terminated",
                no_facts(),
                "Accepted=True/Accepted Succeeded=False/Cancelled Ready=False/Cancelled Finished=True/Cancelled \
                 Stalled=True/Cancelled",
            ),
        ];
        for (desired, facts, expected) in table {
            assert_eq!(row(Known::Accepted(&wish(desired), &facts)), expected, "{desired}");
        }
    }

    #[test]
    fn run_of_somebody_else_is_shown_as_it_is_whatever_is_desired_here() {
        let foreign = Facts {
            wished: Some(run("r", Phase::Running)),
            ..no_facts()
        };
        let expected = "Accepted=True/Accepted Succeeded=Unknown/Running Ready=False/Running Reconciling=True/Running";
        for desired in ["Running", "Paused", "Cancelled"] {
            assert_eq!(row(Known::Accepted(&wish(desired), &foreign)), expected, "{desired}");
        }
    }

    #[test]
    fn run_that_stands_still_by_a_failure_wants_a_person_whatever_it_was_told() {
        for (parking, so_far) in [("CompensationFailed", "False"), ("PausedOnFailure", "Unknown")] {
            let mut parked = run("r", Phase::Paused);
            parked.summary.as_mut().unwrap().stalled = Some(parking.to_owned());
            for desired in ["Running", "Paused", "Cancelled"] {
                let row = row(Known::Accepted(&wish(desired), &facts(&parked)));
                let expected = format!(
                    "Accepted=True/Accepted Succeeded={so_far}/{parking} Ready=False/{parking} Stalled=True/{parking}"
                );
                assert_eq!(row, expected, "{desired}");
            }
        }
    }

    fn status(before: &WorkflowRunStatus, generation: i64, known: Known<'_>) -> WorkflowRunStatus {
        of(before, generation, known, at(20))
    }

    #[test]
    fn end_that_was_shown_stays_when_the_run_is_not_kept_any_more_or_another_has_its_key() {
        let wish = wish("Running");
        let failed = Facts {
            wished: Some(run("r", Phase::Failed)),
            ..no_facts()
        };
        let ended = of(
            &WorkflowRunStatus::default(),
            1,
            Known::Accepted(&wish, &failed),
            at(10),
        );
        let retired = Facts {
            retired: true,
            ..no_facts()
        };
        let anew = Facts {
            wished: Some(run("s", Phase::Running)),
            ..no_facts()
        };
        for facts in [no_facts(), retired, anew] {
            assert!(is_over(&ended, &facts));
            assert_eq!(status(&ended, 1, Known::Accepted(&wish, &facts)), ended, "{facts:?}");
            let edited = status(&ended, 2, Known::Accepted(&wish, &facts));
            assert_eq!((edited.observed_generation, &edited.run), (Some(2), &ended.run));
            assert_eq!(edited.conditions.len(), ended.conditions.len());
        }
        assert_eq!(status(&ended, 2, Known::StoreUnavailable("away")), ended);
    }

    fn refused(before: &WorkflowRunStatus, facts: Option<&Facts>) -> WorkflowRunStatus {
        let violation = Violation {
            path: "spec.ttlAfterFinished".to_owned(),
            message: "too long".to_owned(),
        };
        status(before, 2, Known::Invalid(&[violation], facts))
    }

    #[test]
    fn refused_edit_takes_nothing_back() {
        let wish = wish("Running");
        let accepted = |facts: &Facts| {
            let first = WorkflowRunStatus::default();
            of(&first, 1, Known::Accepted(&wish, facts), at(10))
        };
        // As they are read by the object's UID.
        let read = |phase| Facts {
            wished: None,
            ..facts(&run("r", phase))
        };
        let invalid = "Accepted=False/InvalidSpec Ready=False/InvalidSpec Stalled=True/InvalidSpec";
        let ended = "Accepted=False/InvalidSpec Succeeded=True/Succeeded Ready=True/Succeeded Finished=True/Succeeded";

        let running = accepted(&facts(&run("r", Phase::Running)));
        let sleeping = refused(&running, Some(&read(Phase::Sleeping)));
        assert_eq!(words(&sleeping), invalid);
        assert_eq!(sleeping.run, Some(run_status(&run("r", Phase::Sleeping))));
        assert_eq!((&sleeping.revision, sleeping.sequence), (&running.revision, Some(3)));
        let done = refused(&sleeping, Some(&read(Phase::Succeeded)));
        assert_eq!(words(&done), ended);
        assert_eq!(done.run, Some(run_status(&run("r", Phase::Succeeded))));

        let before = accepted(&facts(&run("r", Phase::Succeeded)));
        for facts in [Some(&read(Phase::Succeeded)), Some(&no_facts()), None] {
            let after = refused(&before, facts);
            assert_eq!(words(&after), ended, "{facts:?}");
            assert_eq!((&after.run, after.observed_generation), (&before.run, Some(2)));
            assert!(is_over(&after, &no_facts()), "it is not run again");
            let corrected = status(&after, 3, Known::Accepted(&wish, &no_facts()));
            assert_eq!(words(&corrected), words(&before));
        }
        assert_eq!(
            words(&refused(&WorkflowRunStatus::default(), Some(&no_facts()))),
            invalid
        );
        assert_eq!(refused(&running, None).run, running.run, "the database is away");
    }

    #[test]
    fn stuck_run_is_told_also_when_an_edit_is_refused() {
        let stands = Facts {
            stuck: Some(StuckFacts {
                runs: 1,
                reason: StuckReason::TimerOverdue,
                since: at(7),
            }),
            ..facts(&run("r", Phase::Sleeping))
        };
        let accepted = status(
            &WorkflowRunStatus::default(),
            1,
            Known::Accepted(&wish("Running"), &stands),
        );
        assert!(words(&accepted).contains("Reconciling=True/Sleeping Stuck=True/TimerOverdue"));
        assert!(
            words(&refused(&accepted, Some(&stands))).ends_with("Stalled=True/InvalidSpec Stuck=True/TimerOverdue")
        );
    }

    #[test]
    fn work_ends_with_its_run_or_when_it_was_said_that_there_is_none() {
        let first = |desired: &str, facts: &Facts| {
            let known = wish(desired);
            of(&WorkflowRunStatus::default(), 1, Known::Accepted(&known, facts), at(10))
        };
        let never = first("Cancelled", &no_facts());
        assert_eq!(ended_at(&never, &no_facts()), Some(at(10)));
        let paused = first("Paused", &no_facts());
        assert_eq!(ended_at(&paused, &no_facts()), None);
        let going_on = facts(&run("r", Phase::Running));
        assert_eq!(ended_at(&first("Running", &going_on), &going_on), None);
        let ended = facts(&run("r", Phase::Failed));
        assert_eq!(ended_at(&first("Running", &ended), &ended), Some(at(5)));
        let retired = Facts {
            retired: true,
            ..no_facts()
        };
        for before in [first("Running", &ended), first("Running", &retired)] {
            assert_eq!(ended_at(&before, &retired), Some(at(10)));
        }
    }

    #[test]
    fn end_is_not_held_against_what_is_the_objects_own() {
        let never = of(
            &WorkflowRunStatus::default(),
            1,
            Known::Accepted(&wish("Cancelled"), &no_facts()),
            at(10),
        );
        assert!(is_over(&never, &no_facts()));
        // A replica with older news started it all the same: it must hear of the end.
        assert!(!is_over(&never, &facts(&run("r", Phase::Running))));
        let lost = Facts {
            run_row_missing: true,
            ..no_facts()
        };
        assert!(!is_over(&never, &lost));
        assert!(
            !is_over(&WorkflowRunStatus::default(), &no_facts()),
            "nothing has ended"
        );
    }

    #[test]
    fn missing_or_broken_workflow_is_waited_for() {
        let violation = Violation {
            path: "spec.steps".to_owned(),
            message: "empty".to_owned(),
        };
        assert_eq!(
            row(Known::NoWorkflow("w")),
            "Accepted=Unknown/WorkflowNotFound Ready=Unknown/WorkflowNotFound Reconciling=True/WorkflowNotFound"
        );
        assert_eq!(
            row(Known::BadWorkflow(&[violation])),
            "Accepted=Unknown/WorkflowInvalid Ready=Unknown/WorkflowInvalid Reconciling=True/WorkflowInvalid"
        );
    }

    #[test]
    fn earlier_run_is_waited_for_and_one_that_cannot_be_taken_up_is_refused() {
        assert_eq!(
            row(Known::NoRun("r")),
            "Accepted=Unknown/RunNotFound Ready=Unknown/RunNotFound Reconciling=True/RunNotFound"
        );
        assert_eq!(
            row(Known::NotEnded("it goes on")),
            "Accepted=Unknown/RunNotEnded Ready=Unknown/RunNotEnded Reconciling=True/RunNotEnded"
        );
        assert_eq!(
            row(Known::Refused("StepUndone", "step a …")),
            "Accepted=False/StepUndone Ready=False/StepUndone Stalled=True/StepUndone"
        );
    }

    #[test]
    fn suspended_workflow_is_waited_for_and_named() {
        let status = status(&WorkflowRunStatus::default(), 1, Known::Suspended("order"));
        assert!(
            status.conditions.iter().all(|it| it.message.contains("order")),
            "{status:?}"
        );
        assert_eq!(
            row(Known::Suspended("order")),
            "Accepted=Unknown/Suspended Succeeded=Unknown/Suspended Ready=False/Suspended \
             Reconciling=True/Suspended Suspended=True/Suspended"
        );
    }
}

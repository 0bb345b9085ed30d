//! The condition table, row by row.

use super::super::fixtures::{REVISION, accepted, at, facts, intent, no_facts, run};
use super::super::intent::Readiness;
use super::*;
use crate::controller::condition::get;
use crate::engine::{Phase as RunPhase, SummaryError};
use crate::store::{StuckFacts, StuckReason};

use ConditionType::{Reconciling, Stalled, Stuck};

/// `Accepted=True/Accepted …`, in the order of the types.
fn row(status: &WorkflowStatus) -> String {
    let conditions = status.conditions.iter();
    let words = conditions.map(|c| format!("{:?}={:?}/{}", c.kind, c.status, c.reason));
    words.collect::<Vec<_>>().join(" ")
}

fn first(known: Known<'_>) -> WorkflowStatus {
    of(&WorkflowStatus::default(), 1, known, at(10))
}

fn with(readiness: Readiness, start: Start) -> Intent {
    Intent {
        readiness,
        start,
        ..intent()
    }
}

#[test]
fn conditions_of_a_run_follow_the_table() {
    let table = [
        (
            RunPhase::Pending,
            "Accepted=True/Accepted Succeeded=Unknown/Pending Ready=False/Pending Reconciling=True/Pending",
        ),
        (
            RunPhase::Running,
            "Accepted=True/Accepted Succeeded=Unknown/Running Ready=False/Running Reconciling=True/Running",
        ),
        (
            RunPhase::Sleeping,
            "Accepted=True/Accepted Succeeded=Unknown/Sleeping Ready=False/Sleeping Waiting=True/Sleeping \
             Reconciling=True/Sleeping",
        ),
        (
            RunPhase::Waiting,
            "Accepted=True/Accepted Succeeded=Unknown/WaitingForSignal Ready=False/Waiting \
             Waiting=True/WaitingForSignal Reconciling=True/Waiting",
        ),
        (
            RunPhase::Paused,
            "Accepted=True/Accepted Succeeded=Unknown/Paused Ready=False/Paused Reconciling=True/Paused",
        ),
        (
            RunPhase::Compensating,
            "Accepted=True/Accepted Succeeded=Unknown/Compensating Ready=False/Compensating \
             Reconciling=True/Compensating",
        ),
        (
            RunPhase::Cancelling,
            "Accepted=True/Accepted Succeeded=Unknown/Cancelling Ready=False/Cancelling Reconciling=True/Cancelling",
        ),
        (
            RunPhase::Succeeded,
            "Accepted=True/Accepted Succeeded=True/Succeeded Ready=True/Succeeded Finished=True/Succeeded",
        ),
        (
            RunPhase::Failed,
            "Accepted=True/Accepted Succeeded=False/Failed Ready=False/Failed Finished=True/Failed Stalled=True/Failed",
        ),
        (
            RunPhase::Cancelled,
            "Accepted=True/Accepted Succeeded=False/Cancelled Ready=False/Cancelled Finished=True/Cancelled \
             Stalled=True/Cancelled",
        ),
        (
            RunPhase::TimedOut,
            "Accepted=True/Accepted Succeeded=False/TimedOut Ready=False/TimedOut Finished=True/TimedOut \
             Stalled=True/TimedOut",
        ),
    ];
    assert_eq!(table.len(), RunPhase::ALL.len());
    for (phase, expected) in table {
        assert_eq!(row(&accepted(&run("r", phase), at(10))), expected);
    }
}

#[test]
fn reconciling_and_stalled_are_only_true_and_never_together() {
    for phase in RunPhase::ALL {
        for readiness in [Readiness::Accepted, Readiness::Completed] {
            for start in [intent().start, Start::OnDemand] {
                let status = first(Known::Accepted(&with(readiness, start), &facts(&run("r", phase))));
                let of = |kind| get(&status.conditions, kind).map(|condition| condition.status);
                assert!(of(Reconciling).is_none_or(|status| status == True));
                assert!(of(Stalled).is_none_or(|status| status == True));
                assert!(of(Reconciling).is_none() || of(Stalled).is_none(), "{}", row(&status));
            }
        }
    }
}

#[test]
fn stuck_run_is_told_beside_the_table_and_health_does_not_follow_it() {
    let violation = Violation {
        path: "spec.steps".to_owned(),
        message: "empty".to_owned(),
    };
    for reason in StuckReason::ALL {
        let moves = facts(&run("r", RunPhase::Running));
        let stands = Facts {
            stuck: Some(StuckFacts {
                runs: 1,
                reason,
                since: at(7),
            }),
            ..moves.clone()
        };
        let looks = |facts| {
            let accepted = first(Known::Accepted(&intent(), facts));
            let invalid = first(Known::Invalid(std::slice::from_ref(&violation), Some(facts)));
            [accepted, invalid]
        };
        for (before, mut after) in looks(&moves).into_iter().zip(looks(&stands)) {
            let stuck = get(&after.conditions, Stuck).unwrap().clone();
            assert_eq!((stuck.status, &*stuck.reason), (True, reason.as_str()));
            let since = "since 1970-01-01T00:00:07Z: ";
            assert!(stuck.message.starts_with(since), "{}", stuck.message);
            assert!(!stuck.message.contains("runs of this object"), "{}", stuck.message);
            assert_eq!(after.counts.unwrap().stuck, 1);
            assert_eq!(before.counts.unwrap().stuck, 0);
            after.conditions.retain(|condition| condition.kind != Stuck);
            assert_eq!(row(&after), row(&before));
        }
    }
}

#[test]
fn object_with_several_stuck_runs_says_how_many() {
    let several = Facts {
        stuck: Some(StuckFacts {
            runs: 3,
            reason: StuckReason::Unclaimed,
            since: at(7),
        }),
        ..facts(&run("r", RunPhase::Pending))
    };
    let status = first(Known::Accepted(&intent(), &several));
    let message = &get(&status.conditions, Stuck).unwrap().message;
    assert!(message.contains("(3 runs of this object are stuck"), "{message}");
}

#[test]
fn readiness_accepted_is_ready_while_the_run_goes_on() {
    let intent = with(Readiness::Accepted, intent().start);
    let status = first(Known::Accepted(&intent, &facts(&run("r", RunPhase::Running))));
    assert_eq!(
        row(&status),
        "Accepted=True/Accepted Succeeded=Unknown/Running Ready=True/Running"
    );
}

#[test]
fn health_of_a_definition_does_not_follow_its_last_run() {
    let intent = with(Readiness::Completed, Start::OnDemand);
    assert_eq!(
        row(&first(Known::Accepted(&intent, &no_facts()))),
        "Accepted=True/Accepted Ready=True/Registered"
    );
    let last = Facts {
        last: Some(run("r", RunPhase::Failed)),
        failed: 1,
        ..no_facts()
    };
    assert_eq!(
        row(&first(Known::Accepted(&intent, &last))),
        "Accepted=True/Accepted Ready=True/Registered LastRunSucceeded=False/Failed"
    );
}

#[test]
fn first_look_of_a_definition_waits_for_no_run() {
    let live = Facts {
        last: Some(run("r", RunPhase::Running)),
        ..no_facts()
    };
    let demanded = with(Readiness::Completed, Start::OnDemand);
    assert_eq!(
        began(&demanded.start, &live),
        None,
        "the next one may have begun by then"
    );
    assert_eq!(
        began(&intent().start, &facts(&run("r", RunPhase::Running))),
        Some(at(0))
    );
}

#[test]
fn invalid_spec_names_ten_violations_and_counts_the_others() {
    let violations: Vec<Violation> = (0..13)
        .map(|n| Violation {
            path: format!("spec.steps[{n}]"),
            message: "x".repeat(5000),
        })
        .collect();
    let status = first(Known::Invalid(&violations, None));
    assert_eq!(
        row(&status),
        "Accepted=False/InvalidSpec Ready=False/InvalidSpec Stalled=True/InvalidSpec"
    );
    let message = &get(&status.conditions, Accepted).unwrap().message;
    assert!(message.len() <= 4096);
    assert!(message.starts_with("spec.steps[0]: x") && message.contains("\nspec.steps[9]: x"));
    assert!(message.ends_with("\nand 3 more"), "{message}");
    assert_eq!(status.observed_generation, Some(1));
}

#[test]
fn outage_is_shown_by_what_was_not_accepted_yet_and_by_nothing_else() {
    let known = Known::StoreUnavailable("connection refused");
    assert_eq!(
        row(&first(known)),
        "Accepted=Unknown/StoreUnavailable Ready=Unknown/StoreUnavailable Reconciling=True/StoreUnavailable"
    );
    let before = accepted(&run("r", RunPhase::Running), at(1));
    assert_eq!(
        of(&before, 1, known, at(20)),
        before,
        "an accepted object keeps its status"
    );
    let edited = of(&before, 2, known, at(20));
    assert!(row(&edited).starts_with("Accepted=Unknown/StoreUnavailable"));
    assert_eq!(
        edited.run, before.run,
        "what was known of the run is still the best we know"
    );
}

#[test]
fn run_of_the_earlier_revision_is_shown_until_it_has_ended() {
    let mut earlier = run("old", RunPhase::Running);
    earlier.revision = "00000000000000bb".to_owned();
    let facts = Facts {
        run: Some(earlier),
        ..no_facts()
    };
    let status = first(Known::Accepted(&intent(), &facts));
    assert_eq!(status.revision.as_deref(), Some(REVISION));
    let ready = get(&status.conditions, Ready).unwrap();
    assert!(
        ready.message.contains("00000000000000bb") && ready.message.contains(REVISION),
        "{}",
        ready.message
    );
}

#[test]
fn ended_run_of_an_earlier_revision_says_nothing_of_this_one() {
    let mut earlier = run("old", RunPhase::Failed);
    earlier.revision = "00000000000000bb".to_owned();
    let facts = Facts {
        run: Some(earlier),
        ..no_facts()
    };
    let status = first(Known::Accepted(&intent(), &facts));
    assert!(row(&status).contains("Succeeded=Unknown/Pending"), "{}", row(&status));
    assert_eq!(status.run, None);
}

#[test]
fn revision_whose_run_is_not_kept_any_more_counts_as_finished() {
    let facts = Facts {
        retired: true,
        ..no_facts()
    };
    let status = first(Known::Accepted(&intent(), &facts));
    assert_eq!(
        row(&status),
        "Accepted=True/Accepted Succeeded=Unknown/Retired Ready=True/Retired Finished=True/Retired"
    );
}

#[test]
fn failure_says_which_step_and_why() {
    let mut failed = run("r", RunPhase::Failed);
    let error = SummaryError {
        step: Some("charge".into()),
        code: "CARD".into(),
        message: "declined".into(),
    };
    failed.summary.as_mut().unwrap().error = Some(error);
    let status = accepted(&failed, at(1));
    assert_eq!(
        get(&status.conditions, Ready).unwrap().message,
        "step charge: CARD: declined"
    );
    assert_eq!(status.run.unwrap().error.unwrap().code, "CARD");
}

#[test]
fn status_stays_below_16_kib_whatever_the_run_says() {
    let mut failed = run("r", RunPhase::Failed);
    let summary = failed.summary.as_mut().unwrap();
    let long = "\u{1F600}".repeat(10_000);
    summary.step = Some(long.clone());
    summary.waiting_for = Some(long.clone());
    summary.error = Some(SummaryError {
        step: Some(long.clone()),
        code: long.clone(),
        message: long,
    });
    summary.output = Some("x".repeat(4096).into());
    let status = accepted(&failed, at(1));
    assert!(serde_json::to_string(&status).unwrap().len() < 16 * 1024);
}

#[test]
fn status_read_back_from_the_api_server_says_the_same() {
    let mut ended = run("r", RunPhase::Succeeded);
    ended.summary.as_mut().unwrap().output = Some(serde_json::json!({"a": 1.0, "b": [2.5, {"c": null}], "d": 1e3}));
    ended.started_at = Some("2026-11-21T10:00:00.123456Z".parse().unwrap());
    let status = accepted(&ended, at(1));
    let mut read: WorkflowStatus = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
    read.run.as_mut().unwrap().output = Some(serde_json::json!({"a": 1, "b": [2.5, {}], "d": 1000}));
    read.conditions.reverse();
    assert!(says_the_same(&status, &read));
    read.run.as_mut().unwrap().output = Some(serde_json::json!({"a": 2, "b": [2.5, {}], "d": 1000}));
    assert!(!says_the_same(&status, &read));
}

#[test]
fn time_alone_changes_nothing() {
    let before = accepted(&run("r", RunPhase::Running), at(1));
    let later = of(
        &before,
        1,
        Known::Accepted(&intent(), &facts(&run("r", RunPhase::Running))),
        at(500),
    );
    assert_eq!(before, later);
}

/// What tools make of an object that looks like this: kstatus's rules for kinds that it does not know.
fn verdict(status: &WorkflowStatus, generation: i64) -> &'static str {
    let of = |kind| get(&status.conditions, kind).map(|condition| condition.status);
    let outdated = status
        .observed_generation
        .is_some_and(|observed| observed != generation);
    if outdated || of(Reconciling) == Some(True) {
        "InProgress"
    } else if of(Stalled) == Some(True) {
        "Failed"
    } else if of(Ready).is_some_and(|status| status != True) {
        "InProgress"
    } else {
        "Current"
    }
}

#[test]
fn tools_see_what_the_table_of_the_api_promises() {
    let violation = Violation {
        path: "spec.steps".to_owned(),
        message: "empty".to_owned(),
    };
    let violations = [violation];
    let on_apply = |readiness| with(readiness, intent().start);
    let (completed, at_once) = (on_apply(Readiness::Completed), on_apply(Readiness::Accepted));
    let on_demand = with(Readiness::Completed, Start::OnDemand);
    let of = |phase| facts(&run("r", phase));
    let last = |phase| Facts {
        last: Some(run("r", phase)),
        ..no_facts()
    };
    let unseen = WorkflowStatus {
        observed_generation: Some(-1),
        ..WorkflowStatus::default()
    };
    let table = [
        ("not seen yet", unseen, "InProgress"),
        ("invalid spec", first(Known::Invalid(&violations, None)), "Failed"),
        ("no database", first(Known::StoreUnavailable("refused")), "InProgress"),
        (
            "not started",
            first(Known::Accepted(&completed, &no_facts())),
            "InProgress",
        ),
        (
            "goes on",
            first(Known::Accepted(&completed, &of(RunPhase::Running))),
            "InProgress",
        ),
        (
            "goes on, ready at once",
            first(Known::Accepted(&at_once, &of(RunPhase::Running))),
            "Current",
        ),
        (
            "waits",
            first(Known::Accepted(&completed, &of(RunPhase::Sleeping))),
            "InProgress",
        ),
        (
            "waits, ready at once",
            first(Known::Accepted(&at_once, &of(RunPhase::Sleeping))),
            "Current",
        ),
        (
            "is cancelled",
            first(Known::Accepted(&completed, &of(RunPhase::Cancelling))),
            "InProgress",
        ),
        (
            "succeeded",
            first(Known::Accepted(&completed, &of(RunPhase::Succeeded))),
            "Current",
        ),
        (
            "failed",
            first(Known::Accepted(&completed, &of(RunPhase::Failed))),
            "Failed",
        ),
        (
            "failed, ready at once",
            first(Known::Accepted(&at_once, &of(RunPhase::Failed))),
            "Failed",
        ),
        (
            "timed out",
            first(Known::Accepted(&completed, &of(RunPhase::TimedOut))),
            "Failed",
        ),
        (
            "cancelled",
            first(Known::Accepted(&completed, &of(RunPhase::Cancelled))),
            "Failed",
        ),
        ("on demand", first(Known::Accepted(&on_demand, &no_facts())), "Current"),
        (
            "on demand, failed",
            first(Known::Accepted(&on_demand, &last(RunPhase::Failed))),
            "Current",
        ),
    ];
    for (name, status, expected) in table {
        assert_eq!(verdict(&status, 1), expected, "{name}: {}", row(&status));
    }
    let edited = accepted(&run("r", RunPhase::Succeeded), at(1));
    assert_eq!(verdict(&edited, 2), "InProgress", "an edit that nobody has looked at");
}

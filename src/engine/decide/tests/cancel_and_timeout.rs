//! A run that is ended from outside.

use super::*;

fn body() -> Value {
    json!({
        "timeout": "1m",
        "steps": [get("a"), with(get("b"), &json!({"needs": []})), with(get("c"), &json!({"needs": ["a", "b"]}))],
        "finally": [with(get("z"), &json!({"when": "run.result != 'Succeeded'"}))]
    })
}

#[test]
fn a_cancel_aborts_attempts_and_runs_finally() {
    let mut run = Driven::claimed(&body());
    assert_eq!(run.cancel(), "cancel ax bx =Cancelled z#1");
    assert_eq!((run.wants().as_str(), run.run.phase()), ("z#1", Phase::Cancelling));
    assert_eq!(run.cancel(), "", "twice equals once");
    assert_eq!(run.succeed("a", http(200)), "", "an aborted attempt has no say");
    assert_eq!(run.timers_at(100), "", "neither has the timeout");
    assert_eq!(run.succeed("z", http(200)), "z+ finished");
    assert_eq!(run.run.phase(), Phase::Cancelled);
    assert_eq!(run.run.error().unwrap().error.message, "enough");
}

#[test]
fn a_run_that_never_began_is_cancelled_with_its_finally() {
    let mut run = Driven::new(&body());
    assert_eq!(run.cancel(), "started cancel =Cancelled z#1");
}

#[test]
fn a_cancel_after_the_result_is_remembered_and_changes_nothing() {
    let mut run = Driven::claimed(&json!({"steps": [{"name": "a", "set": {}}], "finally": [get("z")]}));
    assert_eq!(run.cancel(), "cancel");
    assert_eq!((run.wants().as_str(), run.run.phase()), ("z#1", Phase::Running));
    assert_eq!(run.succeed("z", http(200)), "z+ finished");
    assert_eq!(run.run.phase(), Phase::Succeeded);
}

#[test]
fn a_failure_that_came_before_the_cancel_stays_the_result() {
    let mut run = Driven::claimed(&body());
    assert_eq!(run.succeed("a", http(404)), "a-UnexpectedStatus");
    assert_eq!(run.cancel(), "cancel bx =Failed z#1");
}

#[test]
fn the_timeout_of_the_run_aborts_attempts_and_runs_finally() {
    let mut run = Driven::claimed(&body());
    assert_eq!(run.wants(), "a#1 b#1 @60");
    assert_eq!(run.timers_at(59), "");
    assert_eq!(run.timers_at(60), "ax bx =TimedOut z#1");
    assert_eq!(run.wants(), "z#1");
    assert_eq!(run.succeed("z", http(200)), "z+ finished");
    assert_eq!(
        (run.run.phase(), run.run.error().unwrap().error.code.as_str()),
        (Phase::TimedOut, "RunTimeout")
    );
}

#[test]
fn a_sleep_that_ends_with_the_deadline_counts_as_a_result() {
    let mut run = Driven::claimed(&json!({"timeout": "1m", "steps": [{"name": "nap", "sleep": {"for": "1m"}}]}));
    assert_eq!(run.timers_at(61), "nap+ =Succeeded finished");
}

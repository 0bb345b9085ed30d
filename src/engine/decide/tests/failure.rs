//! How a run fails, what goes on then, and outputs.

use super::*;

fn parallel(finally: &Value) -> Driven {
    Driven::claimed(&json!({
        "steps": [
            with(get("a"), &json!({"needs": [], "retry": {"when": "false"}})),
            with(get("b"), &json!({"needs": []})),
            {"name": "nap", "needs": [], "sleep": {"for": "1h"}},
            with(get("after_a"), &json!({"needs": ["a"]})),
            with(get("after_b"), &json!({"needs": ["b"]}))
        ],
        "finally": finally
    }))
}

#[test]
fn running_attempts_finish_what_waits_is_cancelled_and_nothing_new_begins() {
    let mut run = parallel(&json!([get("clean")]));
    assert_eq!(run.wants(), "a#1 b#1 @3600");
    assert_eq!(run.succeed("a", http(500)), "a-UnexpectedStatus napx");
    assert_eq!((run.wants().as_str(), run.run.phase()), ("b#1", Phase::Running));
    assert_eq!(run.succeed("b", http(200)), "b+ =Failed clean#1");
    assert_eq!(run.succeed("clean", http(200)), "clean+ finished");
    assert_eq!((run.run.phase(), run.run.output()), (Phase::Failed, None));
    assert_eq!(run.run.error().unwrap().step.as_deref(), Some("a"));
}

#[test]
fn an_attempt_that_fails_while_the_run_fails_is_not_tried_again() {
    let mut run = parallel(&json!([]));
    run.succeed("a", http(500));
    assert_eq!(
        run.answer("b", 1, failed(ErrorKind::Timeout, "Timeout")),
        "b-Timeout =Failed finished"
    );
    assert_eq!(
        run.run.error().unwrap().step.as_deref(),
        Some("a"),
        "the first failure is the run's"
    );
}

#[test]
fn a_step_that_waits_for_its_next_attempt_is_given_up() {
    let mut run = parallel(&json!([]));
    assert_eq!(run.answer("b", 1, failed(ErrorKind::Timeout, "Timeout")), "b#1!Timeout");
    assert_eq!(
        run.succeed("a", http(500)),
        "a-UnexpectedStatus bx napx =Failed finished"
    );
}

#[test]
fn continue_on_error_lets_dependants_run_and_see_the_failure() {
    let mut run = Driven::claimed(&json!({
        "steps": [
            with(get("a"), &json!({"continueOnError": true})),
            {"name": "b", "set": {"s": "=steps.a.status", "c": "=steps.a.error.code", "n": "=steps.a.error.status", "o": "=steps.a.output"}}
        ],
        "output": "=steps.b.output"
    }));
    assert_eq!(run.succeed("a", http(404)), "a~UnexpectedStatus b+ =Succeeded finished");
    assert_eq!(
        run.run.output(),
        Some(&json!({"s": "Failed", "c": "UnexpectedStatus", "n": 404, "o": null}))
    );
    assert_eq!(run.run.error(), None);
}

#[test]
fn fail_ends_the_run_with_its_code_and_message() {
    let mut run = Driven::claimed(&json!({"steps": [
        {"name": "a", "when": "input.n == 3", "fail": {"code": "REJECTED", "message": "='n is ' + string(input.n)"}},
        get("b")
    ]}));
    assert_eq!(run.journal.len(), 1);
    assert_eq!(run.tell(Input::Claimed), "");
    let error = run.run.error().unwrap();
    assert_eq!(
        (error.error.code.as_str(), error.error.message.as_str()),
        ("REJECTED", "n is 3")
    );
    assert_eq!(run.run.phase(), Phase::Failed);
}

#[test]
fn a_failing_output_fails_the_run_before_finally() {
    let mut run = Driven::new(&json!({
        "steps": [{"name": "a", "set": {}}],
        "output": "=steps.a.output.absent",
        "finally": [{"name": "z", "set": {"r": "=run.result", "c": "=run.error.code", "s": "=run.error.step"}}]
    }));
    assert_eq!(run.tell(Input::Claimed), "started a+ =Failed z+ finished");
    assert_eq!(
        run.steps()["z"]["output"],
        json!({"r": "Failed", "c": "NoSuchKey", "s": null})
    );
}

#[test]
fn an_output_that_is_null_is_none() {
    let run = Driven::claimed(&json!({"steps": [{"name": "a", "set": {}}], "output": "=null"}));
    assert_eq!((run.run.phase(), run.run.output()), (Phase::Succeeded, None));
}

#[test]
fn an_output_that_is_too_large_fails_the_run() {
    let mut run = Driven::claimed(&json!({
        "steps": [get("a"), get("b")],
        "output": ["=steps.a.output", "=steps.b.output"]
    }));
    run.succeed("a", json!({"status": 200, "body": "x".repeat(200_000)}));
    assert_eq!(
        run.succeed("b", json!({"status": 200, "body": "x".repeat(200_000)})),
        "b+ =Failed finished"
    );
    assert_eq!(run.run.error().unwrap().error.code, "OutputTooLarge");
}

#[test]
fn finally_sees_steps_that_never_ran() {
    let mut run = parallel(&json!([{"name": "z", "set": {
        "never": "=steps.after_a.status", "out": "=steps.after_a.output", "a": "=steps.a.error.status",
        "nap": "=steps.nap.status", "b": "=steps.b.output.body.id"
    }}]));
    run.succeed("a", http(500));
    run.succeed("b", http(200));
    assert_eq!(
        run.steps()["z"]["output"],
        json!({"never": "NotRun", "out": null, "a": 500, "nap": "Cancelled", "b": "x1"})
    );
}

#[test]
fn a_failure_in_finally_stops_only_what_depends_on_it_and_keeps_the_result() {
    let mut run = Driven::claimed(&json!({
        "steps": [{"name": "a", "set": {}}],
        "finally": [get("x"), get("after_x"), with(get("y"), &json!({"needs": []})), with(get("after_y"), &json!({"needs": ["y"]}))]
    }));
    assert_eq!(run.wants(), "x#1 y#1");
    assert_eq!(run.succeed("x", http(404)), "x-UnexpectedStatus");
    assert_eq!(run.succeed("y", http(200)), "y+ after_y#1");
    assert_eq!(run.succeed("after_y", http(200)), "after_y+ finished");
    assert_eq!((run.run.phase(), run.run.error()), (Phase::Succeeded, None));
}

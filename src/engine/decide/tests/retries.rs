//! Attempts: when there is another one, and what an answer means.

use super::*;

fn one(fields: &Value) -> Driven {
    Driven::claimed(&json!({"steps": [with(get("a"), fields)], "retry": {"backoff": {"jitter": 0}}}))
}

#[test]
fn a_transient_failure_is_tried_again_until_the_attempts_are_used_up() {
    let mut run = one(&json!({"retry": {"maxAttempts": 3}}));
    assert_eq!(run.answer("a", 1, failed(ErrorKind::Timeout, "Timeout")), "a#1!Timeout");
    assert_eq!((run.wants().as_str(), run.run.phase()), ("@1", Phase::Running));
    assert_eq!(run.timers_at(0), "");
    assert_eq!(run.timers_at(1), "a#2");
    assert_eq!(run.wants(), "a#2");
    assert_eq!(run.answer("a", 2, Ok(http(503))), "a#2!UnexpectedStatus");
    assert_eq!(run.timers_at(3), "a#3");
    assert_eq!(
        run.answer("a", 3, failed(ErrorKind::Connect, "Refused")),
        "a-Refused =Failed finished"
    );
    assert_eq!(run.steps()["a"]["attempts"], 3);
    assert_eq!(run.run.error().unwrap().step.as_deref(), Some("a"));
}

#[test]
fn the_step_key_is_the_same_for_every_attempt() {
    let key = |run: &Driven| match effects(&run.run, &run.def).remove(0) {
        Effect::Perform { key, .. } => key,
        Effect::AwaitSignal { .. } | Effect::WakeAt { .. } => panic!("no attempt"),
    };
    let mut run = one(&json!({}));
    let first = key(&run);
    run.answer("a", 1, failed(ErrorKind::Timeout, "Timeout"));
    run.timers_at(1);
    assert_eq!(key(&run), first);
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    for outcome in [
        Ok(http(404)),
        failed(ErrorKind::Sql, "23505"),
        failed(ErrorKind::Refused, "Egress"),
        failed(ErrorKind::Ambiguous, "Ambiguous"),
    ] {
        assert!(one(&json!({})).answer("a", 1, outcome).starts_with("a-"));
    }
}

#[test]
fn retry_when_replaces_the_default_and_an_error_in_it_is_false() {
    for (when, outcome, retried) in [
        ("error.status == 404", Ok(http(404)), true),
        ("error.status == 404", Ok(http(503)), false),
        (
            "error.kind == 'Ambiguous'",
            failed(ErrorKind::Ambiguous, "Ambiguous"),
            true,
        ),
        (
            "error.code == 'X' && error.message != ''",
            failed(ErrorKind::Sql, "X"),
            true,
        ),
        ("input.absent == 1", Ok(http(503)), false),
        ("input.n", Ok(http(503)), false),
    ] {
        let mut run = one(&json!({"retry": {"when": when}}));
        assert_eq!(run.answer("a", 1, outcome).starts_with("a#1!"), retried, "{when}");
    }
}

#[test]
fn an_error_of_an_expression_is_the_same_every_time_and_not_tried_again() {
    let mut run = one(&json!({"retry": {"when": "true"}}));
    let found = run.answer("a", 1, failed(ErrorKind::Expression, "ExpressionBudget"));
    assert_eq!(found, "a-ExpressionBudget =Failed finished");
}

#[test]
fn an_answer_is_judged_by_success_when() {
    for (when, status, expected) in [
        (None, 200, "a+"),
        (None, 299, "a+"),
        (None, 301, "a-UnexpectedStatus"),
        (Some("result.status == 404"), 404, "a+"),
        (Some("result.status == 404"), 200, "a-UnexpectedStatus"),
        // The body lacks the field: the status says whether to try again.
        (Some("result.body.done"), 200, "a-UnexpectedStatus"),
        (Some("result.body.done"), 503, "a#1!UnexpectedStatus"),
    ] {
        let mut body = json!({"url": "https://example.com/"});
        if let Some(when) = when {
            body["successWhen"] = json!(when);
        }
        let mut run = Driven::claimed(&json!({"steps": [{"name": "a", "http": body}]}));
        let found = run.answer("a", 1, Ok(http(status)));
        assert_eq!(found.split(' ').next(), Some(expected), "{when:?} {status}");
    }
}

#[test]
fn the_output_is_made_of_the_result() {
    let mut run = Driven::claimed(&json!({"steps": [
        with(get("a"), &json!({"output": {"id": "=result.body.id", "n": "=input.n"}})),
        with(get("b"), &json!({"output": "=result.absent"}))
    ]}));
    assert_eq!(run.succeed("a", http(200)), "a+ b#1");
    assert_eq!(run.steps()["a"]["output"], json!({"id": "x1", "n": 3}));
    assert_eq!(run.succeed("b", http(200)), "b-NoSuchKey =Failed finished");
}

#[test]
fn what_cannot_be_kept_fails_the_step_and_is_not_performed_again() {
    let deep = (0..101).fold(json!(1), |value, _| json!([value]));
    for (body, code) in [
        (json!("x".repeat(256 * 1024)), "a-OutputTooLarge"),
        (deep, "a-OutputTooDeep"),
    ] {
        let mut run = one(&json!({"retry": {"when": "true"}}));
        assert_eq!(
            run.succeed("a", json!({"status": 200, "body": body})),
            format!("{code} =Failed finished")
        );
    }
}

#[test]
fn values_are_evaluated_when_the_step_begins_and_an_error_there_is_its_failure() {
    for (fields, code) in [
        (
            json!({"http": {"url": "https://example.com/", "body": "=input.absent"}}),
            "NoSuchKey",
        ),
        (
            json!({"http": {"url": "https://example.com/", "headers": {"x": "=null"}}}),
            "Null",
        ),
        (
            json!({"sql": {"connection": "db", "query": "SELECT 1", "args": ["=1 / 0"]}}),
            "DivideByZero",
        ),
        (json!({"set": {"x": "=input.absent"}}), "NoSuchKey"),
        (json!({"set": {}, "when": "input.absent"}), "NoSuchKey"),
        (json!({"set": {}, "when": "input.who"}), "Type"),
    ] {
        let mut run = Driven::new(&json!({"steps": [with(json!({"name": "a"}), &fields)], "retry": {"when": "true"}}));
        assert_eq!(run.tell(Input::Claimed), format!("started a-{code} =Failed finished"));
        assert_eq!(run.run.error().unwrap().error.kind, ErrorKind::Expression);
    }
}

//! Tables of behaviour: what each input leads to. `a#2` is the second attempt of `a`, `a+` its success, `a-X` its
//! failure for good with code `X` (`a~X` tolerated, `a#1!X` followed by another attempt), `a/` skipped, `a@` a timer, `ax` cancelled.

use serde_json::{Value, json};

use crate::engine::{testing::*, *};

fn get(name: &str) -> Value {
    json!({"name": name, "http": {"url": "https://example.com/"}})
}

fn with(mut step: Value, fields: &Value) -> Value {
    step.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    step
}

fn failed(kind: ErrorKind, code: &str) -> Outcome {
    Err(error(kind, code))
}

mod order {
    use super::*;

    #[test]
    fn a_sequence_of_set_and_sleep_runs_to_its_output() {
        let mut run = Driven::new(&json!({
            "steps": [
                {"name": "greet", "set": {"text": "='hello, ' + input.who"}},
                {"name": "nap", "sleep": {"for": "2s"}},
                {"name": "shout", "set": {"text": "=steps.greet.output.text + '!'"}}
            ],
            "output": {"said": "=steps.shout.output.text"}
        }));
        assert_eq!((run.run.phase(), run.wants().as_str()), (Phase::Pending, ""));
        assert_eq!(run.tell(Input::Claimed), "started greet+ nap@");
        assert_eq!((run.run.phase(), run.wants().as_str()), (Phase::Sleeping, "@2"));
        assert_eq!(run.timers_at(1), "");
        assert_eq!(run.timers_at(2), "nap+ shout+ =Succeeded finished");
        assert_eq!(run.run.output(), Some(&json!({"said": "hello, world!"})));
        assert_eq!((run.run.phase(), run.wants().as_str()), (Phase::Succeeded, ""));
        assert_eq!(run.steps()["nap"]["output"], json!({}));
    }

    #[test]
    fn needs_make_a_graph_and_open_steps_stand_in_the_order_of_their_start() {
        let mut run = Driven::claimed(&json!({"steps": [
            get("a"),
            with(get("b"), &json!({"needs": []})),
            with(get("c"), &json!({"needs": ["b"]})),
            with(get("d"), &json!({"needs": ["a", "c"]}))
        ]}));
        assert_eq!(run.wants(), "a#1 b#1");
        assert_eq!(run.succeed("b", http(200)), "b+ c#1");
        assert_eq!(run.wants(), "a#1 c#1");
        assert_eq!(run.succeed("c", http(200)), "c+");
        assert_eq!(run.succeed("a", http(200)), "a+ d#1");
        assert_eq!(run.succeed("d", http(200)), "d+ =Succeeded finished");
    }

    #[test]
    fn a_false_when_skips_and_dependants_see_null() {
        let mut run = Driven::new(&json!({"steps": [
            {"name": "a", "when": "input.n > 5", "set": {"x": 1}},
            {"name": "b", "when": "input.n == 3", "set": {"x": "=steps.a.status", "y": "=steps.a.output", "z": "=steps.a.attempts"}}
        ]}));
        assert_eq!(run.tell(Input::Claimed), "started a/ b+ =Succeeded finished");
        assert_eq!(run.steps()["b"]["output"], json!({"x": "Skipped", "y": null, "z": 0}));
    }

    #[test]
    fn sleep_until_waits_for_a_computed_instant_and_one_in_the_past_ends_at_once() {
        let mut run = Driven::claimed(&json!({"steps": [
            {"name": "a", "set": {"t": "2026-11-21T09:01:00Z"}},
            {"name": "b", "sleep": {"until": "=steps.a.output.t"}},
            {"name": "c", "sleep": {"until": "=timestamp(steps.a.output.t)"}},
            {"name": "d", "sleep": {"until": "=input.who"}}
        ]}));
        assert_eq!(run.wants(), "@60");
        assert_eq!(run.timers_at(60), "b+ c+ d-Invalid =Failed finished");
    }

    #[test]
    fn timers_are_whole_microseconds_and_never_early() {
        for (seconds, armed) in [
            ("1.0000001s", "2026-11-21T09:00:01.000001Z"),
            ("1ms", "2026-11-21T09:00:00.001Z"),
        ] {
            let run = Driven::claimed(&json!({"steps": [{"name": "a", "sleep": {"for": seconds}}]}));
            assert_eq!(
                effects(&run.run, &run.def),
                [Effect::WakeAt {
                    at: armed.parse().unwrap()
                }]
            );
        }
        let run =
            Driven::claimed(&json!({"steps": [{"name": "a", "sleep": {"until": "2026-11-21T09:00:00.0000009Z"}}]}));
        assert_eq!(
            effects(&run.run, &run.def),
            [Effect::WakeAt {
                at: "2026-11-21T09:00:00.000001Z".parse().unwrap()
            }]
        );
    }

    #[test]
    fn a_run_shows_itself_to_expressions() {
        let mut run = Driven::new(&json!({"steps": [{"name": "a", "set": {
            "id": "=run.id", "name": "=run.name", "ns": "=run.namespace", "wf": "=run.workflow", "rev": "=run.revision",
            "at": "=run.startedAt", "due": "=run.scheduledAt"
        }}]}));
        run.tell(Input::Claimed);
        assert_eq!(
            run.steps()["a"]["output"],
            json!({
                "id": "0192f3c4-0000-7000-8000-000000000001", "name": "order-1", "ns": "shop", "wf": "order",
                "rev": "7c9f4e21a0b3c5d7", "at": "2026-11-21T09:00:00Z", "due": null
            })
        );
    }
}

mod retries {
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
            let mut run =
                Driven::new(&json!({"steps": [with(json!({"name": "a"}), &fields)], "retry": {"when": "true"}}));
            assert_eq!(run.tell(Input::Claimed), format!("started a-{code} =Failed finished"));
            assert_eq!(run.run.error().unwrap().error.kind, ErrorKind::Expression);
        }
    }
}

mod failure {
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
}

mod cancel_and_timeout {
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
}

mod takeover {
    use super::*;

    fn post(fields: &Value) -> Driven {
        let http = with(json!({"url": "https://example.com/", "method": "POST"}), fields);
        Driven::claimed(&json!({"steps": [{"name": "a", "http": http}], "retry": {"backoff": {"jitter": 0}}}))
    }

    #[test]
    fn the_first_of_several_changes_nothing_and_later_ones_hold_the_run() {
        let mut run = Driven::claimed(&json!({"steps": [get("a"), with(get("b"), &json!({"needs": []}))]}));
        assert_eq!(run.tell(Input::TakenOver), "taken");
        assert_eq!(run.wants(), "a#1 b#1");
        assert_eq!(run.tell(Input::TakenOver), "taken-held");
        let held: f64 = run.wants().strip_prefix('@').unwrap().parse().unwrap();
        assert!((0.8..=1.2).contains(&held), "{held}");
        assert_eq!(run.tell(Input::Claimed), "");
        assert_eq!(run.timers_at(2), "go-on");
        assert_eq!(run.wants(), "a#1 b#1");
        assert_eq!(run.succeed("a", http(200)), "a+");
        assert_eq!(run.tell(Input::TakenOver), "taken", "a result lies between");
    }

    #[test]
    fn a_step_open_in_ten_takeovers_is_given_up_whatever_its_neighbours_do() {
        let steps: Vec<Value> = (0..9)
            .map(|i| {
                with(
                    get(&format!("b{i}")),
                    &json!({"needs": if i == 0 { vec![] } else { vec![format!("b{}", i - 1)] }}),
                )
            })
            .collect();
        let mut all = vec![with(get("killer"), &json!({"retry": {"when": "true"}}))];
        all.extend(steps);
        let mut run = Driven::claimed(&json!({ "steps": all }));
        for i in 0..9 {
            assert_eq!(run.tell(Input::TakenOver), "taken");
            run.succeed(&format!("b{i}"), http(200));
        }
        assert_eq!(run.tell(Input::TakenOver), "taken killer-WorkerLost =Failed finished");
        assert_eq!(run.steps()["killer"]["attempts"], 1, "a takeover uses up no attempt");
    }

    #[test]
    fn a_takeover_in_a_hold_is_nobodys_fault() {
        let mut run = Driven::claimed(&json!({"steps": [get("a")]}));
        for _ in 0..30 {
            assert!(run.tell(Input::TakenOver).starts_with("taken"));
        }
        assert_eq!(run.timers_at(301), "go-on");
        assert_eq!(run.wants(), "a#1");
    }

    #[test]
    fn a_request_that_is_repeated_after_an_unknown_outcome_is_given_up_at_the_tenth_takeover_too() {
        let mut run = Driven::claimed(&json!({"steps": [{
            "name": "a", "http": {"url": "https://example.com/", "method": "POST"},
            "retry": {"when": "true", "maxAttempts": 1000}
        }]}));
        let mut seconds = 0;
        for attempt in 1..10 {
            assert!(run.tell(Input::TakenOver).ends_with(&format!("a#{attempt}!Ambiguous")));
            seconds += 1000;
            assert!(run.timers_at(seconds).ends_with(&format!("a#{}", attempt + 1)));
        }
        assert_eq!(run.tell(Input::TakenOver), "taken-held a-WorkerLost");
        assert_eq!(run.timers_at(seconds + 1000), "go-on =Failed finished");
    }

    #[test]
    fn a_request_that_is_not_idempotent_is_ambiguous_when_found_open() {
        assert_eq!(
            post(&json!({})).tell(Input::TakenOver),
            "taken a-Ambiguous =Failed finished"
        );
        assert_eq!(
            post(&json!({"method": "PATCH"})).tell(Input::TakenOver),
            "taken a-Ambiguous =Failed finished"
        );
        assert_eq!(post(&json!({"idempotent": true})).tell(Input::TakenOver), "taken");
        assert_eq!(post(&json!({"method": "PUT"})).tell(Input::TakenOver), "taken");
    }

    #[test]
    fn retry_when_may_repeat_an_ambiguous_request() {
        let mut run = Driven::claimed(&json!({"steps": [{
            "name": "a", "http": {"url": "https://example.com/", "method": "POST"},
            "retry": {"when": "error.kind == 'Ambiguous'", "backoff": {"jitter": 0}}
        }]}));
        assert_eq!(run.tell(Input::TakenOver), "taken a#1!Ambiguous");
        assert_eq!(run.timers_at(1), "a#2");
    }

    #[test]
    fn sleeping_and_waiting_steps_are_not_touched() {
        let mut run = Driven::claimed(&json!({"steps": [{"name": "nap", "sleep": {"for": "1h"}}]}));
        for _ in 0..12 {
            assert!(run.tell(Input::TakenOver).starts_with("taken"));
        }
        assert_eq!(run.timers_at(3600), "go-on nap+ =Succeeded finished");
    }

    #[test]
    fn a_cancel_in_a_hold_is_taken_at_once_and_acted_on_after_it() {
        let mut run = Driven::claimed(&json!({"steps": [get("a")], "finally": [get("z")]}));
        run.tell(Input::TakenOver);
        run.tell(Input::TakenOver);
        assert_eq!(run.cancel(), "cancel ax");
        assert_eq!(run.run.phase(), Phase::Cancelling);
        assert!(run.wants().starts_with('@'));
        assert_eq!(run.timers_at(2), "go-on =Cancelled z#1");
    }

    #[test]
    fn a_run_that_never_began_begins_after_its_hold() {
        let mut run = Driven::new(&json!({"steps": [get("a")]}));
        assert_eq!(run.tell(Input::TakenOver), "taken");
        assert_eq!(run.tell(Input::TakenOver), "taken-held");
        assert_eq!(run.tell(Input::Claimed), "");
        assert_eq!(run.timers_at(2), "go-on started a#1");
    }
}

mod refusal {
    use super::*;

    #[test]
    fn outcomes_that_cannot_be_are_refused_and_late_ones_ignored() {
        let mut run = Driven::claimed(&json!({"steps": [get("a"), get("b")]}));
        let mut refused = |step: &str, attempt| {
            let before = run.run.clone();
            let input = Input::StepEnded {
                step: step.into(),
                attempt,
                outcome: Ok(http(200)),
            };
            let refused = advance(&mut run.run, &run.def, input, at(0));
            assert_eq!(run.run, before);
            refused
        };
        assert_eq!(refused("x", 1), Err(Refused::UnknownStep { step: "x".into() }));
        assert_eq!(
            refused("b", 1),
            Err(Refused::NeverBegan {
                step: "b".into(),
                attempt: 1
            })
        );
        assert_eq!(
            refused("a", 2),
            Err(Refused::NeverBegan {
                step: "a".into(),
                attempt: 2
            })
        );
        assert_eq!(refused("a", 0), Ok(vec![]));
        assert_eq!(run.succeed("a", http(200)), "a+ b#1");
        assert_eq!(run.succeed("a", http(500)), "");
    }

    #[test]
    fn a_terminal_run_decides_nothing() {
        let mut run = Driven::claimed(&json!({"timeout": "1s", "steps": [{"name": "a", "set": {}}]}));
        assert!(run.run.is_terminal());
        assert_eq!(run.tell(Input::Claimed), "");
        assert_eq!(run.timers_at(9), "");
        assert_eq!(run.cancel(), "");
        assert_eq!(run.tell(Input::TakenOver), "");
        assert_eq!(run.succeed("a", json!(1)), "");
        assert_eq!(run.wants(), "");
    }
}

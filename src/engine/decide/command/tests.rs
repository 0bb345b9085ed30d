//! What runs do that are paused, resumed and retried, told as they happen; the whole table is beside it.

use serde_json::{Value, json};

use crate::engine::{testing::*, *};

pub(super) fn get(name: &str) -> Value {
    json!({"name": name, "http": {"url": "https://h/"}, "retry": {"backoff": {"jitter": 0}}})
}

pub(super) fn first(step: Value) -> Value {
    let mut undone = get("done");
    undone["compensate"] = json!({"http": {"url": "https://h/"}, "retry": {"maxAttempts": 1}});
    let steps = vec![undone, step];
    json!({"steps": steps, "finally": [get("z")], "timeout": "1h"})
}

/// A run that stands in its second step.
pub(super) fn at_step(step: Value) -> Driven {
    at_step_of(&first(step))
}

pub(super) fn at_step_of(body: &Value) -> Driven {
    let mut run = Driven::claimed(body);
    run.succeed("done", http(200));
    run
}

pub(super) fn pausing(step: Value) -> Driven {
    let mut body = first(step);
    body["onFailure"] = json!("Pause");
    at_step_of(&body)
}

fn pause(run: &mut Driven, generation: i64) -> String {
    run.mail(Mail::Pause { generation })
}

fn resume(run: &mut Driven, generation: i64) -> String {
    run.mail(Mail::Resume { generation })
}

#[test]
fn a_command_of_a_generation_that_is_behind_changes_nothing() {
    let mut run = at_step(get("s"));
    assert_eq!(pause(&mut run, 5), "paused5");
    assert_eq!(resume(&mut run, 4), "", "somebody who is behind");
    assert_eq!(pause(&mut run, 5), "");
    assert_eq!(resume(&mut run, 5), "resumed5");
    assert_eq!(pause(&mut run, 4), "");
    assert_eq!(pause(&mut run, 7), "paused7");
    assert_eq!(pause(&mut run, 8), "paused8", "so that 7 is behind from now on");
    assert_eq!(resume(&mut run, 7), "");
    assert_eq!(run.run.phase(), Phase::Paused);
    let snapshot = run.run.snapshot(&run.def);
    run.run = Run::restore(run.run.origin().clone(), &snapshot).unwrap();
    assert_eq!(resume(&mut run, 7), "");
    assert_eq!(resume(&mut run, 8), "resumed8");
}

#[test]
fn attempts_finish_in_a_pause_and_what_follows_begins_after_it() {
    let mut run = at_step(get("s"));
    pause(&mut run, 1);
    assert_eq!(run.answer("s", 1, Ok(http(503))), "s#1!UnexpectedStatus");
    assert_eq!((run.timers_at(50).as_str(), run.wants().as_str()), ("", ""));
    assert_eq!(summary(&run.run, &run.def).waiting_for.as_deref(), Some("resume"));
    assert_eq!(resume(&mut run, 1), "resumed1");
    assert_eq!(run.tell(Input::TimersDue), "s#2");
    pause(&mut run, 2);
    assert_eq!(run.answer("s", 2, Ok(http(200))), "s+");
    assert_eq!(run.tell(Input::Claimed), "");
    assert_eq!(resume(&mut run, 2), "resumed2 =Succeeded z#1");
}

#[test]
fn timers_take_effect_when_the_run_goes_on() {
    let mut run = at_step(json!({"name": "s", "sleep": {"for": "1m"}}));
    pause(&mut run, 1);
    assert_eq!((run.timers_at(61).as_str(), run.wants().as_str()), ("", ""));
    assert_eq!(resume(&mut run, 1), "resumed1");
    assert_eq!(run.tell(Input::TimersDue), "s+ =Succeeded z#1");
}

#[test]
fn a_signal_in_a_pause_comes_before_the_timeout_that_passed_in_it() {
    let wait = json!({"name": "s", "waitForSignal": {"signal": "go", "timeout": "1m"}});
    let mut run = at_step(wait.clone());
    pause(&mut run, 1);
    run.timers_at(61);
    assert_eq!(run.signal(1, "go", json!(1)), "s<1 s+");
    assert_eq!(resume(&mut run, 1), "resumed1 =Succeeded z#1");

    let mut run = at_step(wait);
    pause(&mut run, 1);
    run.now = at(61);
    let together = vec![Mail::Resume { generation: 1 }, Mail::Signal(signal(1, "go", json!(1)))];
    assert_eq!(run.tell(Input::Mail(together)), "resumed1 s<1 s+ =Succeeded z#1");
}

#[test]
fn the_time_that_a_run_stands_still_does_not_count_for_its_timeout() {
    let mut run = at_step(get("s"));
    run.now = at(600);
    pause(&mut run, 1);
    assert_eq!(run.timers_at(100_000), "", "a run that stands still does not time out");
    assert_eq!(resume(&mut run, 1), "resumed1");
    assert_eq!(run.wants(), "s#1 @103000");
    assert_eq!(run.timers_at(103_000), "sx =TimedOut un-done#2");

    // Paused and parked: the later of the two ends it.
    let mut run = pausing(get("s"));
    run.now = at(100);
    run.succeed("s", http(404));
    run.now = at(200);
    pause(&mut run, 1);
    run.now = at(300);
    assert_eq!(run.retry(), "retried");
    run.now = at(400);
    assert_eq!(resume(&mut run, 1), "resumed1 s#2");
    assert_eq!(run.wants(), "s#2 @3900");

    // And resumed while it is still parked: the time counts once.
    let mut run = pausing(get("s"));
    run.now = at(100);
    run.succeed("s", http(404));
    run.now = at(200);
    pause(&mut run, 1);
    run.now = at(300);
    assert_eq!(resume(&mut run, 1), "resumed1");
    run.now = at(400);
    assert_eq!(run.retry(), "retried s#2");
    assert_eq!(run.wants(), "s#2 @3900");
}

#[test]
fn a_wait_that_parks_the_run_at_its_deadline_leaves_all_else_as_it_is() {
    let mut run = Driven::claimed(&json!({
        "onFailure": "Pause",
        "timeout": "1m",
        "steps": [
            {"name": "w", "waitForSignal": {"signal": "go", "timeout": "1m"}},
            {"name": "b", "needs": [], "http": {"url": "https://h/"}},
            {"name": "c", "needs": ["b"], "set": {}}
        ]
    }));
    assert_eq!(run.timers_at(60), "w-SignalTimeout parked:PausedOnFailure");
    assert_eq!(run.wants(), "b#1", "nothing is cancelled");
    assert_eq!(run.signal(1, "go", json!(1)), "kept1");
    assert_eq!(run.succeed("b", http(200)), "b+");
    assert_eq!(run.retry(), "retried w<1 w+ c+ =Succeeded finished");
}

#[test]
fn a_run_that_is_paused_before_it_began_begins_when_it_is_resumed() {
    let mut run = Driven::new(&first(get("s")));
    pause(&mut run, 1);
    assert_eq!(run.tell(Input::Claimed), "");
    assert_eq!((run.wants().as_str(), run.run.started_at()), ("", None));
    run.now = at(60);
    assert_eq!(resume(&mut run, 2), "resumed2 started done#1");
    assert_eq!(run.wants(), "done#1 @3660");
}

#[test]
fn a_run_that_fails_under_on_failure_pause_waits_for_a_retry_with_all_that_it_waited_for() {
    let mut body = json!({
        "onFailure": "Pause",
        "steps": [
            get("a"),
            {"name": "nap", "needs": [], "sleep": {"for": "1m"}},
            get("b"),
            {"name": "c", "needs": ["a"], "set": {"id": "=steps.a.output.body.id", "nap": "=input.n"}}
        ],
        "output": "=steps.c.output"
    });
    body["steps"][2]["needs"] = json!([]);
    let mut run = Driven::claimed(&body);
    let key = |run: &Driven| match effects(&run.run, &run.def).remove(0) {
        Effect::Perform { key, .. } => key,
        other => panic!("{other:?}"),
    };
    let before = key(&run);
    assert_eq!(run.succeed("a", http(404)), "a-UnexpectedStatus parked:PausedOnFailure");
    assert_eq!(
        (run.run.phase(), run.wants().as_str()),
        (Phase::Paused, "b#1"),
        "attempts finish"
    );
    assert_eq!(run.succeed("b", http(404)), "b-UnexpectedStatus");
    assert_eq!(run.timers_at(61), "");
    let shown = summary(&run.run, &run.def);
    assert_eq!(
        (
            shown.stalled.as_deref(),
            shown.waiting_for.as_deref(),
            shown.error.unwrap().step.as_deref()
        ),
        (Some("PausedOnFailure"), Some("retry or cancel"), Some("a"))
    );
    let not_that = run.mail(Mail::Retry {
        from: Some("nap".to_owned()),
    });
    assert_eq!(not_that, "no-retry");
    let snapshot = run.run.snapshot(&run.def);
    run.run = Run::restore(run.run.origin().clone(), &snapshot).unwrap();
    assert_eq!(
        run.mail(Mail::Retry {
            from: Some("a".to_owned())
        }),
        "retried a#2 b#2"
    );
    assert_ne!(key(&run), before, "another round, another key");
    assert_eq!(run.run.error(), None);
    assert_eq!(run.tell(Input::TimersDue), "nap+");
    assert_eq!(run.succeed("b", http(200)), "b+");
    assert_eq!(run.succeed("a", http(200)), "a+ c+ =Succeeded finished");
    assert_eq!(run.run.output(), Some(&json!({"id": "x1", "nap": 3})));
}

#[test]
fn an_output_that_fails_under_on_failure_pause_parks_the_run_too() {
    let mut run = Driven::new(&json!({
        "onFailure": "Pause", "steps": [{"name": "a", "set": {}, "compensate": {"set": {}}}], "output": "=input.absent"
    }));
    assert_eq!(run.tell(Input::Claimed), "started a+ parked:PausedOnFailure");
    assert_eq!(run.retry(), "retried parked:PausedOnFailure");
    run.mail(Mail::Retry {
        from: Some("a".to_owned()),
    });
    let Some([Event::RetryRefused { reason }]) = run.journal.last().map(Vec::as_slice) else {
        panic!("{:?}", run.journal.last())
    };
    assert_eq!(reason, "`a` is not what failed; that is the run's output");
    assert_eq!(run.cancel(), "cancel =Failed un-a+ undone finished");
}

#[test]
fn a_failure_that_is_tolerated_parks_nothing_and_neither_does_one_in_finally() {
    let mut body = json!({"onFailure": "Pause", "steps": [get("a")], "finally": [get("z")]});
    body["steps"][0]["continueOnError"] = json!(true);
    let mut run = Driven::claimed(&body);
    assert_eq!(run.succeed("a", http(404)), "a~UnexpectedStatus =Succeeded z#1");
    assert_eq!(run.succeed("z", http(404)), "z-UnexpectedStatus finished");
}

#[test]
fn a_retry_of_what_is_not_parked_says_why_it_is_none() {
    let mut run = at_step(get("s"));
    run.retry();
    let Some([Event::RetryRefused { reason }]) = run.journal.last().map(Vec::as_slice) else {
        panic!("{:?}", run.journal.last())
    };
    assert!(reason.contains("not parked"), "{reason}");
}

#[test]
fn an_input_that_contradicts_params_fails_the_run_before_its_first_step() {
    let mut run = Driven::new(&json!({
        "params": [{"name": "n", "type": "string"}, {"name": "id", "required": true}],
        "onFailure": "Pause", "steps": [get("a")], "finally": [get("z")]
    }));
    assert_eq!(run.tell(Input::Claimed), "started =Failed z#1");
    let error = &run.run.error().unwrap().error;
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("InvalidInput", "input.n: must be of type string; input.id: is required")
    );
}

use serde_json::{Value, json};

use crate::engine::{testing::*, *};

fn get(name: &str) -> Value {
    json!({"name": name, "http": {"url": "https://h/"}, "output": {"id": "=result.body.id"}})
}

/// `a` has a compensation, `maybe` is skipped, `b` and `c` have none.
fn body() -> Value {
    let mut a = get("a");
    a["compensate"] = json!({"http": {"url": "https://h/", "method": "DELETE", "body": "=steps.a.output.id"}});
    let maybe = json!({"name": "maybe", "when": "false", "set": {}});
    let mut c = get("c");
    c["http"]["body"] = json!("=steps.a.output.id");
    c["http"]["method"] = json!("PUT");
    json!({"steps": [a, maybe, get("b"), c], "finally": [get("z")], "output": {"of": "=steps.a.output.id"}})
}

/// `a` and `b` are done, and `c` was terminated: nothing was undone.
fn terminated(body: &Value) -> Driven {
    let mut run = Driven::claimed(body);
    run.succeed("a", http(200));
    run.succeed("b", http(200));
    run.terminate();
    run.succeed("z", http(200));
    assert!(run.run.is_terminal());
    run
}

/// `c` failed, and `a` was undone.
fn undone(body: &Value) -> Driven {
    let mut run = Driven::claimed(body);
    for (step, status) in [("a", 200), ("b", 200), ("c", 404), ("a", 200), ("z", 200)] {
        run.succeed(step, http(status));
    }
    assert!(run.run.is_terminal());
    run
}

fn reuse(run: &Driven, old: &Value, new: &Value, from: Option<&str>) -> Result<Vec<Event>, NoReuse> {
    let earlier = Earlier::new(run.run.origin().clone(), old, &run.journal.concat());
    earlier.reuse(&Definition::compile(new).unwrap(), new, from)
}

fn refused(run: &Driven, old: &Value, new: &Value, from: Option<&str>) -> (&'static str, String) {
    let refusal = reuse(run, old, new, from).unwrap_err();
    (refusal.reason(), refusal.to_string())
}

fn names(events: &[Event]) -> Vec<&str> {
    let names = events.iter().map(|event| match event {
        Event::StepReused { step, .. } => &**step,
        other => panic!("{other:?}"),
    });
    names.collect()
}

/// A run whose journal begins with these events, claimed.
fn again(body: &Value, events: Vec<Event>) -> (Driven, String) {
    let mut run = Driven::new(body);
    let origin = Origin {
        run: uuid::Uuid::from_u128(2),
        start_key: "run/2".to_owned(),
        ..origin()
    };
    run.run = Run::rebuild(std::sync::Arc::new(origin), None, &events).unwrap();
    run.journal.push(events);
    let said = run.tell(Input::Claimed);
    (run, said)
}

#[test]
fn what_is_reused_is_not_executed_and_is_seen_as_it_was() {
    let body = body();
    let events = reuse(&terminated(&body), &body, &body, Some("c")).unwrap();
    assert_eq!(names(&events), ["a", "maybe", "b"]);
    let (mut run, said) = again(&body, events);
    assert_eq!((said.as_str(), run.wants().as_str()), ("started c#1", "c#1"));
    assert_eq!(summary(&run.run, &run.def).progress, "3/4");
    let Ok(Request::Http(request)) = request(&run.run, &run.def, "c") else {
        panic!("c is performed")
    };
    assert_eq!(request.body, Some(json!("x1")), "the output of the run before");
    assert_eq!(
        (&run.steps()["a"]["attempts"], &run.steps()["maybe"]["status"]),
        (&json!(1), &json!("Skipped"))
    );
    assert_eq!(run.succeed("c", http(200)), "c+ =Succeeded z#1");
    run.succeed("z", http(200));
    assert_eq!(run.run.output(), Some(&json!({"of": "x1"})));
}

#[test]
fn run_that_fails_undoes_what_it_reused_newest_first() {
    let mut body = body();
    body["steps"][2]["compensate"] = json!({"http": {"url": "https://h/", "method": "DELETE"}});
    let events = reuse(&terminated(&body), &body, &body, Some("c")).unwrap();
    let (mut run, _) = again(&body, events.clone());
    assert_eq!(run.succeed("c", http(404)), "c-UnexpectedStatus =Failed un-b#2");
    assert_eq!(run.succeed("b", http(200)), "un-b+ un-a#2");
    let (mut run, _) = again(&body, events.clone());
    assert_eq!(run.cancel(), "cancel cx =Cancelled un-b#2");
    let (mut run, _) = again(&body, events);
    assert_eq!(run.terminate(), "terminate cx =Cancelled z#1");
}

#[test]
fn reused_work_is_reused_once_more_of_the_run_that_has_it() {
    let body = body();
    let events = reuse(&terminated(&body), &body, &body, Some("c")).unwrap();
    let (mut second, _) = again(&body, events);
    second.terminate();
    second.succeed("z", http(200));
    let events = reuse(&second, &body, &body, None).unwrap();
    let of: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::StepReused {
                step, from, undoable, ..
            } => (&**step, from.as_u128(), *undoable),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(of, [("a", 2, true), ("maybe", 2, false), ("b", 2, false)]);
}

#[test]
fn it_begins_with_the_first_step_that_does_not_stand_unless_told_otherwise() {
    let body = body();
    let from = |run: &Driven| reuse(run, &body, &body, None).map(|events| names(&events).join(" "));
    assert_eq!(from(&terminated(&body)).unwrap(), "a maybe b");
    assert_eq!(from(&undone(&body)).unwrap(), "", "`a` was undone");

    let mut plain = body.clone();
    plain["steps"][0].as_object_mut().unwrap().remove("compensate");
    plain["output"] = json!("=input.absent");
    let mut run = Driven::claimed(&plain);
    for step in ["a", "b", "c", "z"] {
        run.succeed(step, http(200));
    }
    assert_eq!(run.run.phase(), Phase::Failed);
    let all = reuse(&run, &plain, &plain, None).unwrap();
    assert_eq!(names(&all), ["a", "maybe", "b", "c"], "only its output failed");
    let mut fixed = plain.clone();
    fixed["output"] = json!(1);
    assert_eq!(again(&fixed, all).1, "started =Succeeded z#1");
}

#[test]
fn failures_that_were_tolerated_and_waits_that_went_on_are_results_too() {
    let body = json!({"steps": [
        {"name": "t", "fail": {"code": "NO"}, "continueOnError": true},
        {"name": "w", "waitForSignal": {"signal": "s", "timeout": "10s", "onTimeout": "Continue"}},
        {"name": "e", "set": {"code": "=steps.t.error.code", "status": "=steps.w.status"}},
        {"name": "stop", "fail": {"code": "STOP"}},
    ]});
    let mut run = Driven::claimed(&body);
    run.timers_at(10);
    assert_eq!(run.run.phase(), Phase::Failed);
    let events = reuse(&run, &body, &body, Some("e")).unwrap();
    let (run, said) = again(&body, events);
    assert_eq!(said, "started e+ stop-STOP =Failed finished");
    assert_eq!(run.steps()["e"]["output"], json!({"code": "NO", "status": "TimedOut"}));
}

#[test]
fn what_does_not_stand_is_refused_with_the_step_to_begin_with() {
    let body = body();
    let (reason, message) = refused(&undone(&body), &body, &body, Some("c"));
    assert_eq!(reason, "StepUndone");
    assert!(message.ends_with("Begin with `a`"), "{message}");

    let mut early = Driven::claimed(&body);
    early.succeed("a", http(200));
    early.terminate();
    early.succeed("z", http(200));
    let (reason, message) = refused(&early, &body, &body, Some("c"));
    assert_eq!(reason, "StepNotDone");
    assert!(
        message.contains("step `b` comes before `c` and is Cancelled"),
        "{message}"
    );

    for unknown in ["z", "nowhere"] {
        let (reason, message) = refused(&early, &body, &body, Some(unknown));
        assert_eq!(reason, "StepUnknown");
        assert!(message.contains("name one of `a`, `maybe`, `b`, `c`"), "{message}");
    }
}

#[test]
fn compensation_that_failed_or_was_given_up_counts_as_one_that_was_done() {
    let body = body();
    for give_up in [false, true] {
        let mut run = Driven::claimed(&body);
        for (step, status) in [("a", 200), ("b", 200), ("c", 404)] {
            run.succeed(step, http(status));
        }
        if !give_up {
            run.succeed("a", http(400));
        }
        run.terminate();
        run.succeed("z", http(200));
        assert!(run.run.is_terminal());
        assert_eq!(refused(&run, &body, &body, Some("b")).0, "StepUndone");
        assert_eq!(reuse(&run, &body, &body, Some("a")).unwrap(), []);
    }
}

#[test]
fn run_that_has_not_ended_or_has_succeeded_is_refused() {
    let body = body();
    let mut run = Driven::claimed(&body);
    assert_eq!(refused(&run, &body, &body, None).0, "RunNotEnded");
    for step in ["a", "b", "c", "z"] {
        run.succeed(step, http(200));
    }
    assert_eq!(refused(&run, &body, &body, None).0, "NothingToRetry");
    assert_eq!(names(&reuse(&run, &body, &body, Some("b")).unwrap()), ["a", "maybe"]);
    let mut parked = body;
    parked["onFailure"] = json!("Pause");
    let mut run = Driven::claimed(&parked);
    run.succeed("a", http(404));
    let (reason, message) = refused(&run, &parked, &parked, None);
    assert_eq!(reason, "RunNotEnded");
    assert!(message.contains("everstep retry"), "{message}");
}

#[test]
fn another_definition_may_change_what_comes_later_and_nothing_before() {
    let old = body();
    let run = terminated(&old);
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        edit(&mut new);
        new
    };
    let later = edited(&|new| {
        new["steps"][3]["timeout"] = json!("5s");
        new["steps"].as_array_mut().unwrap().push(get("d"));
    });
    assert_eq!(names(&reuse(&run, &old, &later, None).unwrap()), ["a", "maybe", "b"]);

    let text = edited(&|new| new["steps"][0]["timeout"] = json!("5s"));
    assert_eq!(refused(&run, &old, &text, None).0, "StepChanged");
    assert_eq!(reuse(&run, &old, &text, Some("a")).unwrap(), [], "it is done again");

    let undo = edited(&|new| new["steps"][0]["compensate"] = json!({"set": {}}));
    assert_eq!(refused(&run, &old, &undo, Some("c")).0, "StepChanged");

    let gone = edited(&|new| {
        new["steps"].as_array_mut().unwrap().remove(2);
    });
    let (reason, message) = refused(&run, &old, &gone, Some("c"));
    assert_eq!(reason, "StepChanged");
    assert!(
        message.contains("`b`") && message.contains("not in the definition"),
        "{message}"
    );

    let more = edited(&|new| new["steps"].as_array_mut().unwrap().insert(1, get("new")));
    let (reason, message) = refused(&run, &old, &more, None);
    assert_eq!(reason, "StepNotDone");
    assert!(message.contains("`new`") && message.contains("NotRun"), "{message}");

    let renamed = edited(&|new| new["steps"][3]["name"] = json!("other"));
    assert_eq!(
        refused(&run, &old, &renamed, None).0,
        "StepUnknown",
        "what failed is not there"
    );
}

#[test]
fn step_that_follows_one_further_down_is_not_reused_without_it() {
    let mut body = body();
    body["steps"][0]["needs"] = json!(["b"]);
    body["steps"][2]["needs"] = json!([]);
    body["steps"][3]["needs"] = json!(["a"]);
    let mut run = Driven::claimed(&body);
    run.succeed("b", http(200));
    run.succeed("a", http(200));
    run.terminate();
    run.succeed("z", http(200));
    let (reason, message) = refused(&run, &body, &body, Some("b"));
    assert_eq!(reason, "StepNeedsLater");
    assert!(message.contains("`a` comes before `b` and needs `b`"), "{message}");
    let events = reuse(&run, &body, &body, Some("c")).unwrap();
    assert_eq!(
        names(&events),
        ["b", "a", "maybe"],
        "in the order in which they went through"
    );
}

#[test]
fn outputs_beyond_what_a_row_may_hold_are_refused() {
    let steps: Vec<Value> = (0..20)
        .map(|i| json!({"name": format!("s{i}"), "http": {"url": "https://h/"}}))
        .collect();
    let body = json!({"steps": steps});
    let mut run = Driven::claimed(&body);
    for i in 0..19 {
        run.succeed(&format!("s{i}"), json!({"status": 200, "body": "x".repeat(250_000)}));
    }
    run.terminate();
    assert!(run.run.is_terminal());
    let (reason, message) = refused(&run, &body, &body, None);
    assert_eq!(reason, "OutputsTooLarge", "{message}");
    assert!(reuse(&run, &body, &body, Some("s10")).is_ok());
}

#[test]
fn event_is_stored_without_what_it_does_not_say() {
    let body = body();
    let events = reuse(&terminated(&body), &body, &body, None).unwrap();
    let stored = serde_json::to_value(&events).unwrap();
    assert_eq!(
        stored[1]["StepReused"],
        json!({
            "step": "maybe", "from": "0192f3c4-0000-7000-8000-000000000001", "name": "order-1", "status": "Skipped", "attempts": 0
        })
    );
    assert_eq!(serde_json::from_value::<Vec<Event>>(stored).unwrap(), events);
}

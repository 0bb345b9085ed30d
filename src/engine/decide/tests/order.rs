//! Which steps begin, in which order, and what they see.

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
    let run = Driven::claimed(&json!({"steps": [{"name": "a", "sleep": {"until": "2026-11-21T09:00:00.0000009Z"}}]}));
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

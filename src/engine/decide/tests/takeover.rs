//! What follows when the worker was lost.

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
fn no_condition_repeats_a_request_that_may_not_be_repeated() {
    for when in ["true", "error.kind == 'Ambiguous'"] {
        let mut run = Driven::claimed(&json!({"steps": [{
            "name": "a", "http": {"url": "https://example.com/", "method": "POST"},
            "retry": {"when": when, "backoff": {"jitter": 0}}
        }]}));
        let lost = run.tell(Input::TakenOver);
        assert_eq!(lost, "taken a-Ambiguous =Failed finished", "{when}");
    }
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

#[test]
fn what_became_ready_in_a_hold_begins_when_the_next_takeover_ends_it() {
    let wait = |name: &str| json!({"name": name, "waitForSignal": {"signal": "go"}});
    let mut run = Driven::claimed(&json!({"steps": [wait("a"), wait("b")]}));
    run.tell(Input::TakenOver);
    assert_eq!(run.tell(Input::TakenOver), "taken-held");
    assert_eq!(run.signal(1, "go", json!(1)), "a<1 a+", "and `b` has to wait");
    assert_eq!(run.signal(2, "go", json!(2)), "kept2");
    assert_eq!(run.tell(Input::TakenOver), "taken b<2 b+ =Succeeded finished");
}

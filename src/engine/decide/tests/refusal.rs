//! Inputs that a run in its state cannot have.

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

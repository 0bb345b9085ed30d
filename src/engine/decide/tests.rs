//! Tables of behaviour: what each input leads to.

use serde_json::json;

use crate::engine::{testing::*, *};

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
    assert_eq!(run.tell(Input::Claimed), "started greet+ nap@");
    assert_eq!(run.wants(), "@2");
    assert_eq!(run.timers_at(1), "");
    assert_eq!(run.timers_at(2), "nap+ shout+ =Succeeded finished");
    assert_eq!(run.run.output(), Some(&json!({"said": "hello, world!"})));
}

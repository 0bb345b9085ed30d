//! Compensation: what a run did is undone when it does not succeed, newest first, one step at a time.
//!
//! Attempts, retries and takeovers are those of every step (`attempt`, `takeover`), under the key of the undo. One that
//! fails for good parks the run: what was done before it stays done until a person decides.

use serde_json::Value;

use super::Decision;
use crate::engine::{event::Event, key::Deed};

impl Decision<'_> {
    /// Begins the compensation that is next, or what follows the last one.
    pub(super) fn undo_next(&mut self) {
        let Some(name) = self.run.undo.last().cloned() else {
            self.emit(Event::CompensationEnded);
            return self.consider_all();
        };
        let def = self.def;
        match def.step(&name).and_then(|step| Some((step, step.undo.as_ref()?))) {
            Some((step, undo)) => self.begin_work(step, Deed::Undo, &undo.action),
            // Another definition than the one it succeeded under: nothing undoes it.
            None => self.emit(Event::StepSucceeded {
                step: name,
                output: Value::Null,
                deed: Deed::Undo,
                undoable: false,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::engine::{testing::*, *};

    fn undo(action: &Value) -> Value {
        json!({"http": action, "retry": {"maxAttempts": 2, "backoff": {"jitter": 0}}})
    }

    fn get(name: &str) -> Value {
        json!({"name": name, "http": {"url": "https://h/"}})
    }

    /// `a` and `c` can be undone and `b` cannot; `d` comes last.
    fn body() -> Value {
        let with = |name: &str| {
            let mut step = get(name);
            step["output"] = json!({"id": "=result.body.id"});
            step["compensate"] = undo(&json!({
                "url": "https://h/", "method": "DELETE", "body": format!("=steps.{name}.output.id")
            }));
            step
        };
        json!({"steps": [with("a"), get("b"), with("c"), get("d")], "finally": [get("z")], "timeout": "1h"})
    }

    fn before_d() -> Driven {
        let mut run = Driven::claimed(&body());
        for step in ["a", "b", "c"] {
            run.succeed(step, http(200));
        }
        run
    }

    fn undoing() -> Driven {
        let mut run = before_d();
        run.succeed("d", http(404));
        run
    }

    fn key(run: &Driven) -> StepKey {
        match effects(&run.run, &run.def).remove(0) {
            Effect::Perform { key, .. } => key,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_done_is_undone_newest_first_and_then_comes_finally() {
        let mut run = before_d();
        assert_eq!(run.succeed("d", http(404)), "d-UnexpectedStatus =Failed un-c#2");
        assert_eq!((run.run.phase(), run.wants().as_str()), (Phase::Compensating, "c#2"));
        let Ok(Request::Http(request)) = request(&run.run, &run.def, "c") else {
            panic!("c is being undone")
        };
        assert_eq!((request.method.as_str(), request.body), ("DELETE", Some(json!("x1"))));
        assert_eq!(key(&run), StepKey::new(run.run.origin(), "c", 0, Deed::Undo, 0));
        assert_eq!(run.succeed("c", http(200)), "un-c+ un-a#2");
        assert_eq!(
            run.steps()["c"]["status"],
            "Succeeded",
            "what is undone has succeeded all the same"
        );
        assert_eq!(run.succeed("a", http(200)), "un-a+ undone z#1");
        assert_eq!(run.succeed("z", http(200)), "z+ finished");
        assert_eq!(
            (run.run.phase(), run.run.error().unwrap().step.as_deref()),
            (Phase::Failed, Some("d"))
        );
    }

    #[test]
    fn it_follows_a_cancel_and_a_timeout_and_not_a_termination_nor_a_success() {
        let mut run = before_d();
        assert_eq!(run.cancel(), "cancel dx =Cancelled un-c#2");
        let mut run = before_d();
        assert_eq!(run.timers_at(3600), "dx =TimedOut un-c#2");
        assert_eq!(run.run.phase(), Phase::Compensating);
        assert_eq!(run.wants(), "c#2", "the deadline has no say any more");
        let mut run = before_d();
        assert_eq!(run.terminate(), "terminate dx =Cancelled z#1");
        assert_eq!(run.run.error().unwrap().error.code, "Terminated");
        let mut run = before_d();
        assert_eq!(run.succeed("d", http(200)), "d+ =Succeeded z#1");
    }

    #[test]
    fn a_failing_output_undoes_too() {
        let mut run = Driven::new(&json!({
            "steps": [{"name": "a", "set": {}, "compensate": {"set": {}}}], "output": "=input.absent"
        }));
        assert_eq!(run.tell(Input::Claimed), "started a+ =Failed un-a+ undone finished");
    }

    #[test]
    fn newest_is_what_ended_last_whatever_the_order_of_the_list() {
        let mut graph = body();
        graph["steps"][0]["needs"] = json!([]);
        graph["steps"][2]["needs"] = json!([]);
        graph["steps"][3]["needs"] = json!(["a", "c"]);
        let mut run = Driven::claimed(&graph);
        run.succeed("c", http(200));
        run.succeed("a", http(200));
        run.succeed("b", http(200));
        assert_eq!(run.succeed("d", http(404)), "d-UnexpectedStatus =Failed un-a#2");
    }

    #[test]
    fn an_undo_is_tried_by_its_own_policy_and_one_that_fails_for_good_parks_the_run() {
        let mut run = undoing();
        assert_eq!(run.answer("c", 2, Ok(http(503))), "un-c#2!UnexpectedStatus");
        assert_eq!((run.wants().as_str(), run.run.phase()), ("@1", Phase::Compensating));
        assert_eq!(run.timers_at(1), "un-c#3");
        assert_eq!(
            run.answer("c", 3, Ok(http(503))),
            "un-c-UnexpectedStatus parked:CompensationFailed"
        );
        assert_eq!((run.wants().as_str(), run.run.phase()), ("", Phase::Paused));
        let shown = summary(&run.run, &run.def);
        assert_eq!(
            (
                shown.stalled.as_deref(),
                shown.waiting_for.as_deref(),
                shown.step.as_deref()
            ),
            (Some("CompensationFailed"), Some("retry or terminate"), Some("c"))
        );
        let error = shown.error.unwrap();
        assert_eq!(
            (error.step.as_deref(), error.code.as_str()),
            (Some("c"), "CompensationFailed")
        );
        assert!(
            error.message.contains("UnexpectedStatus: the answer has status 503"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_retry_undoes_under_a_new_key_and_goes_on() {
        let mut run = undoing();
        run.succeed("c", http(400));
        assert_eq!(run.timers_at(100_000), "", "nothing but a person moves it");
        assert_eq!(run.tell(Input::Claimed), "");
        assert_eq!(run.cancel(), "cancel", "a cancel is remembered, and does not move it");
        assert_eq!(run.retry(), "retried un-c#3");
        assert_eq!(key(&run), StepKey::new(run.run.origin(), "c", 0, Deed::Undo, 1));
        assert_eq!(run.succeed("c", http(200)), "un-c+ un-a#2");
        assert_eq!(key(&run), StepKey::new(run.run.origin(), "a", 0, Deed::Undo, 0));
    }

    #[test]
    fn terminating_gives_up_what_is_left_also_a_running_attempt() {
        let mut run = undoing();
        assert_eq!(run.terminate(), "terminate un-cx undone z#1");
        assert_eq!(run.succeed("c", http(200)), "", "an aborted attempt has no say");
        assert_eq!(run.succeed("z", http(200)), "z+ finished");
        assert_eq!(run.run.phase(), Phase::Failed, "the failure came first");

        let mut run = undoing();
        run.succeed("c", http(400));
        assert_eq!(run.terminate(), "terminate undone z#1");
    }

    #[test]
    fn a_takeover_finds_an_open_undo_as_it_finds_an_open_step() {
        let mut run = undoing();
        assert_eq!(run.tell(Input::TakenOver), "taken");
        assert_eq!(run.wants(), "c#2", "DELETE may be repeated");

        let mut posting = body();
        posting["steps"][2]["compensate"] = json!({"http": {"url": "https://h/", "method": "POST"}});
        let mut run = Driven::claimed(&posting);
        for step in ["a", "b", "c"] {
            run.succeed(step, http(200));
        }
        run.succeed("d", http(404));
        assert_eq!(
            run.tell(Input::TakenOver),
            "taken un-c-Ambiguous parked:CompensationFailed"
        );
        assert_eq!(run.retry(), "retried un-c#3");

        let mut run = undoing();
        for _ in 0..9 {
            run.now += jiff::SignedDuration::from_secs(1000);
            run.tell(Input::TimersDue);
            assert!(run.tell(Input::TakenOver).starts_with("taken"));
        }
        run.now += jiff::SignedDuration::from_secs(1000);
        run.tell(Input::TimersDue);
        assert!(
            run.tell(Input::TakenOver)
                .ends_with("un-c-WorkerLost parked:CompensationFailed")
        );
    }

    #[test]
    fn an_undo_whose_values_have_no_result_parks_the_run() {
        let mut run = Driven::new(&json!({"steps": [
            {"name": "a", "set": {}, "compensate": {"http": {"url": "https://h/", "body": "=steps.a.output.absent"}}},
            {"name": "b", "fail": {"code": "NO"}}
        ]}));
        assert_eq!(
            run.tell(Input::Claimed),
            "started a+ b-NO =Failed un-a-NoSuchKey parked:CompensationFailed"
        );
        assert_eq!(
            run.retry(),
            "retried un-a-NoSuchKey parked:CompensationFailed",
            "and again until it is terminated"
        );
    }

    #[test]
    fn a_run_restored_while_it_undoes_has_what_its_compensations_read() {
        let run = before_d();
        let mut restored = Run::restore(run.run.origin().clone(), &run.run.snapshot(&run.def)).unwrap();
        let d = Input::StepEnded {
            step: "d".into(),
            attempt: 1,
            outcome: Ok(http(404)),
        };
        advance(&mut restored, &run.def, d, at(0)).unwrap();
        let restored = Run::restore(run.run.origin().clone(), &restored.snapshot(&run.def)).unwrap();
        let Ok(Request::Http(request)) = request(&restored, &run.def, "c") else {
            panic!("c is being undone")
        };
        assert_eq!(request.body, Some(json!("x1")));
    }
}

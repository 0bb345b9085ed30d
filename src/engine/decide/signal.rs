//! How a signal and the step that waits for it find each other, whichever comes first.
//!
//! A run never has both an open wait and a kept signal of the same name: a signal that comes goes to the wait that began
//! first, and a wait that begins takes the signal that came first.

use std::sync::Arc;

use super::{Decision, after};
use crate::engine::{
    definition::{Action, Definition, Step, Wait},
    error::{ErrorKind, StepError},
    event::Event,
    key::Deed,
    run::{Activity, Run},
    signal::{MAX_BUFFERED, MAX_BUFFERED_BYTES, Rejection, Signal, result, unfit, weight},
};

impl Decision<'_> {
    /// A signal came. One that the run knows already, by its id, changes nothing.
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.run.signals.contains_key(&signal.id) || self.run.consumed.contains(&signal.id) {
            return;
        }
        if let Some(reason) = unfit(&signal.payload) {
            return self.emit(Event::SignalRejected { id: signal.id, reason });
        }
        if let Some(step) = waiting_for(self.run, self.def, &signal.name) {
            return self.consume(step, &signal);
        }
        let full = self.run.signals.len() >= MAX_BUFFERED
            || self.run.buffered.saturating_add(weight(&signal)) > MAX_BUFFERED_BYTES;
        self.emit(if full {
            let reason = Rejection::BufferFull;
            Event::SignalRejected { id: signal.id, reason }
        } else {
            Event::SignalBuffered { signal }
        });
    }

    /// A step that waits for a signal has become ready.
    pub(super) fn await_signal(&mut self, step: &Step, wait: &Wait) {
        match self.run.first_signal(&wait.signal).cloned() {
            Some(signal) => self.consume(step, &signal),
            None => self.emit(Event::SignalAwaited {
                step: step.name.clone(),
                signal: Arc::clone(&wait.signal),
                until: wait.timeout.map(|timeout| after(self.now, timeout)),
            }),
        }
    }

    /// The wait's time has come, and no signal.
    pub(super) fn time_out(&mut self, step: &Step, wait: &Wait) {
        if wait.may_time_out {
            self.emit(Event::StepTimedOut {
                step: step.name.clone(),
            });
            return self.consider_dependants(step);
        }
        let message = format!("no signal `{}` came within the `timeout` of the wait", wait.signal);
        let error = StepError::new(ErrorKind::Timeout, "SignalTimeout", message);
        self.fail_for_good(step, Deed::Do, error);
    }

    fn consume(&mut self, step: &Step, signal: &Signal) {
        self.emit(Event::SignalConsumed {
            step: step.name.clone(),
            id: signal.id,
        });
        self.succeed(step, Deed::Do, result(signal));
    }
}

/// The step that has waited longest for a signal of this name.
fn waiting_for<'a>(run: &Run, def: &'a Definition, name: &str) -> Option<&'a Step> {
    let mut waiting = run.open.iter().filter_map(|open| match open.activity {
        Activity::Signal(_) => def.step(&open.step),
        Activity::Attempt | Activity::Retry(_) | Activity::Timer(_) => None,
    });
    waiting.find(|step| matches!(&step.does.action, Action::WaitForSignal(wait) if &*wait.signal == name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::engine::{testing::*, *};

    fn wait(name: &str, fields: &Value) -> Value {
        json!({"name": name, "waitForSignal": fields})
    }

    fn waiting(fields: &Value) -> Driven {
        Driven::claimed(&json!({"steps": [wait("a", fields)], "output": "=steps.a"}))
    }

    fn output(run: &Driven) -> Value {
        run.run.output().unwrap()["output"].clone()
    }

    #[test]
    fn a_signal_that_comes_ends_the_wait_and_says_who_and_when() {
        let mut run = waiting(&json!({"signal": "approve", "timeout": "48h"}));
        assert_eq!(
            (run.wants().as_str(), run.run.phase()),
            ("a?approve @172800", Phase::Waiting)
        );
        let shown = summary(&run.run, &run.def);
        assert_eq!(
            shown.waiting_for.as_deref(),
            Some("signal approve until 2026-11-23T09:00:00Z")
        );
        assert_eq!(
            run.signal(7, "approve", json!({"approved": true})),
            "a<7 a+ =Succeeded finished"
        );
        assert_eq!(
            output(&run),
            json!({"payload": {"approved": true}, "by": "alice", "signal": "approve", "receivedAt": "2026-11-21T09:00:07Z"})
        );
        assert_eq!(consumed(run.journal.last().unwrap()), [7]);
        assert_eq!(unconsumed(&run.run), [0i64; 0]);
    }

    #[test]
    fn a_wait_without_a_timeout_has_no_timer() {
        let run = waiting(&json!({"signal": "go"}));
        assert_eq!(run.wants(), "a?go");
        assert_eq!(summary(&run.run, &run.def).waiting_for.as_deref(), Some("signal go"));
    }

    #[test]
    fn a_signal_that_arrives_early_is_kept_for_the_first_wait_of_its_name() {
        let go = json!({"signal": "go"});
        let mut run = Driven::new(&json!({"steps": [
            {"name": "nap", "sleep": {"for": "1m"}}, wait("a", &go), wait("b", &go), wait("c", &go)
        ]}));
        assert_eq!(
            run.signal(3, "go", json!(3)),
            "kept3 started nap@",
            "before the run has begun"
        );
        assert_eq!(run.signal(1, "go", json!(1)), "kept1");
        assert_eq!(run.signal(2, "stop", json!(2)), "kept2");
        assert_eq!(unconsumed(&run.run), [1, 2, 3]);
        assert_eq!(run.timers_at(60), "nap+ a<1 a+ b<3 b+ c?go", "first in, first out");
        assert_eq!(run.signal(4, "go", json!(4)), "c<4 c+ =Succeeded finished");
        assert_eq!(unconsumed(&run.run), [2]);
    }

    #[test]
    fn signals_that_come_together_go_to_the_waits_in_the_order_in_which_these_began() {
        let mut run = Driven::claimed(&json!({"steps": [
            {"name": "b", "needs": [], "waitForSignal": {"signal": "go"}},
            {"name": "a", "needs": [], "waitForSignal": {"signal": "go"}},
            {"name": "c", "waitForSignal": {"signal": "go"}}
        ]}));
        let both = (1..=3).map(|id| Mail::Signal(signal(id, "go", json!(id)))).collect();
        assert_eq!(
            run.tell(Input::Mail(both)),
            "b<1 b+ a<2 a+ kept3 c<3 c+ =Succeeded finished"
        );
    }

    #[test]
    fn the_same_signal_twice_is_one_signal_kept_or_consumed() {
        let mut run = Driven::claimed(
            &json!({"steps": [wait("a", &json!({"signal": "x"})), wait("b", &json!({"signal": "x"}))]}),
        );
        assert_eq!(run.signal(1, "x", json!(1)), "a<1 a+ b?x");
        assert_eq!(run.signal(1, "x", json!(1)), "");
        assert_eq!(run.signal(2, "y", json!(1)), "kept2");
        assert_eq!(run.signal(2, "y", json!(1)), "");
    }

    #[test]
    fn a_wait_that_times_out_fails_or_lets_the_run_go_on() {
        let mut run = waiting(&json!({"signal": "go", "timeout": "1m"}));
        assert_eq!(run.timers_at(59), "");
        assert_eq!(run.timers_at(60), "a-SignalTimeout =Failed finished");
        let error = &run.run.error().unwrap().error;
        assert_eq!((error.kind, error.message.contains("`go`")), (ErrorKind::Timeout, true));

        let mut run = Driven::claimed(&json!({
            "steps": [
                wait("a", &json!({"signal": "go", "timeout": "1m", "onTimeout": "Continue"})),
                {"name": "b", "set": {"status": "=steps.a.status", "output": "=steps.a.output", "n": "=steps.a.attempts"}}
            ],
            "output": "=steps.b.output"
        }));
        assert_eq!(run.timers_at(60), "a% b+ =Succeeded finished");
        assert_eq!(
            run.run.output(),
            Some(&json!({"status": "TimedOut", "output": null, "n": 1}))
        );
    }

    #[test]
    fn signal_or_timeout_wins_and_never_both() {
        let go = json!({"signal": "go", "timeout": "1m", "onTimeout": "Continue"});
        let late = |run: &mut Driven| run.signal(5, "go", json!(1));
        // The timeout has passed, and nobody has decided on it: the signal is first.
        let mut run = waiting(&go);
        run.now = at(600);
        assert_eq!(late(&mut run), "a<5 a+ =Succeeded finished");
        assert_eq!(run.tell(Input::TimersDue), "");
        // It was decided on: the signal is late, and is kept.
        let mut run = Driven::claimed(&json!({"steps": [wait("a", &go), wait("b", &json!({"signal": "other"}))]}));
        assert_eq!(run.timers_at(60), "a% b?other");
        assert_eq!(late(&mut run), "kept5");
        assert_eq!(unconsumed(&run.run), [5]);
    }

    #[test]
    fn commands_come_before_signals_whatever_came_first() {
        let mut run = waiting(&json!({"signal": "go"}));
        let cancel = Mail::Cancel {
            reason: "enough".to_owned(),
        };
        let mail = vec![Mail::Signal(signal(1, "go", json!(1))), cancel];
        assert_eq!(run.tell(Input::Mail(mail)), "cancel ax kept1 =Cancelled finished");
    }

    #[test]
    fn the_output_of_a_wait_is_made_of_its_result() {
        let mut step = wait("a", &json!({"signal": "go"}));
        step["output"] = json!("=result.payload.n + 1");
        let mut run = Driven::claimed(&json!({"steps": [step], "output": {"output": "=steps.a.output"}}));
        assert_eq!(run.signal(1, "go", json!({"n": 1})), "a<1 a+ =Succeeded finished");
        assert_eq!(output(&run), json!(2));
    }

    #[test]
    fn a_wait_in_finally_takes_what_was_kept() {
        let mut run = Driven::claimed(&json!({
            "steps": [{"name": "nap", "sleep": {"for": "1m"}}], "finally": [wait("z", &json!({"signal": "go"}))]
        }));
        run.signal(1, "go", json!(1));
        assert_eq!(run.timers_at(60), "nap+ =Succeeded z<1 z+ finished");
    }

    #[test]
    fn a_wait_is_given_up_when_another_step_fails() {
        let mut run = Driven::claimed(&json!({"steps": [
            wait("a", &json!({"signal": "go"})), {"name": "b", "needs": [], "http": {"url": "https://h/"}}
        ]}));
        assert_eq!(run.succeed("b", http(404)), "b-UnexpectedStatus ax =Failed finished");
    }

    #[test]
    fn what_cannot_be_kept_is_rejected_and_said_so() {
        let waiting = || Driven::claimed(&json!({"steps": [wait("a", &json!({"signal": "go"}))]}));
        let mut run = waiting();
        let deep = |levels| (0..levels).fold(json!(1), |value, _| json!([value]));
        assert_eq!(run.signal(1, "go", deep(100)), "rejected1!PayloadTooDeep");
        assert_eq!(
            run.signal(2, "go", json!("x".repeat(64 * 1024 - 1))),
            "rejected2!PayloadTooLarge"
        );
        assert_eq!(rejected(run.journal.last().unwrap()), [(2, Rejection::PayloadTooLarge)]);
        assert_eq!(run.signal(3, "go", deep(99)), "a<3 a+ =Succeeded finished");
        let mut run = waiting();
        assert_eq!(
            run.signal(3, "go", json!("x".repeat(64 * 1024 - 2))),
            "a<3 a+ =Succeeded finished"
        );
    }

    #[test]
    fn a_run_keeps_so_many_signals_and_rejects_the_next_one_but_for_a_wait() {
        let mut run = waiting(&json!({"signal": "go"}));
        let most = MAX_BUFFERED as i64;
        let flood = (0..=most).map(|id| Mail::Signal(signal(id, "noise", json!({"n": id}))));
        run.tell(Input::Mail(flood.collect()));
        assert_eq!(rejected(run.journal.last().unwrap()), [(most, Rejection::BufferFull)]);
        assert_eq!(unconsumed(&run.run).len(), MAX_BUFFERED);
        assert_eq!(
            run.signal(most + 1, "go", json!(1)),
            format!("a<{} a+ =Succeeded finished", most + 1)
        );
    }

    #[test]
    fn a_run_keeps_so_many_bytes_and_has_room_again_when_a_signal_is_consumed() {
        let mut run = Driven::claimed(&json!({"steps": [
            {"name": "nap", "sleep": {"for": "1m"}}, wait("a", &json!({"signal": "x"})), wait("b", &json!({"signal": "other"}))
        ]}));
        let payload = json!("x".repeat(60 * 1024));
        let mut id = 0;
        while run.signal(id, "x", payload.clone()) == format!("kept{id}") {
            id += 1;
        }
        assert_eq!(id, 136, "8 MiB of 60 KiB each");
        assert_eq!(
            run.journal.last().unwrap()[0],
            Event::SignalRejected {
                id,
                reason: Rejection::BufferFull
            }
        );
        assert!(run.timers_at(60).starts_with("nap+ a<0 a+ b?other"));
        assert_eq!(
            run.signal(id, "x", payload.clone()),
            format!("kept{id}"),
            "there is room for one"
        );
        let mut restored = Run::restore(run.run.origin().clone(), &run.run.snapshot(&run.def)).unwrap();
        let more = Input::Mail(vec![Mail::Signal(signal(id + 1, "x", payload))]);
        let events = advance(&mut restored, &run.def, more, at(60)).unwrap();
        assert_eq!(
            rejected(&events),
            [(id + 1, Rejection::BufferFull)],
            "a restored run counts as it did"
        );
    }
}

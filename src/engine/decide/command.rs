//! What a person, or whoever speaks for one, can tell a run. Not the signals that steps wait for: `signal`.
//!
//! A run stands still while it is paused, and while it is parked by a failure: nothing begins and no timer takes effect,
//! while attempts that run finish, and signals reach the waits that are open. The time that it stands still does not count
//! for its `timeout`; what waits for a point in time finds that past when the run goes on.

use super::Decision;
use crate::engine::{
    event::{Event, StepName},
    key::Deed,
    phase::{Parking, RunResult},
    run::StepState,
};

impl Decision<'_> {
    /// The second cancel changes nothing; neither does one that comes after the result, but it is remembered. A run that
    /// never began is cancelled like any other: its `finally` runs. A cancel ends a pause.
    pub(super) fn cancel(&mut self, reason: String) {
        self.start();
        if self.run.cancel.is_some() && !self.run.paused {
            return;
        }
        self.emit(Event::CancelRequested { reason });
        if self.run.ending.is_none() {
            self.abort(RunResult::Cancelled);
        }
        self.consider_all();
    }

    /// A cancel without a compensation; one that is under way is given up, its open attempt too.
    pub(super) fn terminate(&mut self, reason: String) {
        self.start();
        if self.run.terminated && !self.run.paused {
            return;
        }
        self.emit(Event::TerminateRequested { reason });
        if self.run.ending.is_none() {
            self.abort(RunResult::Cancelled);
        } else if self.run.undoing {
            self.cancel_open();
            self.emit(Event::CompensationEnded);
        }
        self.consider_all();
    }

    pub(super) fn pause(&mut self, generation: i64) {
        let newer = self.run.generation < Some(generation);
        let same = self.run.generation == Some(generation);
        if newer || (same && !self.run.paused) {
            self.emit(Event::RunPaused {
                generation,
                at: self.now,
            });
        }
    }

    pub(super) fn resume(&mut self, generation: i64) {
        let newer = self.run.generation < Some(generation);
        let same = self.run.generation == Some(generation);
        if newer || (same && self.run.paused) {
            let deadline = if self.run.parked.is_none() { self.later() } else { None };
            self.emit(Event::RunResumed { generation, deadline });
            self.consider_all();
        }
    }

    /// What failed begins afresh, in a new round: all of it, for a run has one list of steps and one compensation.
    pub(super) fn retry(&mut self, from: Option<&str>) {
        let (deed, steps) = match self.run.parked {
            None => return self.refuse_retry("the run is not parked: there is nothing to retry".to_owned()),
            Some(Parking::Failure) => (Deed::Do, self.failed_steps()),
            Some(Parking::CompensationFailed) => {
                let failed = self.run.undo_failure.as_ref().and_then(|failure| failure.step.clone());
                (Deed::Undo, failed.into_iter().collect())
            }
        };
        if let Some(from) = from
            && !steps.iter().any(|step| &**step == from)
        {
            let named: String = from.chars().take(64).collect();
            let failed: Vec<&str> = steps.iter().map(|step| &**step).collect();
            return self.refuse_retry(format!("`{named}` is not what failed; that is {}", failed.join(", ")));
        }
        let deadline = if self.run.paused { None } else { self.later() };
        self.emit(Event::RunRetried { steps, deed, deadline });
        self.consider_all();
    }

    fn refuse_retry(&mut self, reason: String) {
        self.emit(Event::RetryRefused { reason });
    }

    /// In the order of the list.
    fn failed_steps(&self) -> Vec<StepName> {
        let failed = self.def.steps().iter().map(|step| &step.name);
        let failed = failed.filter(|step| self.run.states.get(*step) == Some(&StepState::Failed));
        failed.cloned().collect()
    }

    /// The deadline of a run that goes on now: so much later as it stood still.
    fn later(&self) -> Option<jiff::Timestamp> {
        let (deadline, since) = (self.run.deadline?, self.run.still_since?);
        // A deadline that passed before the run stood still stays passed.
        let still = self.now.duration_since(since).max(jiff::SignedDuration::ZERO);
        Some(deadline.checked_add(still).unwrap_or(jiff::Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::engine::{testing::*, *};

    fn get(name: &str) -> Value {
        json!({"name": name, "http": {"url": "https://h/"}, "retry": {"backoff": {"jitter": 0}}})
    }

    fn first(step: Value) -> Value {
        let mut undone = get("done");
        undone["compensate"] = json!({"http": {"url": "https://h/"}, "retry": {"maxAttempts": 1}});
        let steps = vec![undone, step];
        json!({"steps": steps, "finally": [get("z")], "timeout": "1h"})
    }

    /// A run that stands in its second step.
    fn at_step(step: Value) -> Driven {
        at_step_of(&first(step))
    }

    fn at_step_of(body: &Value) -> Driven {
        let mut run = Driven::claimed(body);
        run.succeed("done", http(200));
        run
    }

    fn pausing(step: Value) -> Driven {
        let mut body = first(step);
        body["onFailure"] = json!("Pause");
        at_step_of(&body)
    }

    /// Every state that a run can be in, by name.
    fn states() -> Vec<(&'static str, Driven)> {
        let wait = || json!({"name": "s", "waitForSignal": {"signal": "go"}});
        let nap = || json!({"name": "s", "sleep": {"for": "1m"}});
        let told = |mut run: Driven, tell: fn(&mut Driven)| {
            tell(&mut run);
            run
        };
        let pause = |run: &mut Driven| drop(run.mail(Mail::Pause { generation: 1 }));
        let fail = |run: &mut Driven| drop(run.succeed("s", http(404)));
        let finish = |run: &mut Driven| drop(run.succeed("z", http(200)));
        let compensating = || told(at_step(get("s")), |run| drop(run.succeed("s", http(404))));
        let failed_undo = || told(compensating(), |run| drop(run.succeed("done", http(404))));
        let finally = || told(at_step(get("s")), |run| drop(run.succeed("s", http(200))));
        let cancelling = || told(Driven::new(&first(get("s"))), |run| drop(run.cancel()));
        let mut failing = first(get("s"));
        failing["steps"].as_array_mut().unwrap().push({
            let mut beside = get("beside");
            beside["needs"] = json!(["done"]);
            beside
        });
        vec![
            ("pending", Driven::new(&first(get("s")))),
            ("running", at_step(get("s"))),
            (
                "retrying",
                told(at_step(get("s")), |run| drop(run.succeed("s", http(503)))),
            ),
            ("sleeping", at_step(nap())),
            ("waiting", at_step(wait())),
            (
                "held",
                told(at_step(get("s")), |run| {
                    run.tell(Input::TakenOver);
                    run.tell(Input::TakenOver);
                }),
            ),
            ("failing", told(at_step_of(&failing), fail)),
            ("paused, pending", told(Driven::new(&first(get("s"))), pause)),
            ("paused, running", told(at_step(get("s")), pause)),
            ("paused, sleeping", told(at_step(nap()), pause)),
            ("paused, waiting", told(at_step(wait()), pause)),
            ("parked", told(pausing(get("s")), fail)),
            ("parked and paused", told(told(pausing(get("s")), fail), pause)),
            ("compensating", compensating()),
            ("compensating, paused", told(compensating(), pause)),
            ("compensation failed", failed_undo()),
            ("compensation failed, paused", told(failed_undo(), pause)),
            ("finally", finally()),
            ("finally, paused", told(finally(), pause)),
            ("cancelling", cancelling()),
            ("succeeded", told(finally(), finish)),
            ("failed", told(told(failed_undo(), |run| drop(run.terminate())), finish)),
            ("cancelled", told(cancelling(), finish)),
            (
                "timed out",
                told(
                    told(Driven::claimed(&first(get("s"))), |run| drop(run.timers_at(3600))),
                    finish,
                ),
            ),
        ]
    }

    fn mails() -> [Mail; 6] {
        let reason = || "enough".to_owned();
        [
            Mail::Cancel { reason: reason() },
            Mail::Terminate { reason: reason() },
            Mail::Pause { generation: 1 },
            Mail::Resume { generation: 1 },
            Mail::Retry { from: None },
            Mail::Signal(signal(9, "go", json!(1))),
        ]
    }

    /// What each of [`mails`] leads to: what is decided, and the phase then.
    const TABLE: &[(&str, [&str; 6])] = &[
        (
            "pending",
            [
                "started cancel =Cancelled z#1 => Cancelling",
                "started terminate =Cancelled z#1 => Cancelling",
                "paused1 => Paused",
                "resumed1 started done#1 => Running",
                "no-retry started done#1 => Running",
                "kept9 started done#1 => Running",
            ],
        ),
        (
            "running",
            [
                "cancel sx =Cancelled un-done#2 => Compensating",
                "terminate sx =Cancelled z#1 => Cancelling",
                "paused1 => Paused",
                "resumed1 => Running",
                "no-retry => Running",
                "kept9 => Running",
            ],
        ),
        (
            "retrying",
            [
                "cancel sx =Cancelled un-done#2 => Compensating",
                "terminate sx =Cancelled z#1 => Cancelling",
                "paused1 => Paused",
                "resumed1 => Running",
                "no-retry => Running",
                "kept9 => Running",
            ],
        ),
        (
            "sleeping",
            [
                "cancel sx =Cancelled un-done#2 => Compensating",
                "terminate sx =Cancelled z#1 => Cancelling",
                "paused1 => Paused",
                "resumed1 => Sleeping",
                "no-retry => Sleeping",
                "kept9 => Sleeping",
            ],
        ),
        (
            "waiting",
            [
                "cancel sx =Cancelled un-done#2 => Compensating",
                "terminate sx =Cancelled z#1 => Cancelling",
                "paused1 => Paused",
                "resumed1 => Waiting",
                "no-retry => Waiting",
                "s<9 s+ =Succeeded z#1 => Running",
            ],
        ),
        (
            "held",
            [
                "cancel sx => Cancelling",
                "terminate sx => Cancelling",
                "paused1 => Paused",
                "resumed1 => Running",
                "no-retry => Running",
                "kept9 => Running",
            ],
        ),
        (
            "failing",
            [
                "cancel besidex =Failed un-done#2 => Compensating",
                "terminate besidex =Failed z#1 => Running",
                "paused1 => Paused",
                "resumed1 => Running",
                "no-retry => Running",
                "kept9 => Running",
            ],
        ),
        (
            "paused, pending",
            [
                "started cancel =Cancelled z#1 => Cancelling",
                "started terminate =Cancelled z#1 => Cancelling",
                "=> Paused",
                "resumed1 started done#1 => Running",
                "no-retry => Paused",
                "kept9 => Paused",
            ],
        ),
        (
            "paused, running",
            [
                "cancel sx =Cancelled un-done#2 => Compensating",
                "terminate sx =Cancelled z#1 => Cancelling",
                "=> Paused",
                "resumed1 => Running",
                "no-retry => Paused",
                "kept9 => Paused",
            ],
        ),
        (
            "paused, sleeping",
            [
                "cancel sx =Cancelled un-done#2 => Compensating",
                "terminate sx =Cancelled z#1 => Cancelling",
                "=> Paused",
                "resumed1 => Sleeping",
                "no-retry => Paused",
                "kept9 => Paused",
            ],
        ),
        (
            "paused, waiting",
            [
                "cancel sx =Cancelled un-done#2 => Compensating",
                "terminate sx =Cancelled z#1 => Cancelling",
                "=> Paused",
                "resumed1 => Waiting",
                "no-retry => Paused",
                "s<9 s+ => Paused",
            ],
        ),
        (
            "parked",
            [
                "cancel =Failed un-done#2 => Compensating",
                "terminate =Failed z#1 => Running",
                "paused1 => Paused",
                "resumed1 => Paused",
                "retried s#2 => Running",
                "kept9 => Paused",
            ],
        ),
        (
            "parked and paused",
            [
                "cancel =Failed un-done#2 => Compensating",
                "terminate =Failed z#1 => Running",
                "=> Paused",
                "resumed1 => Paused",
                "retried => Paused",
                "kept9 => Paused",
            ],
        ),
        (
            "compensating",
            [
                "cancel => Compensating",
                "terminate un-donex undone z#1 => Running",
                "paused1 => Paused",
                "resumed1 => Compensating",
                "no-retry => Compensating",
                "kept9 => Compensating",
            ],
        ),
        (
            "compensating, paused",
            [
                "cancel => Compensating",
                "terminate un-donex undone z#1 => Running",
                "=> Paused",
                "resumed1 => Compensating",
                "no-retry => Paused",
                "kept9 => Paused",
            ],
        ),
        (
            "compensation failed",
            [
                "cancel => Paused",
                "terminate undone z#1 => Running",
                "paused1 => Paused",
                "resumed1 => Paused",
                "retried un-done#3 => Compensating",
                "kept9 => Paused",
            ],
        ),
        (
            "compensation failed, paused",
            [
                "cancel => Paused",
                "terminate undone z#1 => Running",
                "=> Paused",
                "resumed1 => Paused",
                "retried => Paused",
                "kept9 => Paused",
            ],
        ),
        (
            "finally",
            [
                "cancel => Running",
                "terminate => Running",
                "paused1 => Paused",
                "resumed1 => Running",
                "no-retry => Running",
                "kept9 => Running",
            ],
        ),
        (
            "finally, paused",
            [
                "cancel => Running",
                "terminate => Running",
                "=> Paused",
                "resumed1 => Running",
                "no-retry => Paused",
                "kept9 => Paused",
            ],
        ),
        (
            "cancelling",
            [
                "=> Cancelling",
                "terminate => Cancelling",
                "paused1 => Paused",
                "resumed1 => Cancelling",
                "no-retry => Cancelling",
                "kept9 => Cancelling",
            ],
        ),
        (
            "succeeded",
            [
                "=> Succeeded",
                "=> Succeeded",
                "=> Succeeded",
                "=> Succeeded",
                "=> Succeeded",
                "=> Succeeded",
            ],
        ),
        (
            "failed",
            [
                "=> Failed",
                "=> Failed",
                "=> Failed",
                "=> Failed",
                "=> Failed",
                "=> Failed",
            ],
        ),
        (
            "cancelled",
            [
                "=> Cancelled",
                "=> Cancelled",
                "=> Cancelled",
                "=> Cancelled",
                "=> Cancelled",
                "=> Cancelled",
            ],
        ),
        (
            "timed out",
            [
                "=> TimedOut",
                "=> TimedOut",
                "=> TimedOut",
                "=> TimedOut",
                "=> TimedOut",
                "=> TimedOut",
            ],
        ),
    ];

    #[test]
    fn every_mail_means_what_the_table_says_in_every_state() {
        let names: Vec<&str> = states().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, TABLE.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let mut phases: Vec<Phase> = Vec::new();
        for (i, (name, expected)) in TABLE.iter().enumerate() {
            for (mail, expected) in mails().into_iter().zip(expected) {
                let mut run = states().swap_remove(i).1;
                phases.push(run.run.phase());
                let decided = run.mail(mail.clone());
                let found = format!("{decided} => {}", run.run.phase().as_str());
                assert_eq!(found.trim_start(), *expected, "{name}: {mail:?}");
                let moves = !run.run.is_terminal() && run.run.phase() != Phase::Paused;
                assert!(!moves || !run.wants().is_empty(), "{name}: {mail:?}: nothing is open");
                let is_retry = matches!(mail, Mail::Retry { .. });
                let again = run.mail(mail);
                assert!(again.is_empty() || is_retry, "{name}: twice is not once: {again}");
            }
        }
        for phase in Phase::ALL {
            assert!(phases.contains(&phase), "no state of the table has the phase {phase:?}");
        }
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
}

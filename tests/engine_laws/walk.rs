//! A run under random inputs, held to every law after every decision; each law is named where it is asserted.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use everstep::engine::{
    Deed, Definition, Earlier, Effect, ErrorKind, Event, Input, Mail, Origin, Outcome, Phase, Run, Signal, StepError,
    advance, apply, decide, effects, rejected, request, summary, unconsumed,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Something that happens to a run.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Claimed,
    Ended { which: u8, late: bool, outcome: u8 },
    Time { seconds: u16 },
    Cancel,
    Terminate,
    Pause { generation: u8 },
    Resume { generation: u8 },
    Retry,
    Signals { ids: Vec<u8> },
    TakenOver,
}

/// A random one of them.
pub(crate) fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => Just(Happening::Claimed),
        12 => (any::<u8>(), proptest::bool::weighted(0.1), 0..8u8)
            .prop_map(|(which, late, outcome)| Happening::Ended { which, late, outcome }),
        5 => (0..400u16).prop_map(|seconds| Happening::Time { seconds }),
        1 => Just(Happening::Cancel),
        1 => proptest::bool::weighted(0.5).prop_map(|cancel| if cancel { Happening::Cancel } else { Happening::Terminate }),
        2 => (0..6u8).prop_map(|generation| Happening::Pause { generation }),
        2 => (0..6u8).prop_map(|generation| Happening::Resume { generation }),
        2 => Just(Happening::Retry),
        6 => proptest::collection::vec(0..40u8, 1..4).prop_map(|ids| Happening::Signals { ids }),
        2 => Just(Happening::TakenOver),
    ]
}

pub(crate) fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        run: uuid::Uuid::from_u128(7),
        cluster: "c".into(),
        namespace: "n".to_owned(),
        workflow: "w".to_owned(),
        name: "w".to_owned(),
        start_key: "uid/1/2".to_owned(),
        revision: "0".to_owned(),
        input: json!({"n": 3}),
        scheduled_at: None,
    })
}

/// A signal is known by its id: the same id is the same signal.
fn signal(id: u8) -> Signal {
    Signal {
        id: i64::from(id),
        name: format!("s{}", id % 4),
        payload: json!({"n": id}),
        by: id.is_multiple_of(2).then(|| "alice".to_owned()),
        received_at: "2026-11-21T08:00:00Z".parse().unwrap(),
    }
}

fn outcome(choice: u8) -> Outcome {
    match choice {
        0..=2 => Ok(json!({"status": 200, "headers": {}, "body": {"id": "x"}, "a": {"b": 1}})),
        3 => Ok(json!({"status": 503})),
        4 => Err(StepError::new(ErrorKind::Timeout, "Timeout", "slow")),
        5 => Err(StepError::new(ErrorKind::Sql, "40001", "again")),
        6 => Err(StepError::new(ErrorKind::Ambiguous, "Ambiguous", "who knows")),
        _ => Ok(Value::Null),
    }
}

/// A run in the hands of a test that holds every law after every decision.
pub(crate) struct Walk {
    pub(crate) def: Definition,
    body: Value,
    run: Run,
    /// The same run, restored from its snapshot after every decision.
    restored: Run,
    /// What was stored when the run was parked last, and how much of the journal is in it.
    parked: Option<(Value, usize)>,
    pub(crate) journal: Vec<Event>,
    ended: HashSet<(String, bool)>,
    /// Ids of signals that came, and of those that were consumed or rejected.
    came: BTreeSet<i64>,
    gone: BTreeSet<i64>,
    pub(crate) now: Timestamp,
}

impl Walk {
    pub(crate) fn new(body: &Value) -> Self {
        let def = Definition::compile(body).unwrap_or_else(|violations| panic!("{body}\n{violations:#?}"));
        let run = Run::new(origin());
        Self {
            def,
            body: body.clone(),
            restored: run.clone(),
            run,
            parked: None,
            journal: Vec::new(),
            ended: HashSet::new(),
            came: BTreeSet::new(),
            gone: BTreeSet::new(),
            now: "2026-11-21T09:00:00Z".parse().unwrap(),
        }
    }

    /// The run that takes this one up again, before anybody has carried it; none: it cannot be taken up.
    pub(crate) fn again(&self, body: &Value) -> Option<Self> {
        let earlier = Earlier::new(origin(), body, &self.journal);
        let journal = earlier.reuse(&self.def, body, None).ok()?;
        let run = Run::rebuild(origin(), None, &journal).unwrap();
        let mut again = Self {
            restored: run.clone(),
            run,
            now: self.now,
            ..Self::new(body)
        };
        again.hold_history(&journal);
        again.journal = journal;
        Some(again)
    }

    pub(crate) fn happen(&mut self, happening: &Happening) {
        let input = match happening {
            Happening::Claimed => Input::Claimed,
            Happening::Cancel => Input::Mail(vec![Mail::Cancel {
                reason: "enough".to_owned(),
            }]),
            Happening::TakenOver => Input::TakenOver,
            Happening::Terminate => Input::Mail(vec![Mail::Terminate {
                reason: "enough".to_owned(),
            }]),
            Happening::Pause { generation } => Input::Mail(vec![Mail::Pause {
                generation: i64::from(*generation),
            }]),
            Happening::Resume { generation } => Input::Mail(vec![Mail::Resume {
                generation: i64::from(*generation),
            }]),
            Happening::Retry => Input::Mail(vec![Mail::Retry { from: None }]),
            Happening::Signals { ids } => Input::Mail(ids.iter().map(|id| Mail::Signal(signal(*id))).collect()),
            Happening::Time { seconds } => {
                self.now += SignedDuration::from_secs(i64::from(*seconds));
                Input::TimersDue
            }
            Happening::Ended {
                which,
                late,
                outcome: choice,
            } => {
                let performed = self.performed();
                let Some((step, attempt)) = performed.get(usize::from(*which) % performed.len().max(1)).cloned() else {
                    return;
                };
                let attempt = if *late { attempt.saturating_sub(1) } else { attempt };
                Input::StepEnded {
                    step: step.as_str().into(),
                    attempt,
                    outcome: outcome(*choice),
                }
            }
        };
        self.tell(&input);
    }

    fn performed(&self) -> Vec<(String, u32)> {
        let performed = effects(&self.run, &self.def)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Perform { step, attempt, .. } => Some((step.to_string(), attempt)),
                Effect::AwaitSignal { .. } | Effect::WakeAt { .. } => None,
            });
        performed.collect()
    }

    fn tell(&mut self, input: &Input) {
        let before = self.run.clone();
        let decided = decide(&before, &self.def, input.clone(), self.now).unwrap();
        let events = advance(&mut self.run, &self.def, input.clone(), self.now).unwrap();
        assert_eq!(decided, events, "advance decides what decide decides");
        if before.is_terminal() {
            assert_eq!(events, [], "a terminal run decides nothing");
        }

        let text = serde_json::to_string(&events).unwrap();
        let read: Vec<Event> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, events, "a journal row can be read again");

        let mut replayed = before.clone();
        read.iter().for_each(|event| apply(&mut replayed, event));
        assert_eq!(replayed, self.run, "advance applies what it decides, and nothing else");

        let same = advance(&mut self.restored, &self.def, input.clone(), self.now).unwrap();
        assert_eq!(same, events, "a restored run decides what the run decides");
        self.hold_twice(input);
        self.hold_stillness(&before, input, &events);
        self.restore();
        self.hold_history(&events);
        self.hold_signals(input, &events);
        self.journal.extend(events);
        self.hold_effects();
        self.rebuild();
    }

    /// A run that is loaded is the run that was carried: from its journal alone, and from a snapshot and the rest.
    fn rebuild(&mut self) {
        assert_eq!(Run::rebuild(origin(), None, &self.journal).unwrap(), self.run);
        if let Some((snapshot, seq)) = &self.parked {
            let rebuilt = Run::rebuild(origin(), Some(snapshot), &self.journal[*seq..]).unwrap();
            assert_eq!(rebuilt.snapshot(&self.def), self.run.snapshot(&self.def));
            assert_eq!(effects(&rebuilt, &self.def), effects(&self.run, &self.def));
        }
        if self.journal.len().is_multiple_of(3) {
            self.parked = Some((self.run.snapshot(&self.def), self.journal.len()));
        }
    }

    fn restore(&mut self) {
        let snapshot = self.run.snapshot(&self.def);
        assert_eq!(
            self.restored.snapshot(&self.def),
            snapshot,
            "a restored run has the snapshot of the run"
        );
        let text = serde_json::to_string(&snapshot).unwrap();
        self.restored = Run::restore(origin(), &serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(
            effects(&self.restored, &self.def),
            effects(&self.run, &self.def),
            "and wants what the run wants"
        );
        assert_eq!(
            summary(&self.restored, &self.def),
            summary(&self.run, &self.def),
            "and looks like it"
        );
        for (step, _) in self.performed() {
            assert_eq!(
                request(&self.restored, &self.def, &step),
                request(&self.run, &self.def, &step),
                "and asks for the same"
            );
        }
    }

    fn hold_history(&mut self, events: &[Event]) {
        for event in events {
            let of = |step: &str, deed: Deed| Some((step.to_owned(), deed == Deed::Do));
            let (begins, ends) = match event {
                Event::StepStarted { step, deed, .. } | Event::AttemptFailed { step, deed, .. } => {
                    (of(step, *deed), None)
                }
                Event::TimerArmed { step, .. }
                | Event::SignalAwaited { step, .. }
                | Event::SignalConsumed { step, .. } => (of(step, Deed::Do), None),
                Event::StepSucceeded { step, deed, .. }
                | Event::StepFailed { step, deed, .. }
                | Event::StepCancelled { step, deed } => (None, of(step, *deed)),
                Event::StepReused { step, .. } | Event::StepSkipped { step } | Event::StepTimedOut { step } => {
                    (None, of(step, Deed::Do))
                }
                Event::RunRetried { steps, deed, .. } => {
                    for step in steps {
                        assert!(
                            self.ended.remove(&of(step, *deed).unwrap()),
                            "what is retried has ended: {step}"
                        );
                    }
                    (None, None)
                }
                Event::RunStarted { .. }
                | Event::SignalBuffered { .. }
                | Event::SignalRejected { .. }
                | Event::CancelRequested { .. }
                | Event::TerminateRequested { .. }
                | Event::RunPaused { .. }
                | Event::RunResumed { .. }
                | Event::RunParked { .. }
                | Event::RetryRefused { .. }
                | Event::RunEnding { .. }
                | Event::CompensationEnded
                | Event::TakenOver { .. }
                | Event::HoldEnded
                | Event::RunFinished { .. } => (None, None),
            };
            if let Some(step) = begins {
                assert!(
                    !self.ended.contains(&step),
                    "what has ended never begins again, unless it is retried: {step:?}"
                );
            }
            if let Some(step) = ends {
                if !step.1 {
                    assert!(
                        self.ended.contains(&(step.0.clone(), true)),
                        "only what ended is undone: {step:?}"
                    );
                }
                assert!(self.ended.insert(step.clone()), "one outcome for each step: {step:?}");
            }
        }
    }

    fn hold_twice(&self, input: &Input) {
        let is_retry = |mail: &Mail| matches!(mail, Mail::Retry { .. });
        match input {
            // A takeover is no repetition, and neither is a retry: the inbox tells each once.
            Input::TakenOver => return,
            Input::Mail(mail) if mail.iter().any(is_retry) => return,
            Input::Claimed | Input::StepEnded { .. } | Input::TimersDue | Input::Mail(_) => {}
        }
        let again = decide(&self.run, &self.def, input.clone(), self.now).unwrap();
        let rejected_again = rejected(&again).len() == again.len();
        assert!(rejected_again, "the same input twice equals once: {input:?}: {again:?}");
    }

    /// In a run that stands still nothing begins and nothing ends but what runs already, unless a command says so.
    fn hold_stillness(&self, before: &Run, input: &Input, events: &[Event]) {
        let commanded = matches!(input, Input::Mail(mail) if mail.iter().any(|mail| !matches!(mail, Mail::Signal(_))));
        if commanded {
            return;
        }
        let parks = events.iter().position(|event| matches!(event, Event::RunParked { .. }));
        let still = match parks {
            _ if before.phase() == Phase::Paused => events,
            Some(parks) => &events[parks + 1..],
            None => return,
        };
        for event in still {
            let moves = match event {
                Event::RunStarted { .. }
                | Event::StepStarted { .. }
                | Event::TimerArmed { .. }
                | Event::SignalAwaited { .. }
                | Event::StepTimedOut { .. }
                | Event::RunEnding { .. }
                | Event::RunFinished { .. } => true,
                Event::StepSucceeded { .. } | Event::StepFailed { .. } => *input == Input::TimersDue,
                // A failure that parks nothing gives up what waits, also in a pause.
                Event::StepCancelled { .. } => parks.is_some(),
                _ => false,
            };
            assert!(
                !moves,
                "in a run that stands still nothing begins or is cut off: {event:?}"
            );
        }
        assert_eq!(self.run.phase(), Phase::Paused, "and only a command moves it");
    }

    /// A signal that came is consumed once, or kept, or rejected: never lost and never two of these.
    fn hold_signals(&mut self, input: &Input, events: &[Event]) {
        if let Input::Mail(mail) = input
            && self.run.finished_at().is_none_or(|_| !events.is_empty())
        {
            self.came.extend(mail.iter().filter_map(|mail| match mail {
                Mail::Signal(signal) => Some(signal.id),
                _ => None,
            }));
        }
        for id in everstep::engine::consumed(events) {
            assert!(self.gone.insert(id), "signal {id} was consumed twice");
        }
        let kept: BTreeSet<i64> = unconsumed(&self.run).into_iter().collect();
        assert!(kept.is_disjoint(&self.gone), "a consumed signal is not kept");
        let known: BTreeSet<i64> = kept.union(&self.gone).copied().collect();
        assert_eq!(known, self.came, "no signal is lost");
    }

    fn hold_effects(&self) {
        let wanted = effects(&self.run, &self.def);
        if self.run.is_terminal() {
            assert_eq!(wanted, [], "a terminal run wants nothing");
        } else if self.run.started_at().is_some() && self.run.phase() != Phase::Paused {
            assert!(
                !wanted.is_empty(),
                "a run that goes on wants something: {:#?}",
                self.run
            );
        }
        for (step, _) in self.performed() {
            request(&self.run, &self.def, &step).unwrap();
        }
    }

    /// A run that succeeded has left no step of its list behind: each has an outcome.
    fn hold_completeness(&self) {
        if self.run.phase() != Phase::Succeeded {
            return;
        }
        let outcomes: HashSet<&str> = self
            .journal
            .iter()
            .filter_map(|event| match event {
                Event::StepSucceeded { step, .. }
                | Event::StepFailed { step, .. }
                | Event::StepSkipped { step, .. }
                | Event::StepTimedOut { step, .. }
                | Event::StepReused { step, .. } => Some(&**step),
                _ => None,
            })
            .collect();
        for step in self.body["steps"].as_array().unwrap() {
            let name = step["name"].as_str().unwrap();
            assert!(
                outcomes.contains(name),
                "{name} never came to an end: {:#?}",
                self.journal
            );
        }
    }

    /// With a world that answers, every run ends.
    pub(crate) fn finish(&mut self) {
        self.tell(&Input::Claimed);
        for round in 0..200 {
            if self.run.is_terminal() {
                break;
            }
            self.now += SignedDuration::from_secs(600);
            self.tell(&Input::TimersDue);
            let next = self.came.last().map_or(100, |last| last.max(&100) + 1);
            let names: Vec<String> = effects(&self.run, &self.def)
                .into_iter()
                .filter_map(|effect| match effect {
                    Effect::AwaitSignal { signal, .. } => Some(signal.to_string()),
                    Effect::Perform { .. } | Effect::WakeAt { .. } => None,
                })
                .collect();
            let signals = names
                .into_iter()
                .zip(next..)
                .map(|(name, id)| Mail::Signal(Signal { id, name, ..signal(0) }));
            self.tell(&Input::Mail(signals.collect()));
            if self.run.phase() == Phase::Paused {
                self.tell(&Input::Mail(vec![Mail::Resume { generation: 1_000 }]));
            }
            if self.run.parked().is_some() {
                let reason = "no way on".to_owned();
                self.tell(&Input::Mail(vec![match round {
                    0..4 => Mail::Retry { from: None },
                    _ => Mail::Terminate { reason },
                }]));
            }
            for (step, attempt) in self.performed() {
                self.tell(&Input::StepEnded {
                    step: step.as_str().into(),
                    attempt,
                    outcome: outcome(0),
                });
            }
        }
        assert!(self.run.is_terminal(), "every run ends: {:#?}", self.run);
        let mut replayed = Run::new(origin());
        self.journal.iter().for_each(|event| apply(&mut replayed, event));
        assert_eq!(replayed, self.run, "a run is what its journal leads to");
        let results = self
            .journal
            .iter()
            .filter(|event| matches!(event, Event::RunEnding { .. }))
            .count();
        assert_eq!(results, 1, "a run has one result");
        self.hold_completeness();
        let main = self
            .journal
            .iter()
            .take_while(|event| !matches!(event, Event::RunEnding { .. }));
        let cut_off = main
            .filter(|event| matches!(event, Event::StepCancelled { deed: Deed::Do, .. }))
            .count();
        let succeeded = self.run.phase() == Phase::Succeeded;
        assert!(
            !succeeded || cut_off == 0,
            "a run in which a step was cut off has not succeeded"
        );
        [
            Happening::Claimed,
            Happening::Time { seconds: 9 },
            Happening::Cancel,
            Happening::Terminate,
            Happening::Pause { generation: 5 },
            Happening::Resume { generation: 5 },
            Happening::Retry,
            Happening::TakenOver,
        ]
        .iter()
        .for_each(|happening| self.happen(happening));
    }
}

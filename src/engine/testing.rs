//! What the tests of this module share: an origin, a clock that stands, and a run under its definition.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;

pub(super) fn origin() -> Origin {
    Origin {
        run: uuid::Uuid::from_u128(0x0192_f3c4_0000_7000_8000_0000_0000_0001),
        cluster: "cluster-1".into(),
        namespace: "shop".to_owned(),
        workflow: "order".to_owned(),
        name: "order-1".to_owned(),
        start_key: "uid/1/7c9f4e21a0b3c5d7".to_owned(),
        revision: "7c9f4e21a0b3c5d7".to_owned(),
        input: json!({"n": 3, "who": "world", "items": [1, 2]}),
        scheduled_at: None,
    }
}

/// Seconds after an instant of 2026.
pub(super) fn at(seconds: i64) -> Timestamp {
    let epoch: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
    epoch + SignedDuration::from_secs(seconds)
}

/// A run that is driven by hand.
pub(super) struct Driven {
    pub(super) run: Run,
    pub(super) def: Definition,
    pub(super) journal: Vec<Vec<Event>>,
    pub(super) now: Timestamp,
}

impl Driven {
    /// A run that has not begun. Each tuple of steps is JSON.
    pub(super) fn new(body: &Value) -> Self {
        let def = Definition::compile(body).unwrap_or_else(|violations| panic!("{violations:#?}"));
        Self {
            run: Run::new(Arc::new(origin())),
            def,
            journal: Vec::new(),
            now: at(0),
        }
    }

    /// A run that a worker has claimed.
    pub(super) fn claimed(body: &Value) -> Self {
        let mut driven = Self::new(body);
        driven.tell(Input::Claimed);
        driven
    }

    /// One decision; what was decided, in short.
    pub(super) fn tell(&mut self, input: Input) -> String {
        let events = advance(&mut self.run, &self.def, input, self.now).unwrap();
        let words: Vec<String> = events.iter().map(word).collect();
        self.journal.push(events);
        words.join(" ")
    }

    pub(super) fn answer(&mut self, step: &str, attempt: u32, outcome: Outcome) -> String {
        self.tell(Input::StepEnded {
            step: step.into(),
            attempt,
            outcome,
        })
    }

    pub(super) fn succeed(&mut self, step: &str, result: Value) -> String {
        self.answer(step, 1, Ok(result))
    }

    pub(super) fn cancel(&mut self) -> String {
        self.tell(Input::Mail(vec![Mail::Cancel {
            reason: "enough".to_owned(),
        }]))
    }

    /// The clock goes on, and the run is told.
    pub(super) fn timers_at(&mut self, seconds: i64) -> String {
        self.now = at(seconds);
        self.tell(Input::TimersDue)
    }

    /// What is wanted, in short.
    pub(super) fn wants(&self) -> String {
        let words = effects(&self.run, &self.def).into_iter().map(|effect| match effect {
            Effect::Perform { step, attempt, .. } => format!("{step}#{attempt}"),
            Effect::WakeAt { at: then } => {
                format!("@{}", (then.as_millisecond() - at(0).as_millisecond()) as f64 / 1000.0)
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn steps(&self) -> &Value {
        &self.run.steps
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::RunStarted { .. } => "started".to_owned(),
        Event::StepStarted { step, attempt, .. } => format!("{step}#{attempt}"),
        Event::AttemptFailed {
            step, attempt, error, ..
        } => format!("{step}#{attempt}!{}", error.code),
        Event::TimerArmed { step, .. } => format!("{step}@"),
        Event::StepSucceeded { step, .. } => format!("{step}+"),
        Event::StepFailed { step, error, tolerated } => {
            format!("{step}{}{}", if *tolerated { "~" } else { "-" }, error.code)
        }
        Event::StepSkipped { step } => format!("{step}/"),
        Event::StepCancelled { step } => format!("{step}x"),
        Event::CancelRequested { .. } => "cancel".to_owned(),
        Event::RunEnding { result, .. } => format!("={}", result.as_str()),
        Event::TakenOver { hold_until } => if hold_until.is_some() { "taken-held" } else { "taken" }.to_owned(),
        Event::HoldEnded => "go-on".to_owned(),
        Event::RunFinished { .. } => "finished".to_owned(),
    }
}

pub(super) fn http(status: u16) -> Value {
    json!({"status": status, "headers": {}, "body": {"id": "x1"}})
}

pub(super) fn error(kind: ErrorKind, code: &str) -> StepError {
    StepError::new(kind, code, "it went wrong")
}

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

    /// Answers the attempt that is open, or the first one.
    pub(super) fn succeed(&mut self, step: &str, result: Value) -> String {
        let attempt = self.run.open_step(step).map_or(1, |open| open.attempt);
        self.answer(step, attempt, Ok(result))
    }

    pub(super) fn cancel(&mut self) -> String {
        self.mail(Mail::Cancel {
            reason: "enough".to_owned(),
        })
    }

    pub(super) fn terminate(&mut self) -> String {
        self.mail(Mail::Terminate {
            reason: "enough".to_owned(),
        })
    }

    pub(super) fn retry(&mut self) -> String {
        self.mail(Mail::Retry { from: None })
    }

    pub(super) fn mail(&mut self, mail: Mail) -> String {
        self.tell(Input::Mail(vec![mail]))
    }

    pub(super) fn signal(&mut self, id: i64, name: &str, payload: Value) -> String {
        self.mail(Mail::Signal(signal(id, name, payload)))
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
            Effect::AwaitSignal { step, signal, .. } => format!("{step}?{signal}"),
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

pub(super) fn signal(id: i64, name: &str, payload: Value) -> Signal {
    Signal {
        id,
        name: name.to_owned(),
        payload,
        by: Some("alice".to_owned()),
        received_at: at(id),
    }
}

fn word(event: &Event) -> String {
    let un = |deed: &Deed| if deed.is_do() { "" } else { "un-" };
    match event {
        Event::RunStarted { .. } => "started".to_owned(),
        Event::StepReused { step, .. } => format!("{step}="),
        Event::StepStarted {
            step, attempt, deed, ..
        } => format!("{}{step}#{attempt}", un(deed)),
        Event::AttemptFailed {
            step,
            attempt,
            error,
            deed,
            ..
        } => format!("{}{step}#{attempt}!{}", un(deed), error.code),
        Event::TimerArmed { step, .. } => format!("{step}@"),
        Event::SignalAwaited { step, signal, .. } => format!("{step}?{signal}"),
        Event::SignalBuffered { signal } => format!("kept{}", signal.id),
        Event::SignalConsumed { step, id } => format!("{step}<{id}"),
        Event::SignalRejected { id, reason } => format!("rejected{id}!{}", reason.as_str()),
        Event::StepSucceeded { step, deed, .. } => format!("{}{step}+", un(deed)),
        Event::StepTimedOut { step } => format!("{step}%"),
        Event::StepFailed {
            step,
            error,
            tolerated,
            deed,
        } => {
            format!("{}{step}{}{}", un(deed), if *tolerated { "~" } else { "-" }, error.code)
        }
        Event::StepSkipped { step } => format!("{step}/"),
        Event::StepCancelled { step, deed } => format!("{}{step}x", un(deed)),
        Event::CancelRequested { .. } => "cancel".to_owned(),
        Event::TerminateRequested { .. } => "terminate".to_owned(),
        Event::RunPaused { generation, .. } => format!("paused{generation}"),
        Event::RunResumed { generation, .. } => format!("resumed{generation}"),
        Event::RunParked { reason, .. } => format!("parked:{}", reason.as_str()),
        Event::RunRetried { .. } => "retried".to_owned(),
        Event::RetryRefused { .. } => "no-retry".to_owned(),
        Event::CompensationEnded => "undone".to_owned(),
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

//! What happens when a step becomes ready: its condition and its values are evaluated, and it begins or ends at once.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Decision, after, whole_micros};
use crate::engine::{
    definition::{Action, Fail, Step},
    error::{ErrorKind, StepError},
    event::Event,
    formula::Formula,
    key::Deed,
    render,
    scope::{self, Answer},
};

impl Decision<'_> {
    pub(super) fn begin(&mut self, step: &Step) {
        let condition = step
            .when
            .as_ref()
            .map(|when| scope::condition(self.run, when, Answer::None));
        match condition {
            Some(Err(error)) => return self.fail_for_good(step, Deed::Do, error),
            Some(Ok(false)) => {
                self.emit(Event::StepSkipped {
                    step: step.name.clone(),
                });
                return self.consider_dependants(step);
            }
            Some(Ok(true)) | None => {}
        }
        self.begin_work(step, Deed::Do, &step.does.action);
    }

    /// Begins what the step does, or its compensation.
    pub(super) fn begin_work(&mut self, step: &Step, deed: Deed, action: &Action) {
        match action {
            Action::Sql(_) | Action::Http(_) => match render::render(self.run, action) {
                Ok(_) => self.begin_attempt(step, deed),
                Err(error) => self.fail_for_good(step, deed, error),
            },
            #[cfg(feature = "bench")]
            Action::Noop => self.begin_attempt(step, deed),
            Action::SleepFor(length) => self.sleep(step, after(self.now, *length)),
            Action::SleepUntil(until) => match self.instant(until) {
                Ok(until) => self.sleep(step, until),
                Err(error) => self.fail_for_good(step, deed, error),
            },
            Action::WaitForSignal(wait) => self.await_signal(step, wait),
            Action::Set(values) => match scope::value(self.run, values, Answer::None) {
                Ok(values) => self.succeed(step, deed, values),
                Err(error) => self.fail_for_good(step, deed, error),
            },
            Action::Fail(fail) => {
                let error = self.failure(fail).unwrap_or_else(|error| error);
                self.fail_for_good(step, deed, error);
            }
        }
    }

    fn begin_attempt(&mut self, step: &Step, deed: Deed) {
        self.emit(Event::StepStarted {
            step: step.name.clone(),
            attempt: self.run.attempts_before(&step.name, deed).saturating_add(1),
            at: self.now,
            deed,
        });
    }

    /// A sleep that is over already ends at once and leaves no timer.
    fn sleep(&mut self, step: &Step, until: Timestamp) {
        if until <= self.now {
            self.succeed(step, Deed::Do, Value::Object(Map::new()));
        } else {
            self.emit(Event::TimerArmed {
                step: step.name.clone(),
                fire_at: until,
            });
        }
    }

    fn instant(&self, formula: &Formula) -> Result<Timestamp, StepError> {
        let value = scope::value(self.run, formula, Answer::None)?;
        let text = render::text("sleep.until", &value)?;
        text.parse().map(whole_micros).map_err(|_| {
            StepError::new(
                ErrorKind::Expression,
                "Invalid",
                "`sleep.until` is no point in time as in 2026-11-23T09:00:00Z",
            )
        })
    }

    /// The error that a `fail` step asks for.
    fn failure(&self, fail: &Fail) -> Result<StepError, StepError> {
        let message = match &fail.message {
            Some(formula) => render::text("fail.message", &scope::value(self.run, formula, Answer::None)?)?,
            None => "the workflow ended the run".to_owned(),
        };
        Ok(StepError::new(ErrorKind::Expectation, fail.code.as_str(), message))
    }
}

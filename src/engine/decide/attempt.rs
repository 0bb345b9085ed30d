//! How a step ends: the answer of an attempt is judged, becomes the step's output, or leads to another attempt.

use serde_json::Value;

use super::{Decision, Opened, Refused, after};
use crate::engine::{
    definition::{Action, Http, Step, VALUE_BYTES, VALUE_DEPTH, Work, is_shallow, json_bytes},
    error::{ErrorKind, StepError},
    event::{Event, StepName},
    key::{Deed, StepKey},
    phase::Parking,
    request::Outcome,
    retry::is_transient,
    run::{Activity, OpenStep, Run, StepState},
    scope::{self, Answer},
};

impl Decision<'_> {
    /// The outcome of an attempt. One that is not open any more was answered before, or was given up: nothing follows.
    pub(super) fn step_ended(&mut self, name: &StepName, attempt: u32, outcome: Outcome) -> Result<(), Refused> {
        let def = self.def;
        let step = def
            .step(name)
            .ok_or_else(|| Refused::UnknownStep { step: name.clone() })?;
        let never_began = || Refused::NeverBegan {
            step: name.clone(),
            attempt,
        };
        let Some(open) = self.run.open_step(name) else {
            return match self.run.states.get(name) {
                None | Some(StepState::Open) => Err(never_began()),
                Some(_) => Ok(()),
            };
        };
        if attempt > open.attempt {
            return Err(never_began());
        }
        if attempt < open.attempt || open.activity != Activity::Attempt {
            return Ok(());
        }
        let deed = open.deed;
        let Some(work) = step.work(deed) else {
            return Err(never_began());
        };
        match outcome.and_then(|result| judge(self.run, &work.action, result)) {
            Ok(result) => self.succeed(step, deed, result),
            Err(error) => self.attempt_failed(step, deed, attempt, error),
        }
        Ok(())
    }

    /// The action has a result that is accepted; the step's output is made of it. A compensation has none.
    pub(super) fn succeed(&mut self, step: &Step, deed: Deed, result: Value) {
        if deed == Deed::Undo {
            return self.emit(Event::StepSucceeded {
                step: step.name.clone(),
                output: Value::Null,
                deed,
                undoable: false,
            });
        }
        let output = match &step.output {
            None => Ok(result),
            Some(output) => scope::value(self.run, output, Answer::Result(&result)),
        };
        match output.and_then(fitting) {
            Ok(output) => {
                self.emit(Event::StepSucceeded {
                    step: step.name.clone(),
                    output,
                    deed,
                    undoable: step.undo.is_some(),
                });
                self.consider_dependants(step);
            }
            // Not another attempt: the effect has happened.
            Err(error) => self.fail_for_good(step, deed, error),
        }
    }

    pub(super) fn attempt_failed(&mut self, step: &Step, deed: Deed, attempt: u32, error: StepError) {
        let tried = self.run.open_step(&step.name).map_or(attempt, OpenStep::attempts);
        let another = step
            .work(deed)
            .filter(|work| tried < work.retry.max_attempts && !self.is_failing() && is_retried(self.run, work, &error));
        let Some(Work { retry, .. }) = another else {
            return self.fail_for_good(step, deed, error);
        };
        let key = StepKey::new(&self.run.origin, &step.name, 0, deed, self.run.round(&step.name, deed));
        let retry_at = after(self.now, retry.delay(&key, tried));
        self.emit(Event::AttemptFailed {
            step: step.name.clone(),
            attempt,
            error,
            retry_at,
            deed,
        });
    }

    pub(super) fn fail_for_good(&mut self, step: &Step, deed: Deed, error: StepError) {
        let tolerated = deed.is_do() && step.continue_on_error;
        self.emit(Event::StepFailed {
            step: step.name.clone(),
            error,
            tolerated,
            deed,
        });
        if deed == Deed::Undo {
            self.park(Parking::CompensationFailed, None);
        } else if tolerated {
            self.consider_dependants(step);
        } else if self.run.failure.is_some() && self.waits_for_a_fix() {
            // Nothing is given up: what waits goes on waiting.
            self.park(Parking::Failure, None);
        } else if self.is_failing() {
            self.cancel_what_waits();
        }
    }

    pub(super) fn consider_dependants(&mut self, step: &Step) {
        self.candidates.extend(&step.dependants);
    }

    /// The run will fail: running attempts finish, and what only waits for time is not waited for.
    fn cancel_what_waits(&mut self) {
        let waiting = self.open_where(|activity, _| match activity {
            Activity::Timer(_) | Activity::Retry(_) | Activity::Signal(_) => true,
            Activity::Attempt => false,
        });
        for Opened { step, deed, .. } in waiting {
            self.emit(Event::StepCancelled { step, deed });
        }
    }
}

/// An HTTP answer is judged by `successWhen`, by default 2xx; every other result is accepted as it is.
fn judge(run: &Run, action: &Action, result: Value) -> Result<Value, StepError> {
    let Action::Http(Http { success_when, .. }) = action else {
        return Ok(result);
    };
    let status = result
        .get("status")
        .and_then(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok())
        .unwrap_or(0);
    let unexpected = |why: &str| {
        StepError::new(
            ErrorKind::Status,
            "UnexpectedStatus",
            format!("the answer has status {status}: {why}"),
        )
        .with_status(status)
    };
    match success_when {
        None if (200..300).contains(&status) => Ok(result),
        None => Err(unexpected("not 2xx")),
        Some(condition) => match scope::condition(run, condition, Answer::Result(&result)) {
            Ok(true) => Ok(result),
            Ok(false) => Err(unexpected("`successWhen` is false")),
            Err(error) if error.code == "ExpressionBudget" => Err(error),
            // An error page often lacks what the condition reads: its status still says whether to try again.
            Err(error) => Err(unexpected(&format!("`successWhen` has no value: {}", error.message))),
        },
    }
}

/// `retry.when` decides if there is one, else the class of the error. Our own errors are the same every time; and what may
/// have happened already happens again only if the step says that this does no harm (I-18).
fn is_retried(run: &Run, work: &Work, error: &StepError) -> bool {
    match (error.kind, &work.retry.when) {
        (ErrorKind::Expression | ErrorKind::WorkerLost, _) => false,
        (ErrorKind::Ambiguous, _) if !work.action.is_repeatable() => false,
        (_, Some(when)) => scope::condition(run, when, Answer::Error(error)).unwrap_or(false),
        (_, None) => is_transient(error),
    }
}

/// A value that may be kept in the journal: not too large, and not so deep that nobody could read the journal again.
pub(super) fn fitting(value: Value) -> Result<Value, StepError> {
    if !is_shallow(&value, VALUE_DEPTH) {
        let message = format!("the output is nested deeper than {VALUE_DEPTH} levels");
        return Err(StepError::new(ErrorKind::Expectation, "OutputTooDeep", message));
    }
    let bytes = json_bytes(&value);
    if bytes > VALUE_BYTES {
        let message = format!(
            "the output is {bytes} bytes of JSON, more than {} KiB; keep less of it with `output`",
            VALUE_BYTES / 1024
        );
        return Err(StepError::new(ErrorKind::Expectation, "OutputTooLarge", message));
    }
    Ok(value)
}

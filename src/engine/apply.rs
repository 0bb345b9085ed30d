//! What an event does to a run. It evaluates nothing and refuses nothing, so that a journal means the same for ever, on
//! any machine and any later release.

use serde_json::Value;

use super::{
    error::{ErrorKind, StepError},
    event::{Event, RunError, StepName},
    run::{Activity, Ending, OpenStep, Run, StepState, step_view},
};

/// Applies one event of the run's journal. Never panics, whatever the event.
pub fn apply(run: &mut Run, event: &Event) {
    match event {
        Event::RunStarted { at, deadline } => {
            run.started_at = Some(*at);
            run.deadline = *deadline;
        }
        Event::StepStarted { step, attempt, at: _ } => open(run, step, *attempt, Activity::Attempt),
        Event::TimerArmed { step, fire_at } => open(run, step, 1, Activity::Timer(*fire_at)),
        Event::AttemptFailed {
            step,
            attempt,
            error,
            retry_at,
        } => {
            open(run, step, *attempt, Activity::Retry(*retry_at));
            // An unknown outcome is no result: a request that kills its workers must not be tried for ever.
            let is_result = error.kind != ErrorKind::Ambiguous;
            if is_result {
                run.takeovers = 0;
            }
            if let Some(open) = run.open.iter_mut().find(|open| open.step == *step) {
                open.error = Some(error.clone());
                if is_result {
                    open.takeovers = 0;
                }
            }
        }
        Event::StepSucceeded { step, output } => {
            run.takeovers = 0;
            close(run, step, StepState::Succeeded, output.clone(), None);
        }
        Event::StepFailed { step, error, tolerated } => {
            run.takeovers = 0;
            let state = if *tolerated {
                StepState::Tolerated
            } else {
                StepState::Failed
            };
            close(run, step, state, Value::Null, Some(error));
            if !tolerated && run.ending.is_none() && run.failure.is_none() {
                run.failure = Some(RunError {
                    step: Some(step.clone()),
                    error: error.clone(),
                });
            }
        }
        Event::StepSkipped { step } => close(run, step, StepState::Skipped, Value::Null, None),
        Event::StepCancelled { step } => close(run, step, StepState::Cancelled, Value::Null, None),
        Event::CancelRequested { reason } => run.cancel = Some(reason.clone()),
        Event::RunEnding { result, error, output } => {
            let ended = run.ended();
            run.ending = Some(Ending {
                result: *result,
                error: error.clone(),
                output: output.clone(),
                ended,
            });
        }
        Event::TakenOver { hold_until } => {
            // In a hold nothing is performed, so no step can have been the cause.
            if run.hold_until.is_none() {
                for open in run.open.iter_mut().filter(|open| open.activity == Activity::Attempt) {
                    open.takeovers = open.takeovers.saturating_add(1);
                }
            }
            run.takeovers = run.takeovers.saturating_add(1);
            run.hold_until = *hold_until;
        }
        Event::HoldEnded => run.hold_until = None,
        Event::RunFinished { at } => run.finished_at = Some(*at),
    }
}

/// The step is open and does this from now on.
fn open(run: &mut Run, step: &StepName, attempt: u32, activity: Activity) {
    match run.open.iter_mut().find(|open| open.step == *step) {
        Some(open) => {
            open.attempt = attempt;
            open.activity = activity;
        }
        None => {
            run.states.insert(step.clone(), StepState::Open);
            run.open.push(OpenStep {
                step: step.clone(),
                attempt,
                activity,
                error: None,
                takeovers: 0,
            });
        }
    }
}

/// The step has ended. One that ends without having been open was tried once, unless it was skipped.
fn close(run: &mut Run, step: &StepName, state: StepState, output: Value, error: Option<&StepError>) {
    let attempts = match run.open.iter().position(|open| open.step == *step) {
        // Order is kept: it is the order in which the steps began.
        Some(i) => run.open.remove(i).attempt,
        None if state == StepState::Skipped => 0,
        None => 1,
    };
    run.last_attempts = attempts;
    run.states.insert(step.clone(), state);
    if let Value::Object(steps) = &mut run.steps {
        steps.insert(step.to_string(), step_view(state, attempts, output, error));
    }
}

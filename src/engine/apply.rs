//! What an event does to a run. It evaluates nothing and refuses nothing, so that a journal means the same for ever, on
//! any machine and any later release.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    error::{ErrorKind, StepError},
    event::{Event, Reused, RunError, StepName},
    key::Deed,
    phase::Parking,
    run::{Activity, Ending, OpenStep, Round, Run, StepState, step_view},
    signal::{self, Signal},
};

/// Applies one event of the run's journal. Never panics, whatever the event.
pub fn apply(run: &mut Run, event: &Event) {
    match event {
        Event::RunStarted { at, deadline } => {
            run.started_at = Some(*at);
            run.deadline = *deadline;
        }
        Event::StepReused {
            step,
            from: _,
            name: _,
            status,
            attempts,
            output,
            error,
            undoable,
        } => {
            let state = match status {
                Reused::Succeeded => StepState::Succeeded,
                Reused::Skipped => StepState::Skipped,
                Reused::TimedOut => StepState::TimedOut,
                Reused::Failed => StepState::Tolerated,
            };
            ended(run, step, state, *attempts, output.clone(), error.as_ref());
            if *undoable {
                run.undo.push(step.clone());
            }
        }
        Event::StepStarted {
            step,
            attempt,
            at: _,
            deed,
        } => open(run, step, *deed, *attempt, Activity::Attempt),
        Event::TimerArmed { step, fire_at } => open(run, step, Deed::Do, 1, Activity::Timer(*fire_at)),
        Event::SignalAwaited { step, signal: _, until } => open(run, step, Deed::Do, 1, Activity::Signal(*until)),
        Event::AttemptFailed {
            step,
            attempt,
            error,
            retry_at,
            deed,
        } => {
            open(run, step, *deed, *attempt, Activity::Retry(*retry_at));
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
        Event::StepSucceeded {
            step,
            output,
            deed: Deed::Do,
            undoable,
        } => {
            run.takeovers = 0;
            close(run, step, StepState::Succeeded, output.clone(), None);
            if *undoable {
                run.undo.push(step.clone());
            }
        }
        Event::StepSucceeded {
            step, deed: Deed::Undo, ..
        } => {
            run.takeovers = 0;
            close_undo(run, step);
            run.undo.retain(|other| other != step);
        }
        Event::StepTimedOut { step } => close(run, step, StepState::TimedOut, Value::Null, None),
        Event::StepFailed {
            step,
            error,
            deed: Deed::Undo,
            tolerated: _,
        } => {
            run.takeovers = 0;
            if let Some(open) = run.open_step(step) {
                let attempts = open.attempt;
                round(run, step, Deed::Undo).attempts = attempts;
            }
            close_undo(run, step);
            run.undo_failure = Some(RunError {
                step: Some(step.clone()),
                error: error.clone(),
            });
        }
        Event::StepFailed {
            step,
            error,
            tolerated,
            deed: Deed::Do,
        } => {
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
        Event::StepCancelled { step, deed: Deed::Do } => close(run, step, StepState::Cancelled, Value::Null, None),
        Event::StepCancelled { step, deed: Deed::Undo } => close_undo(run, step),
        Event::SignalBuffered { signal } => {
            let replaced = run.signals.insert(signal.id, signal.clone());
            run.buffered += signal::weight(signal);
            forget(run, replaced.as_ref());
        }
        Event::SignalConsumed { step: _, id } => {
            let taken = run.signals.remove(id);
            forget(run, taken.as_ref());
            run.consumed.insert(*id);
        }
        Event::SignalRejected { .. } | Event::RetryRefused { .. } => {}
        Event::CancelRequested { reason } => {
            run.cancel.get_or_insert_with(|| reason.clone());
            run.paused = false;
            if run.parked == Some(Parking::Failure) {
                run.parked = None;
            }
            stir(run, None);
        }
        Event::TerminateRequested { reason } => {
            run.cancel.get_or_insert_with(|| reason.clone());
            run.terminated = true;
            run.paused = false;
            run.parked = None;
            stir(run, None);
        }
        Event::RunPaused { generation, at } => {
            run.generation = Some(*generation);
            run.paused = true;
            run.still_since.get_or_insert(*at);
        }
        Event::RunResumed { generation, deadline } => {
            run.generation = Some(*generation);
            run.paused = false;
            stir(run, *deadline);
        }
        Event::RunParked { reason, error, at } => {
            run.parked = Some(*reason);
            run.still_since.get_or_insert(*at);
            if let Some(error) = error {
                run.failure = Some(error.clone());
            }
        }
        Event::RunRetried { steps, deed, deadline } => {
            for step in steps {
                retry(run, step, *deed);
            }
            match deed {
                Deed::Do => run.failure = None,
                Deed::Undo => run.undo_failure = None,
            }
            run.parked = None;
            stir(run, *deadline);
        }
        Event::RunEnding {
            result,
            error,
            output,
            undo,
        } => {
            let ended = run.ended();
            run.undoing = *undo;
            if !undo {
                run.undo.clear();
            }
            run.ending = Some(Ending {
                result: *result,
                error: error.clone(),
                output: output.clone(),
                ended,
            });
        }
        Event::CompensationEnded => {
            run.undoing = false;
            run.undo.clear();
            run.undo_failure = None;
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
fn open(run: &mut Run, step: &StepName, deed: Deed, attempt: u32, activity: Activity) {
    match run.open.iter_mut().find(|open| open.step == *step) {
        Some(open) => {
            open.deed = deed;
            open.attempt = attempt;
            open.activity = activity;
        }
        None => {
            // A step that is being undone has ended, and stays so.
            if deed.is_do() {
                run.states.insert(step.clone(), StepState::Open);
            }
            run.open.push(OpenStep {
                step: step.clone(),
                attempt,
                before: attempt.saturating_sub(1),
                activity,
                deed,
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
        Some(i) => run.open.remove(i).attempts(),
        None if state == StepState::Skipped => 0,
        None => 1,
    };
    run.last_attempts = attempts;
    ended(run, step, state, attempts, output, error);
}

fn ended(run: &mut Run, step: &StepName, state: StepState, attempts: u32, output: Value, error: Option<&StepError>) {
    run.states.insert(step.clone(), state);
    if let Value::Object(steps) = &mut run.steps {
        steps.insert(step.to_string(), step_view(state, attempts, output, error));
    }
}

/// The compensation is not open any more; the step stays what it was.
fn close_undo(run: &mut Run, step: &StepName) {
    if let Some(i) = run.open.iter().position(|open| open.step == *step) {
        run.last_attempts = run.open.remove(i).attempts();
    }
}

/// What failed is as if it had never begun, but for its round.
fn retry(run: &mut Run, step: &StepName, deed: Deed) {
    if deed.is_do() && run.open_step(step).is_none() {
        let attempts = run.attempts_of(step);
        let round = round(run, step, deed);
        round.attempts = round.attempts.saturating_add(attempts);
        run.states.remove(step);
        if let Value::Object(steps) = &mut run.steps {
            steps.remove(&**step);
        }
    }
    let round = round(run, step, deed);
    round.round = round.round.saturating_add(1);
}

fn round<'a>(run: &'a mut Run, step: &StepName, deed: Deed) -> &'a mut Round {
    let found = run
        .rounds
        .iter()
        .position(|round| round.step == *step && round.deed == deed);
    let i = found.unwrap_or_else(|| {
        let attempts = run.attempts_before(step, deed);
        run.rounds.push(Round {
            step: step.clone(),
            deed,
            round: 0,
            attempts,
        });
        run.rounds.len() - 1
    });
    &mut run.rounds[i]
}

/// The run may stand still no longer, with the deadline that follows from it.
fn stir(run: &mut Run, deadline: Option<Timestamp>) {
    if !run.is_still() {
        run.still_since = None;
    }
    if deadline.is_some() {
        run.deadline = deadline;
    }
}

/// A signal left the buffer.
fn forget(run: &mut Run, signal: Option<&Signal>) {
    run.buffered = run.buffered.saturating_sub(signal.map_or(0, signal::weight));
}

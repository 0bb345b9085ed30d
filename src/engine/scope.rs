//! The variables of an evaluation: what a run shows to the expressions of its definition.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    error::{ErrorKind, StepError},
    formula::{Condition, Formula, Reads},
    phase::RunResult,
    run::{Run, error_view, not_run_view},
};
use crate::expression::{EvaluationError, Scope};

/// What an action's answer adds to the scope.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    /// Before the action.
    None,
    /// `result`.
    Result(&'a Value),
    /// `error`.
    Error(&'a StepError),
}

pub(super) fn value(run: &Run, formula: &Formula, answer: Answer<'_>) -> Result<Value, StepError> {
    evaluate(run, &formula.reads, answer, |scope| formula.evaluate(scope)).map_err(|error| failed(&error))
}

pub(super) fn condition(run: &Run, condition: &Condition, answer: Answer<'_>) -> Result<bool, StepError> {
    evaluate(run, &condition.reads, answer, |scope| condition.holds(scope)).map_err(|error| failed(&error))
}

/// Binds what the expression reads, by reference where the run keeps it ready.
fn evaluate<T>(
    run: &Run,
    reads: &Reads,
    answer: Answer<'_>,
    evaluate: impl FnOnce(&Scope<'_>) -> Result<T, EvaluationError>,
) -> Result<T, EvaluationError> {
    let about = if reads.run { run_view(run) } else { Value::Null };
    let steps = steps_view(run, reads);
    let error = match answer {
        Answer::Error(error) => error_view(error),
        Answer::None | Answer::Result(_) => Value::Null,
    };
    let mut scope = Scope::new();
    scope.bind("input", &run.origin.input);
    scope.bind("steps", &steps);
    if reads.run {
        scope.bind("run", &about);
    }
    match answer {
        Answer::None => {}
        Answer::Result(result) => scope.bind("result", result),
        Answer::Error(_) => scope.bind("error", &error),
    }
    evaluate(&scope)
}

/// What the run keeps ready; only where a step that is read never ran, as in `finally` after a failure, a copy of what
/// is read with that step in it.
fn steps_view<'a>(run: &'a Run, reads: &Reads) -> Cow<'a, Value> {
    if reads.steps.iter().all(|(step, _)| run.steps.get(step).is_some()) {
        return Cow::Borrowed(&run.steps);
    }
    let mut steps = Map::new();
    for (step, _) in &reads.steps {
        steps.insert(step.clone(), run.steps.get(step).cloned().unwrap_or_else(not_run_view));
    }
    Cow::Owned(Value::Object(steps))
}

fn run_view(run: &Run) -> Value {
    let origin = &run.origin;
    let result = run.ending.as_ref().map_or(RunResult::Succeeded, |ending| ending.result);
    json!({
        "id": origin.run.to_string(),
        "name": origin.name,
        "namespace": origin.namespace,
        "workflow": origin.workflow,
        "revision": origin.revision,
        "startedAt": run.started_at.map(|at| at.to_string()),
        "scheduledAt": origin.scheduled_at.map(|at| at.to_string()),
        // While `output` is evaluated the result is not decided yet, and only a run that succeeds gets so far.
        "result": result.as_str(),
        "error": run.ending.as_ref().and_then(|ending| ending.error.as_ref()).map(|error| {
            let mut view = error_view(&error.error);
            if let Value::Object(fields) = &mut view {
                fields.insert("step".to_owned(), error.step.as_deref().map_or(Value::Null, Value::from));
            }
            view
        }),
    })
}

/// An evaluation error as the failure of a step.
fn failed(error: &EvaluationError) -> StepError {
    StepError::new(ErrorKind::Expression, error.code.as_str(), error.message.as_str())
}

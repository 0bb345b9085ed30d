//! Events in the words of a terminal: one line each. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::printable;
use crate::{
    engine::{Deed, Event, RunResult, StepError},
    store::HistoryRow,
};

/// The line for `event` of the Workflow `name`, decided at `at`; none for what people need not see.
pub fn line(name: &str, at: Timestamp, event: &Event) -> Option<String> {
    let (step, text) = words(event)?;
    let time = at.strftime("%H:%M:%S%.3f");
    Some(match step {
        Some(step) => format!("{time}  {name}  {step}: {}", printable(&text)),
        None => format!("{time}  {name}  {}", printable(&text)),
    })
}

/// The event of a row; none for one that this release does not know.
pub(super) fn parse(row: &HistoryRow) -> Option<Event> {
    let event = match &row.detail {
        Some(detail) => json!({ &*row.event: detail }),
        None => Value::String(row.event.clone()),
    };
    serde_json::from_value(event).ok()
}

/// The step of a row, if it is about one, and what happened; of what this release does not know its name.
pub(super) fn told(row: &HistoryRow) -> (String, String) {
    let event = parse(row);
    match event.as_ref().and_then(words) {
        Some((step, text)) => (step.unwrap_or_default().to_owned(), text),
        None => {
            let step = row.detail.as_ref().and_then(|detail| detail["step"].as_str());
            let text = match row.event.as_str() {
                "RunFinished" => "finished",
                "HoldEnded" => "goes on after the takeover",
                name => name,
            };
            (step.unwrap_or_default().to_owned(), text.to_owned())
        }
    }
}

/// The line for a row of a run that is called `name`; none for what people need not see.
pub fn row_line(name: &str, row: &HistoryRow) -> Option<String> {
    line(name, row.at, &parse(row)?)
}

/// The step, if the event is about one, and what happened.
fn words(event: &Event) -> Option<(Option<&str>, String)> {
    let words = match event {
        Event::RunStarted { .. } => (None, "started".to_owned()),
        Event::StepReused {
            step,
            status,
            name,
            from,
            ..
        } => (
            Some(&**step),
            format!("{}, reused from {name} (run {from})", status.as_str()),
        ),
        Event::StepStarted {
            step, deed: Deed::Undo, ..
        } => (Some(&**step), "undo started".to_owned()),
        Event::StepStarted { step, attempt: 1, .. } => (Some(&**step), "started".to_owned()),
        Event::StepStarted { step, attempt, .. } => (Some(&**step), format!("attempt {attempt} started")),
        Event::AttemptFailed {
            step,
            attempt,
            error,
            retry_at,
            deed,
        } => {
            let what = match deed {
                Deed::Do => format!("attempt {attempt}"),
                Deed::Undo => "undo".to_owned(),
            };
            let when = retry_at.strftime("%H:%M:%S%.3f");
            (
                Some(&**step),
                format!("{what} failed, next at {when}: {}", reason(error)),
            )
        }
        Event::TimerArmed { step, fire_at } => (
            Some(&**step),
            format!("sleeps until {}", fire_at.strftime("%H:%M:%S%.3f")),
        ),
        Event::SignalAwaited { step, signal, until } => {
            let until = until.map_or_else(String::new, |until| {
                format!(" until {}", until.strftime("%H:%M:%S%.3f"))
            });
            (Some(&**step), format!("waits for signal {signal}{until}"))
        }
        Event::SignalBuffered { signal } => (None, format!("signal {} kept until a step waits for it", signal.name)),
        Event::SignalConsumed { step, .. } => (Some(&**step), "took its signal".to_owned()),
        Event::SignalRejected { reason, .. } => (None, format!("signal rejected: {}", reason.as_str())),
        Event::StepTimedOut { step } => (Some(&**step), "timed out, and the run goes on".to_owned()),
        Event::StepSucceeded {
            step, deed: Deed::Undo, ..
        } => (Some(&**step), "undone".to_owned()),
        Event::StepFailed {
            step,
            error,
            deed: Deed::Undo,
            ..
        } => (Some(&**step), format!("could not be undone: {}", reason(error))),
        Event::StepSucceeded { step, .. } => (Some(&**step), "succeeded".to_owned()),
        Event::StepFailed {
            step,
            error,
            tolerated: false,
            ..
        } => (Some(&**step), format!("failed: {}", reason(error))),
        Event::StepFailed {
            step,
            error,
            tolerated: true,
            ..
        } => (Some(&**step), format!("failed, and the run goes on: {}", reason(error))),
        Event::StepSkipped { step } => (Some(&**step), "skipped".to_owned()),
        Event::StepCancelled { step, .. } => (Some(&**step), "cancelled".to_owned()),
        Event::CancelRequested { reason } => (None, format!("cancel requested: {reason}")),
        Event::TerminateRequested { reason } => (None, format!("terminate requested: {reason}")),
        Event::RunPaused { .. } => (None, "paused".to_owned()),
        Event::RunResumed { .. } => (None, "resumed".to_owned()),
        Event::RunParked { reason, .. } => (None, format!("stands still: {}", reason.as_str())),
        Event::RunRetried { .. } => (None, "retried".to_owned()),
        Event::RetryRefused { reason } => (None, format!("retry refused: {reason}")),
        Event::CompensationEnded => (None, "compensation ended".to_owned()),
        Event::RunEnding {
            result: RunResult::Succeeded,
            output,
            ..
        } => (
            None,
            format!(
                "succeeded, output {}",
                output.as_ref().map_or("null".to_owned(), ToString::to_string)
            ),
        ),
        Event::RunEnding { result, error, .. } => {
            let why = error
                .as_ref()
                .map_or_else(String::new, |error| format!(": {}", reason(&error.error)));
            (None, format!("{}{why}", result.as_str()))
        }
        Event::TakenOver { .. } => (None, "taken over from a worker that died".to_owned()),
        Event::HoldEnded | Event::RunFinished { .. } => return None,
    };
    Some(words)
}

pub(super) fn reason(error: &StepError) -> String {
    format!("{} {error}", error.kind.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::{ErrorKind, RunError};

    fn shown(event: &Event) -> Option<String> {
        line("hello", "2026-11-21T10:00:01.5Z".parse().unwrap(), event)
    }

    #[test]
    fn a_step_is_named_with_what_happened_to_it() {
        let step: crate::engine::StepName = "greet".into();
        let at = "2026-11-21T10:00:01.5Z".parse().unwrap();
        let cases = [
            (
                Event::StepStarted {
                    step: step.clone(),
                    attempt: 1,
                    at,
                    deed: Deed::Do,
                },
                "greet: started",
            ),
            (
                Event::StepStarted {
                    step: step.clone(),
                    attempt: 2,
                    at,
                    deed: Deed::Do,
                },
                "greet: attempt 2 started",
            ),
            (
                Event::StepSucceeded {
                    step: step.clone(),
                    output: json!({"a": 1}),
                    deed: Deed::Do,
                    undoable: false,
                },
                "greet: succeeded",
            ),
            (Event::StepSkipped { step: step.clone() }, "greet: skipped"),
            (
                Event::StepReused {
                    step: step.clone(),
                    from: uuid::Uuid::nil(),
                    name: "hello-1".to_owned(),
                    status: crate::engine::Reused::Succeeded,
                    attempts: 1,
                    output: json!(null),
                    error: None,
                    undoable: false,
                },
                "greet: Succeeded, reused from hello-1 (run 00000000-0000-0000-0000-000000000000)",
            ),
            (
                Event::StepFailed {
                    step,
                    error: StepError::new(ErrorKind::Sql, "23505", "duplicate"),
                    tolerated: false,
                    deed: Deed::Do,
                },
                "greet: failed: Sql 23505: duplicate",
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(shown(&event).unwrap(), format!("10:00:01.500  hello  {expected}"));
        }
    }

    #[test]
    fn the_end_is_told_once_with_output_or_reason() {
        let ending = Event::RunEnding {
            result: RunResult::Succeeded,
            error: None,
            output: Some(json!({"said": "hi"})),
            undo: false,
        };
        assert_eq!(
            shown(&ending).unwrap(),
            "10:00:01.500  hello  succeeded, output {\"said\":\"hi\"}"
        );
        let error = RunError {
            step: None,
            error: StepError::new(ErrorKind::Timeout, "RunTimeout", "after 1h"),
        };
        let ending = Event::RunEnding {
            result: RunResult::TimedOut,
            error: Some(error),
            output: None,
            undo: false,
        };
        assert_eq!(
            shown(&ending).unwrap(),
            "10:00:01.500  hello  TimedOut: Timeout RunTimeout: after 1h"
        );
        assert_eq!(
            shown(&Event::RunFinished {
                at: "2026-11-21T10:00:01.5Z".parse().unwrap()
            }),
            None
        );
    }
}

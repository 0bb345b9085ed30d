//! A run in a few words, as a status has it, and whether two statuses say the same of it.

use serde_json::Value;

use super::Look;
use crate::api::v1alpha1::{Condition, Phase, RunError, RunStatus};
use crate::controller::condition::time;
use crate::controller::events::cut;
use crate::engine;
use crate::store::RunFacts;

/// The run as a status shows it.
pub(crate) fn run_status(run: &RunFacts) -> RunStatus {
    let summary = run.summary.as_ref();
    let text = |text: Option<&String>, most| text.map(|text| cut(text, most).to_owned());
    RunStatus {
        id: run.id.to_string(),
        phase: phase(run.phase),
        started_at: run.started_at.map(time),
        finished_at: run.finished_at.map(time),
        step: text(summary.and_then(|summary| summary.step.as_ref()), 256),
        waiting_for: text(summary.and_then(|summary| summary.waiting_for.as_ref()), 512),
        progress: text(summary.map(|summary| &summary.progress), 32),
        attempts: summary.map(|summary| summary.attempts.into()),
        error: summary
            .and_then(|summary| summary.error.as_ref())
            .map(|error| RunError {
                step: text(error.step.as_ref(), 256),
                code: cut(&error.code, 64).to_owned(),
                message: cut(&error.message, 1024).to_owned(),
            }),
        output: summary
            .and_then(|summary| summary.output.clone())
            .filter(|output| !output.is_null()),
        output_omitted: summary.is_some_and(|summary| summary.output_omitted).then_some(true),
    }
}

fn phase(phase: engine::Phase) -> Phase {
    match phase {
        engine::Phase::Pending => Phase::Pending,
        engine::Phase::Running => Phase::Running,
        engine::Phase::Waiting => Phase::Waiting,
        engine::Phase::Sleeping => Phase::Sleeping,
        engine::Phase::Paused => Phase::Paused,
        engine::Phase::Cancelling => Phase::Cancelling,
        engine::Phase::Compensating => Phase::Compensating,
        engine::Phase::Succeeded => Phase::Succeeded,
        engine::Phase::Failed => Phase::Failed,
        engine::Phase::Cancelled => Phase::Cancelled,
        engine::Phase::TimedOut => Phase::TimedOut,
    }
}

/// Whether two looks are the same. What the API server makes of free JSON counts as the same: it writes 1 for 1.0 and
/// may drop a null.
pub(crate) fn is_same(a: Look<'_>, b: Look<'_>) -> bool {
    let output = |of: Look<'_>| of.run.and_then(|run| run.output.clone()).unwrap_or_default();
    let rest = |of: Look<'_>| {
        let run = of.run.map(|run| RunStatus {
            output: None,
            ..run.clone()
        });
        let mut conditions: Vec<Condition> = of.conditions.to_vec();
        conditions.sort_by_key(|condition| condition.kind);
        (of.observed_generation, run, conditions)
    };
    rest(a) == rest(b) && is_same_json(&output(a), &output(b))
}

fn is_same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_json(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let null = Value::Null;
            let keys = a.keys().chain(b.keys());
            keys.into_iter()
                .all(|key| is_same_json(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null)))
        }
        _ => a == b,
    }
}

//! What people see of a run: stored in `runs.summary` by whoever carries the run, shown in an object's status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    definition::{Definition, List, json_bytes},
    error::StepError,
    phase::{Phase, RunResult},
    run::{Activity, Run},
};

/// The largest output that is shown, in bytes of JSON.
const SHOWN_OUTPUT: usize = 4 * 1024;

/// A run in a few words. At most about 6 KiB as JSON by construction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The coarse phase.
    pub phase: Phase,
    /// When a worker first carried it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The oldest open step, and how many more: `approval +2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `timer until 2026-11-23T09:00:03Z`, `retry at …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Steps that ended of all steps: `2/5`.
    pub progress: String,
    /// Attempts of the oldest open step, or of the last one that ended.
    pub attempts: u32,
    /// The latest error of the open step, or why the run did not succeed; at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SummaryError>,
    /// Output of a run that succeeded, when at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// There is an output, and it is larger than 4 KiB.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_omitted: bool,
}

/// An error in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryError {
    /// The step, if one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `error.code`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// What people see of the run now.
pub fn summary(run: &Run, def: &Definition) -> Summary {
    let oldest = run.open.first();
    let step = oldest.map(|oldest| match run.open.len() - 1 {
        0 => oldest.step.to_string(),
        more => format!("{} +{more}", oldest.step),
    });
    let waiting_for = match (run.hold_until, oldest.map(|oldest| oldest.activity)) {
        (Some(until), _) if !run.is_terminal() => Some(format!("takeover until {}", shown(until))),
        (_, Some(Activity::Timer(at))) => Some(format!("timer until {}", shown(at))),
        (_, Some(Activity::Retry(at))) => Some(format!("retry at {}", shown(at))),
        (_, Some(Activity::Attempt) | None) => None,
    };
    let ended = run.ending.as_ref().map_or_else(|| run.ended(), |ending| ending.ended);
    let output = run.output().filter(|_| run.phase() == RunResult::Succeeded.phase());
    let fits = output.is_some_and(|output| json_bytes(output) <= SHOWN_OUTPUT);
    Summary {
        phase: run.phase(),
        started_at: run.started_at,
        finished_at: run.finished_at,
        step,
        waiting_for,
        progress: format!("{ended}/{}", def.range(List::Main).len()),
        attempts: oldest.map_or(run.last_attempts, |oldest| oldest.attempt),
        error: error(run),
        output: output.filter(|_| fits).cloned(),
        output_omitted: output.is_some() && !fits,
    }
}

/// Why the run does not succeed; until that is known, why the oldest open step is not done yet.
fn error(run: &Run) -> Option<SummaryError> {
    let of = |step: Option<String>, error: &StepError| SummaryError {
        step,
        code: error.code.clone(),
        message: error.message.clone(),
    };
    match run.error() {
        Some(error) => Some(of(error.step.as_ref().map(ToString::to_string), &error.error)),
        None => {
            let oldest = run.open.first()?;
            Some(of(Some(oldest.step.to_string()), oldest.error.as_ref()?))
        }
    }
}

fn shown(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%Y-%m-%dT%H:%M:%SZ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::{ErrorKind, Input, testing::*};

    fn look(run: &Driven) -> Summary {
        summary(&run.run, &run.def)
    }

    #[test]
    fn a_run_is_shown_from_its_start_to_its_end() {
        let get = |name: &str, needs: &[&str]| json!({"name": name, "needs": needs, "http": {"url": "https://h/"}});
        let mut run = Driven::new(&json!({
            "steps": [get("a", &[]), get("b", &[]), {"name": "nap", "sleep": {"for": "90.5s"}}],
            "finally": [get("z", &[])],
            "output": "=steps.a.output.body"
        }));
        let pending = look(&run);
        assert_eq!(
            (pending.phase, pending.progress.as_str(), pending.step, pending.attempts),
            (Phase::Pending, "0/3", None, 0)
        );

        run.tell(Input::Claimed);
        let running = look(&run);
        assert_eq!(
            (running.phase, running.step.as_deref(), running.attempts),
            (Phase::Running, Some("a +1"), 1)
        );
        assert_eq!(
            (running.started_at, running.waiting_for, running.error),
            (Some(at(0)), None, None)
        );

        run.answer("a", 1, Err(StepError::new(ErrorKind::Timeout, "Timeout", "slow")));
        let retrying = look(&run);
        assert!(retrying.waiting_for.unwrap().starts_with("retry at 2026-11-21T09:00:0"));
        let shown = retrying.error.unwrap();
        assert_eq!((shown.step.as_deref(), shown.code.as_str()), (Some("a"), "Timeout"));

        run.timers_at(5);
        run.answer("a", 2, Ok(http(200)));
        run.succeed("b", http(200));
        let sleeping = look(&run);
        assert_eq!(
            (sleeping.phase, sleeping.progress.as_str(), sleeping.step.as_deref()),
            (Phase::Sleeping, "2/3", Some("nap"))
        );
        assert_eq!(
            sleeping.waiting_for.as_deref(),
            Some("timer until 2026-11-21T09:01:35Z")
        );

        run.timers_at(200);
        let ending = look(&run);
        assert_eq!(
            (ending.phase, ending.progress.as_str(), ending.step.as_deref()),
            (Phase::Running, "3/3", Some("z"))
        );
        assert_eq!(ending.output, None, "the run has not succeeded yet");

        run.succeed("z", http(404));
        let done = look(&run);
        assert_eq!(
            (done.phase, done.progress.as_str(), done.error),
            (Phase::Succeeded, "3/3", None)
        );
        assert_eq!(
            (done.output, done.output_omitted, done.finished_at),
            (Some(json!({"id": "x1"})), false, Some(at(200)))
        );
    }

    #[test]
    fn a_large_output_is_left_out_and_said_so() {
        let mut run = Driven::claimed(
            &json!({"steps": [{"name": "a", "http": {"url": "https://h/"}}], "output": "=steps.a.output.body"}),
        );
        run.succeed("a", json!({"status": 200, "body": "x".repeat(5000)}));
        let done = look(&run);
        assert_eq!((done.output, done.output_omitted), (None, true));
    }

    #[test]
    fn a_failed_run_says_why() {
        let run = Driven::claimed(
            &json!({"steps": [{"name": "a", "fail": {"code": "NO", "message": "because"}}], "output": 1}),
        );
        let done = look(&run);
        let expected = SummaryError {
            step: Some("a".to_owned()),
            code: "NO".to_owned(),
            message: "because".to_owned(),
        };
        assert_eq!(
            (done.error, done.output, done.output_omitted),
            (Some(expected), None, false)
        );
    }

    #[test]
    fn a_held_run_says_until_when() {
        let mut run = Driven::claimed(&json!({"steps": [{"name": "a", "http": {"url": "https://h/"}}]}));
        run.tell(Input::TakenOver);
        run.tell(Input::TakenOver);
        assert!(
            look(&run)
                .waiting_for
                .unwrap()
                .starts_with("takeover until 2026-11-21T09:00:0")
        );
    }
}

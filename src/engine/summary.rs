//! What people see of a run: stored in `runs.summary` by whoever carries the run, shown in an object's status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    definition::{Action, Definition, List, json_bytes},
    effect::{Effect, effects},
    error::StepError,
    event::StepName,
    phase::{Parking, Phase, RunResult},
    run::{Activity, OpenStep, Run},
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
    /// What it waits for, if not for an attempt: `signal approve until 2026-11-23T09:00:03Z`, `timer until …`,
    /// `retry at …`, `takeover until …`; of a run that stands still what moves it: `resume`, `retry or cancel`,
    /// `retry or terminate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// When the run wants to be woken: its earliest timer, of whatever is open. A parked run has a row of `timers` for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// Why the run stands still by itself, as a CamelCase reason: only a person moves it. A run that somebody paused has
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// Since when it stands still, by itself or because somebody paused it; what comes meanwhile does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still_since: Option<Timestamp>,
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
    let step = match oldest {
        Some(oldest) => Some(match run.open.len() - 1 {
            0 => oldest.step.to_string(),
            more => format!("{} +{more}", oldest.step),
        }),
        None => stalled_step(run).map(|step| step.to_string()),
    };
    let ended = run.ending.as_ref().map_or_else(|| run.ended(), |ending| ending.ended);
    let output = run.output().filter(|_| run.phase() == RunResult::Succeeded.phase());
    let fits = output.is_some_and(|output| json_bytes(output) <= SHOWN_OUTPUT);
    Summary {
        phase: run.phase(),
        started_at: run.started_at,
        finished_at: run.finished_at,
        step,
        waiting_for: waiting_for(run, def),
        wake_at: wake_at(run, def),
        stalled: run.parked.map(|parked| parked.as_str().to_owned()),
        still_since: run.still_since,
        progress: format!("{ended}/{}", def.range(List::Main).len()),
        attempts: oldest.map_or(run.last_attempts, OpenStep::attempts),
        error: error(run),
        output: output.filter(|_| fits).cloned(),
        output_omitted: output.is_some() && !fits,
    }
}

fn waiting_for(run: &Run, def: &Definition) -> Option<String> {
    if run.is_terminal() {
        return None;
    }
    if let Some(parked) = run.parked {
        return Some(parked.waits_for().to_owned());
    }
    if run.paused {
        return Some("resume".to_owned());
    }
    if let Some(until) = run.hold_until {
        return Some(format!("takeover until {}", shown(until)));
    }
    let oldest = run.open.first()?;
    match oldest.activity {
        Activity::Attempt => None,
        Activity::Timer(at) => Some(format!("timer until {}", shown(at))),
        Activity::Retry(at) => Some(format!("retry at {}", shown(at))),
        Activity::Signal(until) => {
            let name = match def.step(&oldest.step).map(|step| &step.does.action) {
                Some(Action::WaitForSignal(wait)) => &*wait.signal,
                _ => "",
            };
            let until = until.map_or_else(String::new, |until| format!(" until {}", shown(until)));
            Some(format!("signal {name}{until}"))
        }
    }
}

fn wake_at(run: &Run, def: &Definition) -> Option<Timestamp> {
    effects(run, def).into_iter().find_map(|effect| match effect {
        Effect::WakeAt { at } => Some(at),
        Effect::Perform { .. } | Effect::AwaitSignal { .. } => None,
    })
}

/// The step whose failure the run stands still for.
fn stalled_step(run: &Run) -> Option<&StepName> {
    let failure = match run.parked? {
        Parking::Failure => run.failure.as_ref(),
        Parking::CompensationFailed => run.undo_failure.as_ref(),
    };
    failure?.step.as_ref()
}

/// Why it stands still, if a compensation failed; else why the run does not succeed; until that is known, why the oldest open step is not done yet.
fn error(run: &Run) -> Option<SummaryError> {
    let of = |step: Option<String>, error: &StepError| SummaryError {
        step,
        code: error.code.clone(),
        message: error.message.clone(),
    };
    if let (Some(Parking::CompensationFailed), Some(failure)) = (run.parked, &run.undo_failure) {
        let message = format!("the step could not be undone: {}", failure.error);
        return Some(SummaryError {
            step: failure.step.as_ref().map(ToString::to_string),
            code: Parking::CompensationFailed.as_str().to_owned(),
            message: StepError::new(failure.error.kind, "", message).message,
        });
    }
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
    use crate::engine::{ErrorKind, Input, Mail, testing::*};

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
    fn a_run_says_when_it_wants_to_be_woken_whatever_its_oldest_step_waits_for() {
        let wait = |name: &str| json!({"name": name, "needs": [], "waitForSignal": {"signal": "go"}});
        let mut run = Driven::claimed(&json!({
            "timeout": "2h",
            "steps": [wait("a"), {"name": "nap", "needs": [], "sleep": {"for": "1h"}}],
            "finally": [wait("z")],
        }));
        let naps = look(&run);
        assert_eq!(
            (naps.phase, naps.waiting_for.as_deref(), naps.wake_at),
            (Phase::Waiting, Some("signal go"), Some(at(3600)))
        );
        run.timers_at(3600);
        assert_eq!(look(&run).wake_at, Some(at(7200)), "its timeout");
        run.signal(1, "go", json!(1));
        let ending = look(&run);
        assert_eq!(
            (ending.phase, ending.waiting_for.as_deref(), ending.wake_at),
            (Phase::Waiting, Some("signal go"), None)
        );
    }

    #[test]
    fn a_run_says_since_when_it_stands_still_whatever_comes_meanwhile() {
        let wait = json!({"name": "w", "needs": [], "waitForSignal": {"signal": "go"}});
        let mut paused = Driven::claimed(&json!({"steps": [wait]}));
        assert_eq!(look(&paused).still_since, None);
        paused.now = at(60);
        paused.mail(Mail::Pause { generation: 1 });
        let get = json!({"name": "a", "needs": [], "http": {"url": "https://h/"}});
        let mut failed = Driven::claimed(&json!({"onFailure": "Pause", "steps": [get]}));
        let undo = json!({"http": {"url": "https://h/"}, "retry": {"maxAttempts": 1}});
        let mut half_undone = Driven::claimed(&json!({"steps": [
            {"name": "done", "set": {}, "compensate": undo},
            {"name": "a", "fail": {"code": "NO", "message": "no"}},
        ]}));
        for (run, step) in [(&mut failed, "a"), (&mut half_undone, "done")] {
            run.now = at(60);
            run.succeed(step, http(404));
        }
        for (name, run) in [
            ("paused", &mut paused),
            ("failed", &mut failed),
            ("half undone", &mut half_undone),
        ] {
            run.now = at(900);
            run.signal(1, "other", json!(1));
            let shown = look(run);
            assert_eq!(
                (shown.phase, shown.still_since),
                (Phase::Paused, Some(at(60))),
                "{name}"
            );
        }
        paused.mail(Mail::Resume { generation: 2 });
        failed.retry();
        half_undone.retry();
        for run in [&paused, &failed, &half_undone] {
            assert_eq!(look(run).still_since, None);
        }
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

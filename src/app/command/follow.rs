//! Waiting for the end of a run, and printing its steps as they move.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::runtime::{
    WatchStreamExt,
    watcher::{Error as WatchError, watch_object},
};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    super::{Failure, on_signal},
    history::events,
    print,
    reach::Cluster,
    say,
};
use crate::{
    api::v1alpha1::{Condition, ConditionStatus, ConditionType, Phase, RunStatus, WorkflowRun},
    cli::people,
    show::{event, printable},
    store::{HistoryRow, RunRow, Surface, SurfaceError},
};

/// Between two looks at the database: nothing rings for a person's role.
const POLL: Duration = Duration::from_millis(250);
/// A failover is over by then.
const OUTAGE: Duration = Duration::from_secs(60);

/// Where the steps are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steps {
    /// Nowhere.
    Hidden,
    /// As the result.
    Output,
    /// Beside it: the result is for a program.
    Aside,
}

impl Steps {
    pub(super) fn of(wait: &people::Wait, is_for_program: bool) -> Self {
        match (wait.follow, is_for_program) {
            (false, _) => Self::Hidden,
            (true, false) => Self::Output,
            (true, true) => Self::Aside,
        }
    }

    fn show(self, line: &str) -> Result<(), Failure> {
        let line = printable(line);
        match self {
            Self::Hidden => Ok(()),
            Self::Output => print(&format!("{line}\n")),
            Self::Aside => {
                say(&line);
                Ok(())
            }
        }
    }
}

/// Waits for `end`, not longer than `timeout`, and not when interrupted: what is waited for goes on.
pub(super) async fn patiently<T>(
    timeout: Option<Duration>,
    end: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let interrupted = on_signal()?;
    let late = async {
        match timeout {
            Some(timeout) => sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = end => ended,
        () = interrupted.cancelled() => Err(Failure::RunFailed("interrupted; what was asked for goes on".to_owned())),
        () = late => Err(Failure::RunFailed(format!(
            "it has not ended within --timeout {:?}; it goes on", timeout.unwrap_or_default()
        ))),
    }
}

/// The run when it has ended.
pub(super) async fn in_database(surface: &mut Surface, run: Uuid, name: &str, steps: Steps) -> Result<RunRow, Failure> {
    let (mut after, mut answered) = ((0, 0), Instant::now());
    loop {
        match look(surface, run, after, steps).await {
            Ok((row, history)) => {
                answered = Instant::now();
                for event in &history {
                    after = (event.seq, event.place);
                    if let Some(line) = event::row_line(name, event) {
                        steps.show(&line)?;
                    }
                }
                match row {
                    None => return Err(Failure::RunFailed(format!("run {run} is not there any more"))),
                    Some(row) if row.finished_at.is_some() => return Ok(row),
                    Some(_) => {}
                }
            }
            Err(error) if error.is_passing() && answered.elapsed() < OUTAGE => {}
            Err(error) => return Err(error.into()),
        }
        sleep(POLL).await;
    }
}

/// The run first: a history that is read after its end is complete.
async fn look(
    surface: &mut Surface,
    run: Uuid,
    after: (i32, i32),
    steps: Steps,
) -> Result<(Option<RunRow>, Vec<HistoryRow>), SurfaceError> {
    let row = surface.runs_between(run, run).await?.pop();
    let history = match steps {
        Steps::Hidden => Vec::new(),
        Steps::Output | Steps::Aside => events(surface, run, after).await?,
    };
    Ok((row, history))
}

/// The object when its run has ended, or can never begin. With a database the steps are those of the history.
pub(super) async fn in_cluster(
    cluster: &Cluster,
    name: &str,
    steps: Steps,
    mut database: Option<Surface>,
) -> Result<WorkflowRun, Failure> {
    let mut seen = pin!(watch_object(cluster.api::<WorkflowRun>(), name).default_backoff());
    let mut shown = String::new();
    while let Some(object) = seen.next().await {
        let object = match object {
            Ok(Some(object)) => object,
            Ok(None) => return Err(Failure::RunFailed(format!("the WorkflowRun {name} was deleted"))),
            Err(error) => match final_answer(&error) {
                Some(error) => return Err(cluster.failure(error)),
                None => continue,
            },
        };
        let run = object.status.as_ref().and_then(|status| status.run.as_ref());
        if let (Some(run), Some(surface)) = (run, &mut database)
            && steps != Steps::Hidden
        {
            let id = Uuid::try_parse(&run.id).map_err(|error| Failure::Broken(format!("run {}: {error}", run.id)))?;
            in_database(surface, id, name, steps).await?;
            // All is told. What the object says of the end is still to come, or was all that it ever said.
            database = None;
            shown = progress(name, run);
        } else if let Some(run) = run {
            let line = progress(name, run);
            if line != shown && !is_over(run.phase) {
                steps.show(&line)?;
            }
            shown = line;
        }
        if has_ended(&object) {
            return Ok(object);
        }
    }
    Err(Failure::Broken("the watch of the API server ended".to_owned()))
}

/// What no patience helps against: no right, no such kind.
pub(super) fn final_answer(error: &WatchError) -> Option<&kube::Error> {
    let error = match error {
        WatchError::InitialListFailed(error) | WatchError::WatchStartFailed(error) | WatchError::WatchFailed(error) => {
            error
        }
        WatchError::WatchError(_) | WatchError::NoResourceVersion => return None,
    };
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404) => Some(error),
        _ => None,
    }
}

fn has_ended(object: &WorkflowRun) -> bool {
    let is = |kind, status| condition(object, kind).is_some_and(|condition| condition.status == status);
    is_observed(object)
        && (is(ConditionType::Finished, ConditionStatus::True) || is(ConditionType::Accepted, ConditionStatus::False))
}

fn is_observed(object: &WorkflowRun) -> bool {
    let observed = object.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_some() && observed == object.metadata.generation
}

fn condition(object: &WorkflowRun, kind: ConditionType) -> Option<&Condition> {
    let conditions = &object.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.kind == kind)
}

pub(super) fn is_over(phase: Phase) -> bool {
    match phase {
        Phase::Pending
        | Phase::Running
        | Phase::Waiting
        | Phase::Sleeping
        | Phase::Paused
        | Phase::Blocked
        | Phase::Cancelling
        | Phase::Compensating => false,
        Phase::Succeeded | Phase::Failed | Phase::Cancelled | Phase::TimedOut => true,
    }
}

/// Where the run stands, on a line.
fn progress(name: &str, run: &RunStatus) -> String {
    let step = run
        .step
        .as_deref()
        .map_or_else(String::new, |step| format!(" at {step}"));
    let waiting = run
        .waiting_for
        .as_deref()
        .map_or_else(String::new, |what| format!(", waits for {what}"));
    let done = run
        .progress
        .as_deref()
        .map_or_else(String::new, |done| format!(", {done} done"));
    format!("{name}  {:?}{step}{waiting}{done}", run.phase)
}

/// How the object's run ended: a phase and why; or why there is none.
pub(super) fn ending(object: &WorkflowRun) -> (String, String) {
    if let Some(refused) = condition(object, ConditionType::Accepted)
        && refused.status == ConditionStatus::False
        // An edit that was refused takes nothing back.
        && condition(object, ConditionType::Finished).is_none()
    {
        return (refused.reason.clone(), refused.message.clone());
    }
    let ended = condition(object, ConditionType::Succeeded);
    let run = object.status.as_ref().and_then(|status| status.run.as_ref());
    let phase = match (run, ended) {
        (Some(run), _) => format!("{:?}", run.phase),
        (None, Some(ended)) => ended.reason.clone(),
        (None, None) => "Unknown".to_owned(),
    };
    let why = run.and_then(|run| run.error.as_ref()).map(|error| {
        let step = error
            .step
            .as_deref()
            .map_or_else(String::new, |step| format!("{step}: "));
        format!("{step}{}: {}", error.code, error.message)
    });
    let why = why.or_else(|| ended.map(|ended| ended.message.clone()));
    (phase, why.unwrap_or_default())
}

/// `Ok` when the phase is the one that was hoped for.
pub(super) fn verdict(name: &str, phase: &str, why: &str, hoped_for: &str) -> Result<(), Failure> {
    if phase == hoped_for {
        return Ok(());
    }
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {}", printable(why))
    };
    Err(Failure::RunFailed(format!("{name} {phase}{why}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(status: &serde_json::Value) -> WorkflowRun {
        let object = json!({"apiVersion": "everstep.dev/v1alpha1", "kind": "WorkflowRun",
            "metadata": {"name": "r", "generation": 2}, "spec": {"workflowRef": {"name": "w"}}, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn said(kind: &str, status: &str, reason: &str, message: &str) -> serde_json::Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-21T12:00:00Z"})
    }

    #[test]
    fn the_end_is_of_the_generation_that_is_there() {
        let finished = said("Finished", "True", "Failed", "");
        let of = |generation| {
            has_ended(&object(
                &json!({"observedGeneration": generation, "conditions": [finished]}),
            ))
        };
        assert!(!of(1) && of(2));
        let going = said("Finished", "False", "Running", "");
        assert!(!has_ended(&object(
            &json!({"observedGeneration": 2, "conditions": [going]})
        )));
        let invalid = said("Accepted", "False", "InvalidSpec", "spec.x: no");
        assert!(has_ended(&object(
            &json!({"observedGeneration": 2, "conditions": [invalid]})
        )));
    }

    #[test]
    fn an_ending_says_why() {
        let run = json!({"id": "i", "phase": "Failed", "error": {"step": "charge", "code": "DECLINED", "message": "no money"}});
        let failed = object(&json!({"observedGeneration": 2, "run": run}));
        let (phase, why) = ending(&failed);
        assert_eq!((&*phase, &*why), ("Failed", "charge: DECLINED: no money"));
        let text = verdict("r", &phase, &why, "Succeeded").unwrap_err().to_string();
        assert_eq!(text, "r Failed: charge: DECLINED: no money");
        let invalid = object(&json!({"conditions": [said("Accepted", "False", "InvalidSpec", "spec.x: no")]}));
        assert_eq!(ending(&invalid), ("InvalidSpec".to_owned(), "spec.x: no".to_owned()));
        let run = json!({"id": "i", "phase": "Succeeded"});
        let refused = ["Accepted", "Finished"].map(|kind| match kind {
            "Accepted" => said(kind, "False", "InvalidSpec", "spec.x: no"),
            other => said(other, "True", "Succeeded", ""),
        });
        let edited_after_its_end = object(&json!({"run": run, "conditions": refused}));
        assert_eq!(ending(&edited_after_its_end).0, "Succeeded");
        assert!(verdict("r", "Cancelled", "", "Cancelled").is_ok());
        let hostile = verdict("r", "Failed", "\u{1b}[2J", "Succeeded")
            .unwrap_err()
            .to_string();
        assert_eq!(hostile, "r Failed: \u{fffd}[2J");
    }

    #[test]
    fn progress_is_a_line() {
        let run = json!({"id": "i", "phase": "Waiting", "step": "approval +1", "waitingFor": "signal approve", "progress": "2/5"});
        let object = object(&json!({ "run": run }));
        let run = object.status.unwrap().run.unwrap();
        assert_eq!(
            progress("r", &run),
            "r  Waiting at approval +1, waits for signal approve, 2/5 done"
        );
    }
}

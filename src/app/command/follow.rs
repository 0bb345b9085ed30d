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
    status::{has_ended, is_stuck, progress},
};
use crate::{
    api::v1alpha1::WorkflowRun,
    cli::people,
    engine::Parking,
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

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The run's end.
    End,
    /// Its end, or that what it did cannot be undone: it stands still then until a person acts.
    EndOrStuck,
}

/// The run when what is waited for has come.
pub(super) async fn in_database(
    surface: &mut Surface,
    run: Uuid,
    name: &str,
    steps: Steps,
    until: Until,
) -> Result<RunRow, Failure> {
    let row = while_there(surface, run, name, steps, until).await?;
    row.ok_or_else(|| Failure::RunFailed(format!("run {run} is not there any more")))
}

/// None when there is no such run, or none that the role may see.
async fn while_there(
    surface: &mut Surface,
    run: Uuid,
    name: &str,
    steps: Steps,
    until: Until,
) -> Result<Option<RunRow>, Failure> {
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
                    Some(row) if row.finished_at.is_none() && !(until == Until::EndOrStuck && is_row_stuck(&row)) => {}
                    ended_or_none => return Ok(ended_or_none),
                }
            }
            Err(error) if error.is_passing() && answered.elapsed() < OUTAGE => {}
            Err(error) => return Err(error.into()),
        }
        sleep(POLL).await;
    }
}

/// Whether a compensation has failed for good.
pub(super) fn is_row_stuck(run: &RunRow) -> bool {
    standstill_of_row(run) == Some(Parking::CompensationFailed)
}

/// What the run stands still for.
pub(super) fn standstill_of_row(run: &RunRow) -> Option<Parking> {
    run.waiting_for.as_deref().and_then(Parking::of_waiting)
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

/// The object when what is waited for has come, or its run can never begin. With a database the steps are those of the history.
pub(super) async fn in_cluster(
    cluster: &Cluster,
    name: &str,
    steps: Steps,
    mut database: Option<Surface>,
    until: Until,
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
        if let Some(run) = run {
            let told = match &mut database {
                Some(surface) if steps != Steps::Hidden => {
                    let id = Uuid::try_parse(&run.id)
                        .map_err(|error| Failure::Broken(format!("run {}: {error}", run.id)))?;
                    while_there(surface, id, name, steps, until).await?.is_some()
                }
                Some(_) | None => false,
            };
            if !told && database.is_some() && steps != Steps::Hidden {
                say(&format!(
                    "The database shows no run {} to your role; what follows is what the object shows.",
                    run.id
                ));
            }
            // All is told, or never will be. What the object says of the end is still to come, or was all that it said.
            database = None;
            let line = progress(name, run);
            if !told && line != shown && !run.phase.is_terminal() {
                steps.show(&line)?;
            }
            shown = line;
        }
        if has_ended(&object) || until == Until::EndOrStuck && is_stuck(&object) {
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
    use super::*;

    #[test]
    fn an_end_that_was_not_hoped_for_says_why() {
        let of = |phase, why| verdict("r", phase, why, "Succeeded").map_err(|error| error.to_string());
        assert_eq!(of("Succeeded", ""), Ok(()));
        let failed = of("Failed", "charge: DECLINED: no money");
        assert_eq!(failed, Err("r Failed: charge: DECLINED: no money".to_owned()));
        assert!(verdict("r", "Cancelled", "", "Cancelled").is_ok());
        let hostile = verdict("r", "Failed", "\u{1b}[2J", "Succeeded")
            .unwrap_err()
            .to_string();
        assert_eq!(hostile, "r Failed: \u{fffd}[2J");
    }
}

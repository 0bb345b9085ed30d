//! `everstep cancel`.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    super::Failure,
    find::find,
    follow,
    follow::{Steps, Until},
    print,
    reach::{self, Cluster, FIELD_MANAGER},
    status,
    target::Target,
    way::{no_object_of, way, without},
};
use crate::{
    api::v1alpha1::{DesiredState, Workflow, WorkflowRun},
    cli::people::{self, Via},
    engine::Parking,
    show::{printable, problem},
};

/// `desiredState` is final, the functions are not.
const VIA_SQL: &str = " --via sql";

/// Ends a run.
pub(in crate::app) async fn cancel(options: people::Cancel) -> Result<(), Failure> {
    let target = Target::parse(&options.run).map_err(Failure::Configuration)?;
    match way(&options.reach, Some(&target))? {
        Via::Sql => by_function(&options, &target).await,
        Via::Object => by_object(&options, &target).await,
    }
}

async fn by_function(options: &people::Cancel, target: &Target) -> Result<(), Failure> {
    let namespace = reach::namespace(&options.reach.place.cluster).await?;
    let mut surface = reach::surface(&options.reach.place.database).await?;
    let run = find(&mut surface, &namespace, target).await?;
    let (name, id) = (format!("run {}", run.id), run.id.to_string());
    if !options.terminate && follow::is_row_stuck(&run) {
        return Err(Failure::Broken(stuck(&name, run.error.as_ref().map(problem), &id, "")));
    }
    let stood_still = follow::standstill_of_row(&run).is_some();
    let reason = options.reason.as_deref().unwrap_or("everstep cancel");
    if options.terminate {
        surface.terminate(run.id, reason).await?;
    } else {
        surface.cancel(run.id, reason).await?;
    }
    print(&format!("{name} told to {}\n", told(options)))?;
    if !options.wait {
        return Ok(());
    }
    let ending = follow::in_database(&mut surface, run.id, &run.workflow, Steps::Hidden, until(options));
    let row = follow::patiently(options.timeout, ending).await?;
    let failure = row.error.as_ref().map(problem);
    if row.finished_at.is_none() {
        return Err(Failure::RunFailed(stuck(&name, failure, &id, "")));
    }
    print(&outcome(&name, &row.phase, failure.as_deref(), stood_still)?)
}

/// One that is terminated undoes nothing, so that it cannot be stuck in it.
fn until(options: &people::Cancel) -> Until {
    if options.terminate {
        Until::End
    } else {
        Until::EndOrStuck
    }
}

/// Why a cancel does not end the run, and what does. `run` and `way` are the words for the next command.
fn stuck(name: &str, why: Option<String>, run: &str, way: &str) -> String {
    let why = why.map_or_else(String::new, |why| format!(" ({})", printable(&why)));
    format!(
        "{name} stands still: what it did could not be undone{why}, and a cancel does not end it. Correct the cause and \
         retry it: everstep retry {run} --via sql; or cancel it with --terminate, which undoes nothing more: \
         everstep cancel {run}{way} --terminate"
    )
}

/// What to say of a run that was told to end, and has. One that stood still after a failure keeps that as its result: to
/// end it is what was wanted.
fn outcome(name: &str, phase: &str, failure: Option<&str>, stood_still: bool) -> Result<String, Failure> {
    match failure {
        Some(failure) if stood_still && phase != "Cancelled" => Ok(format!(
            "{name} ended as {phase}, for the failure that it stood still after: {}\n",
            printable(failure)
        )),
        Some(_) | None => {
            let why = failure.map_or_else(
                || "it ended before the cancel reached it".to_owned(),
                |failure| format!("the failure came before the cancel: {failure}"),
            );
            follow::verdict(name, phase, &why, "Cancelled")?;
            Ok(format!("{name} Cancelled\n"))
        }
    }
}

async fn by_object(options: &people::Cancel, target: &Target) -> Result<(), Failure> {
    without(
        "--reason",
        options.reason.is_some(),
        "a WorkflowRun has no place for it: its history says that its object asked",
    )?;
    let cluster = Cluster::reach(&options.reach.place.cluster).await?;
    let name = match target {
        Target::Object(name) | Target::Name(name) => name,
        Target::Workflow(name) => return Err(no_object(name)),
        Target::Id(id) => return Err(no_object_of(*id)),
    };
    let Some(object) = cluster.get::<WorkflowRun>(name).await? else {
        if matches!(target, Target::Name(_)) && cluster.get::<Workflow>(name).await?.is_some() {
            return Err(no_object(name));
        }
        return Err(cluster.no_run(name));
    };
    let (called, run) = (format!("workflowrun.everstep.dev/{name}"), format!("erun/{name}"));
    may_be_told(&object, options.terminate, &called, &run)?;
    let stood_still = status::standstill(&object).is_some();
    let wanted = if options.terminate {
        DesiredState::Terminated
    } else {
        DesiredState::Cancelled
    };
    let patch = Patch::Merge(json!({"spec": {"desiredState": wanted}}));
    let how = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = cluster.api::<WorkflowRun>().patch(name, &how, &patch).await;
    patched.map_err(|error| cluster.failure(&error))?;
    print(&format!("{called} told to {}\n", told(options)))?;
    if !options.wait {
        return Ok(());
    }
    let ending = follow::in_cluster(&cluster, name, Steps::Hidden, None, until(options));
    let ended = follow::patiently(options.timeout, ending).await?;
    let (phase, why) = status::ending(&ended);
    if !status::has_ended(&ended) {
        return Err(Failure::RunFailed(stuck(&called, Some(why), &run, VIA_SQL)));
    }
    if ended.status.is_none_or(|status| status.run.is_none()) {
        follow::verdict(&called, &phase, &why, "Cancelled")?;
        return print(&format!("{called} Cancelled\n"));
    }
    let failure = Some(&*why).filter(|why| !why.is_empty());
    print(&outcome(&called, &phase, failure, stood_still)?)
}

/// # Errors
/// When nothing is left to cancel, or `desiredState` is no way to end the run.
fn may_be_told(object: &WorkflowRun, terminate: bool, called: &str, run: &str) -> Result<(), Failure> {
    let run_now = object.status.as_ref().and_then(|status| status.run.as_ref());
    if let Some(over) = run_now.filter(|run| run.phase.is_terminal()) {
        return Err(Failure::Broken(format!(
            "{called} is over ({:?}): there is nothing left to cancel",
            over.phase
        )));
    }
    let is_cancelled = object.spec.desired_state == Some(DesiredState::Cancelled);
    if terminate && is_cancelled {
        return Err(Failure::Configuration(format!(
            "{called} has the desiredState Cancelled already, and that is final. Its run is terminated in PostgreSQL: \
             everstep cancel {run}{VIA_SQL} --terminate"
        )));
    }
    // One that was terminated is on its way; and what it is told now, the API server refuses.
    let is_terminated = object.spec.desired_state == Some(DesiredState::Terminated);
    if !terminate && !is_terminated && status::standstill(object) == Some(Parking::CompensationFailed) {
        let (_, why) = status::ending(object);
        let way = if is_cancelled { VIA_SQL } else { "" };
        return Err(Failure::Broken(stuck(called, Some(why), run, way)));
    }
    Ok(())
}

fn told(options: &people::Cancel) -> &'static str {
    if options.terminate { "terminate" } else { "cancel" }
}

fn no_object(name: &str) -> Failure {
    Failure::Configuration(format!(
        "the run of a Workflow has no object of its own. End it in PostgreSQL (everstep cancel ewf/{name} --via sql, \
         with --terminate to undo nothing), or delete the Workflow, which cancels its runs"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_was_not_asked_for_is_told_with_its_cause() {
        let of = |phase, failure, stood_still| {
            outcome("run 1", phase, failure, stood_still).map_err(|error| error.to_string())
        };
        let ok = |text: &str| Ok(text.to_owned());
        let wrong = |text: &str| Err(text.to_owned());
        assert_eq!(of("Cancelled", None, false), ok("run 1 Cancelled\n"));
        assert_eq!(
            of("Cancelled", Some("Cancelled: by hand"), true),
            ok("run 1 Cancelled\n")
        );
        assert_eq!(
            of("Succeeded", None, false),
            wrong("run 1 Succeeded: it ended before the cancel reached it")
        );
        assert_eq!(
            of("Failed", Some("charge: DECLINED"), false),
            wrong("run 1 Failed: the failure came before the cancel: charge: DECLINED")
        );
        assert_eq!(
            of("Failed", Some("charge: \u{9b}2J"), true),
            ok("run 1 ended as Failed, for the failure that it stood still after: charge: \u{fffd}2J\n")
        );
    }
}

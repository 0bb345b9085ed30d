//! `everstep cancel`.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    super::Failure,
    find::find,
    follow,
    follow::{Steps, is_over},
    print,
    reach::{self, Cluster, FIELD_MANAGER},
    target::Target,
    way::{way, without},
};
use crate::{
    api::v1alpha1::{DesiredState, Workflow, WorkflowRun},
    cli::people::{self, Via},
};

/// Ends a run.
pub(in crate::app) async fn cancel(options: people::Cancel) -> Result<(), Failure> {
    let target = Target::parse(&options.run).map_err(Failure::Configuration)?;
    match way(&options.choice, &options.place.database, Some(&target))? {
        Via::Sql => by_function(&options, &target).await,
        Via::Object => by_object(&options, &target).await,
    }
}

async fn by_function(options: &people::Cancel, target: &Target) -> Result<(), Failure> {
    let namespace = reach::namespace(&options.place.cluster).await?;
    let mut surface = reach::surface(&options.place.database).await?;
    let run = find(&mut surface, &namespace, target).await?;
    let reason = options.reason.as_deref().unwrap_or("everstep cancel");
    if options.terminate {
        surface.terminate(run.id, reason).await?;
    } else {
        surface.cancel(run.id, reason).await?;
    }
    print(&format!("run {} told to {}\n", run.id, told(options)))?;
    if !options.wait {
        return Ok(());
    }
    let ending = follow::in_database(&mut surface, run.id, &run.workflow, Steps::Hidden);
    let row = follow::patiently(options.timeout, ending).await?;
    let why = "it ended before the cancel reached it";
    follow::verdict(&format!("run {}", row.id), &row.phase, why, "Cancelled")?;
    print(&format!("run {} Cancelled\n", row.id))
}

async fn by_object(options: &people::Cancel, target: &Target) -> Result<(), Failure> {
    without(
        "--reason",
        options.reason.is_some(),
        "a WorkflowRun has no place for it: its history says that its object asked",
    )?;
    let cluster = Cluster::reach(&options.place.cluster).await?;
    let name = match target {
        Target::Object(name) | Target::Name(name) => name,
        Target::Workflow(name) => return Err(no_object(name)),
        // `way` sends ids elsewhere.
        Target::Id(id) => {
            return Err(Failure::Configuration(format!(
                "run {id} is known to PostgreSQL only: --via sql"
            )));
        }
    };
    let Some(object) = cluster.get::<WorkflowRun>(name).await? else {
        if matches!(target, Target::Name(_)) && cluster.get::<Workflow>(name).await?.is_some() {
            return Err(no_object(name));
        }
        return Err(cluster.no_run(name));
    };
    let run = object.status.as_ref().and_then(|status| status.run.as_ref());
    if let Some(run) = run.filter(|run| is_over(run.phase)) {
        return Err(Failure::Broken(format!(
            "workflowrun.everstep.dev/{name} is over ({:?}): there is nothing left to cancel",
            run.phase
        )));
    }
    let desired = if options.terminate {
        DesiredState::Terminated
    } else {
        DesiredState::Cancelled
    };
    let patch = Patch::Merge(json!({"spec": {"desiredState": desired}}));
    let how = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = cluster.api::<WorkflowRun>().patch(name, &how, &patch).await;
    patched.map_err(|error| cluster.failure(&error))?;
    print(&format!("workflowrun.everstep.dev/{name} told to {}\n", told(options)))?;
    if !options.wait {
        return Ok(());
    }
    let ended = follow::patiently(options.timeout, follow::in_cluster(&cluster, name, Steps::Hidden, None)).await?;
    let (phase, why) = follow::ending(&ended);
    follow::verdict(&format!("workflowrun.everstep.dev/{name}"), &phase, &why, "Cancelled")?;
    print(&format!("workflowrun.everstep.dev/{name} Cancelled\n"))
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

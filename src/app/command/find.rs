//! The run that a person means, in the database.

use uuid::Uuid;

use super::{
    super::Failure,
    target::{NoChoice, Target, choose, ids_from, listed},
};
use crate::store::{RunRow, Surface};

/// # Errors
/// `Broken` when there is none, `Configuration` when it is not clear which.
pub(super) async fn find(surface: &mut Surface, namespace: &str, target: &Target) -> Result<RunRow, Failure> {
    match target {
        Target::Id(id) => by_id(surface, *id).await?.ok_or_else(|| {
            let text = format!("no run {id}: it does not exist, or its namespace is not granted to your database role");
            Failure::Broken(text)
        }),
        Target::Object(name) => chosen(
            choose(surface.runs_of_object(namespace, name).await?),
            &format!("WorkflowRun {name} in namespace {namespace}"),
        ),
        Target::Workflow(name) => chosen(
            choose(surface.runs_of_workflow(namespace, name).await?),
            &format!("Workflow {name} in namespace {namespace}"),
        ),
        Target::Name(name) => by_name(surface, namespace, name).await,
    }
}

/// The run of this id, if the role may see it.
pub(super) async fn by_id(surface: &mut Surface, id: Uuid) -> Result<Option<RunRow>, Failure> {
    Ok(surface.runs_between(id, id).await?.pop())
}

async fn by_name(surface: &mut Surface, namespace: &str, name: &str) -> Result<RunRow, Failure> {
    let object = choose(surface.runs_of_object(namespace, name).await?);
    let workflow = choose(surface.runs_of_workflow(namespace, name).await?);
    let what = format!("{name} in namespace {namespace}");
    match (object, workflow) {
        (Err(NoChoice::None), Err(NoChoice::None)) => match ids_from(name) {
            Some((first, last)) => by_prefix(surface.runs_between(first, last).await?, name),
            None => chosen(Err(NoChoice::None), &what),
        },
        (Err(NoChoice::None), workflow) => chosen(workflow, &what),
        (object, Err(NoChoice::None)) => chosen(object, &what),
        // An inline WorkflowRun is its own Workflow.
        (Ok(object), Ok(workflow)) if object.id == workflow.id => Ok(object),
        (Ok(_) | Err(NoChoice::Many(_)), Ok(_) | Err(NoChoice::Many(_))) => Err(Failure::Configuration(format!(
            "{what} is a WorkflowRun and a Workflow, and both have runs: say erun/{name} or ewf/{name}"
        ))),
    }
}

fn by_prefix(mut found: Vec<RunRow>, prefix: &str) -> Result<RunRow, Failure> {
    match found.len() {
        0 => Err(Failure::Broken(format!(
            "no run {prefix}: no WorkflowRun and no Workflow has that name, and no id that your database role may see \
             begins so"
        ))),
        1 => Ok(found.remove(0)),
        _ => Err(Failure::Configuration(format!(
            "{prefix} begins more than one id; type more of it:{}",
            listed(&found)
        ))),
    }
}

fn chosen(choice: Result<RunRow, NoChoice>, what: &str) -> Result<RunRow, Failure> {
    choice.map_err(|why| match why {
        NoChoice::None => Failure::Broken(format!(
            "no run of {what}: there is none, or the namespace is not granted to your database role. \
             `everstep runs` lists those that you may see"
        )),
        NoChoice::Many(runs) => Failure::Configuration(format!(
            "{what} has more than one run that has not ended; name one by its id:{}",
            listed(&runs)
        )),
    })
}

//! `everstep run`.

use kube::api::ObjectMeta;
use serde_json::{Map, Value, json};

use super::{
    super::Failure,
    follow,
    follow::{Steps, Until},
    input, print, print_awaited, print_end, print_made,
    reach::{self, Cluster},
    status,
    way::{way, without},
};
use crate::{
    api::v1alpha1::{WorkflowRef, WorkflowRun, WorkflowRunSpec},
    cli::{
        Database,
        people::{self, MadeOutput, Via, Wait},
    },
    show::printable,
};

/// Starts a run of a Workflow, and waits for its end when asked to.
pub(in crate::app) async fn run(options: people::Run) -> Result<(), Failure> {
    let input = input::object(&options.inputs).map_err(Failure::Configuration)?;
    match way(&options.reach, None)? {
        Via::Sql => by_function(&options, input).await,
        Via::Object => by_object(&options, input).await,
    }
}

async fn by_function(options: &people::Run, input: Option<Map<String, Value>>) -> Result<(), Failure> {
    without(
        "--name",
        options.name.is_some(),
        "a run that PostgreSQL starts has no object",
    )?;
    let namespace = reach::namespace(&options.reach.place.cluster).await?;
    let mut surface = reach::surface(&options.reach.place.database).await?;
    let workflow = format!("{namespace}/{}", options.workflow);
    let input = input.map(|input| Value::Object(input).to_string());
    let run = surface
        .start(&workflow, input.as_deref(), options.key.as_deref())
        .await?;
    let (output, line) = (options.output, format!("run {run} started"));
    if !options.wait.waits() {
        let document = json!({"id": run, "namespace": namespace, "workflow": options.workflow});
        return print_made(output, &line, &run.to_string(), &document);
    }
    print_awaited(output, &line, &run.to_string())?;
    let steps = Steps::of(&options.wait, output.is_some());
    let ending = follow::in_database(&mut surface, run, &options.workflow, steps, Until::End);
    let row = follow::patiently(options.wait.timeout, ending).await?;
    print_end(output, &row)?;
    let why = row.error.as_ref().map(crate::show::problem).unwrap_or_default();
    follow::verdict(&format!("run {run}"), &row.phase, &why, "Succeeded")?;
    if output.is_none() {
        print(&succeeded(&format!("run {run}"), row.output))?;
    }
    Ok(())
}

async fn by_object(options: &people::Run, input: Option<Map<String, Value>>) -> Result<(), Failure> {
    let cluster = Cluster::reach(&options.reach.place.cluster).await?;
    let object = WorkflowRun {
        metadata: named(options.name.as_deref(), &options.workflow),
        spec: WorkflowRunSpec {
            workflow_ref: Some(WorkflowRef {
                name: options.workflow.clone(),
            }),
            input,
            idempotency_key: options.key.clone(),
            ..WorkflowRunSpec::default()
        },
        status: None,
    };
    make(
        &cluster,
        &object,
        options.output,
        &options.wait,
        &options.reach.place.database,
    )
    .await
}

/// Creates a WorkflowRun, says so, and waits for its end when asked to.
pub(super) async fn make(
    cluster: &Cluster,
    object: &WorkflowRun,
    output: Option<MadeOutput>,
    wait: &Wait,
    database: &Database,
) -> Result<(), Failure> {
    // Before there is an object: what cannot be followed is not begun.
    let surface = if wait.follow && reach::has_database(database) {
        Some(reach::surface(database).await?)
    } else {
        None
    };
    let made = cluster.create(object).await?;
    let name = made.metadata.name.clone().unwrap_or_default();
    let called = format!("workflowrun.everstep.dev/{name}");
    let line = format!("{called} created");
    if !wait.waits() {
        return print_made(output, &line, &called, &made);
    }
    print_awaited(output, &line, &called)?;
    let ending = follow::in_cluster(cluster, &name, Steps::of(wait, output.is_some()), surface, Until::End);
    let ended = follow::patiently(wait.timeout, ending).await?;
    print_end(output, &ended)?;
    let (phase, why) = status::ending(&ended);
    follow::verdict(&called, &phase, &why, "Succeeded")?;
    if output.is_none() {
        let run = ended.status.and_then(|status| status.run);
        print(&succeeded(&called, run.and_then(|run| run.output)))?;
    }
    Ok(())
}

/// JSON escapes only the oldest of the characters that a terminal obeys.
fn succeeded(name: &str, output: Option<Value>) -> String {
    let output = output.map_or_else(String::new, |output| format!(", output {output}"));
    format!("{name} Succeeded{}\n", printable(&output))
}

/// The given name, or one that the API server makes of `stem`.
pub(super) fn named(name: Option<&str>, stem: &str) -> ObjectMeta {
    ObjectMeta {
        name: name.map(str::to_owned),
        generate_name: name.is_none().then(|| format!("{stem}-")),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_does_nothing_to_the_terminal() {
        assert_eq!(succeeded("run 1", None), "run 1 Succeeded\n");
        let hostile = Value::from("\u{1b}\u{9b}2J\u{7f}\u{202e}ö");
        assert_eq!(
            succeeded("run 1", Some(hostile)),
            "run 1 Succeeded, output \"\\u001b\u{fffd}2J\u{fffd}\u{fffd}ö\"\n"
        );
    }
}

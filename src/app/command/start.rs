//! `everstep run`.

use kube::api::ObjectMeta;
use serde_json::{Map, Value, json};

use super::{
    super::Failure,
    Format, follow,
    follow::Steps,
    input, print, print_document,
    reach::{self, Cluster},
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
    match way(&options.choice, &options.place.database, None)? {
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
    let namespace = reach::namespace(&options.place.cluster).await?;
    let mut surface = reach::surface(&options.place.database).await?;
    let workflow = format!("{namespace}/{}", options.workflow);
    let input = input.map(|input| Value::Object(input).to_string());
    let run = surface
        .start(&workflow, input.as_deref(), options.key.as_deref())
        .await?;
    match options.output {
        None => print(&format!("run {run} started\n"))?,
        Some(MadeOutput::Name) => print(&format!("{run}\n"))?,
        Some(MadeOutput::Json | MadeOutput::Yaml) if options.wait.waits() => {}
        Some(MadeOutput::Json) => print_document(
            &json!({"id": run, "namespace": namespace, "workflow": options.workflow}),
            Format::Json,
        )?,
        Some(MadeOutput::Yaml) => print_document(
            &json!({"id": run, "namespace": namespace, "workflow": options.workflow}),
            Format::Yaml,
        )?,
    }
    if !options.wait.waits() {
        return Ok(());
    }
    let steps = Steps::of(&options.wait, options.output.is_some());
    let ending = follow::in_database(&mut surface, run, &options.workflow, steps);
    let row = follow::patiently(options.wait.timeout, ending).await?;
    match options.output {
        None | Some(MadeOutput::Name) => {}
        Some(MadeOutput::Json) => print_document(&row, Format::Json)?,
        Some(MadeOutput::Yaml) => print_document(&row, Format::Yaml)?,
    }
    let why = row.error.as_ref().map(crate::show::problem).unwrap_or_default();
    follow::verdict(&format!("run {run}"), &row.phase, &why, "Succeeded")?;
    if options.output.is_none() {
        print(&succeeded(&format!("run {run}"), row.output))?;
    }
    Ok(())
}

async fn by_object(options: &people::Run, input: Option<Map<String, Value>>) -> Result<(), Failure> {
    let cluster = Cluster::reach(&options.place.cluster).await?;
    let spec = WorkflowRunSpec {
        workflow_ref: Some(WorkflowRef {
            name: options.workflow.clone(),
        }),
        input,
        idempotency_key: options.key.clone(),
        ..empty()
    };
    make(
        &cluster,
        options.name.as_deref(),
        &options.workflow,
        spec,
        &options.wait,
        options.output,
        &options.place.database,
    )
    .await
}

/// Creates a WorkflowRun, says so, and waits for its end when asked to.
async fn make(
    cluster: &Cluster,
    name: Option<&str>,
    stem: &str,
    spec: WorkflowRunSpec,
    wait: &Wait,
    output: Option<MadeOutput>,
    database: &Database,
) -> Result<(), Failure> {
    let object = WorkflowRun {
        metadata: named(name, stem),
        spec,
        status: None,
    };
    let made: WorkflowRun = cluster.create(&object).await?;
    let name = made.metadata.name.clone().unwrap_or_default();
    match output {
        None => print(&format!("workflowrun.everstep.dev/{name} created\n"))?,
        Some(MadeOutput::Name) => print(&format!("workflowrun.everstep.dev/{name}\n"))?,
        Some(MadeOutput::Json | MadeOutput::Yaml) if wait.waits() => {}
        Some(MadeOutput::Json) => print_document(&made, Format::Json)?,
        Some(MadeOutput::Yaml) => print_document(&made, Format::Yaml)?,
    }
    if !wait.waits() {
        return Ok(());
    }
    let surface = if wait.follow && reach::has_database(database) {
        Some(reach::surface(database).await?)
    } else {
        None
    };
    let ending = follow::in_cluster(cluster, &name, Steps::of(wait, output.is_some()), surface);
    let ended = follow::patiently(wait.timeout, ending).await?;
    match output {
        None | Some(MadeOutput::Name) => {}
        Some(MadeOutput::Json) => print_document(&ended, Format::Json)?,
        Some(MadeOutput::Yaml) => print_document(&ended, Format::Yaml)?,
    }
    let (phase, why) = follow::ending(&ended);
    follow::verdict(&format!("workflowrun.everstep.dev/{name}"), &phase, &why, "Succeeded")?;
    if output.is_none() {
        let run = ended.status.and_then(|status| status.run);
        let output = run.and_then(|run| run.output);
        print(&succeeded(&format!("workflowrun.everstep.dev/{name}"), output))?;
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

fn empty() -> WorkflowRunSpec {
    WorkflowRunSpec {
        workflow_ref: None,
        workflow: None,
        input: None,
        idempotency_key: None,
        readiness: None,
        deletion_policy: None,
        ttl_after_finished: None,
        desired_state: None,
        retry_of: None,
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

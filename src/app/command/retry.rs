//! `everstep retry`.

use super::{
    super::Failure,
    find::find,
    follow,
    follow::{Steps, Until},
    print,
    reach::{self, Cluster},
    start,
    target::Target,
    way::{no_object_of, way},
};
use crate::{
    api::v1alpha1::{Phase, RetryOf, RunStatus, WorkflowRun, WorkflowRunSpec},
    cli::people::{self, Via},
    store::Surface,
};

/// Lets a run that stands still after a failure go on, or does one that has ended again.
pub(in crate::app) async fn retry(options: people::Retry) -> Result<(), Failure> {
    let target = Target::parse(&options.run).map_err(Failure::Configuration)?;
    match way(&options.reach, Some(&target))? {
        Via::Sql => by_function(&options, &target).await,
        Via::Object => by_object(&options, &target).await,
    }
}

async fn by_function(options: &people::Retry, target: &Target) -> Result<(), Failure> {
    let namespace = reach::namespace(&options.reach.place.cluster).await?;
    let mut surface = reach::surface(&options.reach.place.database).await?;
    let run = find(&mut surface, &namespace, target).await?;
    go_on(options, &mut surface, run.id).await
}

/// Of a run that stands still: what failed begins afresh.
async fn go_on(options: &people::Retry, surface: &mut Surface, run: uuid::Uuid) -> Result<(), Failure> {
    surface.retry(run, options.from.as_deref()).await?;
    print(&format!("run {run} told to retry\n"))?;
    if !options.wait.waits() {
        return Ok(());
    }
    let ending = follow::in_database(surface, run, &options.run, Steps::of(&options.wait, false), Until::End);
    let row = follow::patiently(options.wait.timeout, ending).await?;
    let why = row.error.as_ref().map(crate::show::problem).unwrap_or_default();
    follow::verdict(&format!("run {run}"), &row.phase, &why, "Succeeded")?;
    print(&format!("run {run} Succeeded\n"))
}

async fn by_object(options: &people::Retry, target: &Target) -> Result<(), Failure> {
    let cluster = Cluster::reach(&options.reach.place.cluster).await?;
    let name = match target {
        Target::Object(name) | Target::Name(name) => name,
        Target::Workflow(name) => {
            return Err(Failure::Configuration(format!(
                "the run of a Workflow has no object of its own. One that stands still is retried in PostgreSQL: \
                 everstep retry ewf/{name} --via sql"
            )));
        }
        Target::Id(id) => return Err(no_object_of(*id)),
    };
    let Some(object) = cluster.get::<WorkflowRun>(name).await? else {
        return Err(cluster.no_run(name));
    };
    let run = object.status.as_ref().and_then(|status| status.run.as_ref());
    match run {
        None => Err(nothing(name, "has not been started")),
        Some(run) if run.phase.is_terminal() => again(options, &cluster, name).await,
        Some(run) if run.phase == Phase::Paused => still(options, run).await,
        Some(run) => Err(nothing(name, &format!("is {:?}", run.phase))),
    }
}

/// What has ended stays as it ended: another run takes up its work.
async fn again(options: &people::Retry, cluster: &Cluster, name: &str) -> Result<(), Failure> {
    let object = WorkflowRun {
        metadata: start::named(None, &format!("{name}-retry")),
        spec: WorkflowRunSpec {
            retry_of: Some(RetryOf {
                name: name.to_owned(),
                from_step: options.from.clone(),
            }),
            ..WorkflowRunSpec::default()
        },
        status: None,
    };
    start::make(cluster, &object, None, &options.wait, &options.reach.place.database).await
}

/// One that stands still goes on under its own id: that is a function of PostgreSQL.
async fn still(options: &people::Retry, run: &RunStatus) -> Result<(), Failure> {
    let id = uuid::Uuid::try_parse(&run.id).map_err(|error| Failure::Broken(format!("run {}: {error}", run.id)))?;
    if !reach::has_database(&options.reach.place.database) {
        return Err(Failure::Configuration(format!(
            "the run stands still, and goes on by a function in PostgreSQL: give --database-url, as in \
             everstep retry {id} --database-url URL. One that was paused by its desiredState goes on by `Running`"
        )));
    }
    let mut surface = reach::surface(&options.reach.place.database).await?;
    go_on(options, &mut surface, id).await
}

fn nothing(name: &str, why: &str) -> Failure {
    Failure::Broken(format!(
        "workflowrun.everstep.dev/{name} {why}: there is nothing to retry"
    ))
}

//! `everstep dev`: the Workflows of files, run once on this machine by the same intents, store and workers as in a
//! cluster. Not what the files say: that is [`crate::dev::manifests`]'.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Failure,
    carry::{Carried, carry},
    on_signal,
};
use crate::{
    cli,
    controller::workflow::intent::{self, Intent},
    dev::{
        manifests::{self, Manifests, identity},
        postgres::{self, Postgres},
    },
    engine::{Event, RunResult},
    show::event,
    store::{self, Bell, DeletionPolicy, Listener, Start, Store, Submission},
    worker::{WorkerOptions, connection, connection::Source, egress::EgressPolicy},
};

const DATABASE: &str = "everstep";
/// Decisions read at once.
const PAGE: i64 = 500;
/// A look at the journals without a bell.
const POLL: Duration = Duration::from_millis(250);

/// One Workflow of the files, on its way.
struct Watched {
    name: String,
    run: Uuid,
    seq: i32,
    /// Decided; `finally` may still run.
    ending: Option<RunResult>,
    /// Over.
    result: Option<RunResult>,
}

/// Runs every Workflow of the files once.
///
/// # Errors
/// `Configuration` for what is wrong with the files, `RunFailed` when a run does not succeed.
pub(super) async fn run(options: cli::Dev) -> Result<(), Failure> {
    let shutdown = on_signal()?;
    let manifests = manifests::read(&options.files).map_err(|problems| complaint(&problems))?;
    let intents = intents(&manifests)?;
    let egress = match &options.egress_policy {
        None => EgressPolicy::open(),
        Some(path) => EgressPolicy::load(path).map_err(|error| super::unusable_policy(path, &error))?,
    };
    let postgres = start_postgres().await?;
    let store = open(&postgres).await?;
    let names = manifests
        .workflows
        .iter()
        .map(|workflow| name_of(workflow, &manifests))
        .collect();
    let submissions: Vec<Submission> = manifests
        .workflows
        .iter()
        .zip(&intents)
        .map(|(workflow, intent)| submission(workflow, intent))
        .collect();
    let mut watched = start(&store, names, &submissions).await?;

    let stop = CancellationToken::new();
    let carried = Carried {
        store: store.clone(),
        source: Source::Files(files(manifests)),
        egress,
        options: WorkerOptions {
            drain: Duration::ZERO,
            ..WorkerOptions::default()
        },
    };
    let carrying = carry(carried, |_| {}, stop.clone());
    let watching = async {
        let result = tokio::select! {
            result = watch(&store, &mut watched) => result,
            () = shutdown.cancelled() => Err(Failure::RunFailed("interrupted: the runs are dropped".to_owned())),
        };
        stop.cancel();
        result
    };
    let (carried, result) = tokio::join!(carrying, watching);
    drop(store);
    // Stops the server and removes its directory; that takes a moment and blocks.
    tokio::task::spawn_blocking(move || drop(postgres)).await.ok();
    result.and(carried)?;
    verdict(&watched)
}

fn complaint(problems: &[impl ToString]) -> Failure {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::Configuration(lines.join("\n          "))
}

fn intents(manifests: &Manifests) -> Result<Vec<Intent>, Failure> {
    let (mut intents, mut problems) = (Vec::new(), Vec::new());
    for workflow in &manifests.workflows {
        let uid = workflow["metadata"]["uid"].as_str().unwrap_or_default();
        match intent::of(uid, &workflow["spec"]) {
            Ok(intent) => intents.push(intent),
            Err(violations) => {
                let name = identity(workflow).1;
                problems.extend(
                    violations
                        .into_iter()
                        .map(|violation| format!("Workflow {name}: {violation}")),
                );
            }
        }
    }
    if problems.is_empty() {
        Ok(intents)
    } else {
        Err(complaint(&problems))
    }
}

/// Its name; with the namespace where the files have more than one.
fn name_of(workflow: &Value, manifests: &Manifests) -> String {
    let (namespace, name) = identity(workflow);
    let alone = manifests.workflows.iter().all(|other| identity(other).0 == namespace);
    if alone { name } else { format!("{namespace}/{name}") }
}

fn submission(workflow: &Value, intent: &Intent) -> Submission {
    let (namespace, name) = identity(workflow);
    let uid = workflow["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    // What starts only on demand is demanded, once.
    let start_key = intent.start_key().map_or_else(|| format!("run/{uid}"), str::to_owned);
    Submission {
        uid,
        kind: "Workflow".to_owned(),
        namespace,
        workflow: name.clone(),
        name,
        generation: 1,
        deletion_policy: DeletionPolicy::Background,
        retention: intent.retention,
        suspended: false,
        revision: intent.revision.clone(),
        body: intent.body.clone(),
        start: Some(Start {
            start_key,
            input: None,
            trigger: "Dev".to_owned(),
        }),
        only_when_idle: false,
        commands: Vec::new(),
    }
}

fn files(manifests: Manifests) -> connection::Manifests {
    let mut files = connection::Manifests::default();
    for object in manifests.connections {
        let (namespace, name) = identity(&object);
        files.add_connection(&namespace, &name, object);
    }
    for object in manifests.secrets {
        let (namespace, name) = identity(&object);
        files.add_secret(&namespace, &name, object);
    }
    files
}

async fn start_postgres() -> Result<Postgres, Failure> {
    let starting = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start(postgres::Options::default())?;
        postgres.create_database(DATABASE)?;
        Ok(postgres)
    });
    match starting.await {
        Ok(Ok(postgres)) => Ok(postgres),
        Ok(Err(error @ postgres::Error::NotInstalled(_))) => Err(Failure::Configuration(super::chain(&error))),
        Ok(Err(error)) => Err(Failure::Broken(super::chain::<postgres::Error>(&error))),
        Err(error) => Err(Failure::Broken(format!("PostgreSQL was not started: {error}"))),
    }
}

async fn open(postgres: &Postgres) -> Result<Store, Failure> {
    let url = postgres.url(DATABASE);
    let options = store::Options {
        url,
        max_connections: 8,
        application_name: "everstep dev".to_owned(),
    };
    let store = Store::connect(&options).await?;
    store.migrate(store::Migrations::Auto).await?;
    store.adopt_cluster("dev", "dev").await?;
    Ok(store)
}

async fn start(store: &Store, names: Vec<String>, submissions: &[Submission]) -> Result<Vec<Watched>, Failure> {
    let mut watched = Vec::new();
    let mut names = names.into_iter();
    for chunk in submissions.chunks(Store::MAX_SUBMISSIONS) {
        for (submitted, name) in store.submit(chunk).await?.into_iter().zip(&mut names) {
            let run = submitted
                .run
                .ok_or_else(|| Failure::Broken(format!("{name} was not started")))?;
            watched.push(Watched {
                name,
                run,
                seq: 0,
                ending: None,
                result: None,
            });
        }
    }
    Ok(watched)
}

/// Prints what happens until every run has ended.
async fn watch(store: &Store, watched: &mut [Watched]) -> Result<(), Failure> {
    let mut bell: Listener = store.listen(Bell::Changed);
    loop {
        let mut moved = false;
        for run in watched.iter_mut() {
            moved |= run.look(store).await?;
        }
        if watched.iter().all(|run| run.result.is_some()) {
            return Ok(());
        }
        if !moved {
            // A bell rings when a summary changes; steps between two summaries are seen by the poll.
            let _ = tokio::time::timeout(POLL, bell.rung()).await;
        }
    }
}

impl Watched {
    /// Prints the decisions that are new; whether there were any.
    async fn look(&mut self, store: &Store) -> Result<bool, Failure> {
        if self.result.is_some() {
            return Ok(false);
        }
        let decisions = store.history(self.run, self.seq, PAGE).await?;
        let mut lines = String::new();
        let mut over = false;
        for decision in &decisions {
            self.seq = decision.seq;
            for event in &decision.events {
                lines.extend(event::line(&self.name, decision.at, event).map(|line| line + "\n"));
                match event {
                    Event::RunEnding { result, .. } => self.ending = Some(*result),
                    Event::RunFinished { .. } => over = true,
                    _ => {}
                }
            }
        }
        if over {
            self.result = self.ending;
        }
        super::print(lines.as_bytes())?;
        Ok(!decisions.is_empty())
    }
}

fn verdict(watched: &[Watched]) -> Result<(), Failure> {
    let failed: Vec<String> = watched
        .iter()
        .filter(|run| run.result != Some(RunResult::Succeeded))
        .map(|run| format!("{} {}", run.name, run.result.map_or("did not end", RunResult::as_str)))
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::RunFailed(failed.join(", ")))
    }
}

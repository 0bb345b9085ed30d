//! `everstep dev`: the Workflows and WorkflowRuns of files, run once on this machine by the same intents, store and workers
//! as in a cluster. Not what the files say: that is [`crate::dev::manifests`]', and what they ask for is [`plan`]'s.

mod plan;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Failure,
    carry::{Carried, carry},
    on_signal,
};
use crate::{
    cli,
    dev::{
        manifests::{self, Manifests, identity},
        postgres::{self, Postgres},
    },
    engine::{Event, Parking, RunResult},
    show::event,
    store::{self, Bell, Listener, Posted, SignalWish, Store, Submission},
    worker::{WorkerOptions, connection, connection::Source, egress::EgressPolicy},
};

const DATABASE: &str = "everstep";
/// Decisions read at once.
const PAGE: i64 = 500;
/// A look at the journals without a bell.
const POLL: Duration = Duration::from_millis(250);

/// One run of the files, on its way.
struct Watched {
    name: String,
    run: Uuid,
    seq: i32,
    /// Decided; `finally` may still run.
    ending: Option<RunResult>,
    /// Nothing more happens.
    end: Option<End>,
}

/// How a run came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Over(RunResult),
    /// Until a person acts, and nobody can: the database is this process's own.
    StandsStill(Parking),
}

/// Runs every Workflow and WorkflowRun of the files once.
///
/// # Errors
/// `Configuration` for what is wrong with the files, `RunFailed` when a run does not succeed.
pub(super) async fn run(options: cli::Dev) -> Result<(), Failure> {
    let shutdown = on_signal()?;
    let manifests = manifests::read(&options.files).map_err(|problems| complaint(&problems))?;
    let plan = plan::of(&manifests).map_err(|problems| complaint(&problems))?;
    let egress = match &options.egress_policy {
        None => EgressPolicy::open(),
        Some(path) => EgressPolicy::load(path).map_err(|error| super::unusable_policy(path, &error))?,
    };
    let postgres = start_postgres().await?;
    let store = open(&postgres).await?;
    let mut watched = start(&store, plan.runs).await?;
    say(&store, &plan.signals).await?;

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

async fn start(store: &Store, runs: Vec<(String, Submission)>) -> Result<Vec<Watched>, Failure> {
    let (names, submissions): (Vec<String>, Vec<Submission>) = runs.into_iter().unzip();
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
                end: None,
            });
        }
    }
    Ok(watched)
}

/// Puts the signals into the inboxes of runs that no worker carries yet.
async fn say(store: &Store, signals: &[SignalWish]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for chunk in signals.chunks(Store::MAX_SIGNALS) {
        for (signal, posted) in chunk.iter().zip(store.post(chunk).await?) {
            let problem = match posted {
                Posted::Stored { .. } | Posted::Duplicate { same_payload: true, .. } => continue,
                Posted::Duplicate {
                    same_payload: false, ..
                } => "spec.dedupKey: another Signal says something else under it".to_owned(),
                Posted::TargetNotFound => "spec.target: the files start no such run".to_owned(),
                Posted::Rejected { run, phase } => format!("spec.target: run {run} is over ({})", phase.as_str()),
                Posted::Invalid(why) => format!("spec.payload: {why}"),
            };
            problems.push(format!("Signal {}: {problem}", signal.name));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(complaint(&problems))
    }
}

/// Prints what happens until every run has come to rest.
async fn watch(store: &Store, watched: &mut [Watched]) -> Result<(), Failure> {
    let mut bell: Listener = store.listen(Bell::Changed);
    loop {
        let mut moved = false;
        for run in watched.iter_mut() {
            moved |= run.look(store).await?;
        }
        if watched.iter().all(|run| run.end.is_some()) {
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
        if self.end.is_some() {
            return Ok(false);
        }
        let decisions = store.history(self.run, self.seq, PAGE).await?;
        let mut lines = String::new();
        for decision in &decisions {
            self.seq = decision.seq;
            for event in &decision.events {
                lines.extend(event::line(&self.name, decision.at, event).map(|line| line + "\n"));
                match event {
                    Event::RunEnding { result, .. } => self.ending = Some(*result),
                    Event::RunFinished { .. } => self.end = self.ending.map(End::Over),
                    Event::RunParked { reason, .. } => self.end = Some(End::StandsStill(*reason)),
                    _ => {}
                }
            }
        }
        super::print(lines.as_bytes())?;
        Ok(!decisions.is_empty())
    }
}

impl End {
    /// What it came to instead of success.
    fn shortfall(self) -> Option<String> {
        match self {
            Self::Over(RunResult::Succeeded) => None,
            Self::Over(result) => Some(result.as_str().to_owned()),
            Self::StandsStill(reason) => Some(format!("stands still: {}", reason.as_str())),
        }
    }
}

fn verdict(watched: &[Watched]) -> Result<(), Failure> {
    let failed: Vec<String> = watched
        .iter()
        .filter_map(|run| {
            let what = run.end.map_or_else(|| Some("did not end".to_owned()), End::shortfall)?;
            Some(format!("{} {what}", run.name))
        })
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::RunFailed(failed.join(", ")))
    }
}

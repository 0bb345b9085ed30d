//! The worker's process: this program again, as `everstep worker` without a cluster. Sweeps, lease and drain included.

use std::{env, time::Duration};

use everstep::{
    app::{Carried, carry},
    dev::child::{self, Child},
    shutdown,
    store::{Options, Store},
    telemetry,
    worker::{
        WorkerOptions,
        connection::{Manifests, Source},
        egress::EgressPolicy,
    },
};
use nix::sys::signal::Signal;
use tokio::runtime;

use crate::{Failure, options::WorkerArguments};

/// The password does not belong on a command line.
const DATABASE_URL: &str = "EVERSTEP_DATABASE_URL";
/// As many as the services have.
const CONNECTIONS: u32 = 10;
/// How long a worker may take to hand on its runs; a no-op is never under way.
const DRAIN: Duration = Duration::from_secs(10);

/// A worker process that runs. Dropped, it is killed.
pub(crate) struct Worker(Child);

impl Worker {
    /// Starts one.
    pub(crate) fn start(database_url: &str, max_runs: u32) -> Result<Self, Failure> {
        let program = env::current_exe().map_err(|error| format!("where this program lies is not known: {error}"))?;
        let mut command = child::command(program, Signal::SIGKILL);
        command
            .args(["worker", "--max-runs", &max_runs.to_string()])
            .env(DATABASE_URL, database_url);
        Ok(Self(Child::spawn(command).map_err(|error| {
            format!("the worker could not be started: {error}")
        })?))
    }

    /// An error when it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.0.exit_status()? {
            Some(status) => Err(format!("the worker ended: {status}").into()),
            None => Ok(()),
        }
    }

    /// Lets it hand on its runs and end.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        Ok(self.0.end(Signal::SIGTERM, DRAIN)?)
    }
}

/// What the child does.
pub(crate) fn run(arguments: WorkerArguments) -> Result<(), Failure> {
    telemetry::init(telemetry::Format::Text, "warn")?;
    runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let shutdown = shutdown::on_signal()?;
            let options = Options {
                url: arguments.database_url,
                max_connections: CONNECTIONS,
                application_name: "everstep worker".to_owned(),
            };
            let carried = Carried {
                store: Store::connect(&options).await?,
                source: Source::Files(Manifests::default()),
                egress: EgressPolicy::open(),
                options: WorkerOptions {
                    max_runs: usize::try_from(arguments.max_runs)?,
                    drain: DRAIN,
                    ..WorkerOptions::default()
                },
            };
            Ok(carry(carried, |_| {}, shutdown).await?)
        })
}

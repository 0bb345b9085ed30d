//! A service: controller, worker or both, with their endpoints.

use std::{future::pending, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    carry::{self, Carried},
    control, database, figures, on_signal, pulse,
};
use crate::{
    cli,
    http::{self, Readiness},
    store::Store,
    worker::{Counters, connection::Source, egress::EgressPolicy},
};

/// What one process does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roles {
    pub(super) controller: bool,
    pub(super) worker: bool,
}

impl Roles {
    fn name(self) -> &'static str {
        match (self.controller, self.worker) {
            (true, true) => "all",
            (true, false) => "controller",
            (false, _) => "worker",
        }
    }
}

/// Serves until a signal, or until a role ends on an error.
pub(super) async fn serve(options: cli::Service, roles: Roles) -> Result<(), Failure> {
    let shutdown = on_signal()?;
    // What only a human can mend is said before anything is opened.
    let url = database::url(&options.database)?;
    let egress = policy(&options)?;
    let client = control::client().await?;
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| Failure::Configuration(format!("--listen {}: {error}", options.listen)))?;
    let readiness = Readiness::default();
    readiness.not_ready("store", "not connected yet");
    if roles.controller {
        readiness.not_ready("controller", "not started yet");
    }
    if roles.worker {
        readiness.not_ready("worker", "not started yet");
    }
    let gather = Arc::<figures::Gather>::default();
    // Of a port that the system chose, this line is where to read it.
    let listen = listener.local_addr().unwrap_or(options.listen);
    tracing::info!(role = roles.name(), version = env!("CARGO_PKG_VERSION"), %listen, "starting");

    let closing = CancellationToken::new();
    let scrape = {
        let gather = Arc::clone(&gather);
        move || {
            let gather = Arc::clone(&gather);
            async move { gather.scrape().await }
        }
    };
    let endpoints = tokio::spawn(http::serve(listener, readiness.clone(), scrape, closing.clone()));
    let result = Box::pin(work(
        &options, roles, url, egress, client, &readiness, &gather, &shutdown,
    ))
    .await;
    closing.cancel();
    match endpoints.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the endpoints ended early"),
        Err(error) => tracing::warn!(%error, "the endpoints ended early"),
    }
    tracing::info!(role = roles.name(), "ended");
    result
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts that the endpoints share with the roles, each once"
)]
async fn work(
    options: &cli::Service,
    roles: Roles,
    url: String,
    egress: EgressPolicy,
    client: kube::Client,
    readiness: &Readiness,
    gather: &Arc<figures::Gather>,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let Some(store) = database::connect(url, roles.name(), readiness, shutdown).await? else {
        return Ok(());
    };
    gather.store(store.clone());
    if !prepare(&store, options, roles, readiness, shutdown).await? {
        return Ok(());
    }
    // The first role that ends on an error ends the other.
    let stop = shutdown.child_token();
    let controller = async {
        if !roles.controller {
            return pending().await;
        }
        let result = Box::pin(control::control(
            &store,
            client.clone(),
            options,
            readiness,
            gather,
            &stop,
        ))
        .await;
        stop.cancel();
        result
    };
    let worker = async {
        if !roles.worker {
            return pending().await;
        }
        let result = Box::pin(worker(
            &store,
            client.clone(),
            egress,
            options,
            readiness,
            gather,
            &stop,
        ))
        .await;
        stop.cancel();
        result
    };
    let working = async {
        match (roles.controller, roles.worker) {
            (true, true) => {
                let (controlled, worked) = tokio::join!(controller, worker);
                controlled.and(worked)
            }
            (true, false) => controller.await,
            (false, _) => worker.await,
        }
    };
    // On a connection of its own: a busy pool is no outage.
    let own = store.apart(1);
    let database = pulse::feel(readiness, "database", "PostgreSQL", async || own.ping().await);
    pulse::beside(database, working).await
}

/// The schema: the controller brings it up to date, a worker waits for that. False when `shutdown` came first.
async fn prepare(
    store: &Store,
    options: &cli::Service,
    roles: Roles,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> Result<bool, Failure> {
    use crate::store::{Error, Migrations};

    let mode = match (roles.controller, database::mode(options.migrations)) {
        (true, mode) => mode,
        (false, Migrations::Off) => Migrations::Off,
        (false, Migrations::Auto | Migrations::Verify) => Migrations::Verify,
    };
    let migrated = database::until_available(readiness, shutdown, async || match store.migrate(mode).await {
        // Nobody else will migrate: waiting would hide it.
        Err(Error::Refused(refusal)) if roles.controller => Ok(Err(refusal)),
        other => other.map(Ok),
    })
    .await?;
    match migrated {
        None => Ok(false),
        Some(Err(refusal)) => Err(Failure::Refused(refusal)),
        Some(Ok(report)) => {
            tracing::info!(version = report.version, applied = ?report.applied, "the schema is ready");
            Ok(true)
        }
    }
}

async fn worker(
    store: &Store,
    client: kube::Client,
    egress: EgressPolicy,
    options: &cli::Service,
    readiness: &Readiness,
    gather: &Arc<figures::Gather>,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    // The cluster id is part of every step key: without it nothing can be performed.
    let adopted = database::until_available(readiness, shutdown, async || store.cluster().await);
    let Some(cluster) = adopted.await? else { return Ok(()) };
    control::same_cluster(&client, &cluster, shutdown).await?;
    let options = crate::worker::WorkerOptions {
        lease: options.lease,
        max_runs: usize::try_from(options.max_runs).unwrap_or(usize::MAX),
        namespaces: control::namespaces(options).map(Into::into),
        session: control::instance(),
        ..crate::worker::WorkerOptions::default()
    };
    let carried = Carried {
        store: store.clone(),
        source: Source::Cluster(client),
        egress,
        options,
    };
    let started = |counters: Arc<Counters>| {
        gather.worker(Arc::clone(&counters));
        readiness.ask("worker", move || {
            (counters.registrations.get() == 0).then(|| "not registered yet".to_owned())
        });
    };
    carry::carry(carried, started, shutdown.clone()).await
}

fn policy(options: &cli::Service) -> Result<EgressPolicy, Failure> {
    match &options.egress_policy {
        None => Ok(EgressPolicy::deny_all()),
        Some(path) => EgressPolicy::load(path).map_err(|error| super::unusable_policy(path, &error)),
    }
}

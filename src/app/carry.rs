//! A worker with all that runs beside it: its sweeps, its findings about Connections, its egress policy's file.
//! The services, `dev` and the benchmark start the same one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::{
    maintenance::{self, Beside},
    store::{self, Store},
    worker::{
        Counters, Links, Worker, WorkerOptions,
        action::Actions,
        connection::{Connections, Finding, Source},
        egress::EgressPolicy,
    },
};

/// Findings that wait to be recorded; more are found again at the next use or check.
const FINDINGS: usize = 256;
/// How often the egress policy's file is looked at.
const POLICY: Duration = Duration::from_secs(2);
/// How often Connections in use are checked.
const CHECKS: Duration = Duration::from_secs(300);

/// What a worker is made of.
pub struct Carried {
    /// The database, migrated and adopted.
    pub store: Store,
    /// Where Connections and Secrets come from.
    pub source: Source,
    /// Where steps may connect to.
    pub egress: EgressPolicy,
    /// Lease, bounds, namespaces.
    pub options: WorkerOptions,
}

/// Carries runs until `shutdown`, and then hands on what it has. `started` is given the worker's counters.
///
/// # Errors
/// When the worker never carried anything: its registration was refused.
pub async fn carry(
    carried: Carried,
    started: impl FnOnce(Arc<Counters>),
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let Carried {
        store,
        source,
        egress,
        options,
    } = carried;
    let (found, findings) = mpsc::channel(FINDINGS);
    let actions = Actions::new(Connections::new(source, found), egress.clone());
    let lease = options.lease;
    let worker = Worker::new(store.clone(), actions.clone(), options);
    started(worker.counters());
    let beside = beside(worker.links(), lease);

    // What runs beside the worker ends after it: a drain still needs its mail.
    let ended = CancellationToken::new();
    let carrying = async {
        let result = worker.run(shutdown).await;
        ended.cancel();
        result
    };
    let (result, (), (), (), ()) = tokio::join!(
        carrying,
        maintenance::sweep(&store, &beside, &ended),
        record(&store, findings, &ended),
        watch_policy(&egress, &ended),
        check(&actions, &ended),
    );
    actions.close().await;
    result.map_err(|error| match error {
        crate::worker::Error::Register(store::Error::Refused(refusal)) => Failure::Refused(refusal),
        other => Failure::Broken(other.to_string()),
    })
}

/// The worker as its sweeps see it.
fn beside(links: Links, lease: Duration) -> Beside {
    let (steady, moment, freed, tell) = (links.clone(), links.clone(), links.clone(), links);
    Beside {
        steady: Arc::new(move || steady.steady()),
        moment: Arc::new(move || moment.moment()),
        tell: Arc::new(move |began, rows| {
            let links = tell.clone();
            Box::pin(async move { links.tell(began, rows).await })
        }),
        freed: Arc::new(move |claims| freed.freed(claims)),
        lease,
    }
}

/// Records what steps found out about Connections, for the controller to show.
async fn record(store: &Store, mut findings: mpsc::Receiver<Finding>, ended: &CancellationToken) {
    let recording = async {
        while let Some(finding) = findings.recv().await {
            let finding = store::Finding {
                uid: finding.uid.to_string(),
                namespace: finding.namespace,
                name: finding.name,
                generation: finding.generation,
                ready: finding.ready,
                reason: finding.reason,
                message: finding.message,
                checked_at: store.now(),
            };
            if let Err(error) = store.record_finding(&finding).await {
                tracing::warn!(%error, connection = finding.name, namespace = finding.namespace, "a finding was not recorded");
            }
        }
    };
    ended.run_until_cancelled(recording).await;
}

/// Takes a changed policy; an invalid one is told once and the old one stays.
async fn watch_policy(egress: &EgressPolicy, ended: &CancellationToken) {
    let watching = async {
        let mut ticks = ticks(POLICY);
        let mut told = String::new();
        loop {
            ticks.tick().await;
            let policy = egress.clone();
            match tokio::task::spawn_blocking(move || policy.reload()).await {
                Ok(Ok(true)) => {
                    told.clear();
                    tracing::info!("the egress policy changed and is in force");
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    let why = super::chain(&error);
                    if why != told {
                        tracing::error!(error = %why, "the egress policy is not taken; the old one stays in force");
                    }
                    told = why;
                }
                Err(error) => tracing::error!(%error, "the egress policy could not be read"),
            }
        }
    };
    ended.run_until_cancelled(watching).await;
}

async fn check(actions: &Actions, ended: &CancellationToken) {
    let checking = async {
        let mut ticks = ticks(CHECKS);
        loop {
            ticks.tick().await;
            actions.check_connections().await;
        }
    };
    ended.run_until_cancelled(checking).await;
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

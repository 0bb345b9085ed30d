//! The controller's side of a service: the API server's client, who we are there, the reconciles and their sweeps.

use std::{fs, sync::Arc, time::Duration};

use kube::{
    Client, Config,
    api::{Api, ListParams},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Failure, figures::Gather, pulse};
use crate::{
    api::v1alpha1::Workflow,
    cli,
    controller::{
        self, Controller, Notice,
        election::{self, Candidate},
    },
    http::Readiness,
    leading::Leading,
    maintenance::{detector, orphans, retention},
    store::{Refusal, Store},
};

/// Where the kubelet puts the namespace of a pod.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Delete events that wait for the orphan pass; the periodic pass finds what did not fit.
const DELETED: usize = 1024;
/// Between two tries while the API server is away.
const PAUSE: Duration = Duration::from_secs(1);

/// A client from KUBECONFIG, `~/.kube/config` or the pod's account. Every call has a deadline and retries of our own.
pub(super) async fn client() -> Result<Client, Failure> {
    let no_config = |error: &dyn std::error::Error| {
        Failure::Configuration(format!(
            "no way to the API server: {error}. Set KUBECONFIG, or run in a pod with a service account"
        ))
    };
    let mut config = Config::infer().await.map_err(|error| no_config(&error))?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(|error| no_config(&error))
}

/// Reconciles and sweeps until `shutdown`.
pub(super) async fn control(
    store: &Store,
    client: Client,
    options: &cli::Service,
    readiness: &Readiness,
    gather: &Gather,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let (deleted, deletions) = mpsc::channel(DELETED);
    let (told, leading) = Leading::when_told();
    gather.leading(leading.clone());
    let seen = Arc::new(detector::Seen::default());
    gather.detector(Arc::clone(&seen));
    let candidate = candidate(options);
    let controller = Controller::new(controller::Context {
        client: client.clone(),
        store: store.clone(),
        deleted,
        leading: leading.clone(),
        options: controller::Options {
            namespaces: namespaces(options),
            resync: options.resync,
            install: install(),
            instance: instance(),
            ..controller::Options::default()
        },
    });
    let api_server = client.clone();
    let scope = namespaces(options).and_then(|namespaces| namespaces.into_iter().next());
    let orphans = orphans::Orphans {
        client: client.clone(),
        store: store.clone(),
        namespaces: namespaces(options),
        period: options.orphan_period,
        sight: Box::new(controller.sight()),
        deleted: deletions,
        leading: leading.clone(),
        actor: format!("controller {}", instance()),
        tell: {
            let tell = controller.teller();
            Box::new(move |news| tell(notice(news)))
        },
        counters: Arc::default(),
    };
    gather.controller(controller.clone(), Arc::clone(&orphans.counters));
    let retention = retention::Retention {
        store: store.clone(),
        audit: options.audit_retention,
        namespaces: namespaces(options),
        sight: Box::new(controller.sight_of_connections()),
        leading: leading.clone(),
    };
    let sight = controller.sight();
    readiness.ask("controller", move || {
        let listing = || "the objects are not all listed yet".to_owned();
        sight("").is_none().then(listing)
    });
    // The sweeps end with the reconciles, however those end; the Lease is given up when the last reconcile is done.
    let ended = shutdown.child_token();
    let reconciling = async {
        let result = Box::pin(controller.run(shutdown.clone())).await;
        ended.cancel();
        result
    };
    let sweeping = async {
        // Boxed: joined by value they would be moved through every frame between here and the runtime.
        tokio::join!(
            reconciling,
            Box::pin(orphans::run(orphans, ended.clone())),
            Box::pin(retention::run(retention, ended.clone())),
            Box::pin(detector::run(store.clone(), seen, leading, ended.clone())),
            Box::pin(election::stand(client, candidate, told, ended.clone()))
        )
    };
    let listed = pulse::feel(readiness, "objects", "the API server", async || {
        listed(&api_server, scope.as_deref()).await
    });
    let (result, (), (), (), ()) = pulse::beside(listed, sweeping).await;
    result.map_err(|error| match error {
        controller::Error::Store(error) => match &*error {
            crate::store::Error::Refused(refusal) => Failure::Refused(refusal.clone()),
            other => Failure::Broken(other.to_string()),
        },
        other => Failure::Broken(other.to_string()),
    })
}

/// Which Lease this process stands for.
fn candidate(options: &cli::Service) -> Candidate {
    let cli::LeaseName { namespace, name } = options.leader_lease.clone();
    Candidate {
        namespace: namespace.unwrap_or_else(install),
        lease: name,
        identity: instance(),
        duration: options.leader_lease_duration,
    }
}

/// Asks for the metadata of one object: the kind that the watches need is served, and we may list it.
async fn listed(client: &Client, scope: Option<&str>) -> Result<(), kube::Error> {
    let api: Api<Workflow> = match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let one = ListParams::default().limit(1);
    api.list_metadata(&one).await.map(drop)
}

/// What the orphan pass found, in the controller's words: the two do not know each other.
pub fn notice(news: orphans::News) -> Notice {
    match news {
        orphans::News::Cancelled {
            kind,
            namespace,
            name,
            uid,
            runs,
        } => Notice::OrphanCancelled {
            kind,
            namespace,
            name,
            uid,
            runs,
        },
        orphans::News::BrakeHolds { since, runs, live } => Notice::BrakeHolds { since, runs, live },
        orphans::News::BrakeReleased { since } => Notice::BrakeReleased { since },
    }
}

/// A worker performs nothing for another cluster's database: its Secrets and step keys would be the wrong ones.
/// Waits while the API server is away.
pub(super) async fn same_cluster(client: &Client, theirs: &str, shutdown: &CancellationToken) -> Result<(), Failure> {
    loop {
        match controller::cluster_id(client).await {
            Ok(mine) if mine == theirs => return Ok(()),
            Ok(mine) => {
                return Err(Failure::Refused(Refusal::OtherCluster {
                    mine,
                    theirs: theirs.to_owned(),
                }));
            }
            Err(error) => tracing::warn!(%error, "the worker does not know its cluster yet; trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// The namespaces to work for; none: all.
pub(super) fn namespaces(options: &cli::Service) -> Option<Vec<String>> {
    (!options.namespaces.is_empty()).then(|| options.namespaces.clone())
}

/// This process, for Events, audit and the list of workers: host name (the pod's name) and process id.
pub(super) fn instance() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!(
        "{}/{}",
        host.unwrap_or_else(|| "localhost".to_owned()),
        std::process::id()
    )
}

/// Names this install: the operator's namespace; `default` outside a cluster.
fn install() -> String {
    let namespace = fs::read_to_string(NAMESPACE_FILE).map(|text| text.trim().to_owned());
    namespace
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "default".to_owned())
}

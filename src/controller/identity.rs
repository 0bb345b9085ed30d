//! Which cluster this is, and whether the database is ours.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use super::call::{CallError, call};
use super::{Error, Shared};

/// The namespace that lives as long as its cluster.
const OLDEST: &str = "kube-system";
/// Between two tries while the API server or the database is away.
const PAUSE: Duration = Duration::from_secs(1);

/// The cluster's id: the UID of the namespace `kube-system`.
///
/// # Errors
/// When the API server does not say, or does not let us ask.
pub async fn cluster_id(client: &Client) -> Result<String, CallError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = call("reading the namespace kube-system", || api.get(OLDEST)).await?;
    // Every object of a real API server has one; an empty id belongs to no cluster.
    Ok(namespace.metadata.uid.unwrap_or_default())
}

/// Takes the database for this cluster and install, as soon as both can be asked. False when `shutdown` came first.
pub(super) async fn adopt(shared: &Shared, shutdown: &CancellationToken) -> Result<bool, Error> {
    loop {
        match try_adopt(shared).await {
            Ok(()) => return Ok(true),
            Err(Error::Store(error)) if !error.is_transient() => return Err(Error::Store(error)),
            Err(error) => tracing::warn!(%error, "the controller cannot begin yet; trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn try_adopt(shared: &Shared) -> Result<(), Error> {
    let cluster = cluster_id(&shared.client).await?;
    shared
        .store
        .adopt_cluster(&cluster, &shared.options.install)
        .await
        .map_err(|error| Error::Store(Arc::new(error)))
}

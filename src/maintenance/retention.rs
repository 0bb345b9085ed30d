//! Removes what is left of finished runs when their time has come, the audit after its own, and then what nothing refers to any
//! more. What that means is the store's.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::orphans::Sight;
use crate::leading::Leading;
use crate::store::{Error, Forgotten, Store};

/// Between two sweeps.
const PERIOD: Duration = Duration::from_secs(60);
/// Runs of one statement: short transactions, so that nobody waits for them.
const BATCH: i64 = 500;

/// Rows of the audit of one statement: narrow ones, and a busy system leaves thousands a second.
const AUDIT_BATCH: i64 = 5000;

/// Rows that nothing refers to are in nobody's way: to look for them reads every run.
const UNUSED_EVERY: u64 = 60;

/// What a sweep works with.
pub struct Retention {
    /// The database.
    pub store: Store,
    /// How long rows of the audit are kept.
    pub audit: Duration,
    /// Whose Connections are known here: those of these namespaces, or of all.
    pub namespaces: Option<Vec<String>>,
    /// Whether a Connection with this UID is there; none while that is not known.
    pub sight: Sight,
    /// Sweeps while it leads.
    pub leading: Leading,
}

/// Sweeps while this process leads, until `shutdown`.
pub async fn run(retention: Retention, shutdown: CancellationToken) {
    let store = &retention.store;
    let mut leading = retention.leading.clone();
    for sweeps in 0_u64.. {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = leading.begins() => {}
        }
        match sweep(store, &shutdown).await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(runs, "finished runs retired"),
            Err(error) => tracing::warn!(%error, "retiring finished runs failed; trying again"),
        }
        match prune(store, retention.audit, &shutdown).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows of the audit removed"),
            Err(error) => tracing::warn!(%error, "removing old rows of the audit failed; trying again"),
        }
        if sweeps.is_multiple_of(UNUSED_EVERY) {
            match forget_connections(&retention, &shutdown).await {
                Ok(0) => {}
                Ok(connections) => tracing::info!(connections, "Connections that are gone were forgotten"),
                Err(error) => {
                    tracing::warn!(%error, "Connections that are gone were not forgotten; trying again later");
                }
            }
            match forget(store, &shutdown).await {
                Ok(Forgotten {
                    definitions: 0,
                    owners: 0,
                }) => {}
                Ok(Forgotten { definitions, owners }) => {
                    tracing::info!(
                        definitions,
                        owners,
                        "definitions and objects that nothing refers to were forgotten"
                    );
                }
                Err(error) => tracing::warn!(%error, "what nothing refers to was not forgotten; trying again later"),
            }
        }
    }
}

/// Batch after batch while there is something that nothing refers to.
async fn forget(store: &Store, shutdown: &CancellationToken) -> Result<Forgotten, Error> {
    let mut all = Forgotten::default();
    while !shutdown.is_cancelled() {
        let batch = store.forget_unused(BATCH).await?;
        if batch == Forgotten::default() {
            break;
        }
        all.definitions += batch.definitions;
        all.owners += batch.owners;
    }
    Ok(all)
}

/// What was found about Connections whose objects are gone, page after page; how many those are. One that is there after all
/// is found again by whoever uses it.
async fn forget_connections(retention: &Retention, shutdown: &CancellationToken) -> Result<u64, Error> {
    let (mut forgotten, mut after) = (0, String::new());
    while !shutdown.is_cancelled() {
        let namespaces = retention.namespaces.as_deref();
        let mut page = retention.store.old_findings(&after, BATCH, namespaces).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(last);
        page.retain(|uid| (retention.sight)(uid) == Some(false));
        if !page.is_empty() {
            forgotten += retention.store.forget_findings(&page).await?;
        }
    }
    Ok(forgotten)
}

/// Batch after batch while there are rows of the audit that are older than `keep`; how many those were.
async fn prune(store: &Store, keep: Duration, shutdown: &CancellationToken) -> Result<i64, Error> {
    let (mut rows, mut after) = (0, 0);
    while !shutdown.is_cancelled() {
        let pruned = store.prune_audit(keep, after, AUDIT_BATCH).await?;
        if pruned.rows == 0 {
            break;
        }
        rows += pruned.rows;
        after = pruned.last;
    }
    Ok(rows)
}

/// Batch after batch while there is something to retire; how many runs that were.
async fn sweep(store: &Store, shutdown: &CancellationToken) -> Result<u64, Error> {
    let mut runs = 0;
    while !shutdown.is_cancelled() {
        let retired = store.retire(BATCH).await?;
        if retired.runs == 0 && retired.tombstones == 0 {
            break;
        }
        runs += retired.runs;
    }
    Ok(runs)
}

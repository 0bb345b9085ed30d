//! Removes what is left of finished runs when their time has come, and then what nothing refers to any more. What that
//! means is the store's.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::leading::Leading;
use crate::store::{Error, Forgotten, Store};

/// Between two sweeps.
const PERIOD: Duration = Duration::from_secs(60);
/// Runs of one statement: short transactions, so that nobody waits for them.
const BATCH: i64 = 500;

/// Rows that nothing refers to are in nobody's way: to look for them reads every run.
const UNUSED_EVERY: u64 = 60;

/// Sweeps while this process leads, until `shutdown`.
pub async fn run(store: Store, mut leading: Leading, shutdown: CancellationToken) {
    for sweeps in 1_u64.. {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = leading.begins() => {}
        }
        match sweep(&store, &shutdown).await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(runs, "finished runs retired"),
            Err(error) => tracing::warn!(%error, "retiring finished runs failed; trying again"),
        }
        if sweeps.is_multiple_of(UNUSED_EVERY) {
            match forget(&store, &shutdown).await {
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

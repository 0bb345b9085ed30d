//! Removes what is left of finished runs when their time has come. What that means is the store's.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Error, Store};

/// Between two sweeps.
const PERIOD: Duration = Duration::from_secs(60);
/// Runs of one statement: short transactions, so that nobody waits for them.
const BATCH: i64 = 500;

/// Sweeps until `shutdown`.
pub async fn run(store: Store, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        match sweep(&store, &shutdown).await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(runs, "finished runs retired"),
            Err(error) => tracing::warn!(%error, "retiring finished runs failed; trying again"),
        }
    }
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

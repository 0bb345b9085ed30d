//! What a worker says of runs that it holds and cannot carry. Not why: that is in its log.

use std::time::Duration;

use uuid::Uuid;

use super::{Error, Store, row::seconds};

impl Store {
    /// Says of these runs, as far as they are this worker's, that it cannot carry them. It holds for this long, or until the run
    /// is released: whoever says it, says it again before.
    pub async fn set_aside(&self, worker: Uuid, runs: &[Uuid], holds: Duration) -> Result<(), Error> {
        self.execute(|| {
            sqlx::query(
                "UPDATE everstep.active
                 SET aside_until = (SELECT everstep.now()) + make_interval(secs => $3)
                 WHERE run_id = ANY ($2) AND worker_id = $1",
            )
            .bind(worker)
            .bind(runs)
            .bind(seconds(holds))
        })
        .await
        .map(drop)
    }
}

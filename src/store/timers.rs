//! The timer sweep: parked runs whose time has come.

use jiff::Timestamp;

use super::{Error, Store, row::maybe_time};

/// Due runs of one sweep: bounds the transaction.
const BATCH: i64 = 1000;

/// P10: one statement, so a crash between the two halves loses nothing. `ON CONFLICT` and no look-up before: a run may
/// have been woken by mail since.
const SWEEP: &str = "
WITH due AS (
  DELETE FROM everstep.timers
  -- An array, for IN would be planned as a join that reads all timers when these are few enough.
  WHERE run_id = ANY (ARRAY (
    SELECT run_id FROM everstep.timers
    WHERE fire_at <= (SELECT everstep.now())
    ORDER BY fire_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED          -- another sweep's, or of a run that is being parked anew
  ))
  RETURNING run_id
), woken AS (
  INSERT INTO everstep.active (run_id, namespace)
  -- A timer whose run is gone or over goes without a trace. The order is the mail sweep's.
  SELECT r.id, r.namespace
  FROM due
  JOIN everstep.runs AS r ON r.id = due.run_id AND r.finished_at IS NULL
  ORDER BY r.id
  ON CONFLICT DO NOTHING
)
SELECT run_id FROM due";

impl Store {
    /// Moves due timers to `active`, at most 1000; answers how many.
    pub async fn timer_sweep(&self) -> Result<u64, Error> {
        let due = self.fetch(|| sqlx::query(SWEEP).bind(BATCH)).await?;
        Ok(due.len() as u64)
    }

    /// When the next timer of a parked run is due: no sweep finds anything before.
    pub async fn next_timer(&self) -> Result<Option<Timestamp>, Error> {
        let rows = self
            .fetch(|| sqlx::query("SELECT min(fire_at) AS next FROM everstep.timers"))
            .await?;
        rows.first().map_or(Ok(None), |row| maybe_time(row, "next"))
    }
}

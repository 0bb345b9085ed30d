//! Runs that lost what should move them, put back to where they are found. Not which these are: see `stuck`.

use super::{
    Error, Store,
    stuck::{clock, unmoved},
};

/// Runs of one repair: bounds the transaction.
const BATCH: i64 = 10_000;

/// The claim of a worker that never was. The row may be gone and the run still in somebody's memory, with an attempt under way:
/// a free row would let another one perform it, too. So a rescuer takes the run over at the head of its journal (P3), which
/// fences whoever carries it, and judges what is found open.
///
/// What moves again since the snapshot is taken over for nothing: mail has woken it, or its worker has parked or ended it.
const REPAIR: &str = concat!(
    "WITH ",
    clock!(),
    ", lost AS MATERIALIZED (
  SELECT r.id, r.namespace, r.owner_uid
  FROM (",
    unmoved!("FROM everstep.runs AS r"),
    "LIMIT $1) AS unmoved
  CROSS JOIN LATERAL (
    SELECT id, namespace, owner_uid FROM everstep.runs WHERE id = unmoved.run_id OFFSET 0) AS r
), repaired AS (
  INSERT INTO everstep.active AS a (run_id, namespace, worker_id)
  SELECT id, namespace, '00000000-0000-0000-0000-000000000000' FROM lost ORDER BY id      -- as the sweeps do
  ON CONFLICT DO NOTHING
  RETURNING a.run_id
)
INSERT INTO everstep.audit (actor, operation, object_uid, run_id, epoch)
SELECT 'controller', 'repaired', owner_uid, id, (SELECT epoch FROM everstep.cluster)
FROM lost
JOIN repaired ON repaired.run_id = lost.id"
);

impl Store {
    /// Puts runs that nothing moves into `active`, at most 10,000, for rescuers to take over; answers how many. Whoever claims
    /// one then finds in its journal what it waited for, and waits for it again. It reads every live run, and writes nothing
    /// where nothing is lost.
    pub async fn repair(&self) -> Result<u64, Error> {
        self.execute(|| sqlx::query(REPAIR).bind(BATCH)).await
    }
}

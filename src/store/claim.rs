//! Claims: unowned rows of `active` get an owner, and what SQL has started becomes runs.

use uuid::Uuid;

use super::{Error, Store, row::column};

const CLAIM: &str = "
WITH ready AS (
  SELECT run_id
  FROM everstep.active
  WHERE worker_id IS NULL
    AND ($3::text[] IS NULL OR namespace = ANY ($3))
    -- A stalled worker would collect runs only to lose them. Defence, not safety: the journal fences.
    AND EXISTS (SELECT 1 FROM everstep.workers WHERE id = $1 AND expires_at > (SELECT everstep.now()))
  ORDER BY ready_at
  LIMIT $2
  FOR UPDATE SKIP LOCKED            -- whoever claims or parks at this moment is not waited for
), claimed AS (
  UPDATE everstep.active AS a
  SET worker_id = $1
  FROM ready
  WHERE a.run_id = ready.run_id
  RETURNING a.run_id
)
SELECT (SELECT count(*) FROM claimed) AS claimed,
  -- By the index, whose dead entries are skipped: rows live for moments here.
  (SELECT run_id FROM everstep.arrivals WHERE $3::text[] IS NULL OR namespace = ANY ($3) ORDER BY run_id LIMIT 1)
    IS NOT NULL AS arrivals";

/// Arrivals that one statement admits: bounds the transaction.
const BATCH: i64 = 1000;

/// One statement, as the timer sweep is (P10): a run is in `arrivals`, or in `runs` and `active`. With `$2` they are born
/// claimed, for nobody else can have met them; else they wait in `active`, in the order of their starts. A Workflow that
/// was suspended or deleted since it was started from says so with the birth.
const ADMIT: &str = "
WITH came AS (
  DELETE FROM everstep.arrivals
  WHERE run_id = ANY (ARRAY (
    SELECT run_id FROM everstep.arrivals
    WHERE ($3::text[] IS NULL OR namespace = ANY ($3))
      AND EXISTS (SELECT 1 FROM everstep.workers WHERE id = $1 AND expires_at > (SELECT everstep.now()))
    ORDER BY run_id
    LIMIT $4
    FOR UPDATE SKIP LOCKED          -- another worker's
  ))
  RETURNING run_id, namespace, workflow, workflow_uid, definition_id, input, actor, at
), born AS (
  INSERT INTO everstep.runs (id, namespace, workflow, workflow_uid, start_key, definition_id, input, trigger, created_at)
  SELECT run_id, namespace, workflow, workflow_uid, 'sql/' || run_id, definition_id, input, 'SQL', at
  FROM came
  ORDER BY run_id
), owner AS MATERIALIZED (
  -- Whoever changes the object at this moment does so before, and is read here, or after, and sees these runs.
  SELECT uid, name, generation, suspended, gone_at, deletion_policy
  FROM everstep.owners
  WHERE uid IN (SELECT workflow_uid FROM came)
  ORDER BY uid
  FOR SHARE
), told AS (
  INSERT INTO everstep.inbox (run_id, kind, dedup_key, source_uid, source_name, generation, payload, by)
  SELECT c.run_id, word.kind, word.dedup_key, o.uid, o.name, o.generation, word.payload, 'worker'
  FROM came AS c
  JOIN owner AS o ON o.uid = c.workflow_uid
  CROSS JOIN LATERAL (
    SELECT 'Pause', o.uid || '/' || o.generation || '/Pause', json_build_object('generation', o.generation)
    WHERE o.suspended
    UNION ALL
    SELECT 'Cancel', 'orphan/' || o.uid, json_build_object('reason', 'its object was deleted')
    WHERE o.gone_at IS NOT NULL AND o.deletion_policy <> 'Orphan'
  ) AS word (kind, dedup_key, payload)
  ON CONFLICT DO NOTHING
), noted AS (
  INSERT INTO everstep.audit (at, actor, operation, run_id, epoch)
  SELECT at, actor, 'started', run_id, (SELECT epoch FROM everstep.cluster)
  FROM came
)
INSERT INTO everstep.active (run_id, namespace, ready_at, worker_id)
SELECT run_id, namespace, at, CASE WHEN $2 THEN $1::uuid END
FROM came
ORDER BY run_id";

impl Store {
    /// Claims up to `limit` ready runs and answers how many; of those that SQL has started, each once, it makes runs first
    /// of all. Only a hint (P1): [`load`](Self::load) says what is mine. `namespaces`: only these; `None`: all.
    pub async fn claim(&self, worker: Uuid, limit: i64, namespaces: Option<&[String]>) -> Result<u64, Error> {
        let claim = || sqlx::query(CLAIM).bind(worker).bind(limit).bind(namespaces);
        let rows = self.fetch(claim).await?;
        let row = rows.first().ok_or(Error::NotFound)?;
        let claimed: i64 = column(row, "claimed")?;
        let mut all = claimed.unsigned_abs();
        if column(row, "arrivals")? {
            let free = limit.saturating_sub(claimed);
            // No more than there is room for: each is then written once into `active`, and what waits can be had by other
            // workers. Without room, older work may wait in `arrivals` than in `active`: there they stand in one queue.
            let (has_room, some) = (free > 0, if free > 0 { free.min(BATCH) } else { BATCH });
            let admit = || {
                sqlx::query(ADMIT)
                    .bind(worker)
                    .bind(has_room)
                    .bind(namespaces)
                    .bind(some)
            };
            let admitted = self.execute(admit).await?;
            if has_room {
                all += admitted;
            }
        }
        Ok(all)
    }
}

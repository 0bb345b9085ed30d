//! Claims: unowned rows of `active` get an owner.

use uuid::Uuid;

use super::{Error, Store};

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
)
UPDATE everstep.active AS a
SET worker_id = $1
FROM ready
WHERE a.run_id = ready.run_id";

impl Store {
    /// Claims up to `limit` ready runs and answers how many. Only a hint (P1): [`load`](Self::load) says what is mine.
    /// `namespaces`: only these; `None`: all.
    pub async fn claim(&self, worker: Uuid, limit: i64, namespaces: Option<&[String]>) -> Result<u64, Error> {
        self.execute(|| sqlx::query(CLAIM).bind(worker).bind(limit).bind(namespaces))
            .await
    }
}

//! Retention: what is kept of finished runs, of the audit and of findings, and how long.

use std::time::Duration;

use super::{
    Error, Store,
    row::{column, seconds},
};

/// Locked without waiting: whoever has the row is at it. A run whose object lives keeps its row, without payloads and
/// without an expiry, so that the object's status can be written again; the row goes when the object has gone.
///
/// What became of a Signal is known from the inbox and the journal alone. A run of which some Signal does not show it yet
/// is kept a day longer, and not for ever: its namespace may be one that no controller watches.
const RETIRE: &str = "
WITH expired AS MATERIALIZED (
  SELECT r.id, r.namespace, r.workflow, r.start_key,
    EXISTS (SELECT 1 FROM everstep.owners AS o WHERE o.uid = r.owner_uid AND o.gone_at IS NULL) AS kept
  FROM everstep.runs AS r
  WHERE r.id IN (
    (SELECT due.id
     FROM everstep.runs AS due
     WHERE due.expires_at <= (SELECT everstep.now())
       AND (due.expires_at <= (SELECT everstep.now()) - interval '1 day'
         OR NOT EXISTS (
           SELECT 1 FROM everstep.inbox AS i
           WHERE i.run_id = due.id AND i.kind = 'Signal' AND i.source_uid IS NOT NULL AND NOT i.shown))
     ORDER BY due.expires_at
     LIMIT $1)
    UNION ALL
    (SELECT old.id
     FROM everstep.owners AS o
     JOIN everstep.runs AS old ON old.owner_uid = o.uid
     WHERE o.gone_at IS NOT NULL AND old.finished_at IS NOT NULL AND old.expires_at IS NULL
     LIMIT $1))
  ORDER BY r.id
  FOR UPDATE OF r SKIP LOCKED
), forgotten AS (
  DELETE FROM everstep.journal AS j USING expired WHERE j.run_id = expired.id
), read AS (
  DELETE FROM everstep.inbox AS i USING expired WHERE i.run_id = expired.id
), unarmed AS (
  DELETE FROM everstep.timers AS t USING expired WHERE t.run_id = expired.id
), released AS (
  DELETE FROM everstep.active AS a USING expired WHERE a.run_id = expired.id
), stripped AS (
  UPDATE everstep.runs AS r
  SET input = NULL, snapshot = NULL, snapshot_seq = NULL, expires_at = NULL
  FROM expired
  WHERE r.id = expired.id AND expired.kept
), removed AS (
  DELETE FROM everstep.runs AS r USING expired WHERE r.id = expired.id AND NOT expired.kept
), buried AS (
  UPDATE everstep.starts AS s
  SET retired_at = everstep.now()
  FROM expired
  WHERE s.namespace = expired.namespace AND s.workflow = expired.workflow AND s.start_key = expired.start_key
    AND s.run_id = expired.id AND s.retired_at IS NULL
), noted AS (
  INSERT INTO everstep.audit (actor, operation, run_id, epoch)
  SELECT 'retention', 'retired', id, (SELECT epoch FROM everstep.cluster) FROM expired
)
SELECT id FROM expired";

/// A tombstone stays while its object lives, and 30 days longer: nothing restarts because it was forgotten.
const END_TOMBSTONES: &str = "
DELETE FROM everstep.starts
WHERE (namespace, workflow, start_key) IN (
  SELECT s.namespace, s.workflow, s.start_key
  FROM everstep.starts AS s
  LEFT JOIN everstep.owners AS o ON o.uid = s.owner_uid
  WHERE s.retired_at < (SELECT everstep.now()) - interval '30 days'
    AND (o.uid IS NULL OR o.gone_at < (SELECT everstep.now()) - interval '30 days')
    AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.id = s.run_id)
  LIMIT $1
  FOR UPDATE OF s SKIP LOCKED)
RETURNING run_id";

/// From the oldest on, which is how ids go: what is read is removed, or ends the sweep. The newest row stays, for its id says
/// how far the audit went.
const PRUNE: &str = "
WITH old AS (
  SELECT id
  FROM (SELECT id, at FROM everstep.audit WHERE id > $1 ORDER BY id LIMIT $2) AS next
  WHERE next.at < (SELECT everstep.now()) - make_interval(secs => $3)
    AND next.id < (SELECT max(id) FROM everstep.audit)
), pruned AS (
  DELETE FROM everstep.audit AS a USING old WHERE a.id = old.id
  RETURNING a.id
)
SELECT count(*) AS rows, max(id) AS last FROM pruned";

/// What one batch removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retired {
    /// Runs whose journal, snapshot and payloads were removed.
    pub runs: u64,
    /// Start keys whose tombstone ended.
    pub tombstones: u64,
}

/// Rows of the audit that one batch removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many.
    pub rows: i64,
    /// The id of the last of them: the next batch begins after it, so that it reads nothing that was removed.
    pub last: i64,
}

impl Store {
    /// Removes rows of the audit that are older than `keep`: of the first `limit` after the id `after`. Call again while it
    /// did something.
    pub async fn prune_audit(&self, keep: Duration, after: i64, limit: i64) -> Result<Pruned, Error> {
        let prune = || sqlx::query(PRUNE).bind(after).bind(limit).bind(seconds(keep));
        let rows = self.fetch(prune).await?;
        let row = rows.first().ok_or(Error::NotFound)?;
        Ok(Pruned {
            rows: column(row, "rows")?,
            last: column::<Option<i64>>(row, "last")?.unwrap_or(after),
        })
    }

    /// Retires up to `limit` expired runs, and ends up to `limit` tombstones. Call again while it did something.
    pub async fn retire(&self, limit: i64) -> Result<Retired, Error> {
        let retired = self.fetch(|| sqlx::query(RETIRE).bind(limit)).await?;
        let ended = self.fetch(|| sqlx::query(END_TOMBSTONES).bind(limit)).await?;
        Ok(Retired {
            runs: retired.len() as u64,
            tombstones: ended.len() as u64,
        })
    }
}

//! Rows that nothing refers to any more: definitions that no object and no run has, objects that left nothing behind.
//!
//! There are no foreign keys, so a start must not meet a deletion half-way. Whoever accepts an object writes to `owners`
//! first (P9) and holds that until its commit: a lock on the table that such writers conflict with is the moment in which
//! nobody is about to refer to anything. It is taken only when there is something to remove, for two short statements.
//! `everstep.start` reads `owners` only, and a lock on the definition would be one for all of its callers: a definition is
//! forgotten a week after the object had it or was gone, and no transaction that began a start by then is still open.

use uuid::Uuid;

use super::{Error, Store, pool::Link, row::column};

/// Looked for without a lock: most of the work, and only a hint.
const DEFINITIONS: &str = "
SELECT d.id
FROM everstep.definitions AS d
WHERE NOT EXISTS (SELECT 1 FROM everstep.owners AS o WHERE o.definition_id = d.id)
  AND NOT EXISTS (
    SELECT 1 FROM everstep.owners AS o
    WHERE o.namespace = d.namespace AND o.name = d.workflow
      AND o.accepted_at > (SELECT everstep.now()) - interval '7 days')
  AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.definition_id = d.id)
  AND NOT EXISTS (SELECT 1 FROM everstep.arrivals AS a WHERE a.definition_id = d.id)
LIMIT $1";

/// Tombstones outlast their object by 30 days, so what has none is forgotten by every cache. A week, as definitions: the
/// one that it has goes with it, and a transaction may have started a run of that.
const OWNERS: &str = "
SELECT o.uid
FROM everstep.owners AS o
WHERE o.gone_at < (SELECT everstep.now()) - interval '7 days'
  AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.owner_uid = o.uid)
  AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.workflow_uid = o.uid AND r.finished_at IS NULL)
  AND NOT EXISTS (SELECT 1 FROM everstep.arrivals AS a WHERE a.workflow_uid = o.uid)
  AND NOT EXISTS (
    SELECT 1 FROM everstep.starts AS s
    WHERE s.namespace = o.namespace AND s.workflow = o.name AND s.owner_uid = o.uid)
LIMIT $1";

/// Rather later than in the way of submits: those that come meanwhile queue behind this lock.
const BRIEFLY: &str = "SELECT set_config('lock_timeout', '500ms', true)";

/// In conflict with every writer of `owners`, and with itself.
const LOCK: &str = "LOCK TABLE everstep.owners IN SHARE ROW EXCLUSIVE MODE";

/// Looks again. Of the runs only the latest hour: ids are ordered by time, and older ones were there to be found.
const FORGET: &str = "
WITH forgotten AS (
  DELETE FROM everstep.definitions AS d
  WHERE d.id = ANY ($1)
    AND NOT EXISTS (SELECT 1 FROM everstep.owners AS o WHERE o.definition_id = d.id)
    AND NOT EXISTS (SELECT 1 FROM everstep.arrivals AS a WHERE a.definition_id = d.id)
    AND NOT EXISTS (
      SELECT 1 FROM everstep.runs AS r
      WHERE r.definition_id = d.id
        AND r.id > (lpad(to_hex(floor(extract(epoch FROM clock_timestamp() - interval '1 hour') * 1000)::bigint), 12, '0')
          || repeat('0', 20))::uuid)
  RETURNING d.namespace, d.workflow, d.revision
), left_behind AS (
  DELETE FROM everstep.owners AS o
  WHERE o.uid = ANY ($2) AND o.gone_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.owner_uid = o.uid)
    AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.workflow_uid = o.uid AND r.finished_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM everstep.arrivals AS a WHERE a.workflow_uid = o.uid)
    AND NOT EXISTS (
      SELECT 1 FROM everstep.starts AS s
      WHERE s.namespace = o.namespace AND s.workflow = o.name AND s.owner_uid = o.uid)
  RETURNING o.uid
), noted AS (
  INSERT INTO everstep.audit (actor, operation, object_uid, epoch, detail)
  SELECT 'retention', 'forgotten', uid, (SELECT epoch FROM everstep.cluster), detail
  FROM (
    SELECT uid, NULL::json AS detail FROM left_behind
    UNION ALL
    SELECT NULL, json_build_object('namespace', namespace, 'workflow', workflow, 'revision', revision) FROM forgotten
  ) AS gone
)
SELECT (SELECT count(*) FROM forgotten) AS definitions, (SELECT count(*) FROM left_behind) AS owners";

/// What one batch removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Definitions that nothing referred to.
    pub definitions: i64,
    /// Objects that are gone, and of which nothing was left.
    pub owners: i64,
}

impl Store {
    /// Removes up to `limit` unused definitions and as many gone objects that left nothing. Writes and locks nothing when
    /// there are none. Call again while it did something.
    ///
    /// # Errors
    /// `Unavailable` also when submits left no moment for it: try again later.
    pub async fn forget_unused(&self, limit: i64) -> Result<Forgotten, Error> {
        let definitions: Vec<Uuid> = ids(&self.fetch(|| sqlx::query(DEFINITIONS).bind(limit)).await?, "id")?;
        let owners: Vec<String> = ids(&self.fetch(|| sqlx::query(OWNERS).bind(limit)).await?, "uid")?;
        if definitions.is_empty() && owners.is_empty() {
            return Ok(Forgotten::default());
        }
        let mut link = self.pool.link().await?;
        let row = forget(&mut link, &definitions, &owners)
            .await
            .map_err(Error::of_statement)?;
        Ok(Forgotten {
            definitions: column(&row, "definitions")?,
            owners: column(&row, "owners")?,
        })
    }
}

async fn forget(
    link: &mut Link<'_>,
    definitions: &[Uuid],
    owners: &[String],
) -> Result<sqlx::postgres::PgRow, sqlx::Error> {
    link.begin().await?;
    link.execute(sqlx::query(BRIEFLY)).await?;
    link.execute(sqlx::query(LOCK)).await?;
    let rows = link.fetch(sqlx::query(FORGET).bind(definitions).bind(owners)).await?;
    link.commit().await?;
    rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)
}

fn ids<T>(rows: &[sqlx::postgres::PgRow], name: &str) -> Result<Vec<T>, Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    rows.iter().map(|row| column(row, name)).collect()
}

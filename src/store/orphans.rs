//! Runs whose object is gone: suspicion, cancellation, and taking it back.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::PgRow;

use super::{
    Bell, DeletionPolicy, Error, Store,
    row::{column, maybe_time, seconds, time},
};

const LIVE_OWNERS: &str = "
SELECT o.uid, o.kind, o.namespace, o.name, o.deletion_policy, o.suspected_at, o.gone_at, live_runs, uncancelled_runs,
  (SELECT everstep.now()) AS read_at
FROM (
  SELECT owner_uid, sum(live_runs)::bigint AS live_runs, sum(uncancelled_runs)::bigint AS uncancelled_runs
  FROM (
    (SELECT owner_uid, count(*) AS live_runs,
      count(*) FILTER (WHERE NOT EXISTS (
        SELECT 1 FROM everstep.inbox AS i WHERE i.run_id = r.id AND i.kind = 'Cancel')) AS uncancelled_runs
    FROM everstep.runs AS r
    WHERE finished_at IS NULL AND owner_uid > $1
    GROUP BY owner_uid
    ORDER BY owner_uid
    LIMIT $2)
    UNION ALL
    -- What SQL started from a Workflow ends with it.
    (SELECT workflow_uid, count(*),
      count(*) FILTER (WHERE NOT EXISTS (
        SELECT 1 FROM everstep.inbox AS i WHERE i.run_id = r.id AND i.kind = 'Cancel'))
    FROM everstep.runs AS r
    WHERE finished_at IS NULL AND workflow_uid > $1
    GROUP BY workflow_uid
    ORDER BY workflow_uid
    LIMIT $2)
  ) AS r
  GROUP BY owner_uid
  ORDER BY owner_uid
  LIMIT $2
) AS live
JOIN everstep.owners AS o ON o.uid = live.owner_uid
ORDER BY o.uid";

const IDLE_OWNERS: &str = "
SELECT o.uid, o.kind, o.namespace, o.name, o.deletion_policy, o.suspected_at, o.gone_at, 0::bigint AS live_runs,
  0::bigint AS uncancelled_runs, (SELECT everstep.now()) AS read_at
FROM everstep.owners AS o
WHERE o.uid > $1 AND o.gone_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.owner_uid = o.uid AND r.finished_at IS NULL)
  AND NOT EXISTS (SELECT 1 FROM everstep.runs AS r WHERE r.workflow_uid = o.uid AND r.finished_at IS NULL)
ORDER BY o.uid
LIMIT $2";

/// Sorted, as submit locks them.
const SUSPECT: &str = "
UPDATE everstep.owners AS o
SET suspected_at = CASE WHEN o.suspected_epoch = c.epoch THEN o.suspected_at ELSE clock.now END,
  confirmed_at = clock.now, suspected_epoch = c.epoch
FROM (SELECT uid FROM everstep.owners WHERE uid = ANY ($1) ORDER BY uid FOR UPDATE) AS locked,
  everstep.cluster AS c, (SELECT everstep.now() AS now OFFSET 0) AS clock
WHERE o.uid = locked.uid";

const SEEN_ALIVE: &str = "
UPDATE everstep.owners AS o
SET suspected_at = NULL, confirmed_at = NULL, suspected_epoch = NULL, gone_at = NULL
FROM (
  SELECT uid FROM everstep.owners
  WHERE uid = ANY ($1) AND (suspected_at IS NOT NULL OR gone_at IS NOT NULL)
  ORDER BY uid
  FOR UPDATE
) AS locked
WHERE o.uid = locked.uid";

/// The suspicion is read again under the lock: an object seen alive since is not cancelled. The dedup key makes the second
/// cancel of a run no cancel, and without a first one there is nothing to note.
const CANCEL: &str = "
WITH gone AS MATERIALIZED (
  SELECT o.uid, o.name, o.deletion_policy, o.gone_at, c.epoch
  FROM everstep.owners AS o, everstep.cluster AS c
  WHERE o.uid = ANY ($1)
    AND o.confirmed_at > (SELECT everstep.now()) - make_interval(secs => $2)
    AND o.suspected_epoch = c.epoch
  ORDER BY o.uid
  FOR UPDATE OF o
), marked AS (
  UPDATE everstep.owners AS o
  SET gone_at = everstep.now()
  FROM gone
  WHERE o.uid = gone.uid AND gone.gone_at IS NULL
  RETURNING o.uid
), cancelled AS (
  INSERT INTO everstep.inbox AS i (run_id, kind, dedup_key, source_uid, source_name, payload, by)
  SELECT r.id, 'Cancel', 'orphan/' || gone.uid, gone.uid, gone.name,
    json_build_object('reason', 'its object was deleted'), $3
  FROM gone
  CROSS JOIN LATERAL (
    SELECT id FROM everstep.runs WHERE owner_uid = gone.uid AND finished_at IS NULL
    UNION ALL
    SELECT id FROM everstep.runs WHERE workflow_uid = gone.uid AND finished_at IS NULL
  ) AS r
  WHERE gone.deletion_policy <> 'Orphan'
    AND NOT EXISTS (
      SELECT 1 FROM everstep.inbox AS sent
      WHERE sent.run_id = r.id AND sent.kind = 'Cancel' AND sent.dedup_key = 'orphan/' || gone.uid)
  -- Oldest first, so that replicas that act at once choose the same ones.
  ORDER BY r.id
  LIMIT $4
  ON CONFLICT DO NOTHING
  RETURNING i.source_uid
), counted AS (
  SELECT gone.uid, gone.epoch, count(cancelled.source_uid) AS runs
  FROM gone
  LEFT JOIN cancelled ON cancelled.source_uid = gone.uid
  GROUP BY gone.uid, gone.epoch
), noted AS (
  INSERT INTO everstep.audit (actor, operation, object_uid, epoch, detail)
  SELECT $3, 'orphan', uid, epoch, json_build_object('runs', runs)
  FROM counted
  WHERE runs > 0 OR uid IN (SELECT uid FROM marked)
)
SELECT uid, runs FROM counted ORDER BY uid";

/// What the orphan passes of all replicas have cancelled lately. A gone object has few runs: retention takes them.
const CANCELLED_LATELY: &str = "
SELECT count(*) AS runs
FROM everstep.owners AS o
CROSS JOIN LATERAL (
  SELECT id FROM everstep.runs WHERE owner_uid = o.uid
  UNION ALL
  -- Only those that go on have an index: what has ended weighs nothing.
  SELECT id FROM everstep.runs WHERE workflow_uid = o.uid AND finished_at IS NULL
) AS r
JOIN everstep.inbox AS i ON i.run_id = r.id AND i.kind = 'Cancel' AND i.dedup_key = 'orphan/' || o.uid
WHERE o.gone_at IS NOT NULL AND i.received_at > (SELECT everstep.now()) - make_interval(secs => $1)";

/// An object with live runs, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOwner {
    /// UID of the object.
    pub uid: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is to happen when it is gone.
    pub deletion_policy: DeletionPolicy,
    /// Runs that are not terminal.
    pub live_runs: i64,
    /// Of these, the ones that no cancel was sent to.
    pub uncancelled_runs: i64,
    /// Since when it is suspected to be gone, without a break.
    pub suspected_at: Option<Timestamp>,
    /// When its runs were first cancelled because it was gone.
    pub gone_at: Option<Timestamp>,
    /// When this was read, by the database's clock.
    pub read_at: Timestamp,
}

/// What [`Store::cancel_orphans`] did to one object's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// UID of the object.
    pub uid: String,
    /// Runs that were sent a cancel by this call.
    pub runs: i64,
}

impl Store {
    /// A page of objects with live runs, ordered by UID; `after` is the last UID of the page before.
    pub async fn live_owners(&self, after: Option<&str>, limit: i64) -> Result<Vec<LiveOwner>, Error> {
        let rows = self
            .fetch(|| sqlx::query(LIVE_OWNERS).bind(after.unwrap_or("")).bind(limit))
            .await?;
        rows.iter().map(owner).collect()
    }

    /// A page of objects without a live run that were not found gone: their finished runs are kept while they live.
    pub async fn idle_owners(&self, after: Option<&str>, limit: i64) -> Result<Vec<LiveOwner>, Error> {
        let rows = self
            .fetch(|| sqlx::query(IDLE_OWNERS).bind(after.unwrap_or("")).bind(limit))
            .await?;
        rows.iter().map(owner).collect()
    }

    /// How many runs were sent a cancel within `period` because their object was gone, by whichever process.
    pub async fn orphans_cancelled_within(&self, period: Duration) -> Result<i64, Error> {
        let rows = self
            .fetch(|| sqlx::query(CANCELLED_LATELY).bind(seconds(period)))
            .await?;
        column(rows.first().ok_or(Error::NotFound)?, "runs")
    }

    /// How many live runs are owned by objects, or were started by SQL from one: what the brake weighs against.
    pub async fn live_owned_runs(&self) -> Result<i64, Error> {
        let count = "SELECT (SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL AND owner_uid IS NOT NULL)
                       + (SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL AND workflow_uid IS NOT NULL) AS runs";
        let rows = self.fetch(|| sqlx::query(count)).await?;
        column(rows.first().ok_or(Error::NotFound)?, "runs")
    }

    /// Marks objects as suspects, or confirms that they still are. `suspected_at` keeps the first time.
    pub async fn suspect(&self, uids: &[String]) -> Result<(), Error> {
        self.execute(|| sqlx::query(SUSPECT).bind(uids)).await.map(drop)
    }

    /// Objects were seen alive: no suspicion remains, and they count as living again. Writes nothing where nothing was
    /// suspected.
    pub async fn seen_alive(&self, uids: &[String]) -> Result<(), Error> {
        self.execute(|| sqlx::query(SEEN_ALIVE).bind(uids)).await.map(drop)
    }

    /// Takes note that these objects are gone and sends a cancel to each live run of theirs, to `most` of them at most,
    /// unless their `deletionPolicy` is `Orphan`; if they are still suspects and the suspicion was confirmed within
    /// `fresh` by the database's clock, in the same epoch. One audit row an object; the same again changes nothing.
    pub async fn cancel_orphans(
        &self,
        uids: &[String],
        most: i64,
        fresh: Duration,
        actor: &str,
    ) -> Result<Vec<Cancelled>, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(CANCEL)
                    .bind(uids)
                    .bind(seconds(fresh))
                    .bind(actor)
                    .bind(most)
            })
            .await?;
        if !rows.is_empty() {
            self.ring(Bell::Mail);
        }
        rows.iter()
            .map(|row| {
                Ok(Cancelled {
                    uid: column(row, "uid")?,
                    runs: column(row, "runs")?,
                })
            })
            .collect()
    }
}

fn owner(row: &PgRow) -> Result<LiveOwner, Error> {
    Ok(LiveOwner {
        uid: column(row, "uid")?,
        kind: column(row, "kind")?,
        namespace: column(row, "namespace")?,
        name: column(row, "name")?,
        deletion_policy: DeletionPolicy::parse(column(row, "deletion_policy")?)?,
        live_runs: column(row, "live_runs")?,
        uncancelled_runs: column(row, "uncancelled_runs")?,
        suspected_at: maybe_time(row, "suspected_at")?,
        gone_at: maybe_time(row, "gone_at")?,
        read_at: time(row, "read_at")?,
    })
}

//! Runs of a Workflow that its object does not own: SQL started them, or WorkflowRuns that refer to it did. Its status counts
//! them and shows the last of all; what else the object has to say to them is said elsewhere.

use std::cmp::Ordering;
use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Error, Store,
    facts::{self, Facts, RunFacts, StuckFacts},
    row::{column, maybe_time},
    stuck::{clock, stuck},
};

/// As many are counted of those that go on, newest first, and as many of those that have ended, latest first: of what SQL
/// started, and of what WorkflowRuns did. What it costs to know an object shall not grow with its past.
const COUNTED: i64 = 10_000;

/// Whether the object `wish` has such runs: for most, four looks into an index that find nothing. In an order, as everywhere in
/// here: any one of them might be looked for in the table.
macro_rules! has_others {
    () => {
        "
  coalesce(
    (SELECT id FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NULL ORDER BY id DESC LIMIT 1),
    (SELECT id FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NULL ORDER BY id DESC LIMIT 1),
    (SELECT id FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 1),
    (SELECT id FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 1)
  ) IS NOT NULL AS has_others"
    };
}
pub(super) use has_others;

/// Stuck runs are few, and those of an object may be many: so it goes from the stuck ones to their objects, once for all of
/// them, and looks up each by its id. That nothing moves a run is not among the reasons: that is asked of each run alone.
const OTHERS: &str = concat!(
    "WITH ",
    clock!(),
    ", stands AS MATERIALIZED (
  SELECT r.uid, count(DISTINCT r.id) AS runs, min(stuck.since) AS since,
    (array_agg(stuck.reason ORDER BY stuck.since, r.id))[1] AS reason
  FROM (",
    stuck!("FROM everstep.runs AS r"),
    ") AS stuck
  CROSS JOIN LATERAL (
    SELECT l.id, coalesce(l.workflow_uid, l.counted_by) AS uid
    FROM everstep.runs AS l
    WHERE l.id = stuck.run_id
    OFFSET 0
  ) AS r
  WHERE r.uid = ANY ($1)
  GROUP BY r.uid
)
SELECT wish.uid, live.active, ended.succeeded, ended.failed,
  stands.runs AS stuck, stands.reason AS stuck_reason, stands.since AS stuck_since,
  r.id AS last_id, r.start_key AS last_start_key, d.revision AS last_revision, r.phase AS last_phase,
  r.reason AS last_reason, r.summary::text AS last_summary, r.summary_seq AS last_summary_seq,
  r.projected_seq AS last_projected_seq, r.created_at AS last_created_at, r.started_at AS last_started_at,
  r.finished_at AS last_finished_at
FROM UNNEST($1::text[]) AS wish (uid)
LEFT JOIN LATERAL (
  SELECT count(*) AS active
  FROM (
    (SELECT id FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NULL ORDER BY id DESC LIMIT $2)
    UNION ALL
    (SELECT id FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NULL ORDER BY id DESC LIMIT $2)
  ) AS l
) AS live ON true
LEFT JOIN LATERAL (
  SELECT count(*) FILTER (WHERE e.phase = 'Succeeded') AS succeeded,
    count(*) FILTER (WHERE e.phase <> 'Succeeded') AS failed
  FROM (
    (SELECT phase FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NOT NULL
     ORDER BY finished_at DESC LIMIT $2)
    UNION ALL
    (SELECT phase FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NOT NULL
     ORDER BY finished_at DESC LIMIT $2)
  ) AS e
) AS ended ON true
LEFT JOIN LATERAL (
  -- The newest that goes on, else the one that ended last.
  SELECT last.id
  FROM (
    (SELECT id, finished_at FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NULL
     ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT id, finished_at FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NULL
     ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT id, finished_at FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NOT NULL
     ORDER BY finished_at DESC LIMIT 1)
    UNION ALL
    (SELECT id, finished_at FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NOT NULL
     ORDER BY finished_at DESC LIMIT 1)
  ) AS last
  ORDER BY last.finished_at DESC NULLS FIRST, last.id DESC
  LIMIT 1
) AS last ON true
LEFT JOIN everstep.runs AS r ON r.id = last.id
LEFT JOIN everstep.definitions AS d ON d.id = r.definition_id
LEFT JOIN stands ON stands.uid = wish.uid"
);

/// What changes whenever one of them begins or ends, or the newest that goes on has moved: four looks into an index.
const TRACES: &str = "
SELECT wish.uid, sql.id AS sql_run, sql.summary_seq AS sql_seq, sql_ended.finished_at AS sql_ended,
  object.id AS object_run, object.summary_seq AS object_seq, object_ended.finished_at AS object_ended
FROM UNNEST($1::text[]) AS wish (uid)
LEFT JOIN LATERAL (
  SELECT id, summary_seq FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NULL
  ORDER BY id DESC LIMIT 1
) AS sql ON true
LEFT JOIN LATERAL (
  SELECT finished_at FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NOT NULL
  ORDER BY finished_at DESC LIMIT 1
) AS sql_ended ON true
LEFT JOIN LATERAL (
  SELECT id, summary_seq FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NULL
  ORDER BY id DESC LIMIT 1
) AS object ON true
LEFT JOIN LATERAL (
  SELECT finished_at FROM everstep.runs WHERE counted_by = wish.uid AND finished_at IS NOT NULL
  ORDER BY finished_at DESC LIMIT 1
) AS object_ended ON true
WHERE num_nonnulls(sql.id, sql_ended.finished_at, object.id, object_ended.finished_at) > 0";

/// Names of a run's columns in [`OTHERS`].
const LAST: [&str; 10] = [
    "last_start_key",
    "last_revision",
    "last_phase",
    "last_reason",
    "last_summary",
    "last_summary_seq",
    "last_projected_seq",
    "last_created_at",
    "last_started_at",
    "last_finished_at",
];

/// Where the runs of a Workflow stand that its object does not own. Two that are equal tell of no change between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Those that SQL started.
    pub sql: Newest,
    /// Those of WorkflowRuns.
    pub objects: Newest,
}

/// Where runs stand, by the newest of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newest {
    /// The newest that goes on.
    pub run: Option<Uuid>,
    /// The journal's sequence number that its summary belongs to.
    pub seq: Option<i32>,
    /// When one ended last.
    pub ended_at: Option<Timestamp>,
}

/// Such runs of one object.
pub(super) struct Others {
    active: i64,
    succeeded: i64,
    failed: i64,
    stuck: Option<StuckFacts>,
    last: Option<RunFacts>,
}

impl Store {
    /// Where the others' runs of these Workflows stand, by UID; those that have none are absent.
    pub async fn traces(&self, uids: &[String]) -> Result<HashMap<String, Trace>, Error> {
        let rows = self.fetch(|| sqlx::query(TRACES).bind(uids)).await?;
        rows.iter().map(|row| Ok((column(row, "uid")?, trace(row)?))).collect()
    }

    /// Adds to these facts what others have started of their objects.
    pub(super) async fn add_others(&self, all: &mut [&mut Facts]) -> Result<(), Error> {
        let uids: Vec<String> = all.iter().map(|facts| facts.uid.clone()).collect();
        let rows = self.fetch(|| sqlx::query(OTHERS).bind(&uids).bind(COUNTED)).await?;
        let mut found = HashMap::new();
        for row in &rows {
            found.insert(column::<String>(row, "uid")?, others(row)?);
        }
        for facts in all {
            if let Some(others) = found.remove(&facts.uid) {
                others.add_to(facts);
            }
        }
        Ok(())
    }
}

impl Others {
    fn add_to(self, facts: &mut Facts) {
        facts.active += self.active;
        facts.succeeded += self.succeeded;
        facts.failed += self.failed;
        facts.stuck = longest(facts.stuck, self.stuck);
        facts.last = later(facts.last.take(), self.last);
    }
}

/// All of them, and the one that has been for longest.
fn longest(own: Option<StuckFacts>, others: Option<StuckFacts>) -> Option<StuckFacts> {
    let first = own.into_iter().chain(others).min_by_key(|stuck| stuck.since)?;
    let runs = own.into_iter().chain(others).map(|stuck| stuck.runs).sum();
    Some(StuckFacts { runs, ..first })
}

/// The newer one that goes on, else the one that ended later.
fn later(own: Option<RunFacts>, other: Option<RunFacts>) -> Option<RunFacts> {
    own.into_iter()
        .chain(other)
        .max_by(|a, b| match (a.finished_at, b.finished_at) {
            (None, None) => a.id.cmp(&b.id),
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => a.cmp(&b),
        })
}

fn others(row: &PgRow) -> Result<Others, Error> {
    let last: Option<Uuid> = column(row, "last_id")?;
    Ok(Others {
        active: column(row, "active")?,
        succeeded: column(row, "succeeded")?,
        failed: column(row, "failed")?,
        stuck: facts::stuck(row)?,
        last: last.map(|id| facts::run(row, id, &LAST)).transpose()?,
    })
}

fn trace(row: &PgRow) -> Result<Trace, Error> {
    Ok(Trace {
        sql: newest(row, ["sql_run", "sql_seq", "sql_ended"])?,
        objects: newest(row, ["object_run", "object_seq", "object_ended"])?,
    })
}

fn newest(row: &PgRow, [run, seq, ended_at]: [&str; 3]) -> Result<Newest, Error> {
    Ok(Newest {
        run: column(row, run)?,
        seq: column(row, seq)?,
        ended_at: maybe_time(row, ended_at)?,
    })
}

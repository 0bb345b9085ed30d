//! What the database knows of an object: read for every reconcile, writes nothing.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    DefinitionId, DeletionPolicy, Error, Retention, Store, StuckReason,
    others::has_others,
    row::{column, json, maybe_time, time},
    stuck::{clock, stuck, unmoved},
};
use crate::engine::{Phase, Summary};

/// The shown run: the live one, else the wished one, else the newest.
const FACTS: &str = concat!(
    "WITH ",
    clock!(),
    "
SELECT wish.uid, (SELECT now FROM clock) AS now,
  o.generation, o.definition_id, od.revision, o.deletion_policy, o.suspended, o.suspected_at, o.gone_at,
  extract(epoch FROM o.keep_succeeded)::float8 AS keep_succeeded, extract(epoch FROM o.keep_failed)::float8 AS keep_failed,
  w.id AS wished_id, w.start_key AS wished_start_key, wd.revision AS wished_revision, w.phase AS wished_phase,
  w.reason AS wished_reason, w.summary::text AS wished_summary, w.summary_seq AS wished_summary_seq,
  w.projected_seq AS wished_projected_seq, w.created_at AS wished_created_at, w.started_at AS wished_started_at,
  w.finished_at AS wished_finished_at,
  r.id AS shown_id, r.start_key AS shown_start_key, rd.revision AS shown_revision, r.phase AS shown_phase,
  r.reason AS shown_reason, r.summary::text AS shown_summary, r.summary_seq AS shown_summary_seq,
  r.projected_seq AS shown_projected_seq, r.created_at AS shown_created_at, r.started_at AS shown_started_at,
  r.finished_at AS shown_finished_at,
  s.run_id IS NOT NULL AND s.retired_at IS NULL AND w.id IS NULL AS run_row_missing,
  s.retired_at IS NOT NULL AS retired,
  -- By the key that a suspended object's command has, and that of a run which is admitted meanwhile.
  CASE WHEN o.suspended THEN EXISTS (
    SELECT 1
    FROM (
      SELECT id FROM everstep.runs WHERE owner_uid = wish.uid AND finished_at IS NULL
      UNION ALL
      SELECT id FROM everstep.runs WHERE workflow_uid = wish.uid AND finished_at IS NULL
    ) AS going
    WHERE NOT EXISTS (
      SELECT 1 FROM everstep.inbox AS i
      WHERE i.run_id = going.id AND i.kind = 'Pause' AND i.dedup_key = wish.uid || '/' || o.generation || '/Pause')
  ) ELSE false END AS unpaused,
  live.active, live.stuck, live.stuck_reason, live.stuck_since, ended.succeeded, ended.failed,",
    has_others!(),
    "
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
  AS wish (uid, namespace, workflow, start_key, place)
LEFT JOIN everstep.owners AS o ON o.uid = wish.uid
LEFT JOIN everstep.definitions AS od ON od.id = o.definition_id
LEFT JOIN everstep.starts AS s
  ON s.namespace = wish.namespace AND s.workflow = wish.workflow AND s.start_key = wish.start_key
LEFT JOIN everstep.runs AS w ON w.id = s.run_id
LEFT JOIN everstep.definitions AS wd ON wd.id = w.definition_id
LEFT JOIN LATERAL (
  SELECT max(r.id::text)::uuid AS newest, count(*) AS active, count(why.reason) AS stuck, min(why.since) AS stuck_since,
    (array_agg(why.reason ORDER BY why.since, r.id))[1] AS stuck_reason
  FROM everstep.runs AS r
  -- For each run by itself: the limit lets its id reach the indexes below.
  LEFT JOIN LATERAL (
    SELECT stuck.reason, stuck.since
    FROM (",
    stuck!(""),
    "UNION ALL",
    unmoved!(""),
    ") AS stuck
    WHERE stuck.run_id = r.id
    ORDER BY stuck.since
    LIMIT 1
  ) AS why ON true
  WHERE r.owner_uid = wish.uid AND r.finished_at IS NULL
) AS live ON true
LEFT JOIN LATERAL (
  SELECT max(e.id::text)::uuid AS newest, count(*) FILTER (WHERE e.phase = 'Succeeded') AS succeeded,
    count(*) FILTER (WHERE e.phase <> 'Succeeded') AS failed
  FROM everstep.runs AS e
  WHERE e.owner_uid = wish.uid AND e.finished_at IS NOT NULL
) AS ended ON true
LEFT JOIN everstep.runs AS r ON r.id = coalesce(live.newest, w.id, ended.newest)
LEFT JOIN everstep.definitions AS rd ON rd.id = r.definition_id
ORDER BY wish.place"
);

/// Names of a run's columns in [`FACTS`].
const WISHED: [&str; 10] = [
    "wished_start_key",
    "wished_revision",
    "wished_phase",
    "wished_reason",
    "wished_summary",
    "wished_summary_seq",
    "wished_projected_seq",
    "wished_created_at",
    "wished_started_at",
    "wished_finished_at",
];
const SHOWN: [&str; 10] = [
    "shown_start_key",
    "shown_revision",
    "shown_phase",
    "shown_reason",
    "shown_summary",
    "shown_summary_seq",
    "shown_projected_seq",
    "shown_created_at",
    "shown_started_at",
    "shown_finished_at",
];

/// Whose facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsOf {
    /// UID of the object.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Name of the Workflow.
    pub workflow: String,
    /// The start that the object wishes for.
    pub start_key: Option<String>,
}

/// The facts of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// UID of the object.
    pub uid: String,
    /// What was last accepted of it.
    pub owner: Option<OwnerFacts>,
    /// The object's live run; else the run of the wished start; else its newest.
    pub run: Option<RunFacts>,
    /// The run of the wished start key.
    pub wished: Option<RunFacts>,
    /// Of a Workflow the newest run that goes on, else the one that ended last: its own, one that SQL started, or one of a
    /// WorkflowRun that refers to it. Without any of those, `run`.
    pub last: Option<RunFacts>,
    /// The wished start was made, and its run is gone though it was not retired: submit repairs it.
    pub run_row_missing: bool,
    /// The wished start was made and its run retired: it is not made again.
    pub retired: bool,
    /// The object was accepted as suspended, and a live run of it, or one that SQL started of it, was not told: submit does.
    pub unpaused: bool,
    /// Runs of the object that are not terminal; of a Workflow also those that others started of it, the newest 10,000.
    pub active: i64,
    /// Those of them that are stuck; none when all move.
    pub stuck: Option<StuckFacts>,
    /// Runs that ended well and are still kept; of those that others started, among the last 10,000 that ended.
    pub succeeded: i64,
    /// Runs that ended otherwise, as many.
    pub failed: i64,
}

/// The stuck runs of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StuckFacts {
    /// How many.
    pub runs: i64,
    /// Why the one is that has been for longest.
    pub reason: StuckReason,
    /// Since when it is.
    pub since: Timestamp,
}

/// What was last accepted of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerFacts {
    /// `metadata.generation`.
    pub generation: i64,
    /// Its definition.
    pub definition: DefinitionId,
    /// Its revision.
    pub revision: String,
    /// What happens to runs when the object is gone.
    pub deletion_policy: DeletionPolicy,
    /// Whether no new step begins.
    pub suspended: bool,
    /// How long its finished runs are kept.
    pub retention: Retention,
    /// Since when the orphan pass suspects that the object is gone.
    pub suspected_at: Option<Timestamp>,
    /// When its runs were cancelled because it was gone.
    pub gone_at: Option<Timestamp>,
}

/// One run, as far as an object's status shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// The run.
    pub id: Uuid,
    /// What makes its start unique.
    pub start_key: String,
    /// The revision that it executes.
    pub revision: String,
    /// Where it is.
    pub phase: Phase,
    /// Why, as a CamelCase constant.
    pub reason: Option<String>,
    /// What people see; none until a worker has carried it.
    pub summary: Option<Summary>,
    /// The journal's sequence number that `summary` belongs to.
    pub summary_seq: i32,
    /// The last one that was shown in the object's status; -1 for none.
    pub projected_seq: i32,
    /// When it was started.
    pub created_at: Timestamp,
    /// When a worker first carried it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Facts {
    /// Of an object that the database knows nothing of.
    pub fn none(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            owner: None,
            run: None,
            wished: None,
            last: None,
            run_row_missing: false,
            retired: false,
            unpaused: false,
            active: 0,
            stuck: None,
            succeeded: 0,
            failed: 0,
        }
    }
}

impl Store {
    /// The facts of many objects in one statement and one snapshot, in the order asked. A second one reads what others have
    /// started of Workflows, where there is something: it is at least as new.
    pub async fn facts(&self, of: &[FactsOf]) -> Result<Vec<Facts>, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(FACTS)
                    .bind(of.iter().map(|of| of.uid.as_str()).collect::<Vec<_>>())
                    .bind(of.iter().map(|of| of.namespace.as_str()).collect::<Vec<_>>())
                    .bind(of.iter().map(|of| of.workflow.as_str()).collect::<Vec<_>>())
                    .bind(of.iter().map(|of| of.start_key.as_deref()).collect::<Vec<_>>())
            })
            .await?;
        if let Some(row) = rows.first() {
            self.clock.learn(time(row, "now")?);
        }
        let mut all: Vec<Facts> = rows.iter().map(facts).collect::<Result<_, _>>()?;
        let mut with_others = Vec::new();
        for (row, facts) in rows.iter().zip(&mut all) {
            if column(row, "has_others")? {
                with_others.push(facts);
            }
        }
        if !with_others.is_empty() {
            self.add_others(&mut with_others).await?;
        }
        Ok(all)
    }
}

fn facts(row: &PgRow) -> Result<Facts, Error> {
    let wished: Option<Uuid> = column(row, "wished_id")?;
    let wished = wished.map(|id| run(row, id, &WISHED)).transpose()?;
    let shown: Option<Uuid> = column(row, "shown_id")?;
    let shown = shown.map(|id| run(row, id, &SHOWN)).transpose()?;
    Ok(Facts {
        uid: column(row, "uid")?,
        owner: owner(row)?,
        last: shown.clone(),
        run: shown,
        wished,
        run_row_missing: column(row, "run_row_missing")?,
        retired: column(row, "retired")?,
        unpaused: column(row, "unpaused")?,
        active: column(row, "active")?,
        stuck: stuck(row)?,
        succeeded: column(row, "succeeded")?,
        failed: column(row, "failed")?,
    })
}

pub(super) fn stuck(row: &PgRow) -> Result<Option<StuckFacts>, Error> {
    let (reason, since): (Option<&str>, _) = (column(row, "stuck_reason")?, maybe_time(row, "stuck_since")?);
    let Some((reason, since)) = reason.zip(since) else {
        return Ok(None);
    };
    Ok(Some(StuckFacts {
        runs: column(row, "stuck")?,
        reason: StuckReason::stored(reason)?,
        since,
    }))
}

fn owner(row: &PgRow) -> Result<Option<OwnerFacts>, Error> {
    let definition: Option<Uuid> = column(row, "definition_id")?;
    let Some(definition) = definition else { return Ok(None) };
    Ok(Some(OwnerFacts {
        generation: column(row, "generation")?,
        definition: DefinitionId(definition),
        revision: column(row, "revision")?,
        deletion_policy: DeletionPolicy::parse(column(row, "deletion_policy")?)?,
        suspended: column(row, "suspended")?,
        retention: Retention {
            succeeded: Duration::from_secs_f64(column(row, "keep_succeeded")?),
            failed: Duration::from_secs_f64(column(row, "keep_failed")?),
        },
        suspected_at: maybe_time(row, "suspected_at")?,
        gone_at: maybe_time(row, "gone_at")?,
    }))
}

pub(super) fn run(row: &PgRow, id: Uuid, names: &[&str; 10]) -> Result<RunFacts, Error> {
    let [
        start_key,
        revision,
        phase,
        reason,
        summary,
        summary_seq,
        projected_seq,
        created,
        started,
        finished,
    ] = *names;
    let phase: &str = column(row, phase)?;
    let summary = json(row, summary)?.map(serde_json::from_value).transpose();
    Ok(RunFacts {
        id,
        start_key: column(row, start_key)?,
        revision: column(row, revision)?,
        phase: Phase::parse(phase).ok_or_else(|| Error::Corrupt(format!("phase {phase}")))?,
        reason: column(row, reason)?,
        summary: summary.map_err(|error| Error::Corrupt(format!("summary of run {id}: {error}")))?,
        summary_seq: column(row, summary_seq)?,
        projected_seq: column(row, projected_seq)?,
        created_at: time(row, created)?,
        started_at: maybe_time(row, started)?,
        finished_at: maybe_time(row, finished)?,
    })
}

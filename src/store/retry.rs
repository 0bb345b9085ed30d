//! Runs that take up an earlier one: what is known of that, and the start that takes over its work. What is taken over is
//! decided by the engine.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Error, Retention, Store, Submission, Submitted, load,
    pool::{self, Link},
    row::column,
    start::{self, Answer},
};
use crate::engine::{Event, Origin};

/// The most that a journal may take for its run to be taken up again, in bytes.
const MAX_JOURNAL: i64 = 32 * 1024 * 1024;

/// The run of a WorkflowRun: of the object with the given UID, else of the one that was accepted last under that name,
/// whether it is there any more or not. With an idempotencyKey the run is perhaps another object's.
macro_rules! former {
    () => {
        "
  SELECT d.workflow, s.run_id, s.retired_at IS NOT NULL AS retired
  FROM (
    SELECT o.definition_id, o.start_key
    FROM everstep.owners AS o
    WHERE o.namespace = $1 AND o.name = $2 AND o.kind = 'WorkflowRun' AND ($3::text IS NULL OR o.uid = $3)
    ORDER BY o.gone_at IS NULL DESC, o.accepted_at DESC, o.uid DESC
    LIMIT 1
  ) AS object
  JOIN everstep.definitions AS d ON d.id = object.definition_id
  LEFT JOIN everstep.starts AS s
    ON s.namespace = d.namespace AND s.workflow = d.workflow AND s.start_key = object.start_key
"
    };
}

/// What an object that names no definition runs: what it was accepted with, else what the earlier run did.
const WORKFLOW: &str = concat!(
    "SELECT coalesce(
  (SELECT d.workflow
   FROM everstep.owners AS o
   JOIN everstep.definitions AS d ON d.id = o.definition_id
   WHERE o.uid = $4),
  (SELECT former.workflow FROM (",
    former!(),
    ") AS former)) AS workflow"
);

const FORMER: &str = concat!(
    "SELECT former.run_id, former.retired, r.id IS NOT NULL AS there, r.namespace, r.workflow,
  coalesce(r.owner_name, r.workflow) AS name, r.start_key, r.scheduled_at, d.revision, d.body::text AS body,
  coalesce(r.input, d.default_input)::text AS input, r.counted_by, r.retried_workflow, r.retried_key,
  n.owner_name AS retried_by,
  extract(epoch FROM o.keep_succeeded)::float8 AS keep_succeeded, extract(epoch FROM o.keep_failed)::float8 AS keep_failed,
  journal.bytes, CASE WHEN journal.bytes <= $4 THEN
    (SELECT array_agg(j.events::text ORDER BY j.seq) FROM everstep.journal AS j WHERE j.run_id = r.id) END AS journal
FROM (",
    former!(),
    ") AS former
LEFT JOIN everstep.runs AS r ON r.id = former.run_id
LEFT JOIN everstep.definitions AS d ON d.id = r.definition_id
LEFT JOIN everstep.owners AS o ON o.uid = r.owner_uid
LEFT JOIN everstep.starts AS s
  ON s.namespace = r.namespace AND s.workflow = r.retried_workflow AND s.start_key = r.retried_key
LEFT JOIN everstep.runs AS n ON n.id = s.run_id
CROSS JOIN LATERAL (
  SELECT sum(octet_length(j.events::text)) AS bytes FROM everstep.journal AS j WHERE j.run_id = r.id
) AS journal"
);

/// Held until the transaction ends: of two that want its work, one waits for the other; and retention passes by.
const HOLD: &str = "
SELECT r.retried_workflow, r.retried_key,
  r.finished_at IS NOT NULL AND EXISTS (SELECT 1 FROM everstep.journal AS j WHERE j.run_id = r.id) AS whole
FROM everstep.runs AS r
WHERE r.id = $1
FOR UPDATE";

/// The first row of the new run's journal. One that is written again because its row was lost may have it still.
const TAKE_OVER: &str = "
WITH handed AS (
  UPDATE everstep.runs AS r
  SET retried_workflow = $4, retried_key = $5
  WHERE r.id = $1 AND r.retried_key IS NULL
)
INSERT INTO everstep.journal (run_id, seq, at, nonce, events)
VALUES ($2, 1, everstep.now(), 0, $3::json)
ON CONFLICT DO NOTHING";

/// Whose run is to be taken up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerOf {
    /// Namespace of both objects.
    pub namespace: String,
    /// Name of the WorkflowRun.
    pub name: String,
    /// Its UID, if it is there.
    pub uid: Option<String>,
}

/// What is known of a run that is to be taken up again.
#[derive(Debug, Clone, PartialEq)]
pub enum Former {
    /// There is no such object, or it has started no run yet.
    NotStarted,
    /// What it did is not kept any more.
    Forgotten,
    /// Its journal is larger than can be taken up again, in bytes.
    TooLarge(i64),
    /// Here it is.
    Found(Box<Retrying>),
}

/// A run that is to be taken up again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrying {
    /// What it was born with.
    pub origin: Arc<Origin>,
    /// The definition that it executes, as JSON text.
    pub body: String,
    /// Its input as JSON text; null: it has none.
    pub input: Option<String>,
    /// UID of the Workflow whose status counts it, beside its owner's.
    pub counted_by: Option<String>,
    /// How long its object asked to keep it.
    pub retention: Retention,
    /// All that was decided, oldest first.
    pub journal: Vec<Event>,
    /// The start that has its work.
    pub taken: Option<Taken>,
}

/// Who has the work of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The Workflow of the start.
    pub workflow: String,
    /// Its key.
    pub start_key: String,
    /// Name of the WorkflowRun that owns its run, if that is kept.
    pub by: Option<String>,
}

/// The work that a start takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Of which run.
    pub from: Uuid,
    /// The events with which the journal begins, as JSON text.
    pub events: String,
}

impl Store {
    /// Name of the Workflow that a run counts as one of whose object, with this UID, names none: `None` until an earlier
    /// run is known.
    pub async fn retried_workflow(&self, uid: &str, of: &FormerOf) -> Result<Option<String>, Error> {
        let statement = || {
            let statement = sqlx::query(WORKFLOW).bind(&of.namespace).bind(&of.name);
            statement.bind(of.uid.as_deref()).bind(uid)
        };
        let rows = self.fetch(statement).await?;
        rows.first().map_or(Ok(None), |row| column(row, "workflow"))
    }

    /// The run that is to be taken up again, with its whole journal.
    pub async fn former(&self, of: &FormerOf) -> Result<Former, Error> {
        let cluster = self.cluster().await?;
        let statement = || {
            let statement = sqlx::query(FORMER).bind(&of.namespace).bind(&of.name);
            statement.bind(of.uid.as_deref()).bind(MAX_JOURNAL)
        };
        let rows = self.fetch(statement).await?;
        rows.first().map_or(Ok(Former::NotStarted), |row| former(row, &cluster))
    }

    /// [`submit`](Self::submit) of one object whose run takes over an earlier one's work, in one transaction: the run is
    /// there with what it took over, or not at all. `None`: another start has that work, or it is not kept any more, and
    /// nothing was done.
    pub async fn submit_retry(&self, wish: &Submission, work: &Handover) -> Result<Option<Submitted>, Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let mut link = self.pool.link().await?;
            match submit(&mut link, wish, work).await {
                Err(error) if pool::is_retryable(&error) && tried < pool::tries() => {
                    drop(link);
                    pool::pause(tried).await;
                }
                Err(error) => return Err(Error::of_statement(error)),
                Ok(None) => return Ok(None),
                Ok(Some(answer)) => {
                    self.ring_for(&answer);
                    return Ok(answer.read()?.into_iter().next());
                }
            }
        }
    }
}

impl Taken {
    /// Whether it is this start that has the work.
    pub fn is(&self, workflow: &str, start_key: &str) -> bool {
        (&*self.workflow, &*self.start_key) == (workflow, start_key)
    }
}

async fn submit(link: &mut Link<'_>, wish: &Submission, work: &Handover) -> Result<Option<Answer>, sqlx::Error> {
    let Some(start) = &wish.start else { return Ok(None) };
    link.begin().await?;
    // Before the object's own row, as everybody who needs both would; nobody else does.
    let held = link.fetch(sqlx::query(HOLD).bind(work.from)).await?;
    let answer = start::carry_out(link, std::slice::from_ref(wish)).await?;
    let mut run: Option<Uuid> = None;
    for row in &answer.started {
        run = Some(sqlx::Row::try_get(row, "run_id")?);
    }
    for row in &answer.found {
        if sqlx::Row::try_get(row, "lost")? {
            run = sqlx::Row::try_get(row, "run_id")?;
        }
    }
    if let Some(run) = run {
        if !is_free(&held, wish, &start.start_key)? {
            // Dropped with its transaction open, the connection takes everything back.
            return Ok(None);
        }
        let statement = sqlx::query(TAKE_OVER).bind(work.from).bind(run).bind(&work.events);
        link.execute(statement.bind(&wish.workflow).bind(&start.start_key))
            .await?;
    }
    link.commit().await?;
    Ok(Some(answer))
}

/// Whether the run's work is still there, and nobody else's.
fn is_free(held: &[PgRow], wish: &Submission, start_key: &str) -> Result<bool, sqlx::Error> {
    let Some(row) = held.first() else { return Ok(false) };
    let workflow: Option<String> = sqlx::Row::try_get(row, "retried_workflow")?;
    let key: Option<String> = sqlx::Row::try_get(row, "retried_key")?;
    let mine = match (workflow, key) {
        (Some(workflow), Some(key)) => (&*workflow, &*key) == (&*wish.workflow, start_key),
        (None, _) | (_, None) => true,
    };
    Ok(mine && sqlx::Row::try_get::<bool, _>(row, "whole")?)
}

fn former(row: &PgRow, cluster: &Arc<str>) -> Result<Former, Error> {
    let run: Option<Uuid> = column(row, "run_id")?;
    let Some(run) = run else {
        return Ok(Former::NotStarted);
    };
    let bytes: Option<i64> = column(row, "bytes")?;
    match (column::<bool>(row, "there")?, bytes) {
        // Not retired, and not there: its own object's reconcile writes it again.
        (false, _) if !column::<bool>(row, "retired")? => return Ok(Former::NotStarted),
        (false, _) => return Ok(Former::Forgotten),
        (true, Some(bytes)) if bytes > MAX_JOURNAL => return Ok(Former::TooLarge(bytes)),
        // The row is kept while its object lives, and its journal is not.
        (true, None) if column::<bool>(row, "retired")? => return Ok(Former::Forgotten),
        (true, _) => {}
    }
    let journal: Option<Vec<String>> = column(row, "journal")?;
    let journal = journal.unwrap_or_default().into_iter().enumerate().map(|(i, events)| {
        serde_json::from_str::<Vec<Event>>(&events)
            .map_err(|error| Error::Corrupt(format!("journal row {} of run {run}: {error}", i + 1)))
    });
    let retention = Retention::default();
    let keep = |name, otherwise| -> Result<Duration, Error> {
        let seconds: Option<f64> = column(row, name)?;
        Ok(seconds.map_or(otherwise, Duration::from_secs_f64))
    };
    let (workflow, start_key): (Option<String>, Option<String>) =
        (column(row, "retried_workflow")?, column(row, "retried_key")?);
    let by = column(row, "retried_by")?;
    Ok(Former::Found(Box::new(Retrying {
        origin: Arc::new(load::origin(row, run, cluster)?),
        body: column(row, "body")?,
        input: column(row, "input")?,
        counted_by: column(row, "counted_by")?,
        retention: Retention {
            succeeded: keep("keep_succeeded", retention.succeeded)?,
            failed: keep("keep_failed", retention.failed)?,
        },
        journal: journal.collect::<Result<Vec<_>, _>>()?.concat(),
        taken: workflow.zip(start_key).map(|(workflow, start_key)| Taken {
            workflow,
            start_key,
            by,
        }),
    })))
}

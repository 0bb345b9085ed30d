//! Objects become runs: many submissions in one transaction.

use std::{collections::HashSet, time::Duration};

use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Bell, Command, Error, Store, command,
    pool::{self, Link, Statement},
    row::{column, seconds},
};

/// P9: locks, in the order of their UIDs. A `DO UPDATE` whose condition is false changes nothing and holds the row all
/// the same; `DO NOTHING` would not hold it.
const LOCK: &str = "
INSERT INTO everstep.owners AS o
  (uid, kind, namespace, name, generation, suspended, deletion_policy, keep_succeeded, keep_failed)
SELECT uid, kind, namespace, name, generation, suspended, deletion_policy,
  make_interval(secs => keep_succeeded), make_interval(secs => keep_failed)
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bool[], $7::text[], $8::float8[],
  $9::float8[]) AS wish (uid, kind, namespace, name, generation, suspended, deletion_policy, keep_succeeded, keep_failed)
ORDER BY uid
ON CONFLICT (uid) DO UPDATE SET uid = o.uid WHERE false";

/// A statement of its own: the next one sees a definition that another transaction made while this one waited for it.
const DEFINE: &str = "
INSERT INTO everstep.definitions (id, namespace, workflow, revision, body)
SELECT everstep.uuidv7(), namespace, workflow, revision, body::json
FROM (
  SELECT DISTINCT ON (wish.namespace, wish.workflow, wish.revision) wish.*
  FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS wish (uid, generation, namespace, workflow, revision, body)
  JOIN everstep.owners AS o ON o.uid = wish.uid AND o.generation <= wish.generation
  WHERE NOT EXISTS (
    SELECT 1 FROM everstep.definitions AS d
    WHERE d.namespace = wish.namespace AND d.workflow = wish.workflow AND d.revision = wish.revision)
  ORDER BY wish.namespace, wish.workflow, wish.revision
) AS missing
ON CONFLICT DO NOTHING";

/// Reads live runs after the lock, in a snapshot of its own (P9), accepts the objects and starts what was not started.
const START: &str = "
WITH wish AS (
  SELECT wish.*, d.id AS definition_id
  FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bool[], $7::text[], $8::float8[],
    $9::float8[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bool[])
    AS wish (uid, kind, namespace, name, generation, suspended, deletion_policy, keep_succeeded, keep_failed, workflow,
      revision, start_key, input, trigger, counted_by, only_when_idle)
  JOIN everstep.definitions AS d
    ON d.namespace = wish.namespace AND d.workflow = wish.workflow AND d.revision = wish.revision
  -- A stale replica changes nothing and starts nothing.
  JOIN everstep.owners AS o ON o.uid = wish.uid AND o.generation <= wish.generation
), accepted AS (
  UPDATE everstep.owners AS o
  SET generation = wish.generation, definition_id = wish.definition_id, name = wish.name, suspended = wish.suspended,
    deletion_policy = wish.deletion_policy, keep_succeeded = make_interval(secs => wish.keep_succeeded),
    keep_failed = make_interval(secs => wish.keep_failed), start_key = coalesce(wish.start_key, o.start_key),
    accepted_at = everstep.now()
  FROM wish
  WHERE o.uid = wish.uid
    AND (o.generation, o.definition_id, o.suspended, o.deletion_policy, o.keep_succeeded, o.keep_failed, o.start_key)
      IS DISTINCT FROM (wish.generation, wish.definition_id, wish.suspended, wish.deletion_policy,
        make_interval(secs => wish.keep_succeeded), make_interval(secs => wish.keep_failed),
        coalesce(wish.start_key, o.start_key))
  RETURNING o.uid, o.generation
), claimed AS (
  INSERT INTO everstep.starts AS s (namespace, workflow, start_key, run_id, owner_uid)
  SELECT namespace, workflow, start_key, everstep.uuidv7(), uid
  FROM (
    SELECT DISTINCT ON (namespace, workflow, start_key) *
    FROM wish
    WHERE start_key IS NOT NULL
      AND NOT (only_when_idle AND EXISTS (
        SELECT 1 FROM everstep.runs AS r WHERE r.owner_uid = wish.uid AND r.finished_at IS NULL))
    ORDER BY namespace, workflow, start_key, generation DESC, uid
  ) AS first
  ON CONFLICT DO NOTHING
  RETURNING s.namespace, s.workflow, s.start_key, s.run_id, s.owner_uid
), born AS (
  INSERT INTO everstep.runs (id, namespace, workflow, owner_kind, owner_uid, owner_name, start_key, definition_id, input,
    trigger, counted_by)
  SELECT c.run_id, c.namespace, c.workflow, wish.kind, wish.uid, wish.name, c.start_key, wish.definition_id,
    wish.input::json, wish.trigger, wish.counted_by
  FROM claimed AS c
  JOIN wish ON wish.uid = c.owner_uid AND wish.start_key = c.start_key
), ready AS (
  INSERT INTO everstep.active (run_id, namespace)
  SELECT run_id, namespace FROM claimed ORDER BY run_id
), noted AS (
  INSERT INTO everstep.audit (actor, operation, object_uid, run_id, epoch, detail)
  SELECT 'controller', 'accepted', uid, NULL, (SELECT epoch FROM everstep.cluster),
    json_build_object('generation', generation)
  FROM accepted
  UNION ALL
  SELECT 'controller', 'started', owner_uid, run_id, (SELECT epoch FROM everstep.cluster), NULL
  FROM claimed
)
SELECT run_id FROM claimed";

/// What is there now; and where a start was made, is not retired and has no run, the run again, under its old id. Its
/// journal, if that is still there, is applied: only what was lost is done again.
const READ: &str = "
WITH wish AS (
  SELECT wish.*, o.generation > wish.generation AS stale, s.run_id, d.id AS definition_id,
    s.run_id IS NOT NULL AND s.retired_at IS NULL AND r.id IS NULL AND o.generation = wish.generation AS lost
  FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[]) WITH ORDINALITY
    AS wish (uid, kind, namespace, name, generation, workflow, revision, start_key, input, trigger, counted_by, place)
  JOIN everstep.owners AS o ON o.uid = wish.uid
  LEFT JOIN everstep.starts AS s
    ON s.namespace = wish.namespace AND s.workflow = wish.workflow AND s.start_key = wish.start_key
  LEFT JOIN everstep.runs AS r ON r.id = s.run_id
  LEFT JOIN everstep.definitions AS d
    ON d.namespace = wish.namespace AND d.workflow = wish.workflow AND d.revision = wish.revision
), reborn AS (
  INSERT INTO everstep.runs AS r (id, namespace, workflow, owner_kind, owner_uid, owner_name, start_key, definition_id,
    input, trigger, counted_by)
  SELECT run_id, namespace, workflow, kind, uid, name, start_key, definition_id, input::json, trigger, counted_by
  FROM wish
  WHERE lost
  ORDER BY run_id
  ON CONFLICT DO NOTHING
  RETURNING r.id, r.namespace, r.owner_uid
), ready AS (
  INSERT INTO everstep.active (run_id, namespace)
  SELECT id, namespace FROM reborn ORDER BY id
  ON CONFLICT DO NOTHING
), noted AS (
  INSERT INTO everstep.audit (actor, operation, object_uid, run_id, epoch)
  SELECT 'controller', 'repaired', owner_uid, id, (SELECT epoch FROM everstep.cluster) FROM reborn
)
SELECT uid, stale, run_id, lost,
  NOT stale AND start_key IS NOT NULL AND run_id IS NULL AS waiting
FROM wish
ORDER BY place";

/// What a controller wants the database to know of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// UID of the object.
    pub uid: String,
    /// Its kind: `Workflow` or `WorkflowRun`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of the Workflow whose definition it runs: of a `Workflow`, its own.
    pub workflow: String,
    /// `metadata.generation`: an older one than accepted changes nothing.
    pub generation: i64,
    /// What happens to its runs when it is gone.
    pub deletion_policy: DeletionPolicy,
    /// How long its finished runs are kept.
    pub retention: Retention,
    /// No new step begins while true.
    pub suspended: bool,
    /// Hash of `body`.
    pub revision: String,
    /// The definition as JSON text.
    pub body: String,
    /// The run to start, unless its start was made before.
    pub start: Option<Start>,
    /// Start only when the object has no live run (`onChange: Finish`).
    pub only_when_idle: bool,
    /// What its live runs are to be told, once for each generation and run. `Pause` and `Resume` reach the run of `start`
    /// too, and what SQL started from a Workflow; what ends or repeats runs of a Workflow is not meant for the one of
    /// `start`, in this call and when it is made again.
    pub commands: Vec<Command>,
}

/// A run to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// `uid/<uid>/<revision>`, `key/<user key>`, …: one run for each, for ever.
    pub start_key: String,
    /// Its input as JSON text; none: the definition's.
    pub input: Option<String>,
    /// What started it: `OnApply`.
    pub trigger: String,
    /// UID of the Workflow that a WorkflowRun refers to: its status counts the run, too.
    pub counted_by: Option<String>,
}

/// What happens to an object's runs when the object is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// They are cancelled, and nobody waits for it.
    Background,
    /// They are cancelled, and a finalizer holds the object until then.
    Foreground,
    /// They go on.
    Orphan,
}

/// How long the rows of finished runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of runs that succeeded.
    pub succeeded: Duration,
    /// Of all others.
    pub failed: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            succeeded: Duration::from_secs(30 * DAY),
            failed: Duration::from_secs(180 * DAY),
        }
    }
}

/// What came of a [`Submission`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// UID of the object.
    pub uid: String,
    /// A newer generation was accepted before: nothing was done.
    pub stale: bool,
    /// The run of the wished start key, new or old.
    pub run: Option<Uuid>,
    /// This call made it.
    pub started: bool,
    /// The start was not made, because an earlier run of the object still goes on.
    pub waiting: bool,
}

impl Store {
    /// At most so many submissions in one call: bounds the transaction.
    pub const MAX_SUBMISSIONS: usize = 500;

    /// Accepts objects, starts their runs and commands them, in one transaction, and rings for the workers. Answers
    /// in the order given. The same submission again changes nothing. An object appears at most once in a call.
    pub async fn submit(&self, wishes: &[Submission]) -> Result<Vec<Submitted>, Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let mut link = self.pool.link().await?;
            match submit(&mut link, wishes).await {
                Err(error) if pool::is_retryable(&error) && tried < pool::tries() => {
                    drop(link);
                    pool::pause(tried).await;
                }
                Err(error) => return Err(Error::of_statement(error)),
                Ok(answer) => {
                    self.ring_for(&answer);
                    return answer.read();
                }
            }
        }
    }

    pub(super) fn ring_for(&self, answer: &Answer) {
        if !answer.started.is_empty() {
            self.ring(Bell::Work);
        }
        if answer.commanded {
            self.ring(Bell::Mail);
        }
    }
}

impl DeletionPolicy {
    /// The name in manifests and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, Error> {
        [Self::Background, Self::Foreground, Self::Orphan]
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| Error::Corrupt(format!("deletion policy {name}")))
    }
}

/// The rows of both answers, not read yet: a row that cannot be read is no reason to roll back.
pub(super) struct Answer {
    pub(super) started: Vec<PgRow>,
    pub(super) found: Vec<PgRow>,
    /// A run was told something.
    commanded: bool,
}

async fn submit(link: &mut Link<'_>, wishes: &[Submission]) -> Result<Answer, sqlx::Error> {
    link.begin().await?;
    let answer = carry_out(link, wishes).await?;
    link.commit().await?;
    Ok(answer)
}

/// The statements of a submission, in a transaction that the caller has begun and commits.
pub(super) async fn carry_out(link: &mut Link<'_>, wishes: &[Submission]) -> Result<Answer, sqlx::Error> {
    link.execute(objects(sqlx::query(LOCK), wishes)).await?;
    link.execute(define(wishes)).await?;
    let started = link.fetch(start(wishes)).await?;
    let found = link.fetch(read(wishes)).await?;
    let commanded = command::any(wishes) && !link.fetch(command::send(wishes)).await?.is_empty();
    Ok(Answer {
        started,
        found,
        commanded,
    })
}

/// Binds `$1` to `$9`: what `owners` holds.
fn objects<'q>(statement: Statement<'q>, wishes: &[Submission]) -> Statement<'q> {
    statement
        .bind(each(wishes, |w| w.uid.as_str()))
        .bind(each(wishes, |w| w.kind.as_str()))
        .bind(each(wishes, |w| w.namespace.as_str()))
        .bind(each(wishes, |w| w.name.as_str()))
        .bind(each(wishes, |w| w.generation))
        .bind(each(wishes, |w| w.suspended))
        .bind(each(wishes, |w| w.deletion_policy.as_str()))
        .bind(each(wishes, |w| seconds(w.retention.succeeded)))
        .bind(each(wishes, |w| seconds(w.retention.failed)))
}

fn define(wishes: &[Submission]) -> Statement<'static> {
    sqlx::query(DEFINE)
        .bind(each(wishes, |w| w.uid.as_str()))
        .bind(each(wishes, |w| w.generation))
        .bind(each(wishes, |w| w.namespace.as_str()))
        .bind(each(wishes, |w| w.workflow.as_str()))
        .bind(each(wishes, |w| w.revision.as_str()))
        .bind(each(wishes, |w| w.body.as_str()))
}

fn start(wishes: &[Submission]) -> Statement<'static> {
    objects(sqlx::query(START), wishes)
        .bind(each(wishes, |w| w.workflow.as_str()))
        .bind(each(wishes, |w| w.revision.as_str()))
        .bind(each(wishes, |w| w.start.as_ref().map(|start| start.start_key.as_str())))
        .bind(each(wishes, |w| {
            w.start.as_ref().and_then(|start| start.input.as_deref())
        }))
        .bind(each(wishes, |w| w.start.as_ref().map(|start| start.trigger.as_str())))
        .bind(each(wishes, |w| {
            w.start.as_ref().and_then(|start| start.counted_by.as_deref())
        }))
        .bind(each(wishes, |w| w.only_when_idle))
}

fn read(wishes: &[Submission]) -> Statement<'static> {
    sqlx::query(READ)
        .bind(each(wishes, |w| w.uid.as_str()))
        .bind(each(wishes, |w| w.kind.as_str()))
        .bind(each(wishes, |w| w.namespace.as_str()))
        .bind(each(wishes, |w| w.name.as_str()))
        .bind(each(wishes, |w| w.generation))
        .bind(each(wishes, |w| w.workflow.as_str()))
        .bind(each(wishes, |w| w.revision.as_str()))
        .bind(each(wishes, |w| w.start.as_ref().map(|start| start.start_key.as_str())))
        .bind(each(wishes, |w| {
            w.start.as_ref().and_then(|start| start.input.as_deref())
        }))
        .bind(each(wishes, |w| w.start.as_ref().map(|start| start.trigger.as_str())))
        .bind(each(wishes, |w| {
            w.start.as_ref().and_then(|start| start.counted_by.as_deref())
        }))
}

fn each<'w, T>(wishes: &'w [Submission], of: impl Fn(&'w Submission) -> T) -> Vec<T> {
    wishes.iter().map(of).collect()
}

impl Answer {
    pub(super) fn read(&self) -> Result<Vec<Submitted>, Error> {
        let started: HashSet<Uuid> = self
            .started
            .iter()
            .map(|row| column(row, "run_id"))
            .collect::<Result<_, _>>()?;
        self.found
            .iter()
            .map(|row| {
                let run: Option<Uuid> = column(row, "run_id")?;
                Ok(Submitted {
                    uid: column(row, "uid")?,
                    stale: column(row, "stale")?,
                    run,
                    started: run.is_some_and(|run| started.contains(&run)),
                    waiting: column(row, "waiting")?,
                })
            })
            .collect()
    }
}

//! The views of the SQL surface: runs and their histories, page by page.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, postgres::PgRow};
use uuid::Uuid;

use super::{Mode, Surface, SurfaceError};
use crate::store::{
    Error,
    row::{column, json, maybe_time, time},
};

const COLUMNS: &str = "id, namespace, workflow, owner_kind, owner_name, start_key, trigger, phase, reason, step, \
    waiting_for, progress, attempts, error::text AS error, output::text AS output, deadline, created_at, started_at, \
    finished_at";
/// As many as tell that a name means too many runs.
const CANDIDATES: i64 = 6;

/// A row of `everstep.run_list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// The run's id; ids grow with time.
    pub id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Name of the Workflow.
    pub workflow: String,
    /// `Workflow` or `WorkflowRun`; none for a run that SQL started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_kind: Option<String>,
    /// Name of that object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_name: Option<String>,
    /// What makes a start unique.
    pub start_key: String,
    /// What started it.
    pub trigger: String,
    /// The coarse phase.
    pub phase: String,
    /// The code of `error`: why it does not get on, or did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The oldest open step, and how many more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What that waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Steps that ended of all steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Attempts of the open step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// `{step, code, message}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// Of a run that succeeded, when at most 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// When it times out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a worker first carried it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// A row of `everstep.run_history`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryRow {
    /// The decision that the event belongs to.
    pub seq: i32,
    /// Its place there, from 1.
    pub place: i32,
    /// When it was decided.
    pub at: Timestamp,
    /// The event's name.
    pub event: String,
    /// Its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this namespace; none: of all that were granted.
    pub namespace: Option<String>,
    /// Of this Workflow.
    pub workflow: Option<String>,
    /// In one of these phases; none: in any.
    pub phases: Vec<String>,
    /// Older than this one: the last of the page before.
    pub before: Option<Uuid>,
}

impl Surface {
    /// The newest runs, at most `limit`.
    pub async fn runs(&mut self, filter: &RunFilter, limit: i64) -> Result<Vec<RunRow>, SurfaceError> {
        // Texts of ours; what the caller gives is bound.
        let asked = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS}
             FROM everstep.run_list
             WHERE ($1::text IS NULL OR namespace = $1)
               AND ($2::text IS NULL OR workflow = $2)
               AND (cardinality($3::text[]) = 0 OR phase = ANY ($3))
               AND id < coalesce($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
             ORDER BY id DESC
             LIMIT $5"
        )))
        .bind(filter.namespace.clone())
        .bind(filter.workflow.clone())
        .bind(filter.phases.clone())
        .bind(filter.before)
        .bind(limit);
        rows(&self.fetch(Mode::Read, asked).await?)
    }

    /// The runs whose ids lie between these two, both included; a handful when there are more.
    pub async fn runs_between(&mut self, first: Uuid, last: Uuid) -> Result<Vec<RunRow>, SurfaceError> {
        let asked = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS}
             FROM everstep.run_list
             WHERE id BETWEEN $1 AND $2
             ORDER BY id DESC
             LIMIT $3"
        )))
        .bind(first)
        .bind(last)
        .bind(CANDIDATES);
        rows(&self.fetch(Mode::Read, asked).await?)
    }

    /// Runs of the Workflow `name`, those that have not ended first, then the newest; a handful.
    pub async fn runs_of_workflow(&mut self, namespace: &str, name: &str) -> Result<Vec<RunRow>, SurfaceError> {
        self.named(namespace, name, "workflow = $2").await
    }

    /// The run of the WorkflowRun `name`; of those that had the name, the newest first.
    pub async fn runs_of_object(&mut self, namespace: &str, name: &str) -> Result<Vec<RunRow>, SurfaceError> {
        self.named(namespace, name, "owner_kind = 'WorkflowRun' AND owner_name = $2")
            .await
    }

    async fn named(&mut self, namespace: &str, name: &str, of: &'static str) -> Result<Vec<RunRow>, SurfaceError> {
        let asked = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS}
             FROM everstep.run_list
             WHERE namespace = $1
               AND {of}
             ORDER BY finished_at IS NOT NULL, id DESC
             LIMIT $3"
        )))
        .bind(namespace.to_owned())
        .bind(name.to_owned())
        .bind(CANDIDATES);
        rows(&self.fetch(Mode::Read, asked).await?)
    }

    /// The events of a run after `(seq, place)`, oldest first, at most `limit`.
    pub async fn run_history(
        &mut self,
        run: Uuid,
        after: (i32, i32),
        limit: i64,
    ) -> Result<Vec<HistoryRow>, SurfaceError> {
        let asked = sqlx::query(
            "SELECT seq, place, at, event, detail::text AS detail
             FROM everstep.run_history
             WHERE run_id = $1
               AND seq >= $2
               AND (seq > $2 OR place > $3)
             ORDER BY seq, place
             LIMIT $4",
        )
        .bind(run)
        .bind(after.0)
        .bind(after.1)
        .bind(limit);
        let rows = self.fetch(Mode::Read, asked).await?;
        rows.iter().map(event).collect::<Result<_, Error>>().map_err(Into::into)
    }
}

fn rows(rows: &[PgRow]) -> Result<Vec<RunRow>, SurfaceError> {
    rows.iter().map(run).collect::<Result<_, Error>>().map_err(Into::into)
}

fn run(row: &PgRow) -> Result<RunRow, Error> {
    Ok(RunRow {
        id: column(row, "id")?,
        namespace: column(row, "namespace")?,
        workflow: column(row, "workflow")?,
        owner_kind: column(row, "owner_kind")?,
        owner_name: column(row, "owner_name")?,
        start_key: column(row, "start_key")?,
        trigger: column(row, "trigger")?,
        phase: column(row, "phase")?,
        reason: column(row, "reason")?,
        step: column(row, "step")?,
        waiting_for: column(row, "waiting_for")?,
        progress: column(row, "progress")?,
        attempts: column(row, "attempts")?,
        error: json(row, "error")?,
        output: json(row, "output")?,
        deadline: maybe_time(row, "deadline")?,
        created_at: time(row, "created_at")?,
        started_at: maybe_time(row, "started_at")?,
        finished_at: maybe_time(row, "finished_at")?,
    })
}

fn event(row: &PgRow) -> Result<HistoryRow, Error> {
    Ok(HistoryRow {
        seq: column(row, "seq")?,
        place: column(row, "place")?,
        at: time(row, "at")?,
        event: column(row, "event")?,
        detail: json(row, "detail")?,
    })
}

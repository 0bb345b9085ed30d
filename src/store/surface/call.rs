//! The functions of the SQL surface. What they guarantee is in `docs/sql.md`.

use uuid::Uuid;

use super::{Mode, Surface, SurfaceError};
use crate::store::row::column;

impl Surface {
    /// `everstep.start`: a run of the accepted Workflow `namespace/name`; its id, also when the key was used before.
    pub async fn start(
        &mut self,
        workflow: &str,
        input: Option<&str>,
        key: Option<&str>,
    ) -> Result<Uuid, SurfaceError> {
        let call = sqlx::query("SELECT everstep.start($1, $2::text::jsonb, $3) AS id")
            .bind(workflow.to_owned())
            .bind(input.map(str::to_owned))
            .bind(key.map(str::to_owned));
        self.one(call, "id").await
    }

    /// `everstep.signal`: `Stored`, `Duplicate` or `DuplicateDiffers`.
    pub async fn signal(
        &mut self,
        run: Uuid,
        signal: &str,
        payload: &str,
        dedup_key: Option<&str>,
    ) -> Result<String, SurfaceError> {
        let call = sqlx::query("SELECT everstep.signal($1, $2, $3::text::jsonb, $4) AS answer")
            .bind(run)
            .bind(signal.to_owned())
            .bind(payload.to_owned())
            .bind(dedup_key.map(str::to_owned));
        self.one(call, "answer").await
    }

    /// `everstep.cancel`.
    pub async fn cancel(&mut self, run: Uuid, reason: &str) -> Result<(), SurfaceError> {
        let call = sqlx::query("SELECT everstep.cancel($1, $2)")
            .bind(run)
            .bind(reason.to_owned());
        self.fetch(Mode::Write, call).await.map(drop)
    }

    /// `everstep.terminate`: the run ends, and nothing is undone.
    pub async fn terminate(&mut self, run: Uuid, reason: &str) -> Result<(), SurfaceError> {
        let call = sqlx::query("SELECT everstep.terminate($1, $2)")
            .bind(run)
            .bind(reason.to_owned());
        self.fetch(Mode::Write, call).await.map(drop)
    }

    /// `everstep.retry`: what failed of a run that stands still begins afresh.
    pub async fn retry(&mut self, run: Uuid, from: Option<&str>) -> Result<(), SurfaceError> {
        let call = sqlx::query("SELECT everstep.retry($1, $2)")
            .bind(run)
            .bind(from.map(str::to_owned));
        self.fetch(Mode::Write, call).await.map(drop)
    }

    async fn one<T>(&mut self, call: crate::store::pool::Statement<'_>, name: &str) -> Result<T, SurfaceError>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let rows = self.fetch(Mode::Write, call).await?;
        let row = rows.first().ok_or(crate::store::Error::NotFound)?;
        Ok(column(row, name)?)
    }
}

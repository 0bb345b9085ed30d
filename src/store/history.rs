//! Reading a run's journal for people. Nothing is decided on what is read here.

use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Decision, Error, Store,
    row::{column, time},
};

impl Store {
    /// The decisions of a run after `seq`, oldest first, at most `limit`.
    pub async fn history(&self, run: Uuid, after: i32, limit: i64) -> Result<Vec<Decision>, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(
                    "SELECT seq, at, events::text AS events
                     FROM everstep.journal
                     WHERE run_id = $1
                       AND seq > $2
                     ORDER BY seq
                     LIMIT $3",
                )
                .bind(run)
                .bind(after)
                .bind(limit)
            })
            .await?;
        rows.iter().map(decision).collect()
    }
}

fn decision(row: &PgRow) -> Result<Decision, Error> {
    let seq = column(row, "seq")?;
    let events = serde_json::from_str(column(row, "events")?)
        .map_err(|error| Error::Corrupt(format!("journal row {seq}: {error}")))?;
    Ok(Decision {
        seq,
        at: time(row, "at")?,
        events,
    })
}

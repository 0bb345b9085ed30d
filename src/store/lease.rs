//! A worker's lease: one row and one heartbeat for each process.

use std::time::Duration;

use uuid::Uuid;

use super::{
    Error, Store,
    row::{column, seconds, time},
};

impl Store {
    /// A new worker id with a lease from now. `session` says who it is, for people: host and process id.
    /// Rows of workers that are long dead go away.
    pub async fn register(&self, session: &str, lease: Duration) -> Result<Uuid, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(
                    "WITH clock AS MATERIALIZED (SELECT everstep.now() AS now),
                     buried AS (
                       DELETE FROM everstep.workers WHERE expires_at < (SELECT now FROM clock) - interval '1 day'
                     )
                     INSERT INTO everstep.workers (id, session, heartbeat_at, expires_at)
                     SELECT everstep.uuidv7(), $1, now, now + make_interval(secs => $2) FROM clock
                     RETURNING id, heartbeat_at",
                )
                .bind(session)
                .bind(seconds(lease))
            })
            .await?;
        let row = rows.first().ok_or(Error::NotFound)?;
        self.clock.learn(time(row, "heartbeat_at")?);
        column(row, "id")
    }

    /// Renews a lease that is alive. False: it has expired and stays so, register anew (P8).
    pub async fn renew(&self, worker: Uuid, lease: Duration) -> Result<bool, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(
                    "UPDATE everstep.workers
                     SET heartbeat_at = clock.now, expires_at = clock.now + make_interval(secs => $2)
                     FROM (SELECT everstep.now() AS now OFFSET 0) AS clock
                     WHERE id = $1 AND expires_at > everstep.now()      -- P8: once expired, for ever expired
                     RETURNING heartbeat_at",
                )
                .bind(worker)
                .bind(seconds(lease))
            })
            .await?;
        let Some(row) = rows.first() else { return Ok(false) };
        self.clock.learn(time(row, "heartbeat_at")?);
        Ok(true)
    }

    /// Gives up a lease: what is still claimed under it is taken over at once instead of after the lease (P5: nothing is
    /// released without an append).
    pub async fn deregister(&self, worker: Uuid) -> Result<(), Error> {
        self.execute(|| {
            sqlx::query(
                "UPDATE everstep.workers SET expires_at = everstep.now() WHERE id = $1 AND expires_at > everstep.now()",
            )
            .bind(worker)
        })
        .await
        .map(drop)
    }
}

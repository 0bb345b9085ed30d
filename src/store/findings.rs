//! What workers found when they used a Connection; controllers show it in the object's status.

use jiff::Timestamp;
use sqlx::postgres::PgRow;

use super::{
    Bell, Error, Store,
    row::{column, time, to_sql},
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// UID of the Connection.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The generation that was tried.
    pub generation: i64,
    /// Whether it works.
    pub ready: bool,
    /// Why not, as a CamelCase constant; `Connected` when it works.
    pub reason: String,
    /// For people; never holds a secret.
    pub message: String,
    /// When, by the database's clock. Ignored by `record_finding`.
    pub checked_at: Timestamp,
}

impl Store {
    /// What was found about these Connections; those nobody has used are absent.
    pub async fn connection_findings(&self, uids: &[String]) -> Result<Vec<Finding>, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(
                    "SELECT uid, namespace, name, generation, ready, reason, message, checked_at
                     FROM everstep.connections
                     WHERE uid = ANY ($1)",
                )
                .bind(uids)
            })
            .await?;
        rows.iter().map(finding).collect()
    }

    /// Findings at or after `since`, oldest first, at most `limit`: whose status is to be written.
    pub async fn findings_since(&self, since: Timestamp, limit: i64) -> Result<Vec<Finding>, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(
                    "SELECT uid, namespace, name, generation, ready, reason, message, checked_at
                     FROM everstep.connections
                     WHERE checked_at >= $1
                     ORDER BY checked_at, uid
                     LIMIT $2",
                )
                .bind(to_sql(Some(since)))
                .bind(limit)
            })
            .await?;
        rows.iter().map(finding).collect()
    }

    /// Records a finding, unless one of a newer generation is there.
    pub async fn record_finding(&self, finding: &Finding) -> Result<(), Error> {
        self.execute(|| {
            sqlx::query(
                "INSERT INTO everstep.connections AS c
                   (uid, namespace, name, generation, ready, reason, message, checked_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, everstep.now())
                 ON CONFLICT (uid) DO UPDATE
                 SET namespace = excluded.namespace, name = excluded.name, generation = excluded.generation,
                   ready = excluded.ready, reason = excluded.reason, message = excluded.message,
                   checked_at = excluded.checked_at
                 WHERE c.generation <= excluded.generation",
            )
            .bind(&finding.uid)
            .bind(&finding.namespace)
            .bind(&finding.name)
            .bind(finding.generation)
            .bind(finding.ready)
            .bind(&finding.reason)
            .bind(&finding.message)
        })
        .await?;
        self.ring(Bell::Changed);
        Ok(())
    }
}

/// Nobody has used the Connection for a day: its object may be gone. The table has a row for each Connection, and the order
/// of its key.
const OLD: &str = "
SELECT uid
FROM everstep.connections
WHERE uid > $1 AND checked_at < (SELECT everstep.now()) - interval '1 day' AND (namespace = ANY ($3)) IS NOT FALSE
ORDER BY uid
LIMIT $2";

const FORGET: &str = "
DELETE FROM everstep.connections
WHERE uid = ANY ($1) AND checked_at < (SELECT everstep.now()) - interval '1 day'";

impl Store {
    /// UIDs of Connections of these namespaces, or of all, that nobody has used for a day: a page of those after `after`.
    pub async fn old_findings(
        &self,
        after: &str,
        limit: i64,
        namespaces: Option<&[String]>,
    ) -> Result<Vec<String>, Error> {
        let rows = self
            .fetch(|| sqlx::query(OLD).bind(after).bind(limit).bind(namespaces))
            .await?;
        rows.iter().map(|row| column(row, "uid")).collect()
    }

    /// Removes what was found about these Connections, if nobody has used them for a day; how many that were.
    pub async fn forget_findings(&self, uids: &[String]) -> Result<u64, Error> {
        self.execute(|| sqlx::query(FORGET).bind(uids)).await
    }
}

fn finding(row: &PgRow) -> Result<Finding, Error> {
    Ok(Finding {
        uid: column(row, "uid")?,
        namespace: column(row, "namespace")?,
        name: column(row, "name")?,
        generation: column(row, "generation")?,
        ready: column(row, "ready")?,
        reason: column(row, "reason")?,
        message: column(row, "message")?,
        checked_at: time(row, "checked_at")?,
    })
}

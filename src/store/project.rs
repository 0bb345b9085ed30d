//! Runs whose summary the object's status does not show yet.

use uuid::Uuid;

use super::{Error, Store, row::column};

/// No namespaces are all; said in a way for which no index but that of changed runs can be used.
const CHANGED: &str = "
SELECT id, owner_uid, owner_kind, namespace, owner_name, summary_seq
FROM everstep.runs
WHERE owner_uid IS NOT NULL AND summary_seq > projected_seq AND (namespace = ANY ($2)) IS NOT FALSE
ORDER BY id
LIMIT $1";

/// One such run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The run.
    pub run: Uuid,
    /// UID of the object that owns it.
    pub owner_uid: String,
    /// Kind of that object.
    pub owner_kind: String,
    /// Namespace of that object.
    pub namespace: String,
    /// Name of that object.
    pub owner_name: String,
    /// What `mark_projected` is to be told once the status shows it.
    pub summary_seq: i32,
}

impl Store {
    /// At most `limit` runs of objects in these namespaces, or in all, whose newest summary was not projected.
    pub async fn changed(&self, limit: i64, namespaces: Option<&[String]>) -> Result<Vec<Changed>, Error> {
        let rows = self.fetch(|| sqlx::query(CHANGED).bind(limit).bind(namespaces)).await?;
        rows.iter()
            .map(|row| {
                Ok(Changed {
                    run: column(row, "id")?,
                    owner_uid: column(row, "owner_uid")?,
                    owner_kind: column(row, "owner_kind")?,
                    namespace: column(row, "namespace")?,
                    owner_name: column(row, "owner_name")?,
                    summary_seq: column(row, "summary_seq")?,
                })
            })
            .collect()
    }

    /// Notes what the objects' statuses show now: (run, `summary_seq`). Never goes backwards.
    pub async fn mark_projected(&self, runs: &[(Uuid, i32)]) -> Result<(), Error> {
        let (ids, seqs): (Vec<Uuid>, Vec<i32>) = runs.iter().copied().unzip();
        self.execute(|| {
            sqlx::query(
                "UPDATE everstep.runs AS r
                 SET projected_seq = shown.seq
                 FROM UNNEST($1::uuid[], $2::int[]) AS shown (id, seq)
                 -- Another replica may have shown a later one.
                 WHERE r.id = shown.id AND r.projected_seq < shown.seq",
            )
            .bind(&ids)
            .bind(&seqs)
        })
        .await
        .map(drop)
    }
}

//! Whose database this is: one install of one Kubernetes cluster.

use std::sync::Arc;

use super::{Error, Refusal, Store, row::column};

impl Store {
    /// Takes this database for a cluster and an install, or compares when it is taken.
    ///
    /// # Errors
    /// `Refused` with `OtherCluster` or `OtherInstall`.
    pub async fn adopt_cluster(&self, cluster: &str, install: &str) -> Result<(), Error> {
        // Of two that come first at once, one waits for the other's row; the statement after sees it.
        self.execute(|| {
            sqlx::query("INSERT INTO everstep.cluster (id, install) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(cluster)
                .bind(install)
        })
        .await?;
        let rows = self
            .fetch(|| sqlx::query("SELECT id, install FROM everstep.cluster"))
            .await?;
        let row = rows.first().ok_or(Error::NotFound)?;
        let (id, theirs): (String, String) = (column(row, "id")?, column(row, "install")?);
        if id != cluster {
            return Err(Refusal::OtherCluster {
                mine: cluster.to_owned(),
                theirs: id,
            }
            .into());
        }
        if theirs != install {
            return Err(Refusal::OtherInstall {
                mine: install.to_owned(),
                theirs,
            }
            .into());
        }
        Ok(())
    }

    /// The cluster id in the database; part of every step key. Asked once a process.
    ///
    /// # Errors
    /// `NotFound` until somebody has called [`adopt_cluster`](Self::adopt_cluster).
    pub async fn cluster(&self) -> Result<Arc<str>, Error> {
        if let Some(known) = self.cluster.get() {
            return Ok(Arc::clone(known));
        }
        let rows = self.fetch(|| sqlx::query("SELECT id FROM everstep.cluster")).await?;
        let id: Arc<str> = column::<String>(rows.first().ok_or(Error::NotFound)?, "id")?.into();
        Ok(Arc::clone(self.cluster.get_or_init(|| id)))
    }

    /// Which incarnation of the database this is; none until it was taken for a cluster.
    pub async fn epoch(&self) -> Result<Option<i32>, Error> {
        let rows = self.fetch(|| sqlx::query("SELECT epoch FROM everstep.cluster")).await?;
        rows.first().map(|row| column(row, "epoch")).transpose()
    }
}

//! Whose database this is: one install of one Kubernetes cluster.

use std::sync::Arc;

use super::{Error, Store};

impl Store {
    /// Takes this database for a cluster and an install, or compares when it is taken.
    ///
    /// # Errors
    /// `Refused` with `OtherCluster` or `OtherInstall`.
    pub async fn adopt_cluster(&self, cluster: &str, install: &str) -> Result<(), Error> {
        let _ = (cluster, install);
        Err(Error::NotFound)
    }

    /// The cluster id in the database; part of every step key.
    ///
    /// # Errors
    /// `NotFound` until somebody has called [`adopt_cluster`](Self::adopt_cluster).
    pub async fn cluster(&self) -> Result<Arc<str>, Error> {
        Err(Error::NotFound)
    }
}

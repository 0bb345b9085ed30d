//! A worker's lease: one row and one heartbeat for each process.

use std::time::Duration;

use uuid::Uuid;

use super::{Error, Store};

impl Store {
    /// A new worker id with a lease from now. `session` says who it is, for people: host and process id.
    pub async fn register(&self, session: &str, lease: Duration) -> Result<Uuid, Error> {
        let _ = (session, lease);
        Err(Error::NotFound)
    }

    /// Renews a lease that is alive. False: it has expired and stays so, register anew (P8).
    pub async fn renew(&self, worker: Uuid, lease: Duration) -> Result<bool, Error> {
        let _ = (worker, lease);
        Err(Error::NotFound)
    }

    /// Gives up a lease, and what was claimed under it and never begun: the rest is taken over by the rescuer at once.
    pub async fn deregister(&self, worker: Uuid) -> Result<(), Error> {
        let _ = worker;
        Err(Error::NotFound)
    }
}

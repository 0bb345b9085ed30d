//! Opening connections, and refusing what cannot work: too old, read-only, behind a transaction-mode pooler.

use super::{Error, Store};

/// Where and how to connect.
#[derive(Clone)]
pub struct Options {
    /// `postgres://…`; holds a password, so it is never printed.
    pub url: String,
    /// At most so many connections, those of the listener and of [`Store::apart`] not counted.
    pub max_connections: u32,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
}

impl Store {
    /// Connects, and checks that this server can be used: version 15 or newer, a direct connection, read-write.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers (try again), `Refused` when a human has to act.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let _ = options;
        Err(Error::NotFound)
    }

    /// The same store on connections of its own, for another runtime: a worker's heartbeat must not wait for the
    /// main runtime or its pool. Connections are opened when first used. Call it inside the runtime that will use it.
    #[must_use]
    pub fn apart(&self, max_connections: u32) -> Self {
        let _ = max_connections;
        self.clone()
    }
}

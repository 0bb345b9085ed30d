//! Performs one attempt of an action and says what came of it. Not what it means for the run, and no retries: an
//! attempt is made once, and the engine decides what follows.

mod http;
mod limit;
mod sql;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use uuid::Uuid;

use super::connection::{Connection, Connections, Kind};
use super::egress::EgressPolicy;
use crate::engine::{ErrorKind, Outcome, Request, StepError};

/// One check of a Connection may take so long.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// So many Connections are checked at once: checks are never urgent, and each opens a connection.
const CHECKS_AT_ONCE: usize = 4;

/// The actions of a worker, with their Connections and pools. Cheap to clone.
#[derive(Clone)]
pub struct Actions(Arc<Inner>);

struct Inner {
    connections: Connections,
    sql: sql::Sql,
    http: http::Http,
}

/// What an attempt is made for.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The run's namespace: whose Connections and egress rules apply.
    pub namespace: String,
    /// The step key, 32 hex digits: the same for every attempt; sent as `Idempotency-Key`.
    pub key: String,
    /// The whole attempt ends within this.
    pub timeout: Duration,
    /// The step's path, for logs.
    pub step: String,
    /// The run, for logs.
    pub run: Uuid,
}

impl Actions {
    /// Actions over these Connections, under this policy.
    pub fn new(connections: Connections, egress: EgressPolicy) -> Self {
        let sql = sql::Sql::new(connections.clone(), egress.clone());
        let http = http::Http::new(connections.clone(), egress);
        Self(Arc::new(Inner { connections, sql, http }))
    }

    /// Performs one attempt. It ends by the attempt's timeout, whatever the other side does.
    ///
    /// Dropping the future aborts it: an SQL statement is cancelled and its session closed, an HTTP connection is
    /// closed. What the other side had already done stays done.
    pub async fn perform(&self, attempt: &Attempt, request: Request) -> Outcome {
        let began = Instant::now();
        let outcome = match request {
            Request::Sql(request) => self.0.sql.perform(attempt, &request).await,
            Request::Http(request) => self.0.http.perform(attempt, &request).await,
            #[cfg(feature = "bench")]
            Request::Noop => Ok(serde_json::Value::Null),
        };
        tracing::debug!(
            run = %attempt.run,
            step = attempt.step,
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            error = outcome.as_ref().err().map(|error| error.code.as_str()),
            "attempt ended"
        );
        outcome
    }

    /// Checks every Connection that steps used lately and reports what it finds. Call it every five minutes.
    pub async fn check_connections(&self) {
        futures::stream::iter(self.0.connections.in_use())
            .for_each_concurrent(CHECKS_AT_ONCE, |(namespace, name)| async move {
                // The failure is in the finding, where people look for it.
                let _ = self.check(&namespace, &name).await;
            })
            .await;
    }

    /// Whether a Connection works: a postgres one answers `SELECT 1`, an http one is allowed and accepts a connection.
    /// What is found is reported too.
    pub async fn check(&self, namespace: &str, name: &str) -> Result<(), StepError> {
        let connection = self.0.connections.get(namespace, name).await?;
        let found = self.try_out(&connection).await;
        self.0.connections.report(&connection, found.as_ref().copied());
        found
    }

    async fn try_out(&self, connection: &Connection) -> Result<(), StepError> {
        let check = async {
            match &connection.kind {
                Kind::Postgres(postgres) => self.0.sql.check(postgres).await,
                Kind::Http(http) => self.0.http.check(&connection.namespace, http).await,
            }
        };
        match tokio::time::timeout(CHECK_TIMEOUT, check).await {
            Ok(found) => found,
            Err(_) => Err(StepError::new(
                ErrorKind::Connect,
                "ConnectTimeout",
                format!("no answer within {} s", CHECK_TIMEOUT.as_secs()),
            )),
        }
    }

    /// Waits until what aborted attempts left behind is done: a few seconds at most. For shutdown.
    pub async fn close(&self) {
        self.0.sql.close().await;
    }
}

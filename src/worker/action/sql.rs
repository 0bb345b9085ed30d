//! The `sql` action: one statement in one transaction, as the Connection's own login. Never the engine's database.
//!
//! ```text
//! gate -> session -> BEGIN, step key, prepare -> types allowed? -> rows, within limits -> still our transaction?
//!      -> expect -> COMMIT -> DISCARD ALL, verified -> idle
//! any failure: ROLLBACK       dropped or timed out: CancelRequest, close
//! ```

mod cell;
mod database_error;
mod parameter;
mod pool;
mod session;
mod statement;
mod stream;

use std::sync::Arc;
use std::time::Instant;

use self::pool::{Lease, Pool, Pools};
use self::session::Session;
use super::Attempt;
use super::limit::Pass;
use crate::engine::{ErrorKind, Outcome, SqlRequest, StepError};
use crate::worker::connection::{Connection, Connections, Kind, PostgresConnection};
use crate::worker::egress::{EgressPolicy, Rules};

/// Everything that SQL attempts share. Sessions are never shared between namespaces.
pub(super) struct Sql {
    connections: Connections,
    egress: EgressPolicy,
    pools: Pools,
}

/// A statement that ended, and the session that it leaves behind when that may be used again.
struct Done {
    outcome: Outcome,
    session: Option<Session>,
    pool: Arc<Pool>,
    rules: Arc<Rules>,
    _place: Pass,
}

impl Sql {
    pub(super) fn new(connections: Connections, egress: EgressPolicy) -> Self {
        Self {
            connections,
            egress,
            pools: Pools::default(),
        }
    }

    /// Makes one attempt; it ends by its timeout, and then the statement is cancelled and its session closed.
    pub(super) async fn perform(&self, attempt: &Attempt, request: &SqlRequest) -> Outcome {
        let deadline = Instant::now() + attempt.timeout;
        match tokio::time::timeout_at(deadline.into(), self.attempt(attempt, request, deadline)).await {
            Ok(Ok(done)) => done.tidy_up().await,
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let message = format!(
                    "the statement did not end within {:?} and was cancelled",
                    attempt.timeout
                );
                Err(StepError::new(ErrorKind::Timeout, "Timeout", message))
            }
        }
    }

    /// Whether the database accepts the login and answers.
    pub(super) async fn check(&self, postgres: &PostgresConnection) -> Result<(), StepError> {
        Session::open(&self.egress.current(), postgres).await?.ping().await
    }

    /// Waits for the cancel requests of aborted attempts; each has a few seconds at most.
    pub(super) async fn close(&self) {
        self.pools.close().await;
    }

    async fn attempt(&self, attempt: &Attempt, request: &SqlRequest, deadline: Instant) -> Result<Done, StepError> {
        let connection = self
            .connections
            .get_by(&attempt.namespace, &request.connection, deadline)
            .await?;
        match self.on_connection(attempt, request, &connection, deadline).await {
            Err(error) if error.code.starts_with("28") => {
                // The credentials may have been rotated: once more with what the Secret says now.
                let newer = self.connections.get_newer(&connection).await?;
                if newer.fingerprint == connection.fingerprint {
                    return Err(error);
                }
                self.on_connection(attempt, request, &newer, deadline).await
            }
            ended => ended,
        }
    }

    /// Errors are those of getting a session; what the statement came to is in [`Done`].
    async fn on_connection(
        &self,
        attempt: &Attempt,
        request: &SqlRequest,
        connection: &Connection,
        deadline: Instant,
    ) -> Result<Done, StepError> {
        let postgres = postgres(connection)?;
        let pool = self.pools.of(connection);
        let place = pool.gate().pass(deadline).await?;
        let rules = self.egress.current();
        while let Some(session) = pool.take(&rules) {
            let lease = Lease::new(&self.pools, session);
            match statement::begin(lease.session(), &attempt.key, request).await {
                // Ended while it lay idle: nothing has happened, so another session may try.
                Err(error) if is_stale(&error) => {}
                begun => {
                    let (outcome, session) = statement::run(lease, begun, &attempt.key, request).await;
                    return Ok(Done {
                        outcome,
                        session,
                        pool,
                        rules,
                        _place: place,
                    });
                }
            }
        }
        let session = self.reported(connection, Session::open(&rules, postgres).await)?;
        let lease = Lease::new(&self.pools, session);
        let begun = statement::begin(lease.session(), &attempt.key, request).await;
        let (outcome, session) = statement::run(lease, begun, &attempt.key, request).await;
        Ok(Done {
            outcome,
            session,
            pool,
            rules,
            _place: place,
        })
    }

    fn reported(&self, connection: &Connection, session: Result<Session, StepError>) -> Result<Session, StepError> {
        self.connections.report(connection, session.as_ref().map(|_| ()));
        session
    }
}

impl Done {
    /// Cleans the session for its next use. The attempt's timeout does not count any more: what came of the statement
    /// is known, and must not become a Timeout after a COMMIT.
    async fn tidy_up(self) -> Outcome {
        if let Some(session) = self.session
            && session.clean().await
        {
            self.pool.keep(&self.rules, session);
        }
        self.outcome
    }
}

/// The session had ended before anything of the statement was executed: the socket says so, or the farewell that the
/// server sent (shutdown, crash, idle_session_timeout) is read as the answer to BEGIN.
fn is_stale(error: &StepError) -> bool {
    error.kind == ErrorKind::Connect || matches!(error.code.as_str(), "57P01" | "57P02" | "57P05")
}

fn postgres(connection: &Connection) -> Result<&PostgresConnection, StepError> {
    match &connection.kind {
        Kind::Postgres(postgres) => Ok(postgres),
        Kind::Http(_) => {
            let message = format!(
                "Connection {}/{} is not a postgres Connection",
                connection.namespace, connection.name
            );
            Err(StepError::new(ErrorKind::Refused, "WrongConnectionKind", message))
        }
    }
}

//! A bounded set of connections, and the one way in which a statement is sent.
//!
//! Its own rather than the driver's: that one asks the server whether a connection lives each time it is handed out and
//! each time it comes back, and waits without a limit for a server that is gone. Here a connection whose answer did not
//! come is dropped, which closes the socket, and with it all that lay idle.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Executor, PgConnection, Postgres, Row,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};

use super::{Error, Refusal, Store, warning::heard};

/// A statement and its binds.
pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// How long an answer may take: every statement is bounded in rows, so this is a server or a network that is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a statement is sent that lost against others: a deadlock or a conflict is over at once, so five tries are
/// many, and a sixth would hide a defect.
const TRIES: u32 = 5;

/// A setting in our startup packets: a session that has it was opened by us, one that lacks it by a pooler.
pub(super) const OUR_OWN: (&str, &str) = ("everstep.session", "direct");

/// What every connection of ours is set to; answers whether the session is [`OUR_OWN`].
///
/// - generic plans of statements over arrays were bimodal, four times slower when wrong; a plan costs less than that
/// - compiling a statement that a wrong estimate made look expensive takes longer than running it
/// - a statement reads few rows, and a bloated queue table makes it look like many: starting a second process for them
///   takes longer than reading them
/// - to estimate a merge join, the planner asks the ends of both indexes, where the queue tables have their dead rows: that took
///   longer than the statement; ours join few rows, by index or by hash
/// - a commit is reported after it is durable: the role may ask for more than `on`, never for less
/// - a statement that begins after a lock reads what was committed before it (P9), whatever the database's default is
/// - names in our statements are qualified; whatever else is resolved comes from the system's own schema
const SETTINGS: &str = "
SELECT set_config('plan_cache_mode', 'force_custom_plan', false),
       set_config('jit', 'off', false),
       set_config('max_parallel_workers_per_gather', '0', false),
       set_config('enable_mergejoin', 'off', false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('search_path', 'pg_catalog, pg_temp', false),
       set_config('statement_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '30s', false),
       set_config('synchronous_commit',
         CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN 'on'
              ELSE current_setting('synchronous_commit') END, false),
       coalesce(current_setting('everstep.session', true), '') = 'direct' AS our_own";

/// At most so many connections at once.
pub(super) struct Pool {
    options: PgConnectOptions,
    idle: Mutex<Vec<PgConnection>>,
    permits: Semaphore,
}

/// A connection for a moment. It goes back to the pool only when nothing is open on it.
pub(super) struct Link<'p> {
    connection: Option<PgConnection>,
    /// A statement without its answer, or an open transaction.
    open: bool,
    pool: &'p Pool,
    _permit: SemaphorePermit<'p>,
}

impl Pool {
    pub(super) fn new(options: PgConnectOptions, max_connections: u32) -> Self {
        // As many as asked for, and at least the one without which nothing works.
        let permits = Semaphore::new(max_connections.max(1) as usize);
        Self {
            options,
            idle: Mutex::new(Vec::new()),
            permits,
        }
    }

    /// A pool to the same server.
    pub(super) fn again(&self, max_connections: u32) -> Self {
        Self::new(self.options.clone(), max_connections)
    }

    /// How the server is reached, for the driver's listener, which brings its own connection.
    pub(super) fn server(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A connection, idle or new.
    pub(super) async fn link(&self) -> Result<Link<'_>, Error> {
        let permit = timeout(PATIENCE, self.permits.acquire())
            .await
            .map_err(|_| Error::timeout("waiting for a free connection", PATIENCE))?
            .map_err(|closed| Error::unavailable(closed.to_string()))?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(Link {
            connection: Some(connection),
            open: false,
            pool: self,
            _permit: permit,
        })
    }

    /// A new connection with our settings, which the caller keeps.
    pub(super) async fn open(&self) -> Result<PgConnection, Error> {
        let opening = async {
            let mut connection = self.options.connect().await?;
            // The simple protocol: nothing prepared, so that even a pooler can be asked what it is.
            let set = connection.fetch_one(sqlx::raw_sql(SETTINGS)).await?;
            let our_own: bool = set.try_get("our_own")?;
            Ok::<_, sqlx::Error>(our_own.then_some(connection))
        };
        let opened = timeout(CONNECT, opening)
            .await
            .map_err(|_| Error::timeout("connecting", CONNECT))?;
        let connection = opened.map_err(Error::of_connecting)?;
        connection.ok_or_else(|| Refusal::Pooler.into())
    }

    /// Sends a statement and reads all of its answer; again, when it lost against others.
    pub(super) async fn fetch<'q>(&self, statement: impl Fn() -> Statement<'q>) -> Result<Vec<PgRow>, Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let mut link = self.link().await?;
            match link.fetch(statement()).await {
                Err(error) if is_retryable(&error) && tried < TRIES => {
                    drop(link);
                    pause(tried).await;
                }
                answer => return answer.map_err(Error::of_statement),
            }
        }
    }

    /// The same for a statement whose only answer is how many rows it wrote.
    pub(super) async fn execute<'q>(&self, statement: impl Fn() -> Statement<'q>) -> Result<u64, Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let mut link = self.link().await?;
            match link.execute(statement()).await {
                Err(error) if is_retryable(&error) && tried < TRIES => {
                    drop(link);
                    pause(tried).await;
                }
                answer => return answer.map_err(Error::of_statement),
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link<'_> {
    pub(super) async fn fetch(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        let connection = self.connection.as_mut().expect("taken only by drop");
        let was_open = std::mem::replace(&mut self.open, true);
        let (answer, warning) = heard(timeout(PATIENCE, connection.fetch_all(statement))).await;
        let answer = self.answered(was_open, answer.unwrap_or_else(|_| Err(silence())))?;
        self.refuse_unreplicated(warning).await?;
        Ok(answer)
    }

    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        let connection = self.connection.as_mut().expect("taken only by drop");
        let was_open = std::mem::replace(&mut self.open, true);
        let (answer, warning) = heard(timeout(PATIENCE, connection.execute(statement))).await;
        let done = self.answered(was_open, answer.unwrap_or_else(|_| Err(silence())))?;
        self.refuse_unreplicated(warning).await?;
        Ok(done.rows_affected())
    }

    /// Where commits wait for standbys, a warning says that one did not wait to the end: it is no success, and what became
    /// of it is unknown. The text would tell, but it is in the server's language.
    async fn refuse_unreplicated(&mut self, warning: Option<String>) -> Result<(), sqlx::Error> {
        // The other warning that a server gives for months, in the language that most have: not a reason to stop.
        let Some(said) = warning.filter(|said| !said.contains("must be vacuumed within")) else {
            return Ok(());
        };
        let connection = self.connection.as_mut().expect("taken only by drop");
        let asked = sqlx::query("SELECT current_setting('synchronous_standby_names') <> ''");
        let was_open = std::mem::replace(&mut self.open, true);
        let answer = timeout(PATIENCE, connection.fetch_one(asked)).await;
        let row = self.answered(was_open, answer.unwrap_or_else(|_| Err(silence())))?;
        if row.try_get(0)? {
            return Err(sqlx::Error::Io(std::io::Error::other(format!(
                "the commit came with a warning: {said}"
            ))));
        }
        Ok(())
    }

    /// A transaction from here to `commit`; without that, the connection is dropped and the server rolls back.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.execute(sqlx::query("BEGIN")).await?;
        self.open = true;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.execute(sqlx::query("COMMIT")).await?;
        self.open = false;
        Ok(())
    }

    fn answered<T>(&mut self, was_open: bool, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match &answer {
            Ok(_) => self.open = was_open,
            // The server said no, and the connection is in order; but for those that end it.
            Err(sqlx::Error::Database(error)) if !is_end(&error.code().unwrap_or_default()) => self.open = was_open,
            // One connection is broken: whatever broke it broke the idle ones.
            Err(_) => self.pool.idle().clear(),
        }
        answer
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        if let (Some(connection), false) = (self.connection.take(), self.open) {
            self.pool.idle().push(connection);
        }
    }
}

impl Store {
    pub(super) async fn fetch<'q>(&self, statement: impl Fn() -> Statement<'q>) -> Result<Vec<PgRow>, Error> {
        self.pool.fetch(statement).await
    }

    pub(super) async fn execute<'q>(&self, statement: impl Fn() -> Statement<'q>) -> Result<u64, Error> {
        self.pool.execute(statement).await
    }
}

/// The server rolled the statement back because of others: the whole statement may be sent again.
pub(super) fn is_retryable(error: &sqlx::Error) -> bool {
    // serialization failure, deadlock, lock not available, query cancelled
    code(error).is_some_and(|code| matches!(&*code, "40001" | "40P01" | "55P03" | "57014"))
}

/// Waits a little before a statement is sent again: 0 to 2^tried ms, so that those who met do not meet again.
pub(super) async fn pause(tried: u32) {
    use std::hash::{BuildHasher, RandomState};
    let spread = RandomState::new().hash_one(tried) % 1000;
    sleep(Duration::from_micros(spread << tried.min(TRIES))).await;
}

pub(super) const fn tries() -> u32 {
    TRIES
}

/// The SQLSTATE, if the server answered.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code().map(Into::into))
}

/// Connection exceptions and shutdowns: the session is over, and nothing is known of its last statement.
pub(super) fn is_end(code: &str) -> bool {
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25P03")
}

fn silence() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("no answer within {PATIENCE:?}"),
    ))
}

//! The SQL surface from its other side: what a person's role may read and call, through any pooler, also on a standby.
//!
//! Only the views and functions that are public API, never a table but the history of migrations where the role may read
//! it. One connection; each call is a transaction of its own, so that nothing of a session is relied upon.

mod call;
mod error;
mod read;

use std::str::FromStr;

use sqlx::{
    ConnectOptions, Executor, PgConnection, Row,
    postgres::{PgConnectOptions, PgRow},
};
use tokio::time::timeout;

use super::{
    Error, Options, Refusal, migrate,
    pool::{self, Statement},
};

pub use error::SurfaceError;
pub use read::{HistoryRow, RunFilter, RunRow};

/// How long connecting may take.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(5);

/// What there is, asked of the system's catalog: everybody may read that, whatever else is missing.
const SURVEY: &str = "
SELECT to_regnamespace('everstep') IS NOT NULL AS migrated,
       coalesce(has_schema_privilege(to_regnamespace('everstep')::oid, 'USAGE'), false) AS usable,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('everstep') AND relname = 'run_list') AS surface,
       (SELECT has_table_privilege(oid, 'SELECT') FROM pg_class
        WHERE relnamespace = to_regnamespace('everstep') AND relname = 'migrations') AS knows_version,
       (SELECT has_table_privilege(oid, 'SELECT') FROM pg_class
        WHERE relnamespace = to_regnamespace('everstep') AND relname = 'grants') AS knows_grants,
       CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role')::name END::text AS caller";

/// The surface as one role has it.
pub struct Surface {
    server: PgConnectOptions,
    connection: Option<PgConnection>,
    /// Once is enough: what was there stays.
    surveyed: bool,
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL holds a password.
        f.debug_struct("Surface").finish_non_exhaustive()
    }
}

impl Surface {
    /// Connects, and checks that the surface is there and that the role was granted anything at all.
    ///
    /// # Errors
    /// `Store` for what [`Store::connect`](super::Store::connect) refuses, but for poolers and standbys, and for a schema
    /// that is missing, older or newer; `NoGrant`.
    pub async fn connect(options: &Options) -> Result<Self, SurfaceError> {
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| options.url.starts_with(scheme))
        {
            return Err(Error::from(Refusal::Url("it does not begin with postgres://".to_owned())).into());
        }
        let server = PgConnectOptions::from_str(&options.url)
            .map_err(|error| Error::from(Refusal::Url(error.to_string())))?
            .application_name(&options.application_name)
            // Poolers refuse parameters they do not know, and lose prepared statements.
            .extra_float_digits(None)
            .statement_cache_capacity(0);
        let mut surface = Self {
            server,
            connection: None,
            surveyed: false,
        };
        surface.link().await?;
        Ok(surface)
    }

    /// Sends one statement in a transaction of its own and reads all of its answer.
    async fn fetch(&mut self, mode: Mode, statement: Statement<'_>) -> Result<Vec<PgRow>, SurfaceError> {
        let connection = self.link().await?;
        let asked = async {
            connection.execute(sqlx::raw_sql(mode.begin())).await?;
            let rows = connection.fetch_all(statement.persistent(false)).await?;
            connection.execute(sqlx::raw_sql("COMMIT")).await?;
            Ok::<_, sqlx::Error>(rows)
        };
        match timeout(pool::PATIENCE, asked).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                // The transaction is open, or the connection broken.
                self.connection = None;
                Err(SurfaceError::said(error))
            }
            Err(_) => {
                self.connection = None;
                Err(Error::timeout("an answer", pool::PATIENCE).into())
            }
        }
    }

    /// The connection, a new one where the last was lost.
    async fn link(&mut self) -> Result<&mut PgConnection, SurfaceError> {
        if self.connection.is_none() {
            let opened = timeout(CONNECT, self.server.connect())
                .await
                .map_err(|_| Error::timeout("connecting", CONNECT))?;
            let mut connection = opened.map_err(Error::of_connecting)?;
            if !self.surveyed {
                survey(&mut connection).await?;
                self.surveyed = true;
            }
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("it was just opened"))
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Read,
    Write,
}

impl Mode {
    fn begin(self) -> &'static str {
        match self {
            Self::Read => {
                "BEGIN READ ONLY; SET LOCAL statement_timeout = '10s'; SET LOCAL search_path = pg_catalog, pg_temp"
            }
            Self::Write => "BEGIN; SET LOCAL statement_timeout = '10s'; SET LOCAL search_path = pg_catalog, pg_temp",
        }
    }
}

/// Refuses what cannot work, before anything is asked that would only fail with the server's words.
async fn survey(connection: &mut PgConnection) -> Result<(), SurfaceError> {
    let row = connection
        .fetch_one(sqlx::raw_sql(SURVEY))
        .await
        .map_err(Error::of_connecting)?;
    let is = |name| row.try_get::<Option<bool>, _>(name).map_err(Error::of_statement);
    let role: String = row.try_get("caller").map_err(Error::of_statement)?;
    let binary = migrate::newest();
    if is("migrated")? != Some(true) {
        return Err(Error::from(Refusal::NotMigrated { database: 0, binary }).into());
    }
    if is("usable")? != Some(true) {
        return Err(SurfaceError::NoGrant { role });
    }
    if is("knows_version")? == Some(true) {
        let newest = "SELECT coalesce(max(version), 0) AS version FROM everstep.migrations";
        let row = connection.fetch_one(sqlx::raw_sql(newest)).await;
        let row = row.map_err(Error::of_statement)?;
        let database: i32 = row.try_get("version").map_err(Error::of_statement)?;
        if database > binary {
            return Err(Error::from(Refusal::NewerSchema { database, binary }).into());
        }
        if database < binary {
            return Err(Error::from(Refusal::NotMigrated { database, binary }).into());
        }
    }
    if is("surface")? != Some(true) {
        return Err(Error::from(Refusal::NotMigrated { database: 1, binary }).into());
    }
    // A role that may read the grants is none that was let in by one: an owner, a superuser.
    if is("knows_grants")? == Some(true) {
        let any = "SELECT EXISTS (SELECT FROM everstep.grants WHERE role = everstep.caller()) AS granted";
        let row = connection.fetch_one(sqlx::raw_sql(any)).await;
        let row = row.map_err(Error::of_statement)?;
        if !row.try_get::<bool, _>("granted").map_err(Error::of_statement)? {
            return Err(SurfaceError::NoGrant { role });
        }
    }
    Ok(())
}

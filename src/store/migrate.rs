//! The schema: forward-only migrations, each one transaction, with a history of their own.
//!
//! Our own rather than the driver's: that one keeps its history in the public schema, and takes its lock without a limit.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::{Error, Refusal, Store, pool};

/// The migrations of this release, oldest first; a number is its place, from 1.
const MIGRATIONS: [Migration; 9] = [
    Migration {
        name: "0001_create_schema",
        sql: include_str!("../../migrations/0001_create_schema.sql"),
    },
    Migration {
        name: "0002_add_signals_and_sql_surface",
        sql: include_str!("../../migrations/0002_add_signals_and_sql_surface.sql"),
    },
    Migration {
        name: "0003_add_retries",
        sql: include_str!("../../migrations/0003_add_retries.sql"),
    },
    Migration {
        name: "0004_find_what_stands_still",
        sql: include_str!("../../migrations/0004_find_what_stands_still.sql"),
    },
    Migration {
        name: "0005_start_with_fewer_expressions",
        sql: include_str!("../../migrations/0005_start_with_fewer_expressions.sql"),
    },
    Migration {
        name: "0006_refuse_retries_of_what_has_not_failed",
        sql: include_str!("../../migrations/0006_refuse_retries_of_what_has_not_failed.sql"),
    },
    Migration {
        name: "0007_know_what_is_set_aside",
        sql: include_str!("../../migrations/0007_know_what_is_set_aside.sql"),
    },
    Migration {
        name: "0008_count_runs_of_workflows",
        sql: include_str!("../../migrations/0008_count_runs_of_workflows.sql"),
    },
    Migration {
        name: "0009_list_what_may_be_started",
        sql: include_str!("../../migrations/0009_list_what_may_be_started.sql"),
    },
];

/// One migrator at a time; released with the connection. The bytes are "everstep".
const LOCK: i64 = i64::from_be_bytes(*b"everstep");

struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// What to do about the schema at start: `--migrations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrations {
    /// Apply what is missing.
    Auto,
    /// Refuse to start when something is missing.
    Verify,
    /// Do not ask for what is missing, but refuse a newer or another schema.
    Off,
}

/// What [`Store::migrate`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// The newest migration now in the database.
    pub version: i32,
    /// Names of those that were applied by this call, oldest first.
    pub applied: Vec<&'static str>,
}

impl Store {
    /// Brings the schema to this release, or checks it. Safe to call from many processes at once.
    ///
    /// # Errors
    /// `Refused` for a newer schema, a changed checksum, a missing migration (`Verify`) or missing privileges;
    /// `Unavailable` when another process migrates, or a table stays locked, for more than 5 s.
    pub async fn migrate(&self, mode: Migrations) -> Result<MigrationReport, Error> {
        let mut connection = self.pool.open().await?;
        let report = migrate(&mut connection, mode).await;
        // Dropped otherwise, and with it the lock; but a moment later.
        connection.close().await.ok();
        report
    }
}

/// The number of the newest migration of this release.
pub(super) fn newest() -> i32 {
    i32::try_from(MIGRATIONS.len()).expect("a handful")
}

async fn migrate(connection: &mut PgConnection, mode: Migrations) -> Result<MigrationReport, Error> {
    let mut version = check(connection, mode).await?;
    let mut applied = Vec::new();
    if mode == Migrations::Auto && version < newest() {
        // DDL may take its time, but it must not wait for a lock while others queue behind it.
        send(connection, "SET statement_timeout = 0").await?;
        send(connection, "SET lock_timeout = '5s'").await?;
        let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK);
        connection.execute(lock).await.map_err(said)?;
        send(connection, "CREATE SCHEMA IF NOT EXISTS everstep").await?;
        send(
            connection,
            "CREATE TABLE IF NOT EXISTS everstep.migrations (
               version integer PRIMARY KEY,
               name text NOT NULL,
               checksum text NOT NULL,
               applied_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())",
        )
        .await?;
        // Another process may have been here while we waited.
        version = check(connection, mode).await?;
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            version += 1;
            apply(connection, version, migration).await?;
            applied.push(migration.name);
        }
    }
    Ok(MigrationReport { version, applied })
}

/// Compares the history with ours; answers the newest migration in it.
async fn check(connection: &mut PgConnection, mode: Migrations) -> Result<i32, Error> {
    let there = connection
        .fetch_one("SELECT to_regclass('everstep.migrations') IS NOT NULL AS there")
        .await
        .map_err(said)?;
    let history = if there.try_get("there").map_err(said)? {
        connection
            .fetch_all("SELECT version, checksum FROM everstep.migrations ORDER BY version")
            .await
            .map_err(said)?
    } else {
        Vec::new()
    };
    let mut database = 0;
    for row in &history {
        database = row.try_get("version").map_err(said)?;
        if let Some(ours) = usize::try_from(database - 1)
            .ok()
            .and_then(|place| MIGRATIONS.get(place))
            && row.try_get::<&str, _>("checksum").map_err(said)? != ours.checksum()
        {
            return Err(Refusal::ChangedMigration { version: database }.into());
        }
    }
    let binary = newest();
    match mode {
        _ if database > binary => Err(Refusal::NewerSchema { database, binary }.into()),
        Migrations::Verify if database < binary => Err(Refusal::NotMigrated { database, binary }.into()),
        Migrations::Auto | Migrations::Verify | Migrations::Off => Ok(database),
    }
}

async fn apply(connection: &mut PgConnection, version: i32, migration: &Migration) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(said)?;
    // A migration is a text of ours, in the binary.
    transaction
        .execute(sqlx::raw_sql(AssertSqlSafe(migration.sql)))
        .await
        .map_err(said)?;
    let note = sqlx::query("INSERT INTO everstep.migrations (version, name, checksum) VALUES ($1, $2, $3)")
        .bind(version)
        .bind(migration.name)
        .bind(migration.checksum());
    transaction.execute(note).await.map_err(said)?;
    transaction.commit().await.map_err(said)
}

async fn send(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    connection.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(said)
}

fn said(error: sqlx::Error) -> Error {
    match pool::code(&error).as_deref() {
        // Somebody else migrates, or a long transaction holds a table.
        Some("55P03") => Error::Unavailable(error.into()),
        _ => Error::of_statement(error),
    }
}

impl Migration {
    /// Of the text, whatever the line endings of the checkout.
    fn checksum(&self) -> String {
        blake3::hash(self.sql.replace("\r\n", "\n").as_bytes())
            .to_hex()
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_by_their_place() {
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            assert!(
                migration.name.starts_with(&format!("{:04}_", place + 1)),
                "{}",
                migration.name
            );
        }
    }
}

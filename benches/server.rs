//! The PostgreSQL that is measured: private, with `fsync` and `synchronous_commit` on, under a flush of known length.

use std::{ffi::OsString, path::PathBuf, process::Command};

use everstep::dev::postgres::{Options, Postgres};
use sqlx::{Connection, PgConnection};

use crate::{
    Failure,
    options::{Flush, Measure},
};

const SHIM: &str = include_str!("flush.c");

/// What the statements of one measurement write, twice over.
const LOG_MEGABYTES: u32 = 2048;

/// A server whose flush takes what was asked for.
pub(crate) struct Server {
    pub(crate) postgres: Postgres,
    databases: u32,
    /// Holds the shim while the server runs.
    _shim: Option<tempfile::TempDir>,
}

impl Server {
    /// A name that no database has.
    pub(crate) fn next_name(&mut self) -> String {
        self.databases += 1;
        format!("everstep_{}", self.databases)
    }

    /// Leaves the segments of the write-ahead log that a measurement needs, as a server has them that has run for a day:
    /// a segment that must be created first costs half of the throughput.
    pub(crate) async fn fill_log(&self) -> Result<(), Failure> {
        let mut connection = PgConnection::connect(&self.postgres.url("postgres")).await?;
        let megabyte = "SELECT pg_logical_emit_message(false, 'everstep-bench', repeat('x', 1048576))";
        for _ in 0..LOG_MEGABYTES {
            sqlx::query(megabyte).execute(&mut connection).await?;
        }
        sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
        Ok(())
    }
}

/// Starts the server.
pub(crate) fn start(asked: &Measure) -> Result<Server, Failure> {
    let flush = asked.flush;
    let shim = match flush {
        Flush::Millisecond => Some(build_shim()?),
        Flush::None | Flush::Disk => None,
    };
    let parent = match flush {
        Flush::Millisecond | Flush::None => Some(memory()?),
        Flush::Disk => None,
    };
    let environment = shim.as_ref().map_or_else(Vec::new, |folder| {
        let library = folder.path().join("flush.so").into_os_string();
        vec![
            (OsString::from("LD_PRELOAD"), library),
            (OsString::from("FLUSH_DELAY_US"), OsString::from("1000")),
        ]
    });
    let postgres = Postgres::start(Options {
        settings: settings(asked.statements),
        environment,
        parent,
    })?;
    Ok(Server {
        postgres,
        databases: 0,
        _shim: shim,
    })
}

/// What a server of this size is set to; durability as it comes: `fsync`, `synchronous_commit` and `full_page_writes` on.
fn settings(statements: bool) -> Vec<(String, String)> {
    let mut settings = vec![
        ("shared_buffers", "512MB"),
        // No checkpoint falls into a measurement, and WAL segments are recycled once the first ones exist.
        ("min_wal_size", "4GB"),
        ("max_wal_size", "4GB"),
        ("checkpoint_timeout", "30min"),
        ("max_connections", "100"),
    ];
    if statements {
        settings.extend([
            ("shared_preload_libraries", "pg_stat_statements"),
            ("pg_stat_statements.track_planning", "on"),
        ]);
    }
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn memory() -> Result<PathBuf, Failure> {
    let path = PathBuf::from("/dev/shm");
    if path.is_dir() {
        Ok(path)
    } else {
        Err("no /dev/shm here: data cannot lie in memory; use --flush disk".into())
    }
}

fn build_shim() -> Result<tempfile::TempDir, Failure> {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir()?;
    // The server runs as another user when this process is root.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let source = folder.path().join("flush.c");
    std::fs::write(&source, SHIM)?;
    let status = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(folder.path().join("flush.so"))
        .arg(&source)
        .arg("-ldl")
        .status()
        .map_err(|error| format!("cc: {error}: the flush shim needs a C compiler; use --flush none or disk"))?;
    if status.success() {
        Ok(folder)
    } else {
        Err(format!("cc could not build the flush shim: {status}").into())
    }
}

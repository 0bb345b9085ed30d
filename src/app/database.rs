//! Reaching the engine's database: waiting for it, migrating it, and giving up where only a human can help.

use std::{fs, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Failure, on_signal};
use crate::{
    cli,
    http::Readiness,
    store::{self, Error, Refusal, Store},
};

/// Between two tries while the database is away; short, since a service does nothing else meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks for what a controller, perhaps of this process, does within moments.
const SOON: Duration = Duration::from_millis(200);
/// A pool for statements that last milliseconds; the append's two writers are among them. Beside it a process has connections of
/// its own for ringing, for listening, and to feel whether the database answers; a worker also for its lease.
const CONNECTIONS: u32 = 10;

/// The URL that was given, directly or in a file.
pub(super) fn url(options: &cli::Database) -> Result<String, Failure> {
    match (&options.database_url, &options.database_url_file) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(file)) => fs::read_to_string(file)
            .map(|text| text.trim().to_owned())
            .map_err(|error| Failure::Configuration(format!("--database-url-file {}: {error}", file.display()))),
        (None, None) => Err(Failure::Configuration(
            "no database: give --database-url or EVERSTEP_DATABASE_URL (or …_FILE)".to_owned(),
        )),
    }
}

/// Connects; waits while nobody answers. None when `shutdown` came first.
///
/// # Errors
/// The database's refusal.
pub(super) async fn connect(
    url: String,
    role: &str,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> Result<Option<Store>, Failure> {
    let options = store::Options {
        url,
        max_connections: CONNECTIONS,
        application_name: format!("everstep {role}"),
    };
    until_available(readiness, shutdown, async || Store::connect(&options).await).await
}

/// Repeats `attempt` while the database is away, telling why the process is not ready.
pub(super) async fn until_available<T>(
    readiness: &Readiness,
    shutdown: &CancellationToken,
    attempt: impl AsyncFn() -> Result<T, Error>,
) -> Result<Option<T>, Failure> {
    let mut told = String::new();
    loop {
        let mut pause = PAUSE;
        match attempt().await {
            Ok(value) => {
                readiness.ready("store");
                return Ok(Some(value));
            }
            Err(error) if waits(&error) => {
                let (why, expected) = match &error {
                    Error::NotFound => ("waiting for a controller to take this database".to_owned(), true),
                    Error::Refused(_) => (format!("waiting for the controller: {error}"), true),
                    Error::Unavailable(_) | Error::Lost | Error::Corrupt(_) => (error.to_string(), false),
                };
                if why != told {
                    if expected {
                        tracing::info!("{why}");
                    } else {
                        tracing::error!(error = %why, "the database cannot be used yet; trying again each second");
                    }
                }
                if expected {
                    pause = SOON;
                }
                readiness.not_ready("store", why.clone());
                told = why;
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether time may help: the server comes back, the controller migrates, the controller adopts.
fn waits(error: &Error) -> bool {
    match error {
        Error::Unavailable(_) | Error::Lost | Error::NotFound => true,
        Error::Refused(refusal) => matches!(refusal, Refusal::NotMigrated { .. }),
        Error::Corrupt(_) => false,
    }
}

/// `everstep migrate`.
pub(super) async fn migrate(options: cli::Migrate) -> Result<(), Failure> {
    let shutdown = on_signal()?;
    let options_of_store = store::Options {
        url: url(&options.database)?,
        max_connections: 1,
        application_name: "everstep migrate".to_owned(),
    };
    let migrating = async {
        let store = Store::connect(&options_of_store).await?;
        store.migrate(mode(options.migrations)).await
    };
    let report = tokio::select! {
        report = migrating => report?,
        () = shutdown.cancelled() => return Err(Failure::Broken("interrupted; what was not finished was not done".to_owned())),
    };
    let applied = if report.applied.is_empty() {
        "nothing to do".to_owned()
    } else {
        report.applied.join(", ")
    };
    super::print(format!("schema at migration {}: {applied}\n", report.version).as_bytes())
}

/// What the command line says, in the store's words.
pub(super) fn mode(migrations: cli::Migrations) -> store::Migrations {
    match migrations {
        cli::Migrations::Auto => store::Migrations::Auto,
        cli::Migrations::Verify => store::Migrations::Verify,
        cli::Migrations::Off => store::Migrations::Off,
    }
}

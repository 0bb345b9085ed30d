//! I-26: a pooler in front of the engine is refused, whatever its mode, its settings and its other clients.

use everstep::store::{Error, Refusal, Store};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{pgbouncer::PgBouncer, postgres, rig::options};

async fn pooler(database: &'static str, settings: &'static [&'static str]) -> PgBouncer {
    let server = postgres::server().await;
    tokio::task::spawn_blocking(move || PgBouncer::start(server, database, settings))
        .await
        .unwrap()
}

async fn is_refused(url: &str, what: &str) {
    match Store::connect(&options(url)).await {
        Err(Error::Refused(refusal @ Refusal::Pooler)) => {
            let said = refusal.to_string();
            assert!(said.contains("Let the database URL name the server itself"), "{said}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn a_pooler_is_refused_in_every_mode_whether_it_drops_our_setting_or_refuses_it() {
    let url = postgres::empty_database().await;
    for settings in [
        &["pool_mode = transaction"][..],
        &["pool_mode = statement"],
        &["pool_mode = session"],
        &["pool_mode = transaction", "ignore_startup_parameters = options"],
        &["pool_mode = statement", "ignore_startup_parameters = options"],
        &["pool_mode = session", "ignore_startup_parameters = options"],
    ] {
        let pooler = pooler("", settings).await;
        is_refused(&pooler.before(&url), &settings.join(", ")).await;
    }
    // It is the pooler that is refused, not what is behind it; and nothing was changed there.
    Store::connect(&options(&url)).await.unwrap();
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'everstep'";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(schemas).fetch_one(&mut sql).await.unwrap(),
        0
    );
}

/// The second check alone: sessions that look like ours, and are shared. With one server connection, with two in turn
/// (which two sessions that ask in turn would not notice), with the one last used, and with three in turn.
#[tokio::test]
async fn sessions_that_share_server_processes_are_refused_though_they_have_our_setting() {
    let url = postgres::empty_database().await;
    let database = url.rsplit('/').next().unwrap();
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let set = format!("ALTER DATABASE {database} SET everstep.session = 'direct'");
    sqlx::query(AssertSqlSafe(set)).execute(&mut sql).await.unwrap();
    for settings in [
        &[
            "pool_mode = transaction",
            "ignore_startup_parameters = options",
            "default_pool_size = 1",
        ][..],
        &[
            "pool_mode = transaction",
            "ignore_startup_parameters = options",
            "server_round_robin = 1",
            "default_pool_size = 2",
        ],
        &[
            "pool_mode = transaction",
            "ignore_startup_parameters = options",
            "server_round_robin = 0",
            "default_pool_size = 2",
        ],
        &[
            "pool_mode = statement",
            "ignore_startup_parameters = options",
            "server_round_robin = 1",
            "default_pool_size = 3",
        ],
    ] {
        let pooler = pooler("", settings).await;
        let behind = pooler.before(&url);
        warm(&behind).await;
        is_refused(&behind, &settings.join(", ")).await;
    }
}

/// Makes the pooler open as many server connections as it may.
async fn warm(url: &str) {
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(PgConnection::connect_with(&plain(url)).await.unwrap());
    }
    let sleeps = sessions
        .iter_mut()
        .map(|session| sqlx::Executor::execute(session, sqlx::raw_sql("SELECT pg_sleep(0.05)")));
    futures::future::join_all(sleeps).await;
}

fn plain(url: &str) -> sqlx::postgres::PgConnectOptions {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    options.extra_float_digits(None)
}

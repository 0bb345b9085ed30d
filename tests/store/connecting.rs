//! Connecting, migrating, and the databases that are refused.

use std::collections::BTreeSet;

use everstep::store::{Error, Migrations, Refusal, Store};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

use crate::postgres;
use crate::rig::{options, rig};

async fn refusal(url: &str) -> Refusal {
    match Store::connect(&options(url)).await {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_may_be_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = Store::connect(&options(&format!("postgres://x@127.0.0.1:{port}/x")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unavailable(_)) && error.is_transient(),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_credentials_a_missing_database_and_a_bad_url_are_told_apart() {
    let url = postgres::empty_database().await;
    let mut wrong = url::Url::parse(&url).unwrap();
    wrong.set_password(Some("wrong-secret")).unwrap();
    let said = refusal(wrong.as_str()).await;
    assert!(matches!(said, Refusal::Credentials(_)), "{said}");
    assert!(!said.to_string().contains("wrong-secret"));
    let mut missing = url::Url::parse(&url).unwrap();
    missing.set_path("nowhere");
    assert!(matches!(refusal(missing.as_str()).await, Refusal::NoSuchDatabase(_)));
    assert!(matches!(refusal("not a url").await, Refusal::Url(_)));
}

#[tokio::test]
async fn a_server_that_only_reads_is_refused() {
    let url = postgres::empty_database().await;
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let database: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    sqlx::query(AssertSqlSafe(set)).execute(&mut sql).await.unwrap();
    assert!(matches!(refusal(&url).await, Refusal::Standby(_)));
}

#[tokio::test]
async fn durability_below_on_is_raised_and_above_is_kept() {
    for (role, expected) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
        let mut rig = rig().await;
        let database: String = rig.one("SELECT current_database()::text").await;
        rig.run(&format!("ALTER DATABASE {database} SET synchronous_commit = '{role}'"))
            .await;
        rig.run(
            "CREATE FUNCTION public.seen() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN NEW.session := current_setting('synchronous_commit'); RETURN NEW; END $$;
             CREATE TRIGGER seen BEFORE INSERT ON everstep.workers FOR EACH ROW EXECUTE FUNCTION public.seen()",
        )
        .await;
        let store = Store::connect(&options(&rig.url)).await.unwrap();
        store.register("x", std::time::Duration::from_secs(1)).await.unwrap();
        assert_eq!(
            rig.one::<String>("SELECT session FROM everstep.workers").await,
            expected
        );
    }
}

#[tokio::test]
async fn many_processes_migrate_at_once_and_one_does_it() {
    let url = postgres::empty_database().await;
    let stores =
        futures::future::join_all((0..4).map(|_| async { Store::connect(&options(&url)).await.unwrap() })).await;
    let reports = futures::future::join_all(stores.iter().map(|store| store.migrate(Migrations::Auto))).await;
    let applied: usize = reports
        .iter()
        .map(|report| report.as_ref().unwrap().applied.len())
        .sum();
    assert_eq!(applied, 9);
}

/// What was applied somewhere does not change any more: the database would be refused.
#[tokio::test]
async fn migrations_that_were_released_stay_as_they_are() {
    let mut rig = rig().await;
    let checksum = "SELECT left(checksum, 16) FROM everstep.migrations WHERE version = 1";
    assert_eq!(rig.one::<String>(checksum).await, "052a08b6f3cd88ce");
}

/// I-37: what the release before this one sends, to a schema that was migrated under it.
#[tokio::test]
async fn the_release_before_goes_on_while_the_schema_is_migrated() {
    let url = postgres::empty_database().await;
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let first = include_str!("../../migrations/0001_create_schema.sql");
    let history = format!(
        "CREATE TABLE everstep.migrations (version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
           applied_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp());
         INSERT INTO everstep.migrations (version, name, checksum) VALUES (1, '0001_create_schema', '{}')",
        blake3::hash(first.as_bytes()).to_hex()
    );
    let rows = "INSERT INTO everstep.inbox (run_id, kind, dedup_key, source_uid, source_name, payload, by)
                SELECT everstep.uuidv7(), 'Cancel', 'orphan/' || n, 'uid', 'name', json_build_object('reason', 'gone'), 'c'
                FROM generate_series(1, 100) AS n ON CONFLICT DO NOTHING";
    for statement in ["CREATE SCHEMA everstep", first, &history, rows] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut sql)
            .await
            .unwrap();
    }
    let store = Store::connect(&options(&url)).await.unwrap();
    let applied = store.migrate(Migrations::Auto).await.unwrap().applied;
    assert_eq!(
        applied,
        [
            "0002_add_signals_and_sql_surface",
            "0003_add_retries",
            "0004_find_what_stands_still",
            "0005_start_with_fewer_expressions",
            "0006_refuse_retries_of_what_has_not_failed",
            "0007_know_what_is_set_aside",
            "0008_count_runs_of_workflows",
            "0009_list_what_may_be_started"
        ]
    );
    let taken = "UPDATE everstep.inbox SET taken_seq = 1, consumed_seq = 1, outcome = 'Consumed' WHERE outcome IS NULL";
    for (statement, count) in [(rows, 100), (taken, 200)] {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut sql)
            .await
            .unwrap();
        assert_eq!(done.rows_affected(), count, "{statement}");
    }
}

#[tokio::test]
async fn verify_changes_nothing_and_says_what_is_missing() {
    let url = postgres::empty_database().await;
    let store = Store::connect(&options(&url)).await.unwrap();
    let error = store.migrate(Migrations::Verify).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::NotMigrated { database: 0, .. })),
        "{error}"
    );
    store.migrate(Migrations::Auto).await.unwrap();
    assert!(store.migrate(Migrations::Verify).await.unwrap().applied.is_empty());
}

#[tokio::test]
async fn a_newer_schema_and_a_changed_migration_are_refused_whatever_the_mode() {
    let mut rig = rig().await;
    for mode in [Migrations::Auto, Migrations::Verify, Migrations::Off] {
        rig.run("INSERT INTO everstep.migrations VALUES (99, 'future', 'x')")
            .await;
        let error = rig.store.migrate(mode).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused(Refusal::NewerSchema { database: 99, .. })),
            "{error}"
        );
        rig.run("DELETE FROM everstep.migrations WHERE version = 99").await;
        rig.store.migrate(mode).await.unwrap();
    }
    rig.run("UPDATE everstep.migrations SET checksum = 'x' WHERE version = 1")
        .await;
    let error = rig.store.migrate(Migrations::Off).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::ChangedMigration { version: 1 })),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_of_another_cluster_or_install_is_refused_with_both_names() {
    let rig = rig().await;
    rig.store.adopt_cluster("cluster-1", "default").await.unwrap();
    let error = rig.store.adopt_cluster("cluster-2", "default").await.unwrap_err();
    assert!(
        error.to_string().contains("cluster-1") && error.to_string().contains("cluster-2"),
        "{error}"
    );
    let error = rig.store.adopt_cluster("cluster-1", "other").await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::OtherInstall { .. })), "{error}");
    assert_eq!(&*rig.store.cluster().await.unwrap(), "cluster-1");
}

#[tokio::test]
async fn ids_grow_with_time() {
    let mut rig = rig().await;
    let sorted = "SELECT array_agg(id ORDER BY n) = array_agg(id ORDER BY id)
                  FROM (SELECT n, everstep.uuidv7() AS id, pg_sleep(0.001) FROM generate_series(1, 50) AS n) AS ids";
    assert!(rig.one::<bool>(sorted).await);
    assert!(
        rig.one::<bool>("SELECT everstep.uuidv7()::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]'")
            .await
    );
}

/// Applications may seed the generator that ids draw from, and pools do so for all of their sessions.
#[tokio::test]
async fn ids_differ_between_sessions_with_the_same_seed() {
    let rig = rig().await;
    let mut drawn = BTreeSet::new();
    for _ in 0..10 {
        let mut sql = PgConnection::connect(&rig.url).await.unwrap();
        sqlx::raw_sql("SELECT setseed(0.5)").execute(&mut sql).await.unwrap();
        for _ in 0..10 {
            let id = sqlx::query("SELECT everstep.uuidv7()")
                .fetch_one(&mut sql)
                .await
                .unwrap();
            // From the variant on: what the time has no part in.
            drawn.insert(id.get::<Uuid, _>(0).as_bytes()[8..].to_vec());
        }
    }
    assert_eq!(drawn.len(), 100);
}

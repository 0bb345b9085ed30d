//! The `sql` action on a real PostgreSQL: results, transactions, sessions, and what a tenant may try.

use std::time::Duration;

use everstep::engine::{ErrorKind, Expect, Outcome, Request, SqlRequest};
use everstep::worker::action::Actions;
use everstep::worker::connection::{Manifests, Source};
use everstep::worker::egress::EgressPolicy;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::postgres;
use crate::{DEADLINE, KEY, actions, attempt, eventually, failed, open_actions};

/// Connection `db` of namespaces `shop` and `other` on a database of its own.
struct Database {
    url: String,
    actions: Actions,
}

impl Database {
    async fn new() -> Self {
        let url = format!("{}?sslmode=disable", postgres::empty_database().await);
        Self {
            actions: open_actions(manifests(&url)),
            url,
        }
    }

    async fn run(&self, query: &str, args: Value) -> Outcome {
        self.perform(request(query, args)).await
    }

    async fn perform(&self, request: SqlRequest) -> Outcome {
        self.actions
            .perform(&attempt("shop", DEADLINE), Request::Sql(request))
            .await
    }

    /// The first value of the first row.
    async fn value(&self, query: &str) -> Value {
        let result = self.run(query, json!([])).await.unwrap();
        result["row"].as_object().unwrap().values().next().unwrap().clone()
    }
}

fn manifests(url: &str) -> Manifests {
    let mut manifests = Manifests::default();
    for namespace in ["shop", "other"] {
        let spec = json!({"postgres": {"urlFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}});
        manifests.add_connection(namespace, "db", json!({"spec": spec}));
        manifests.add_secret(namespace, "db", json!({"stringData": {"url": url}}));
    }
    manifests
}

fn request(query: &str, args: Value) -> SqlRequest {
    let Value::Array(args) = args else {
        panic!("args is a list")
    };
    SqlRequest {
        connection: "db".to_owned(),
        query: query.to_owned(),
        args,
        read_only: false,
        expect: None,
    }
}

#[tokio::test]
async fn each_allowed_type_has_its_json() {
    let database = Database::new().await;
    for (sql, expected) in [
        ("true", json!(true)),
        ("1::int2", json!(1)),
        ("-7", json!(-7)),
        ("9007199254740993::int8", json!(9_007_199_254_740_993_i64)),
        ("0.1::float4", json!(0.1)),
        ("1e16::float8", json!(1e16)),
        ("'NaN'::float8", json!("NaN")),
        ("12.50::numeric", json!(12.5)),
        ("100000::numeric", json!(100_000)),
        ("-0.00012::numeric", json!(-0.000_12)),
        ("12345678901234567890.123::numeric", json!("12345678901234567890.123")),
        ("'ü'::text", json!("ü")),
        ("'a'::char(3)", json!("a  ")),
        ("'n'::name", json!("n")),
        (
            "'6e7e9b3e-61a4-4d5a-8b1c-3a9d3c1f9a10'::uuid",
            json!("6e7e9b3e-61a4-4d5a-8b1c-3a9d3c1f9a10"),
        ),
        ("'2026-11-21'::date", json!("2026-11-21")),
        ("'12:34:56.5'::time", json!("12:34:56.5")),
        ("'2026-11-21 10:00:00.25'::timestamp", json!("2026-11-21T10:00:00.25")),
        ("'2026-11-21 10:00:00+01'::timestamptz", json!("2026-11-21T09:00:00Z")),
        (
            "'1 year 2 mons 3 days 04:05:06'::interval",
            json!("1 year 2 mons 3 days 04:05:06"),
        ),
        ("'{\"b\":1,\"a\":[null]}'::json", json!({"a": [null], "b": 1})),
        ("'{\"a\":1.5}'::jsonb", json!({"a": 1.5})),
        ("'\\x00ff'::bytea", json!("AP8=")),
        ("ARRAY[1,NULL,3]", json!([1, null, 3])),
        ("ARRAY[[1,2],[3,4]]", json!([[1, 2], [3, 4]])),
        ("ARRAY[]::text[]", json!([])),
        ("NULL::int", json!(null)),
        ("pg_sleep(0)", json!(null)),
    ] {
        assert_eq!(database.value(&format!("SELECT {sql}")).await, expected, "{sql}");
    }
    for sql in ["'127.0.0.1'::inet", "'[1,2)'::int4range", "ROW(1,2)", "point(1,2)"] {
        let outcome = database.run(&format!("SELECT {sql} AS x"), json!([])).await;
        assert_eq!(failed(&outcome), (ErrorKind::Refused, "UnsupportedType"), "{sql}");
    }
    let outcome = database.run("SELECT 1 AS a, 2 AS a", json!([])).await;
    assert_eq!(failed(&outcome), (ErrorKind::Refused, "DuplicateColumn"));
}

#[tokio::test]
async fn parameters_have_the_types_that_the_server_wants() {
    let database = Database::new().await;
    database
        .run("CREATE TYPE size AS ENUM ('s', 'm')", json!([]))
        .await
        .unwrap();
    database
        .run(
            "CREATE TABLE t (a int, b text, c jsonb, d timestamptz, e numeric, f bool, g size)",
            json!([]),
        )
        .await
        .unwrap();
    // Twice: the second time on a session that may have been used before.
    for _ in 0..2 {
        let args = json!(["7", null, {"x": "it's"}, "2026-01-01T00:00:00Z", 1.25, true, "m"]);
        let result = database
            .run(
                "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING a, b, c, d, e, f, g::text",
                args,
            )
            .await
            .unwrap();
        let row =
            json!({"a": 7, "b": null, "c": {"x": "it's"}, "d": "2026-01-01T00:00:00Z", "e": 1.25, "f": true, "g": "m"});
        assert_eq!(result, json!({"rows": [row], "row": row, "rowCount": 1}));
    }
    let result = database.run("UPDATE t SET a = 8", json!([])).await.unwrap();
    assert_eq!(result, json!({"rows": [], "row": null, "rowCount": 2}));
    let injected = "'; DROP TABLE t; --";
    assert_eq!(
        database.run("SELECT $1::text AS x", json!([injected])).await.unwrap()["row"]["x"],
        injected
    );
    let outcome = database.run("SELECT $1::int", json!([])).await;
    assert_eq!(failed(&outcome), (ErrorKind::Refused, "ArgumentCount"));
}

#[tokio::test]
async fn unexpected_row_count_rolls_back() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (a int)", json!([])).await.unwrap();
    for (min_rows, max_rows, code, expected) in [
        (Some(2), None, Some("OUT_OF_STOCK"), Some("OUT_OF_STOCK")),
        (None, Some(0), None, Some("UnexpectedRowCount")),
        (Some(1), Some(1), None, None),
    ] {
        let mut request = request("INSERT INTO t VALUES (1)", json!([]));
        request.expect = Some(Expect {
            min_rows,
            max_rows,
            code: code.map(str::to_owned),
        });
        let before = database.value("SELECT count(*) FROM t").await;
        let outcome = database.perform(request).await;
        match expected {
            Some(code) => {
                assert_eq!(failed(&outcome), (ErrorKind::Expectation, code));
                assert_eq!(database.value("SELECT count(*) FROM t").await, before);
            }
            None => assert!(outcome.is_ok()),
        }
    }
    assert_eq!(database.value("SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn transaction_control_fails_the_step() {
    let database = Database::new().await;
    for query in ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "END"] {
        for read_only in [false, true] {
            let mut request = request(query, json!([]));
            request.read_only = read_only;
            let outcome = database.perform(request).await;
            assert_eq!(failed(&outcome), (ErrorKind::Refused, "TransactionControl"), "{query}");
        }
    }
    let outcome = database.run("DO $$ BEGIN COMMIT; END $$", json!([])).await;
    assert_eq!(failed(&outcome), (ErrorKind::Sql, "2D000"));
    let outcome = database.run("SELECT 1; SELECT 2", json!([])).await;
    assert_eq!(failed(&outcome), (ErrorKind::Sql, "42601"));
    let outcome = database.run("COPY (SELECT 1) TO STDOUT", json!([])).await;
    assert_eq!(failed(&outcome), (ErrorKind::Refused, "UnsupportedStatement"));
    assert_eq!(database.value("SELECT 1").await, 1);
}

#[tokio::test]
async fn read_only_cannot_write_whatever_it_sets() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (a int)", json!([])).await.unwrap();
    for query in [
        "INSERT INTO t VALUES (1)",
        "SET TRANSACTION READ WRITE",
        "DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); INSERT INTO t VALUES (1); END $$",
    ] {
        let mut request = request(query, json!([]));
        request.read_only = true;
        assert_eq!(failed(&database.perform(request).await).0, ErrorKind::Sql, "{query}");
    }
    assert_eq!(database.value("SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn large_results_are_refused_and_rolled_back() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (a int)", json!([])).await.unwrap();
    for query in [
        "INSERT INTO t SELECT generate_series(1, 1001) RETURNING a",
        "INSERT INTO t VALUES (1) RETURNING repeat('x', 300000)",
        "INSERT INTO t VALUES (1) RETURNING repeat('x', 200000000)",
        "SELECT generate_series(1, 100000000)",
    ] {
        assert_eq!(
            failed(&database.run(query, json!([])).await),
            (ErrorKind::Expectation, "ResultTooLarge"),
            "{query}"
        );
    }
    assert_eq!(database.value("SELECT count(*) FROM t").await, 0);
    let result = database
        .run("SELECT generate_series(1, 1000) AS a", json!([]))
        .await
        .unwrap();
    assert_eq!(result["rowCount"], 1000);
}

#[tokio::test]
async fn late_or_aborted_statement_is_cancelled_in_the_database() {
    let database = Database::new().await;
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                    AND query LIKE 'SELECT pg_sleep%' AND pid <> pg_backend_pid()";
    let sleep = || Request::Sql(request("SELECT pg_sleep(600)", json!([])));
    // A tenant can take statement_timeout away, but not this.
    let outcome = database
        .actions
        .perform(&attempt("shop", Duration::from_millis(300)), sleep())
        .await;
    assert_eq!(failed(&outcome), (ErrorKind::Timeout, "Timeout"));
    eventually("the end of the late statement", || async {
        database.value(sleeping).await == 0
    })
    .await;

    let actions = database.actions.clone();
    let task = tokio::spawn(async move { actions.perform(&attempt("shop", DEADLINE), sleep()).await });
    eventually("the statement", || async { database.value(sleeping).await == 1 }).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    eventually("the end of the aborted statement", || async {
        database.value(sleeping).await == 0
    })
    .await;
    database.actions.close().await;
}

#[tokio::test]
async fn session_is_used_again_with_nothing_left_in_it_and_never_by_another_namespace() {
    let database = Database::new().await;
    let pid = database.value("SELECT pg_backend_pid()").await;
    for query in [
        "SELECT set_config('search_path', 'pg_temp', false)",
        "SELECT set_config('my.secret', 'hunter2', false)",
        "CREATE TEMP TABLE left_over (a int)",
        "SELECT pg_advisory_lock(42)",
        "LISTEN left_over",
        "PREPARE left_over AS SELECT 1",
        "DECLARE left_over CURSOR WITH HOLD FOR SELECT 1",
        "SET ROLE pg_monitor",
        "SET SESSION AUTHORIZATION pg_monitor",
    ] {
        database.run(query, json!([])).await.unwrap();
        let left = "SELECT current_setting('search_path') LIKE '%public%' \
                    AND coalesce(current_setting('my.secret', true), '') = '' \
                    AND to_regclass('left_over') IS NULL AND session_user = current_user \
                    AND session_user <> 'pg_monitor' \
                    AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = \
                        (SELECT oid FROM pg_database WHERE datname = current_database())) \
                    AND NOT EXISTS (SELECT FROM pg_listening_channels()) \
                    AND NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'left_over') \
                    AND NOT EXISTS (SELECT FROM pg_cursors WHERE is_holdable)";
        assert_eq!(database.value(left).await, true, "{query}");
    }
    assert_eq!(
        database.value("SELECT pg_backend_pid()").await,
        pid,
        "a clean session is used again"
    );

    let other = Request::Sql(request("SELECT pg_backend_pid() AS pid", json!([])));
    let other = database
        .actions
        .perform(&attempt("other", DEADLINE), other)
        .await
        .unwrap();
    assert_ne!(other["row"]["pid"], pid);

    // Ended while it lay idle: the next attempt opens another and fails nothing.
    database
        .actions
        .perform(
            &attempt("other", DEADLINE),
            Request::Sql(request("SELECT pg_terminate_backend($1)", json!([pid]))),
        )
        .await
        .unwrap();
    assert_ne!(database.value("SELECT pg_backend_pid()").await, pid);
}

#[tokio::test]
async fn step_key_is_in_the_transaction() {
    let database = Database::new().await;
    assert_eq!(database.value("SELECT current_setting('everstep.step_key')").await, KEY);
}

#[tokio::test]
async fn database_errors_carry_the_code_and_no_value() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (a text PRIMARY KEY, b int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
            json!([]),
        )
        .await
        .unwrap();
    database
        .run("INSERT INTO t VALUES ('hunter2', 1)", json!([]))
        .await
        .unwrap();
    for (query, args, code) in [
        ("SELECT $1::int", json!(["hunter2"]), "22P02"),
        ("INSERT INTO t VALUES ($1, 2)", json!(["hunter2"]), "23505"),
        ("INSERT INTO t VALUES ($1, 1)", json!(["hunter2-b"]), "23505"),
        ("SELECT $1::jsonb", json!(["{hunter2"]), "22P02"),
        ("SELECT * FROM missing", json!([]), "42P01"),
    ] {
        let Err(error) = database.run(query, args).await else {
            panic!("{query} succeeded")
        };
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Sql, code), "{query}");
        assert!(!error.message.contains("hunter2"), "{}", error.message);
    }
    assert_eq!(database.value("SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn refused_login_is_a_connect_error_that_holds_no_secret() {
    let url = postgres::empty_database().await;
    let (scheme, rest) = url.split_once("://").unwrap();
    let (login, place) = rest.rsplit_once('@').unwrap();
    let user = login.split(':').next().unwrap();
    let wrong = format!("{scheme}://{user}:hunter2@{place}?sslmode=disable");
    let (actions, mut findings) = actions(Source::Files(manifests(&wrong)), EgressPolicy::open());
    let outcome = actions
        .perform(&attempt("shop", DEADLINE), Request::Sql(request("SELECT 1", json!([]))))
        .await;
    assert_eq!(failed(&outcome), (ErrorKind::Connect, "28P01"));
    assert!(!format!("{outcome:?}").contains("hunter2"));
    let finding = findings.recv().await.unwrap();
    assert_eq!(
        (finding.ready, finding.reason.as_str(), finding.kind.as_str()),
        (false, "AuthenticationFailed", "postgres")
    );
    assert!(!format!("{finding:?}").contains("hunter2"));
    assert_eq!(actions.check("shop", "db").await.unwrap_err().code, "28P01");
}

#[tokio::test]
async fn connection_that_works_is_found_ready() {
    let url = format!("{}?sslmode=disable", postgres::empty_database().await);
    let (actions, mut findings) = actions(Source::Files(manifests(&url)), EgressPolicy::open());
    actions.check("shop", "db").await.unwrap();
    assert!(findings.try_recv().unwrap().ready);
    actions.check_connections().await;
    assert!(findings.try_recv().is_err(), "nothing changed");
}

#[tokio::test]
async fn plain_connections_are_only_for_allowed_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("egress.yaml");
    std::fs::write(&path, "allow: []\nallowAddresses: [127.0.0.0/8]").unwrap();
    let allowing = EgressPolicy::load(&path).unwrap();
    let run = |url: String, policy: EgressPolicy| async move {
        let actions = actions(Source::Files(manifests(&url)), policy).0;
        actions
            .perform(&attempt("shop", DEADLINE), Request::Sql(request("SELECT 1", json!([]))))
            .await
    };
    let url = postgres::empty_database().await;
    let plain = format!("{url}?sslmode=disable");
    assert_eq!(
        failed(&run(plain.clone(), EgressPolicy::deny_all()).await),
        (ErrorKind::Refused, "AddressBlocked")
    );
    assert!(run(plain, allowing.clone()).await.is_ok());
    let public = "postgres://u:hunter2@8.8.8.8/x?sslmode=disable".to_owned();
    assert_eq!(
        failed(&run(public, allowing.clone()).await),
        (ErrorKind::Refused, "TlsRequired")
    );
    // The server speaks no TLS, and without sslmode=disable nothing else will do.
    assert_eq!(failed(&run(url, allowing).await).0, ErrorKind::Connect);
}

/// Forwards one connection after the other; what follows a COMMIT of the client reaches the server, and its answer
/// nobody.
async fn proxy_that_cuts_after_commit(port: u16) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
            loop {
                tokio::select! {
                    read = client.read(&mut up) => {
                        let count = read.unwrap_or(0);
                        if count == 0 { break; }
                        server.write_all(&up[..count]).await.unwrap();
                        if up[..count].windows(6).any(|bytes| bytes == b"COMMIT") {
                            let _ = server.read(&mut down).await;
                            break;
                        }
                    }
                    read = server.read(&mut down) => {
                        let count = read.unwrap_or(0);
                        if count == 0 || client.write_all(&down[..count]).await.is_err() { break; }
                    }
                }
            }
        }
    });
    (own, task)
}

#[tokio::test]
async fn lost_answer_to_commit_says_that_the_effect_may_be_there() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (a int)", json!([])).await.unwrap();
    let port = postgres::server().await.port();
    let (own, task) = proxy_that_cuts_after_commit(port).await;
    let through = open_actions(manifests(
        &database.url.replace(&format!(":{port}/"), &format!(":{own}/")),
    ));
    let outcome = through
        .perform(
            &attempt("shop", DEADLINE),
            Request::Sql(request("INSERT INTO t VALUES (1)", json!([]))),
        )
        .await;
    assert_eq!(failed(&outcome), (ErrorKind::Connect, "CommitUnknown"));
    assert_eq!(database.value("SELECT count(*) FROM t").await, 1);
    task.abort();
}

#[tokio::test]
async fn limit_of_connections_is_held() {
    let database = Database::new().await;
    let mut manifests = manifests(&database.url);
    let spec = json!({
        "postgres": {"urlFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}, "limits": {"maxConnections": 2},
    });
    manifests.add_connection("shop", "db", json!({"spec": spec}));
    let limited = open_actions(manifests);
    let one = || async {
        let query = "SELECT pg_backend_pid() AS pid, pg_sleep(0.02)";
        let outcome = limited
            .perform(&attempt("shop", DEADLINE), Request::Sql(request(query, json!([]))))
            .await;
        outcome.unwrap()["row"]["pid"].as_i64().unwrap()
    };
    let mut pids = futures::future::join_all((0..12).map(|_| one())).await;
    pids.sort_unstable();
    pids.dedup();
    assert!(pids.len() <= 2, "{pids:?}");
}

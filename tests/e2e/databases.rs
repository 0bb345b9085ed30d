//! Databases of steps: TLS is verified, and a password may be rotated while a run goes on.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    support::{
        postgres,
        system::{Shop, System, condition, connection, secret, workflow},
        tls_postgres::TlsPostgres,
    },
    target::Target,
};

const SHOPDB: &str = "{postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}";
const ENCRYPTED: &str = "{steps: [{name: ask, sql: {connection: shopdb, readOnly: true, query: 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'}}], output: =steps.ask.output.row.ssl}";

#[tokio::test]
async fn sql_step_verifies_the_database_by_the_machines_authorities() {
    let tls = TlsPostgres::start("shop").await;
    let url = tls.server.url("shop") + "?sslmode=verify-full";
    let manifests = secret("shop", "url", &url) + &connection("shopdb", SHOPDB) + &workflow("asker", ENCRYPTED);

    let mut system = System::new("tls").await;
    system.environment = vec![("SSL_CERT_FILE", tls.authority.to_str().unwrap().to_owned())];
    let all = system.start("all", &[]).await;
    system.apply(&manifests).await;
    let ended = system.finished("asker").await;
    assert_eq!(ended["status"]["run"]["output"], true, "{:#}", ended["status"]);
    all.stop().await;

    // The same with authorities that did not sign the server's certificate.
    let mut system = System::new("tls-stranger").await;
    system.environment = vec![("SSL_CERT_FILE", tls.stranger.to_str().unwrap().to_owned())];
    let all = system.start("all", &[]).await;
    system
        .apply(&manifests.replace("spec:\n  {steps", "spec:\n  {retry: {maxAttempts: 1}, steps"))
        .await;
    let ended = system.finished("asker").await;
    let error = &ended["status"]["run"]["error"];
    assert_eq!(
        (&error["step"], &error["code"]),
        (&"ask".into(), &"TlsFailed".into()),
        "{error}"
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("certificate") && !message.contains(tls.server.password()),
        "{message}"
    );
    let ready = |it: &Value| condition(it, "Ready")["reason"] == "TlsFailed";
    system.until_of("connections", "shopdb", "says it", ready).await;
    all.stop().await;
}

/// One attempt must do: the Secret is read again when the database refuses the old password (28P01).
#[tokio::test]
async fn password_rotated_while_a_run_goes_on_is_read_again_in_the_same_attempt() {
    let (system, shop, target) = (System::new("rotated").await, Shop::new().await, Target::start().await);
    system.allow(target.port);
    let server = postgres::server().await;
    let mut sql = PgConnection::connect(&shop.url).await.unwrap();
    let role = "shopper_rotated";
    run(
        &mut sql,
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'first'; GRANT SELECT ON stock TO {role}"),
    )
    .await;
    let url = |password: &str| {
        shop.url.replace(
            &format!("postgres:{}@", server.password()),
            &format!("{role}:{password}@"),
        )
    };
    assert!(url("x").contains(role), "the server's URL has changed");
    let _all = system.start("all", &[]).await;
    let count = "sql: {connection: shopdb, readOnly: true, query: SELECT qty FROM stock}";
    let gate = "{name: gate, http: {connection: target, path: /gate}}";
    let spec = format!(
        "{{retry: {{maxAttempts: 1}}, steps: [{{name: before, {count}}}, {gate}, {{name: after, {count}}}], \
         output: =steps.after.output.row.qty}}"
    );
    system
        .apply(
            &(secret("shop", "url", &url("first"))
                + &connection("shopdb", SHOPDB)
                + &connection("target", &target.spec())
                + &workflow("counter", &spec)),
        )
        .await;
    system
        .until("counter", "at the gate", |it| it["status"]["run"]["step"] == "gate")
        .await;
    let before = Instant::now();
    // The session that lies idle ends too: the next step has to log in.
    run(&mut sql, &format!("ALTER ROLE {role} PASSWORD 'second'")).await;
    run(
        &mut sql,
        &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"),
    )
    .await;
    system.apply(&secret("shop", "url", &url("second"))).await;
    // What was read within the last second counts as new.
    tokio::time::sleep_until((before + Duration::from_millis(1100)).into()).await;
    target.open();
    let ended = system.finished("counter").await;
    assert_eq!(ended["status"]["run"]["output"], 10, "{:#}", ended["status"]);
}

async fn run(sql: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(sql)
        .await
        .unwrap();
}

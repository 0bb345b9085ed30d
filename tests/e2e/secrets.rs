//! The canary: what is secret shows nowhere, whatever goes well or wrong.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    support::{
        postgres,
        system::{Shop, System, connection, secret, workflow},
    },
    target::Target,
};

/// Unlike anything else.
const TOKEN: &str = "canary-token-5e1f0c";
const BASIC: &str = "canary-user:canary-basic-77d2";
const HEADER: &str = "canary-header-93ab";
const WRONG: &str = "canary-wrong-0b44";
const ROLE: &str = "canary-role-password-2c9d";

#[tokio::test]
async fn secrets_show_nowhere() {
    let (mut system, shop, target) = (System::new("canary").await, Shop::new().await, Target::start().await);
    system.allow(target.port);
    // The engine has a login of its own too, so that its password is a canary.
    let mut sql = system.sql().await;
    let role = format!(
        "CREATE ROLE canary LOGIN SUPERUSER PASSWORD '{ROLE}'; CREATE TABLE taken (id int PRIMARY KEY); INSERT INTO taken VALUES (1)"
    );
    sqlx::raw_sql(AssertSqlSafe(role)).execute(&mut sql).await.unwrap();
    let server = postgres::server().await;
    let login = format!("postgres://postgres:{}@", server.password());
    let as_canary = |url: &str| url.replace(&login, &format!("postgres://canary:{ROLE}@"));
    system.database_url = as_canary(&system.direct_url);
    let shop_url = as_canary(&shop.url);
    assert!(
        system.database_url.contains(ROLE) && shop_url.contains(ROLE),
        "{shop_url}"
    );
    let mut all = system.start("all", &[("--log", "debug")]).await;

    let base = format!("baseUrl: 'http://127.0.0.1:{}'", target.port);
    let mut manifests = String::new();
    for (name, value) in [
        ("token", TOKEN),
        ("basic", BASIC),
        ("header", HEADER),
        ("malformed", "canary-mal\nformed"),
    ] {
        manifests += &secret(name, "key", value);
    }
    for (name, url) in [
        ("database", shop_url.clone()),
        ("refused", shop_url.replace(ROLE, WRONG)),
        ("unreadable", format!("postgres://canary:{WRONG}@127.0.0.1:port/x")),
        ("unknown-option", format!("{shop_url}&options=-c%20{WRONG}")),
    ] {
        manifests += &secret(name, "key", &url);
        manifests += &connection(
            name,
            &format!("{{postgres: {{urlFrom: {{secretKeyRef: {{name: {name}, key: key}}}}}}}}"),
        );
    }
    for name in ["token", "malformed"] {
        manifests += &connection(
            name,
            &format!("{{http: {{{base}, auth: {{bearer: {{secretKeyRef: {{name: {name}, key: key}}}}}}}}}}"),
        );
    }
    manifests += &connection(
        "basic",
        &format!("{{http: {{{base}, auth: {{basic: {{secretKeyRef: {{name: basic, key: key}}}}}}}}}}"),
    );
    manifests += &connection(
        "header",
        &format!("{{http: {{{base}, auth: {{header: {{name: X-Key, secretKeyRef: {{name: header, key: key}}}}}}}}}}"),
    );

    let mut names = Vec::new();
    let mut add = |name: &str, action: &str| {
        names.push(name.to_owned());
        manifests += &workflow(
            name,
            &format!("{{retry: {{maxAttempts: 1}}, steps: [{{name: a, {action}}}]}}"),
        );
    };
    for auth in ["token", "basic", "header", "malformed"] {
        for path in ["told", "status/500", "status/401", "status/302", "huge"] {
            let name = format!("{auth}-{}", path.replace('/', "-"));
            add(
                &name,
                &format!("http: {{connection: {auth}, method: POST, path: /{path}, body: {{x: 1}}}}"),
            );
        }
    }
    add("token-slow", "timeout: 300ms, http: {connection: token, path: /slow}");
    for database in ["database", "refused", "unreadable", "unknown-option"] {
        for (kind, query) in [
            ("good", "SELECT qty FROM stock"),
            ("syntax", "SELEKT 1"),
            ("key", "INSERT INTO stock VALUES ('WIDGET', 1)"),
            ("login", "SELECT * FROM absent"),
        ] {
            add(
                &format!("{database}-{kind}"),
                &format!("sql: {{connection: {database}, query: \"{query}\"}}"),
            );
        }
    }
    system.apply(&manifests).await;
    let mut phases = Vec::new();
    for name in &names {
        phases.push(system.finished(name).await["status"]["run"]["phase"].clone());
    }
    for phase in ["Succeeded", "Failed"] {
        assert!(phases.contains(&Value::from(phase)), "both ways were taken: {phases:?}");
    }
    let sent = target.credentials();
    assert!(
        sent.iter().any(|given| given.contains(TOKEN)),
        "the secrets were used: {sent:?}"
    );

    let (_, metrics) = all.get("/metrics").await;
    let mut places = vec![("metrics".to_owned(), metrics)];
    for kind in ["workflows", "connections", "events"] {
        let words = ["get", kind, "-o", "json"];
        places.push((kind.to_owned(), system.kubectl(&words).await));
    }
    all.signal(nix::sys::signal::Signal::SIGTERM);
    all.ended().await;
    places.push(("logs".to_owned(), all.errors() + &all.output()));
    places.extend(tables(&mut sql).await);
    assert!(places.len() > 12, "all tables: {}", places.len());

    let encoded = base64_of(BASIC);
    for canary in [
        TOKEN,
        BASIC,
        "canary-basic-77d2",
        &encoded,
        HEADER,
        WRONG,
        ROLE,
        server.password(),
        "canary-mal",
    ] {
        for (place, text) in &places {
            // The Workflows' own specs hold none of them, so a hit is a leak.
            assert!(!text.contains(canary), "{canary} shows in {place}");
        }
    }
}

/// Every table of the engine, as text.
async fn tables(sql: &mut PgConnection) -> Vec<(String, String)> {
    let names: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'everstep'")
        .fetch_all(&mut *sql)
        .await
        .unwrap();
    let mut tables = Vec::new();
    for name in names {
        let select = format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM everstep.{name} AS t");
        let text: String = sqlx::query_scalar(AssertSqlSafe(select))
            .fetch_one(&mut *sql)
            .await
            .unwrap();
        tables.push((name, text));
    }
    tables
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

//! What things cost: writes to the API server, as its audit log has them, and to PostgreSQL.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use everstep::dev::postgres::{Options, Postgres};
use serde_json::Value;
use sqlx::{PgConnection, Row};

use crate::support::{
    controlplane::{self, Write},
    system::{DEADLINE, System, condition, example, migrate, workflow},
};

#[tokio::test]
async fn reconcile_of_a_converged_object_writes_nothing() {
    let system = System::new("converged").await;
    let controller = system.start("controller", &[]).await;
    let worker = system.start("worker", &[]).await;
    let spec = "{steps: [{name: a, set: {}}, {name: b, sleep: {for: 10ms}}]}";
    let invalid = "{steps: [{name: a, set: {x: =nope}}]}";
    let demanded = "{start: OnDemand, steps: [{name: a, set: {}}]}";
    let failing = "{steps: [{name: a, fail: {code: NOPE}}]}";
    let asleep = "{steps: [{name: a, sleep: {for: 1h}}]}";
    let paused = "{onFailure: Pause, steps: [{name: a, fail: {code: NOPE}}]}";
    let early = "{suspend: true, steps: [{name: a, set: {}}]}";
    let names = [
        ("fine", spec),
        ("invalid", invalid),
        ("demanded", demanded),
        ("failing", failing),
        ("asleep", asleep),
        ("paused", paused),
        ("suspended", asleep),
        ("early", early),
    ];
    let manifests: String = names.iter().map(|(name, spec)| workflow(name, spec)).collect();
    system.apply(&manifests).await;
    system.finished("fine").await;
    system.finished("failing").await;
    system
        .until("asleep", "asleep", |it| it["status"]["run"]["phase"] == "Sleeping")
        .await;
    let suspended = asleep.replacen('{', "{suspend: true, ", 1);
    system
        .until("suspended", "asleep", |it| it["status"]["run"]["phase"] == "Sleeping")
        .await;
    system.apply(&workflow("suspended", &suspended)).await;
    let stuck = |it: &Value| condition(it, "Stuck")["reason"] == "Paused";
    system.until("suspended", "stuck", stuck).await;
    let stuck = |it: &Value| condition(it, "Stuck")["reason"] == "PausedOnFailure";
    system.until("paused", "stuck", stuck).await;
    worker.stop().await;
    controller.stop().await;

    // From now on nobody works: whatever is written is the controller's doing.
    let _controller = system
        .start("controller", &[("--resync", "200ms"), ("--orphan-period", "200ms")])
        .await;
    let mut sql = system.sql().await;
    let before = quiet(&system, &mut sql).await;
    assert!(
        before["runs"] > 0 && before["owners"] > 0,
        "they are counted: {before:?}"
    );
    let locks = locked(&mut sql).await;
    let calls = api_writes(&system).await.len();
    assert!(calls > 0);
    let began = Instant::now();
    // A time, because nothing is to happen: fifteen resyncs of each object.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(written(&mut sql).await, before, "rows written in {:?}", began.elapsed());
    assert_eq!(locked(&mut sql).await, locks, "objects locked");
    let after = api_writes(&system).await;
    assert_eq!(after.len(), calls, "{:#?}", &after[calls..]);
}

#[tokio::test]
async fn status_costs_few_writes() {
    let system = System::new("cost").await;
    let _all = system.start("all", &[]).await;
    // Beyond half a second, and with steps that change: ten seconds of twenty naps.
    let naps: Vec<String> = (0..20)
        .map(|i| format!("{{name: n{i}, sleep: {{for: 500ms}}}}"))
        .collect();
    let long = format!("{{steps: [{}]}}", naps.join(", "));
    system.apply(&workflow("long", &long)).await;
    system.apply(&example("hello.yaml")).await;
    // One after another, so that each is as quick as it can be.
    let short: Vec<String> = (0..5).map(|i| format!("short{i}")).collect();
    for name in &short {
        system
            .apply(&workflow(
                name,
                "{steps: [{name: a, set: {x: 1}}, {name: b, set: {y: =steps.a.output.x}}]}",
            ))
            .await;
        system.finished(name).await;
    }
    system.finished("hello").await;
    let ended = system.finished("long").await;
    for name in short.iter().map(String::as_str).chain(["long", "hello"]) {
        system.told(name).await;
    }

    let writes = api_writes(&system).await;
    let soon = "SELECT workflow FROM everstep.runs WHERE workflow LIKE 'short%' AND finished_at - created_at < '450ms'";
    let soon: Vec<String> = sqlx::query_scalar(soon)
        .fetch_all(&mut system.sql().await)
        .await
        .unwrap();
    assert!(!soon.is_empty(), "none of five ended within half a second");
    for name in &soon {
        let cost = of(&writes, name);
        assert!(cost.len() <= 3, "{name}: {cost:#?}");
        for resource in ["workflows", "events"] {
            assert!(
                cost.iter().any(|write| write.resource == resource),
                "{resource}: {cost:#?}"
            );
        }
    }
    let cost = of(&writes, "hello");
    assert!(cost.len() <= 6, "{cost:#?}");
    let cost = of(&writes, "long");
    let seconds = seconds(&ended);
    assert!(
        cost.len() <= 6 + seconds,
        "{} writes in {seconds} s: {cost:#?}",
        cost.len()
    );
    assert!(cost.len() >= 5, "progress was shown: {cost:#?}");
    assert!(
        writes.iter().all(|write| write.code < 300),
        "none in vain: {:#?}",
        writes.iter().filter(|write| write.code >= 300).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn middle_step_of_a_sequence_is_one_inserted_row() {
    let settings = vec![("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned())];
    let start = || {
        let server = Postgres::start(Options {
            settings,
            ..Options::default()
        })
        .unwrap();
        server.create_database("counted").unwrap();
        server
    };
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let url = server.url("counted");
    migrate(url.clone()).await;
    let shop = crate::support::system::Shop::new().await;
    let mut system = System::new("middle").await;
    system.database_url.clone_from(&url);
    system.direct_url = url;
    let mut sql = system.sql().await;
    sqlx::raw_sql("CREATE EXTENSION pg_stat_statements")
        .execute(&mut sql)
        .await
        .unwrap();
    let _all = system.start("all", &[]).await;
    let secret = crate::support::system::secret("shop", "url", &shop.url);
    let connection =
        crate::support::system::connection("shop", "{postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}");
    system.apply(&(secret + &connection)).await;

    // Two runs that differ by ten steps in the middle: what they cost more is what a step costs.
    let steps = |count: usize| {
        let steps: Vec<String> = (0..count)
            .map(|i| format!("{{name: s{i}, sql: {{connection: shop, query: SELECT 1}}}}"))
            .collect();
        format!("{{steps: [{}]}}", steps.join(", "))
    };
    let mut costs = Vec::new();
    for (name, count) in [("warm", 3), ("few", 3), ("many", 13)] {
        let before = statements(&mut sql).await;
        system.apply(&workflow(name, &steps(count))).await;
        system.finished(name).await;
        quiet(&system, &mut sql).await;
        costs.push(difference(&before, &statements(&mut sql).await));
    }
    let (few, many) = (&costs[1], &costs[2]);
    let journal = system.count("SELECT count(*) FROM everstep.journal j JOIN everstep.runs r ON r.id = j.run_id WHERE workflow = 'many'").await
        - system.count("SELECT count(*) FROM everstep.journal j JOIN everstep.runs r ON r.id = j.run_id WHERE workflow = 'few'").await;
    assert_eq!(journal, 10, "one row a step");
    let rows = |costs: &BTreeMap<String, i64>| {
        let writes = costs
            .iter()
            .filter(|(query, _)| query.contains("INSERT INTO everstep.journal"));
        writes.map(|(_, rows)| *rows).sum::<i64>()
    };
    assert_eq!(rows(many) - rows(few), 10, "few {few:#?}\nmany {many:#?}");
}

/// Statements of the engine that write: how many rows each has answered or written so far.
async fn statements(sql: &mut PgConnection) -> BTreeMap<String, i64> {
    let select = "SELECT query, sum(rows)::bigint AS rows FROM pg_stat_statements
                  WHERE query ~ 'INSERT|UPDATE|DELETE' AND query ~ 'everstep' GROUP BY query";
    let rows = sqlx::query(select).fetch_all(sql).await.unwrap();
    rows.iter().map(|row| (row.get("query"), row.get("rows"))).collect()
}

fn difference(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let since = |(query, rows): (&String, &i64)| (query.clone(), rows - before.get(query).copied().unwrap_or(0));
    after.iter().map(since).filter(|(_, rows)| *rows != 0).collect()
}

/// Rows inserted, updated and deleted so far, by table.
async fn written(sql: &mut PgConnection) -> BTreeMap<String, i64> {
    let select = "SELECT relname::text AS name, n_tup_ins + n_tup_upd + n_tup_del AS rows
                  FROM pg_stat_user_tables WHERE schemaname = 'everstep'";
    let rows = sqlx::query(select).fetch_all(sql).await.unwrap();
    rows.iter().map(|row| (row.get("name"), row.get("rows"))).collect()
}

/// The last transaction that locked or wrote each object's row: a submission locks it though it changes nothing.
async fn locked(sql: &mut PgConnection) -> BTreeMap<String, String> {
    let select = "SELECT name, concat_ws('/', xmin, xmax) AS last FROM everstep.owners";
    let rows = sqlx::query(select).fetch_all(sql).await.unwrap();
    rows.iter().map(|row| (row.get("name"), row.get("last"))).collect()
}

/// Waits until nothing but heartbeats was written for a second, and answers what had been: a server's counters lag.
async fn quiet(system: &System, sql: &mut PgConnection) -> BTreeMap<String, i64> {
    let until = Instant::now() + DEADLINE;
    let look = async |sql: &mut PgConnection| {
        let mut rows = written(sql).await;
        rows.remove("workers");
        (rows, api_writes(system).await.len())
    };
    let mut last = look(sql).await;
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(1200) {
        assert!(Instant::now() < until, "no rest: {last:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = look(sql).await;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    written(sql).await
}

/// Writes of ours in this namespace, Leases apart.
async fn api_writes(system: &System) -> Vec<Write> {
    let mut writes = controlplane::shared().await.writes().await.unwrap();
    writes.retain(|write| {
        write.namespace == system.namespace && write.resource != "leases" && !write.user_agent.starts_with("kubectl")
    });
    writes
}

/// Writes about an object after its creation: its status, and its Events, whose names begin with its own.
fn of(writes: &[Write], name: &str) -> Vec<Write> {
    let about = |write: &&Write| {
        let own = write.group == "everstep.dev" && write.name == name;
        own || (write.resource == "events" && write.name.starts_with(&format!("{name}.")))
    };
    writes.iter().filter(about).cloned().collect()
}

/// How long a run took, rounded up.
fn seconds(workflow: &serde_json::Value) -> usize {
    let at = |field: &str| {
        workflow["status"]["run"][field]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let took = at("finishedAt").duration_since(at("startedAt"));
    usize::try_from(took.as_secs()).unwrap() + 1
}

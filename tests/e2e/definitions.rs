//! Definitions that start on demand, as `kubectl` shows them: who started a run of them makes no difference.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::{
    controlplane,
    system::{System, columns, condition, workflow, workflow_run},
};

/// Ends as it is told, or waits.
const ORDER: &str = "{start: OnDemand, input: {do: end}, steps: [
  {name: check, when: input.do == 'fail', fail: {code: NOPE, message: not today}},
  {name: hold, when: input.do == 'wait', waitForSignal: {signal: go}}]}";

/// An application that may use the namespace.
async fn application(system: &System) -> PgConnection {
    let mut sql = system.sql().await;
    let grant = format!(
        "SELECT everstep.grant_namespace(current_user::text, '{}')",
        system.namespace
    );
    sqlx::raw_sql(AssertSqlSafe(grant)).execute(&mut sql).await.unwrap();
    sql
}

async fn start(system: &System, sql: &mut PgConnection, input: &str) -> String {
    let start = format!("SELECT everstep.start('{}/order', '{input}')::text", system.namespace);
    sqlx::query_scalar(AssertSqlSafe(start)).fetch_one(sql).await.unwrap()
}

/// `status.counts`: active, stuck, succeeded, failed.
fn counts(object: &Value) -> [i64; 4] {
    ["active", "stuck", "succeeded", "failed"].map(|name| object["status"]["counts"][name].as_i64().unwrap_or(-1))
}

fn last(object: &Value) -> (&str, &str) {
    let last = condition(object, "LastRunSucceeded");
    (
        last["status"].as_str().unwrap_or_default(),
        last["reason"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn definition_shows_the_last_run_and_counts_all_whoever_started_them() {
    let system = System::new("demanded").await;
    let _all = system.start("all", &[]).await;
    system.apply(&workflow("order", ORDER)).await;
    let registered = |it: &Value| condition(it, "Ready")["reason"] == "Registered";
    system.until("order", "it is registered", registered).await;
    let mut sql = application(&system).await;

    system.apply(&workflow_run("one", "{workflowRef: {name: order}}")).await;
    let shown = |it: &Value| counts(it) == [0, 0, 1, 0];
    let order = system.until("order", "a run of an object is shown", shown).await;
    let one = system.get("workflowruns", "one").await;
    assert_eq!(order["status"]["run"]["id"], one["status"]["run"]["id"]);
    assert_eq!(last(&order), ("True", "Succeeded"));

    let failed = start(&system, &mut sql, r#"{"do": "fail"}"#).await;
    let shown = |it: &Value| counts(it) == [0, 0, 1, 1];
    let order = system.until("order", "a run of SQL is shown", shown).await;
    assert_eq!(order["status"]["run"]["id"], *failed);
    assert_eq!(order["status"]["run"]["error"]["code"], "NOPE");
    assert_eq!(last(&order), ("False", "Failed"));
    assert!(condition(&order, "Stalled").is_null(), "health does not follow it");

    start(&system, &mut sql, r#"{"do": "wait"}"#).await;
    let waits = |it: &Value| it["status"]["run"]["phase"] == "Waiting";
    let order = system.until("order", "it waits", waits).await;
    assert_eq!((counts(&order), last(&order)), ([1, 0, 1, 1], ("Unknown", "Waiting")));

    let spec =
        |desired: &str| format!("{{workflowRef: {{name: order}}, input: {{do: wait}}, desiredState: {desired}}}");
    system.apply(&workflow_run("two", &spec("Running"))).await;
    let waits = |it: &Value| it["status"]["run"]["phase"] == "Waiting";
    system.until_of("workflowruns", "two", "it waits", waits).await;
    system.apply(&workflow_run("two", &spec("Paused"))).await;
    let stuck = |it: &Value| condition(it, "Stuck")["reason"] == "Paused";
    system.until("order", "a run is paused", stuck).await;
    let paused = |it: &Value| last(it) == ("Unknown", "Paused");
    let order = system.until("order", "the last one is", paused).await;
    assert_eq!(counts(&order), [2, 1, 1, 1]);
    let row = columns(&system, "ewf", "order").await;
    for (column, value) in [
        ("READY", "True"),
        ("STATUS", "Registered"),
        ("STEP", "hold"),
        ("STUCK", "1"),
    ] {
        assert_eq!(row[column], value, "{column} of {row:?}");
    }
    // What happened to a run is told by its own object.
    let events = system.events("order").await;
    assert!(events.is_empty(), "{events:#?}");

    system.apply(&workflow_run("two", &spec("Running"))).await;
    let moves = |it: &Value| counts(it) == [2, 0, 1, 1] && condition(it, "Stuck").is_null();
    system.until("order", "it goes on", moves).await;
    // With the object end the runs that SQL started of it, and no others.
    system.kubectl(&["delete", "ewf", "order"]).await;
    let cancelled = "SELECT count(*) FROM everstep.runs WHERE phase = 'Cancelled' AND trigger = 'SQL'";
    system.until_count(cancelled, 1).await;
    let two = system.get("workflowruns", "two").await;
    assert_eq!(two["status"]["run"]["phase"], "Waiting", "{:#}", two["status"]);
}

#[tokio::test]
async fn runs_that_sql_starts_one_after_another_cost_their_workflow_a_write_a_second() {
    const RUNS: i64 = 500;
    let system = System::new("busy").await;
    let _all = system.start("all", &[]).await;
    system.apply(&workflow("order", ORDER)).await;
    let registered = |it: &Value| condition(it, "Ready")["reason"] == "Registered";
    system.until("order", "it is registered", registered).await;
    let mut sql = application(&system).await;
    let began = Instant::now();
    for _ in 0..RUNS {
        start(&system, &mut sql, r#"{"do": "end"}"#).await;
    }
    let shown = |it: &Value| counts(it) == [0, 0, RUNS, 0];
    system.until("order", "all are counted", shown).await;
    let took = began.elapsed();
    let writes = controlplane::shared().await.writes().await.unwrap();
    let writes = writes
        .iter()
        .filter(|write| write.namespace == system.namespace && write.resource == "workflows")
        .filter(|write| !write.user_agent.starts_with("kubectl"));
    let most = took.div_duration_f64(Duration::from_secs(1)).ceil() + 2.0;
    let count = writes.count();
    eprintln!("{count} writes in {took:?}");
    assert!(count as f64 <= most, "{count} writes in {took:?}");
}

//! Objects that go away, and rows that do.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::system::{System, condition, observed, workflow, workflow_run};

const LONG: &str = "{steps: [{name: nap, sleep: {for: 1h}}]}";

#[tokio::test]
async fn run_of_a_deleted_object_is_cancelled_once() {
    let system = System::new("deleted").await;
    let mut all = system.start("all", &[("--orphan-period", "1s")]).await;
    system.apply(&(workflow("gone", LONG) + &workflow("stays", LONG))).await;
    for name in ["gone", "stays"] {
        system
            .until(name, "asleep", |it| it["status"]["run"]["phase"] == "Sleeping")
            .await;
    }
    let deleted = Instant::now();
    system.kubectl(&["delete", "ewf", "gone", "--wait=false"]).await;
    cancelled(&system, "gone").await;
    assert!(
        deleted.elapsed() < Duration::from_secs(10),
        "a Delete event needs no two passes: {:?}",
        deleted.elapsed()
    );

    all.counts("everstep_orphan_passes_total{result=\"done\"}", 3).await;
    assert_eq!(audited(&system).await, 1);
    assert_eq!(live(&system).await, 1, "the other goes on");
}

#[tokio::test]
async fn runs_of_a_deleted_workflow_go_on_to_their_end_when_it_said_orphan() {
    let system = System::new("orphan").await;
    let mut all = system.start("all", &[("--orphan-period", "1s")]).await;
    let spec = |policy: &str| format!("{{{policy}steps: [{{name: hold, waitForSignal: {{signal: go}}}}]}}");
    let (orphan, background) = (spec("deletionPolicy: Orphan, "), spec("deletionPolicy: Background, "));
    let manifests = [("said", &orphan), ("edited", &spec("")), ("gone", &background)];
    system
        .apply(&manifests.map(|(name, spec)| workflow(name, spec)).concat())
        .await;
    for (name, _) in manifests {
        system
            .until(name, "it waits", |it| it["status"]["run"]["phase"] == "Waiting")
            .await;
    }
    system.apply(&workflow("edited", &orphan)).await;
    let seen = |it: &Value| it["metadata"]["generation"] == 2 && observed(it);
    system.until("edited", "the edit is seen", seen).await;
    system
        .kubectl(&["delete", "ewf", "said", "edited", "gone", "--wait=false"])
        .await;
    cancelled(&system, "gone").await;
    all.counts("everstep_orphan_passes_total{result=\"done\"}", 3).await;
    assert_eq!(live(&system).await, 2, "the others go on");

    let mut sql = system.sql().await;
    let grant = "SELECT everstep.grant_namespace(SESSION_USER::text, namespace) FROM everstep.runs LIMIT 1";
    sqlx::raw_sql(grant).execute(&mut sql).await.unwrap();
    let gone = "SELECT count(*) FROM everstep.owners WHERE gone_at IS NOT NULL";
    system.until_count(gone, 3).await;
    assert_eq!(live(&system).await, 2, "and yet they go on");
    let start = "SELECT everstep.start(namespace || '/said') FROM everstep.runs LIMIT 1";
    let refused = sqlx::raw_sql(start).execute(&mut sql).await.unwrap_err();
    assert_eq!(
        refused.as_database_error().unwrap().code().as_deref(),
        Some("P0002"),
        "no other one begins"
    );

    let go = "SELECT everstep.signal(id, 'go', 'null') FROM everstep.runs WHERE finished_at IS NULL";
    sqlx::raw_sql(go).execute(&mut sql).await.unwrap();
    let ended = "SELECT count(*) FROM everstep.runs WHERE workflow IN ('said', 'edited') AND phase = 'Succeeded'";
    system.until_count(ended, 2).await;
}

#[tokio::test]
async fn run_of_an_object_that_was_deleted_behind_our_back_is_cancelled_within_two_passes() {
    let system = System::new("unseen").await;
    let _worker = system.spawn("worker", &[]);
    let flags = [("--orphan-period", "2s")];
    let controller = system.start("controller", &flags).await;
    system.apply(&(workflow("gone", LONG) + &workflow("stays", LONG))).await;
    for name in ["gone", "stays"] {
        system
            .until(name, "asleep", |it| it["status"]["run"]["phase"] == "Sleeping")
            .await;
    }
    controller.kill().await;
    system.kubectl(&["delete", "ewf", "gone"]).await;
    assert_eq!(live(&system).await, 2);

    let _controller = system.start("controller", &flags).await;
    let back = Instant::now();
    cancelled(&system, "gone").await;
    // Two passes, and a third of the period for what a busy machine makes of it.
    assert!(back.elapsed() < Duration::from_secs(7), "{:?}", back.elapsed());
    assert_eq!(audited(&system).await, 1);
    assert_eq!(live(&system).await, 1, "the other goes on");
}

#[tokio::test]
async fn object_whose_run_vanished_gets_it_again_under_the_same_key() {
    let system = System::new("vanished").await;
    let _all = system.start("all", &[("--resync", "1s")]).await;
    system
        .apply(&workflow("again", "{steps: [{name: nap, sleep: {for: 3s}}]}"))
        .await;
    let before = system
        .until("again", "asleep", |it| it["status"]["run"]["phase"] == "Sleeping")
        .await;
    let keys = keys(&system).await;
    let delete =
        "WITH a AS (DELETE FROM everstep.active), t AS (DELETE FROM everstep.timers) DELETE FROM everstep.runs";
    sqlx::query(delete).execute(&mut system.sql().await).await.unwrap();
    system.until_count("SELECT count(*) FROM everstep.runs", 1).await;
    let after = system.finished("again").await;
    assert_eq!(
        after["status"]["run"]["id"], before["status"]["run"]["id"],
        "and under the same run id"
    );
    assert_eq!(after["status"]["run"]["phase"], "Succeeded");
    assert_eq!(self::keys(&system).await, keys);
}

#[tokio::test]
async fn object_deleted_and_created_again_runs_again() {
    let system = System::new("reborn").await;
    let _all = system.start("all", &[("--orphan-period", "1s")]).await;
    for _ in 0..2 {
        system
            .apply(&workflow("phoenix", "{steps: [{name: a, set: {}}]}"))
            .await;
        system.finished("phoenix").await;
        system.kubectl(&["delete", "ewf", "phoenix"]).await;
    }
    assert_eq!(
        system
            .count("SELECT count(*) FROM everstep.runs WHERE phase = 'Succeeded'")
            .await,
        2
    );
}

/// As the runbook of the orphan brake says, where objects come back from Git.
#[tokio::test]
async fn objects_created_again_after_their_runs_have_ended_start_nothing_until_it_is_asked_for() {
    let system = System::new("anew").await;
    let controller = system.start("controller", &[]).await;
    let _worker = system.start("worker", &[]).await;
    let steps = "steps: [{name: approval, waitForSignal: {signal: approve}}]";
    let order = |suspend: bool| workflow("order", &format!("{{suspend: {suspend}, {steps}}}"));
    let keyed = workflow_run("keyed", &format!("{{idempotencyKey: once, workflow: {{{steps}}}}}"));
    system.apply(&(order(false) + &keyed)).await;
    let waits = |it: &Value| it["status"]["run"]["phase"] == "Waiting";
    system.until("order", "it waits", waits).await;
    let old = system.until_of("workflowruns", "keyed", "it waits", waits).await;
    controller.stop().await;
    system.kubectl(&["delete", "ewf/order", "erun/keyed"]).await;

    let grant = format!(
        "SELECT count(*) FROM (SELECT everstep.grant_namespace(current_user::text, '{}')) AS granted",
        system.namespace
    );
    system.count(&grant).await;
    let told = "SELECT count(everstep.signal(id, 'approve', '{}')) FROM everstep.runs";
    assert_eq!(system.count(told).await, 2);
    let ended = "SELECT count(*) FROM everstep.runs WHERE phase = 'Succeeded'";
    system.until_count(ended, 2).await;

    system.apply(&(order(true) + &keyed)).await;
    let _controller = system.start("controller", &[]).await;
    let suspended = |it: &Value| condition(it, "Suspended")["status"] == "True";
    system.until("order", "it is suspended", suspended).await;
    let finished = |it: &Value| condition(it, "Finished")["status"] == "True";
    let new = system
        .until_of("workflowruns", "keyed", "it is finished", finished)
        .await;
    assert_ne!(new["metadata"]["uid"], old["metadata"]["uid"]);
    assert_eq!(new["status"]["run"]["id"], old["status"]["run"]["id"]);
    let runs = "SELECT count(*) FROM everstep.runs";
    assert_eq!(system.count(runs).await, 2, "nothing was started");
    system.apply(&order(false)).await;
    system.until_count(runs, 3).await;
}

async fn keys(system: &System) -> Vec<String> {
    let select = "SELECT start_key FROM everstep.starts ORDER BY start_key";
    sqlx::query_scalar(select)
        .fetch_all(&mut system.sql().await)
        .await
        .unwrap()
}

async fn cancelled(system: &System, name: &str) {
    let count = format!("SELECT count(*) FROM everstep.runs WHERE workflow = '{name}' AND phase = 'Cancelled'");
    system.until_count(&count, 1).await;
}

async fn audited(system: &System) -> i64 {
    system
        .count("SELECT count(*) FROM everstep.audit WHERE operation = 'orphan'")
        .await
}

async fn live(system: &System) -> i64 {
    system
        .count("SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL")
        .await
}

//! Runs that nobody moves, as their objects show them.

use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::{
    support::system::{System, condition, connection, workflow, workflow_run},
    target::Target,
};

const RUNBOOK: &str = include_str!("../../docs/runbooks/RunsStuck.md");

/// Kind in the plural, name, and why it is stuck.
const KINDS: [(&str, &str, &str); 3] = [
    ("workflows", "asks", "ClaimExpired"),
    ("workflows", "late", "Unclaimed"),
    ("workflowruns", "naps", "TimerOverdue"),
];

#[tokio::test]
async fn runs_of_a_killed_worker_are_shown_as_stuck_and_told_once_until_another_takes_them_over() {
    let (system, target) = (System::new("widowed").await, Target::start().await);
    system.allow(target.port);
    let _controller = system.start("controller", &[]).await;
    let worker = system.start("worker", &[]).await;
    let asks = "{steps: [{name: ask, http: {connection: target, path: /gate, idempotent: true}, timeout: 1h}]}";
    system
        .apply(&(connection("target", &target.spec()) + &workflow("asks", asks)))
        .await;
    let naps = "workflow: {steps: [{name: nap, sleep: {for: 30s}}]}";
    system.apply(&workflow_run("naps", naps)).await;
    let asked = "SELECT count(*) FROM everstep.active WHERE worker_id IS NOT NULL";
    system.until_count(asked, 1).await;
    let sleeps = |it: &Value| it["status"]["run"]["phase"] == "Sleeping";
    system.until_of("workflowruns", "naps", "it sleeps", sleeps).await;
    worker.kill().await;
    system.apply(&workflow("late", "{steps: [{name: a, set: {}}]}")).await;
    let pending = |it: &Value| it["status"]["run"]["phase"] == "Pending";
    system.until("late", "nobody takes it", pending).await;
    for (kind, name, _) in KINDS {
        assert!(condition(&system.get(kind, name).await, "Stuck").is_null(), "{name}");
    }

    later(&system, "2 minutes").await;
    for (kind, name, reason) in KINDS {
        let stuck = |it: &Value| condition(it, "Stuck")["reason"] == reason;
        let object = system.until_of(kind, name, reason, stuck).await;
        let said = condition(&object, "Stuck");
        assert_eq!(said["status"], "True");
        let message = said["message"].as_str().unwrap();
        assert!(
            message.starts_with("since 20") && message.ends_with("start workers for this namespace"),
            "{message}"
        );
        assert_eq!(condition(&object, "Ready")["status"], "False", "as while it moves");
        assert!(condition(&object, "Stalled").is_null(), "health does not follow it");
        if kind == "workflows" {
            assert_eq!(object["status"]["counts"]["stuck"], 1, "{name}");
        }
    }

    let found = system
        .kubectl(&["get", "ewf,erun", "-o", &command_of_the_runbook()])
        .await;
    for (_, name, reason) in KINDS {
        let place = format!("{}/{name} {reason}: since 20", system.namespace);
        assert!(found.contains(&place), "{found}");
    }

    target.open();
    let _worker = system.start("worker", &[]).await;
    for (kind, name, reason) in KINDS {
        let ended = |it: &Value| condition(it, "Finished")["status"] == "True";
        let object = system.until_of(kind, name, "it ended", ended).await;
        assert_eq!(object["status"]["run"]["phase"], "Succeeded", "{name}");
        assert!(condition(&object, "Stuck").is_null(), "{name}: {:#}", object["status"]);
        system.told(name).await;
        let events = system.events(name).await;
        let told: Vec<&Value> = events.iter().filter(|event| event["reason"] == "RunStuck").collect();
        assert_eq!(told.len(), 1, "{name}: {events:#?}");
        assert_eq!(told[0]["type"], "Warning");
        assert!(told[0]["note"].as_str().unwrap().starts_with(reason), "{:#}", told[0]);
    }
}

/// A claim alone tells nobody anything new about the run.
#[tokio::test]
async fn run_that_was_only_claimed_is_not_shown_as_stuck_any_more() {
    let system = System::new("claimed").await;
    let _controller = system.start("controller", &[]).await;
    system.apply(&workflow("late", "{steps: [{name: a, set: {}}]}")).await;
    let pending = |it: &Value| it["status"]["run"]["phase"] == "Pending";
    system.until("late", "nobody takes it", pending).await;
    later(&system, "2 minutes").await;
    let stuck = |it: &Value| condition(it, "Stuck")["reason"] == "Unclaimed";
    system.until("late", "it is stuck", stuck).await;
    let claim = "WITH worker AS (
                   INSERT INTO everstep.workers (session, heartbeat_at, expires_at)
                   VALUES ('test', everstep.now(), everstep.now() + interval '1 hour')
                   RETURNING id)
                 UPDATE everstep.active SET worker_id = worker.id FROM worker";
    sqlx::query(claim).execute(&mut system.sql().await).await.unwrap();
    let moves = |it: &Value| condition(it, "Stuck").is_null();
    let object = system.until("late", "it is not stuck", moves).await;
    assert!(pending(&object), "{:#}", object["status"]);
    assert_eq!(object["status"]["counts"]["stuck"], 0);
}

/// What the runbook prints of objects with stuck runs.
fn command_of_the_runbook() -> String {
    let (_, rest) = RUNBOOK.split_once("kubectl get ewf,erun -A -o jsonpath='").unwrap();
    format!("jsonpath={}", rest.split_once('\'').unwrap().0)
}

/// Lets the database's clock run ahead.
async fn later(system: &System, interval: &str) {
    let clock = format!(
        "CREATE OR REPLACE FUNCTION everstep.now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
         RETURN pg_catalog.clock_timestamp() + interval '{interval}'"
    );
    sqlx::query(AssertSqlSafe(clock))
        .execute(&mut system.sql().await)
        .await
        .unwrap();
}

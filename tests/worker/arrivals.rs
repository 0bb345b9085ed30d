//! Starts by SQL and the bell: who rings, and that nobody waits for ever where nobody did.

use everstep::store::Submission;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::rig::Rig;
use crate::support::submission::submission;

/// A Workflow that is started by SQL only.
async fn shop() -> Rig {
    let rig = Rig::new().await;
    let order = Submission {
        start: None,
        ..submission("default", "order", &json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
    };
    rig.store.submit(&[order]).await.unwrap();
    rig.execute("SELECT everstep.grant_namespace(SESSION_USER::text, 'default')")
        .await;
    rig
}

async fn start(sql: &mut PgConnection) -> Uuid {
    sqlx::query_scalar("SELECT everstep.start('default/order')")
        .fetch_one(sql)
        .await
        .unwrap()
}

/// One transaction keeps the bell as long as it is open, so the starts of the others ring for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn starts_that_do_not_ring_are_carried_each_once_while_another_keeps_the_bell() {
    let rig = shop().await;
    let worker = rig.worker().await;
    let (mut keeps, mut rings_not) = (rig.sql().await, rig.sql().await);
    let mut open = keeps.begin().await.unwrap();
    let kept = start(&mut open).await;
    let mut runs = Vec::new();
    for _ in 0..50 {
        runs.push(start(&mut rings_not).await);
    }
    for run in &runs {
        assert_eq!(rig.ended(*run).await, "Succeeded");
    }
    assert_eq!(rig.count("SELECT count(*) FROM everstep.runs").await, 50);
    open.commit().await.unwrap();
    assert_eq!(rig.ended(kept).await, "Succeeded");
    rig.is_clean().await;
    worker.stop().await;
}

/// More starts than a worker has room for, from many connections at once.
#[tokio::test(flavor = "multi_thread")]
async fn starts_of_many_transactions_at_once_are_carried_each_once() {
    let rig = shop().await;
    let worker = rig.worker().await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut sql = rig.sql().await;
        callers.spawn(async move {
            for _ in 0..40 {
                start(&mut sql).await;
            }
            // Rolled back, it leaves nothing behind, whoever rang meanwhile.
            let mut undone = sql.begin().await.unwrap();
            start(&mut undone).await;
            undone.rollback().await.unwrap();
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let waits = "SELECT (SELECT count(*) FROM everstep.arrivals) + (SELECT count(*) FROM everstep.active)";
    crate::rig::eventually("the end of all", async || rig.count(waits).await == 0).await;
    let succeeded = "SELECT count(*) FROM everstep.runs WHERE phase = 'Succeeded'";
    assert_eq!(rig.count(succeeded).await, 640);
    assert_eq!(rig.count("SELECT count(*) FROM everstep.runs").await, 640);
    let noted = "SELECT count(*) FROM everstep.audit WHERE operation = 'started'";
    assert_eq!(rig.count(noted).await, 640);
    rig.is_clean().await;
    worker.stop().await;
}

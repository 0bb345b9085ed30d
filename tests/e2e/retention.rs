//! What a controller removes by itself, and what it keeps.

use sqlx::AssertSqlSafe;

use crate::support::system::{System, connection, workflow};

#[tokio::test]
async fn old_audit_and_findings_about_connections_that_are_gone_are_removed() {
    let system = System::new("swept").await;
    let all = system.start("all", &[]).await;
    system
        .apply(
            &(connection("here", "{http: {baseUrl: 'http://127.0.0.1:1'}}")
                + &workflow("a", "{steps: [{name: a, set: {}}]}")),
        )
        .await;
    system.finished("a").await;
    all.stop().await;
    let here = system.get("connections", "here").await;
    let here = here["metadata"]["uid"].as_str().unwrap();
    let rows = format!(
        "UPDATE everstep.audit SET at = at - interval '2 hours';
         INSERT INTO everstep.connections (uid, namespace, name, generation, ready, reason, message, checked_at)
         SELECT uid, '{}', 'n', 1, true, 'Connected', '', everstep.now() - interval '2 days'
         FROM UNNEST(ARRAY['gone', '{here}']) AS uid",
        system.namespace
    );
    sqlx::raw_sql(AssertSqlSafe(rows))
        .execute(&mut system.sql().await)
        .await
        .unwrap();
    assert!(system.count("SELECT count(*) FROM everstep.audit").await > 1);

    let _controller = system.start("controller", &[("--audit-retention", "1h")]).await;
    system.until_count("SELECT count(*) FROM everstep.audit", 1).await;
    system.until_count("SELECT count(*) FROM everstep.connections", 1).await;
    let kept = format!("SELECT count(*) FROM everstep.connections WHERE uid = '{here}'");
    assert_eq!(system.count(&kept).await, 1);
}

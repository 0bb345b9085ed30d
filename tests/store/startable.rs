//! What a start asks for: one table, which follows from objects and grants whoever changes them, and in whatever order.

use std::time::Duration;

use everstep::store::Submission;
use sqlx::{Connection, PgConnection};

use crate::application::{Shop, order, refused, run, shop, start};
use crate::rig::Rig;

/// Both ways round: what is listed and should not be, and what should be and is not.
const DIFFERENCES: &str = "
WITH wanted AS (
  SELECT o.namespace || '/' || o.name AS workflow, g.role, o.namespace, o.name, o.uid, o.definition_id
  FROM everstep.owners AS o
  JOIN everstep.grants AS g ON g.namespace = o.namespace
  WHERE o.kind = 'Workflow' AND o.gone_at IS NULL AND o.definition_id IS NOT NULL AND NOT o.suspended
    AND NOT EXISTS (
      SELECT FROM everstep.owners AS newer
      WHERE newer.kind = 'Workflow' AND newer.gone_at IS NULL AND newer.definition_id IS NOT NULL
        AND newer.namespace = o.namespace AND newer.name = o.name AND newer.accepted_at > o.accepted_at)
)
SELECT coalesce(string_agg(difference::text, ', '), '')
FROM (
  (SELECT * FROM wanted EXCEPT SELECT * FROM everstep.startable)
  UNION ALL
  (SELECT * FROM everstep.startable EXCEPT SELECT * FROM wanted)
) AS difference";

/// The definitions by which `shop/order` may be started, one for each role.
const LISTED: &str = "
SELECT coalesce(string_agg(d.revision, ',' ORDER BY s.role), '')
FROM everstep.startable AS s
JOIN everstep.definitions AS d ON d.id = s.definition_id
WHERE s.workflow = 'shop/order'";

fn revised(generation: i64) -> Submission {
    Submission {
        generation,
        revision: format!("r{generation}"),
        ..order()
    }
}

async fn listed(rig: &mut Rig) -> String {
    assert_eq!(rig.one::<String>(DIFFERENCES).await, "");
    rig.one(LISTED).await
}

async fn second(shop: &mut Shop) -> String {
    let role = format!("second_{}", shop.role);
    shop.rig.run(&format!("CREATE ROLE {role} LOGIN")).await;
    role
}

#[tokio::test]
async fn what_may_be_started_follows_from_objects_and_grants() {
    let mut shop = shop().await;
    let role = second(&mut shop).await;
    let rig = &mut shop.rig;
    rig.submit(revised(2)).await;
    assert_eq!(listed(rig).await, "r2");
    rig.run(&format!("SELECT everstep.grant_namespace('{role}', 'shop')"))
        .await;
    assert_eq!(listed(rig).await, "r2,r2");
    let suspended = Submission {
        suspended: true,
        ..revised(3)
    };
    rig.submit(suspended).await;
    assert_eq!(listed(rig).await, "");
    rig.submit(revised(4)).await;
    assert_eq!(listed(rig).await, "r4,r4");

    // Deleted and made again: the older object is still there, and the newer one has the name.
    let again = Submission {
        uid: "order-again".to_owned(),
        suspended: true,
        ..revised(1)
    };
    rig.submit(again.clone()).await;
    assert_eq!(listed(rig).await, "");
    let resumed = Submission {
        generation: 2,
        suspended: false,
        ..again
    };
    rig.submit(resumed).await;
    assert_eq!(listed(rig).await, "r1,r1");
    rig.run("UPDATE everstep.owners SET gone_at = now() WHERE uid = 'order'")
        .await;
    assert_eq!(listed(rig).await, "r1,r1");
    rig.run("UPDATE everstep.owners SET name = 'other' WHERE uid = 'order-again'")
        .await;
    assert_eq!(listed(rig).await, "");
    rig.run("UPDATE everstep.owners SET name = 'order' WHERE uid = 'order-again'")
        .await;
    assert_eq!(listed(rig).await, "r1,r1");

    rig.run(&format!("SELECT everstep.revoke_namespace('{role}', 'shop')"))
        .await;
    assert_eq!(listed(rig).await, "r1");
    rig.run("DELETE FROM everstep.owners WHERE uid = 'order-again'").await;
    assert_eq!(listed(rig).await, "");
    rig.run("UPDATE everstep.owners SET gone_at = NULL WHERE uid = 'order'")
        .await;
    assert_eq!(listed(rig).await, "r4");
    rig.run("UPDATE everstep.grants SET namespace = 'bank'").await;
    assert_eq!(listed(rig).await, "");
    rig.run("UPDATE everstep.grants SET namespace = 'shop'").await;
    assert_eq!(listed(rig).await, "r4");
    rig.run("TRUNCATE everstep.grants").await;
    assert_eq!(listed(rig).await, "");
    assert_eq!(
        refused(&mut shop.app, "SELECT everstep.start('shop/order')").await.0,
        "42501"
    );
}

/// A grant is listed at once for its own transaction, and for all others when it commits, with what was accepted meanwhile:
/// an administrator's open transaction does not hold up a controller.
#[tokio::test]
async fn an_open_grant_holds_nobody_up_and_lists_what_was_accepted_meanwhile() {
    let mut shop = shop().await;
    let role = second(&mut shop).await;
    let mut admin = PgConnection::connect(&shop.rig.url).await.unwrap();
    run(&mut admin, "BEGIN").await;
    run(
        &mut admin,
        &format!("SELECT everstep.grant_namespace('{role}', 'shop')"),
    )
    .await;
    run(&mut admin, &format!("SET LOCAL ROLE {role}")).await;
    start(&mut admin, "'shop/order'").await;
    run(&mut admin, "RESET ROLE").await;
    shop.rig.submit(revised(2)).await;
    assert_eq!(listed(&mut shop.rig).await, "r2");
    run(&mut admin, "COMMIT").await;
    assert_eq!(listed(&mut shop.rig).await, "r2,r2");

    run(&mut admin, "BEGIN").await;
    run(
        &mut admin,
        &format!("SELECT everstep.revoke_namespace('{role}', 'shop')"),
    )
    .await;
    shop.rig.submit(revised(3)).await;
    assert_eq!(listed(&mut shop.rig).await, "r3,r3");
    run(&mut admin, "COMMIT").await;
    assert_eq!(listed(&mut shop.rig).await, "r3");
}

/// Of two that change both tables at once, each would miss what the other has not committed yet.
#[tokio::test]
async fn grants_and_objects_that_change_at_once_leave_what_follows_from_both() {
    let mut shop = shop().await;
    let role = second(&mut shop).await;
    let mut controller = PgConnection::connect(&shop.rig.url).await.unwrap();
    for (suspended, change, left) in [(true, "grant", ""), (false, "revoke", "r1")] {
        run(&mut controller, "BEGIN").await;
        let suspend = format!("UPDATE everstep.owners SET suspended = {suspended} WHERE uid = 'order'");
        run(&mut controller, &suspend).await;
        let mut admin = PgConnection::connect(&shop.rig.url).await.unwrap();
        let change = format!("SELECT everstep.{change}_namespace('{role}', 'shop')");
        let changed = tokio::spawn(async move { run(&mut admin, &change).await });
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
        while !changed.is_finished() && !shop.rig.one::<bool>(waits).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        run(&mut controller, "COMMIT").await;
        changed.await.unwrap();
        assert_eq!(listed(&mut shop.rig).await, left);
    }
}

#[tokio::test]
async fn an_old_snapshot_lists_nothing() {
    let mut shop = shop().await;
    let role = second(&mut shop).await;
    let mut admin = PgConnection::connect(&shop.rig.url).await.unwrap();
    run(&mut admin, "BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    let grant = format!("SELECT everstep.grant_namespace('{role}', 'shop')");
    let (code, message) = refused(&mut admin, &grant).await;
    assert_eq!(code, "0A000");
    assert!(message.contains("repeatable read"), "{message}");
}

/// The engine's own sessions do not follow the database's default.
#[tokio::test]
async fn objects_are_accepted_whatever_isolation_is_the_default() {
    let mut shop = shop().await;
    shop.rig.set("default_transaction_isolation = 'repeatable read'").await;
    shop.rig.submit(revised(2)).await;
    assert_eq!(listed(&mut shop.rig).await, "r2");
}

//! Who may call the SQL surface, and what a grant opens and what it does not.

use everstep::store::{Migrations, Store};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::application::{UNKNOWN, foreign, login, order, refused, row, rows, run, shop, signal, start, started};
use crate::postgres;
use crate::rig::{Rig, options, step};

#[tokio::test]
async fn a_role_without_a_grant_is_refused_everywhere() {
    let mut shop = shop().await;
    let id = started(&mut shop, "'shop/order'").await;
    let mut first = step(id, 1);
    first.events = r#"[{"StepStarted":{"step":"a","attempt":1,"at":"2026-01-01T00:00:00Z"}}]"#.to_owned();
    shop.rig.store.append(&[first]).await.unwrap();
    let before = rows(&mut shop.rig).await;
    let role = format!("stranger_{}", shop.role);
    let url = login(&mut shop.rig, &role).await;
    let mut stranger = PgConnection::connect(&url).await.unwrap();
    let calls = [
        "SELECT everstep.start('shop/order')".to_owned(),
        "SELECT everstep.start('shop/order', NULL, 'k')".to_owned(),
        format!("SELECT everstep.signal('{id}', 'approve', '{{}}')"),
        format!("SELECT everstep.cancel('{id}', 'x')"),
        format!("SELECT everstep.terminate('{id}', 'x')"),
        format!("SELECT everstep.retry('{id}')"),
        "SELECT id FROM everstep.run_list".to_owned(),
        "SELECT run_id FROM everstep.run_history".to_owned(),
        "SELECT run_id FROM everstep.step_list".to_owned(),
    ];
    for call in &calls {
        assert_eq!(refused(&mut stranger, call).await.0, "42501", "{call}");
    }
    // In the schema by a grant of another namespace, or by an administrator's hand: the namespace is asked for all the same.
    shop.rig
        .run(&format!("SELECT everstep.grant_namespace('{role}', 'bank')"))
        .await;
    let refusals = ["42501", "42501", "P0002", "P0002", "P0002", "P0002"];
    for (call, code) in calls.iter().zip(refusals) {
        assert_eq!(refused(&mut stranger, call).await.0, code, "{call}");
    }
    for call in &calls[refusals.len()..] {
        let seen = sqlx::query(AssertSqlSafe(call.clone()))
            .fetch_all(&mut stranger)
            .await
            .unwrap();
        assert!(seen.is_empty(), "{call}");
    }
    assert_eq!(rows(&mut shop.rig).await, before + 1, "the audit row of the grant");
}

#[tokio::test]
async fn a_run_of_a_foreign_namespace_is_answered_like_one_that_does_not_exist() {
    let mut shop = shop().await;
    let foreign = foreign(&shop.rig).await;
    for call in [
        "everstep.signal('ID', 'a', '{}')",
        "everstep.cancel('ID', 'x')",
        "everstep.terminate('ID', 'x')",
        "everstep.retry('ID')",
    ] {
        let answer = async |app: &mut PgConnection, id: &str| {
            let (code, message) = refused(app, &format!("SELECT {}", call.replace("ID", id))).await;
            (code, message.replace(id, "ID"))
        };
        let theirs = answer(&mut shop.app, &foreign.to_string()).await;
        assert_eq!(theirs, answer(&mut shop.app, UNKNOWN).await);
        assert_eq!(theirs.0, "P0002");
    }
    for further in ["", ", NULL, 'k'"] {
        let theirs = refused(&mut shop.app, &format!("SELECT everstep.start('bank/name-b'{further})")).await;
        let none = refused(&mut shop.app, &format!("SELECT everstep.start('bank/none'{further})")).await;
        assert_eq!(theirs, none);
    }
    assert_eq!(shop.rig.count("inbox").await, 0);
}

#[tokio::test]
async fn tables_grants_and_inner_functions_are_out_of_reach() {
    let mut shop = shop().await;
    let role = &shop.role;
    for call in [
        "SELECT 1 FROM everstep.runs".to_owned(),
        "SELECT 1 FROM everstep.grants".to_owned(),
        format!(
            "INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload) VALUES ('{UNKNOWN}', 'Cancel', 'k', '{{}}')"
        ),
        format!("INSERT INTO everstep.grants VALUES ('{role}', 'bank')"),
        format!("SELECT everstep.grant_namespace('{role}', 'bank')"),
        format!("SELECT everstep.revoke_namespace('{role}', 'shop')"),
    ] {
        assert_eq!(refused(&mut shop.app, &call).await.0, "42501", "{call}");
    }
    // These would be stopped by the first table that they name; nobody gets so far.
    for call in [
        format!("SELECT everstep.phase_for_caller('x', '{UNKNOWN}')"),
        "SELECT everstep.refuse_start('shop/order', NULL, NULL)".to_owned(),
        "SELECT everstep.start_once('shop/order', NULL, 'k')".to_owned(),
        format!("SELECT everstep.tell_to_end('Cancel', '{UNKNOWN}', 'x')"),
        format!("SELECT everstep.send_command('Cancel', '{UNKNOWN}', 'k', '{{}}')"),
    ] {
        let (code, message) = refused(&mut shop.app, &call).await;
        assert_eq!(code, "42501", "{call}");
        assert!(
            message.starts_with("permission denied for function"),
            "{call}: {message}"
        );
    }
    // Names that the functions use, put in their way.
    run(&mut shop.app, "SET search_path = pg_temp, public, pg_catalog").await;
    run(&mut shop.app, "CREATE TEMP TABLE grants (role name, namespace text)").await;
    let call = "SELECT everstep.start('bank/order')";
    assert_eq!(refused(&mut shop.app, call).await.0, "42501");
    run(&mut shop.app, "SET standard_conforming_strings = off").await;
    start(&mut shop.app, "'shop/order'").await;
}

/// A pool logs in as one role, and sets another for each application.
#[tokio::test]
async fn the_role_that_was_set_is_the_caller_and_without_one_the_login() {
    let mut shop = shop().await;
    let pool = format!("pool_{}", shop.role);
    let url = login(&mut shop.rig, &pool).await;
    shop.rig.run(&format!("GRANT {} TO {pool}", shop.role)).await;
    let mut session = PgConnection::connect(&url).await.unwrap();
    // A member of a role that has the grant is not that role.
    assert_eq!(
        refused(&mut session, "SELECT everstep.start('shop/order')").await.0,
        "42501"
    );
    run(&mut session, &format!("BEGIN; SET LOCAL ROLE {}", shop.role)).await;
    start(&mut session, "'shop/order'").await;
    run(&mut session, "COMMIT").await;
    let worker = shop.rig.worker().await;
    assert_eq!(shop.rig.store.claim(worker, 10, None).await.unwrap(), 1);
    assert_eq!(
        shop.rig
            .count(&format!(
                "audit WHERE operation = 'started' AND actor = '{}'",
                shop.role
            ))
            .await,
        1
    );
    assert_eq!(
        refused(&mut session, "SELECT everstep.start('shop/order')").await.0,
        "42501"
    );
    // And the other way round: the login has the grant, the role that was set has not.
    shop.rig
        .run(&format!("SELECT everstep.grant_namespace('{pool}', 'shop')"))
        .await;
    start(&mut session, "'shop/order'").await;
    shop.rig
        .run(&format!("SELECT everstep.revoke_namespace('{}', 'shop')", shop.role))
        .await;
    run(&mut session, &format!("SET ROLE {}", shop.role)).await;
    assert_eq!(
        refused(&mut session, "SELECT everstep.start('shop/order')").await.0,
        "42501"
    );
}

#[tokio::test]
async fn grants_say_what_is_wrong_with_them_and_hold_the_role() {
    let mut shop = shop().await;
    let role = shop.role.clone();
    let calls = [
        ("grant_namespace('nobody_there', 'shop')".to_owned(), "42704"),
        ("grant_namespace('public', 'shop')".to_owned(), "42704"),
        (format!("grant_namespace('{role}' || repeat('x', 64), 'shop')"), "42704"),
        ("grant_namespace(NULL, 'shop')".to_owned(), "22004"),
        (format!("grant_namespace('{role}', NULL)"), "22004"),
        (format!("grant_namespace('{role}', '')"), "22023"),
        (format!("grant_namespace('{role}', 'Shop; DROP')"), "22023"),
        (format!("grant_namespace('{role}', repeat('x', 64))"), "22023"),
        (format!("revoke_namespace('{role}', 'bank')"), "42704"),
        ("revoke_namespace(NULL, NULL)".to_owned(), "42704"),
    ];
    for (call, code) in calls {
        assert_eq!(
            refused(&mut shop.rig.sql, &format!("SELECT everstep.{call}")).await.0,
            code,
            "{call}"
        );
    }
    shop.rig
        .run(&format!("SELECT everstep.grant_namespace('{role}', 'shop')"))
        .await;
    assert_eq!(shop.rig.count("grants").await, 1, "once");
    // Else a new role of that name would inherit what was granted to the old one.
    shop.app.close().await.unwrap();
    assert_eq!(
        refused(&mut shop.rig.sql, &format!("DROP ROLE {role}")).await.0,
        "2BP01"
    );
    shop.rig
        .run(&format!("SELECT everstep.revoke_namespace('{role}', 'shop')"))
        .await;
    shop.rig.run(&format!("DROP ROLE {role}")).await;
    assert_eq!(shop.rig.count("audit WHERE operation IN ('grant', 'revoke')").await, 2);
}

/// The engine's own login, which is no superuser, and uses the SQL surface, too.
#[tokio::test]
async fn the_owner_of_the_schema_keeps_its_way_in_when_its_last_grant_is_revoked() {
    let url = postgres::empty_database().await;
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let database: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    let owner = format!("owner_{database}");
    let mut rig = Rig {
        store: Store::connect(&options(&url)).await.unwrap(),
        url,
        sql: admin,
    };
    let url = login(&mut rig, &owner).await;
    rig.run(&format!("ALTER DATABASE {database} OWNER TO {owner}")).await;
    let store = Store::connect(&options(&url)).await.unwrap();
    store.migrate(Migrations::Auto).await.unwrap();
    let mut session = PgConnection::connect(&url).await.unwrap();
    run(
        &mut session,
        &format!("SELECT everstep.grant_namespace('{owner}', 'shop')"),
    )
    .await;
    run(
        &mut session,
        &format!("SELECT everstep.revoke_namespace('{owner}', 'shop')"),
    )
    .await;
    run(&mut session, "SELECT count(*) FROM everstep.runs").await;
}

/// `DROP OWNED BY` takes the right to the schema, and the way is free for another role of that name.
#[tokio::test]
async fn a_role_created_anew_inherits_no_grant() {
    let mut shop = shop().await;
    let role = shop.role.clone();
    shop.rig
        .run(&format!("SELECT everstep.grant_namespace('{role}', 'bank')"))
        .await;
    shop.app.close().await.unwrap();
    shop.rig.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    let url = login(&mut shop.rig, &role).await;
    shop.app = PgConnection::connect(&url).await.unwrap();
    let start = "SELECT everstep.start('shop/order')";
    assert_eq!(refused(&mut shop.app, start).await.0, "42501", "before any grant");
    // One that the old role had, too: it is a grant again, not one that is there already.
    shop.rig
        .run(&format!("SELECT everstep.grant_namespace('{role}', 'bank')"))
        .await;
    let (code, message) = refused(&mut shop.app, start).await;
    assert_eq!(code, "42501", "{message}");
    assert!(message.contains("may not use namespace shop"), "{message}");
    assert_eq!(shop.rig.count("grants").await, 1);
    assert_eq!(shop.rig.count("audit WHERE operation = 'grant'").await, 3);
    row(&mut shop.app, "SELECT count(*) FROM everstep.run_list")
        .await
        .unwrap();
}

/// Where an administrator has taken EXECUTE from PUBLIC for whatever is created.
#[tokio::test]
async fn views_and_functions_work_where_public_may_execute_nothing_by_default() {
    let url = postgres::empty_database().await;
    let mut admin = PgConnection::connect(&url).await.unwrap();
    run(
        &mut admin,
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    )
    .await;
    let store = Store::connect(&options(&url)).await.unwrap();
    store.migrate(Migrations::Auto).await.unwrap();
    store.adopt_cluster("cluster-1", "default").await.unwrap();
    let mut rig = Rig { store, url, sql: admin };
    rig.submit(order()).await;
    let role = format!("strict_{}", rig.one::<String>("SELECT current_database()::text").await);
    let url = login(&mut rig, &role).await;
    rig.run(&format!("SELECT everstep.grant_namespace('{role}', 'shop')"))
        .await;
    let mut app = PgConnection::connect(&url).await.unwrap();
    let id = start(&mut app, "'shop/order'").await;
    assert_eq!(signal(&mut app, &format!("'{id}', 'go', '1'")).await, "Stored");
    let page = "SELECT step, error FROM everstep.run_list WHERE id < everstep.uuidv7()";
    let views = [
        "SELECT event FROM everstep.run_history",
        "SELECT step FROM everstep.step_list",
    ];
    row(&mut app, page).await.unwrap();
    for view in views {
        run(&mut app, view).await;
    }
}

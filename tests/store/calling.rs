//! The SQL surface, as applications and people use it: with a login of their own, in their own transactions.

use everstep::engine::Mail;
use everstep::store::{Migrations, Posted, SignalWish, Store, Submission, Target};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::pgbouncer::PgBouncer;
use crate::postgres;
use crate::rig::{Rig, finish, options, park, rig, step, wish};

/// A database with the Workflow `shop/order`, and an application that may use the namespace.
struct Shop {
    rig: Rig,
    role: String,
    url: String,
    app: PgConnection,
}

async fn shop() -> Shop {
    let mut rig = rig().await;
    rig.submit(order()).await;
    let database: String = rig.one("SELECT current_database()::text").await;
    let role = format!("app_{database}");
    let url = login(&mut rig, &role).await;
    rig.run(&format!("SELECT everstep.grant_namespace('{role}', 'shop')"))
        .await;
    let app = PgConnection::connect(&url).await.unwrap();
    Shop { rig, role, url, app }
}

fn order() -> Submission {
    Submission {
        name: "order".to_owned(),
        workflow: "order".to_owned(),
        start: None,
        ..wish("order")
    }
}

/// Roles are the server's, which tests share: they carry the name of the database.
async fn login(rig: &mut Rig, role: &str) -> String {
    rig.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'app'")).await;
    let mut url = url::Url::parse(&rig.url).unwrap();
    url.set_username(role).unwrap();
    url.set_password(Some("app")).unwrap();
    url.into()
}

async fn row(sql: &mut PgConnection, query: &str) -> Result<PgRow, sqlx::Error> {
    sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(sql).await
}

async fn run(sql: &mut PgConnection, query: &str) {
    sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
        .execute(sql)
        .await
        .unwrap();
}

async fn start(sql: &mut PgConnection, arguments: &str) -> Uuid {
    row(sql, &format!("SELECT everstep.start({arguments})"))
        .await
        .unwrap()
        .get(0)
}

/// Started, and met by a worker.
async fn started(shop: &mut Shop, arguments: &str) -> Uuid {
    let id = start(&mut shop.app, arguments).await;
    let worker = shop.rig.worker().await;
    assert_eq!(shop.rig.store.claim(worker, 10, None).await.unwrap(), 1);
    id
}

async fn signal(sql: &mut PgConnection, arguments: &str) -> String {
    row(sql, &format!("SELECT everstep.signal({arguments})"))
        .await
        .unwrap()
        .get(0)
}

/// SQLSTATE and message of a call that fails.
async fn refused(sql: &mut PgConnection, query: &str) -> (String, String) {
    let error = row(sql, query)
        .await
        .err()
        .unwrap_or_else(|| panic!("{query} was not refused"));
    let error = error.into_database_error().unwrap();
    (error.code().unwrap().into_owned(), error.message().to_owned())
}

/// How many rows there are of all that the SQL surface can write.
async fn rows(rig: &mut Rig) -> i64 {
    rig.one(
        "SELECT (SELECT count(*) FROM everstep.runs) + (SELECT count(*) FROM everstep.starts)
           + (SELECT count(*) FROM everstep.active) + (SELECT count(*) FROM everstep.inbox)
           + (SELECT count(*) FROM everstep.arrivals) + (SELECT count(*) FROM everstep.audit)",
    )
    .await
}

const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_rolled_back_transaction_leaves_nothing_anywhere() {
    let mut shop = shop().await;
    let before = rows(&mut shop.rig).await;
    run(&mut shop.app, "BEGIN").await;
    let id = start(&mut shop.app, "'shop/order', '{}', 'k'").await;
    signal(&mut shop.app, &format!("'{id}', 'approve', '{{}}'")).await;
    run(&mut shop.app, &format!("SELECT everstep.cancel('{id}', 'no')")).await;
    // Invisible before its commit, and without a trace after the rollback.
    assert_eq!(rows(&mut shop.rig).await, before);
    run(&mut shop.app, "ROLLBACK").await;
    assert_eq!(rows(&mut shop.rig).await, before);
    let again = start(&mut shop.app, "'shop/order', '{}', 'k'").await;
    assert_ne!(again, id, "the key is free again");
}

#[tokio::test]
async fn a_committed_transaction_delivers_start_signal_and_cancel_once() {
    let mut shop = shop().await;
    run(&mut shop.app, "BEGIN").await;
    let id = start(&mut shop.app, "'shop/order', '{\"n\": 2}'").await;
    signal(&mut shop.app, &format!("'{id}', 'approve', '{{\"approved\": true}}'")).await;
    run(
        &mut shop.app,
        &format!("SELECT everstep.cancel('{id}', 'changed my mind')"),
    )
    .await;
    run(&mut shop.app, "COMMIT").await;
    let (_, loaded) = shop.rig.owned().await;
    assert_eq!((loaded.run, &*loaded.origin.start_key), (id, &*format!("sql/{id}")));
    assert_eq!(loaded.origin.input, serde_json::json!({"n": 2}));
    let [signal, cancel] = &loaded.mail[..] else {
        panic!("{:?}", loaded.mail)
    };
    let Mail::Signal(said) = &signal.mail else {
        panic!("{signal:?}")
    };
    assert_eq!((said.id, &*said.name), (signal.id, "approve"));
    assert_eq!(
        (&said.payload, said.by.as_deref()),
        (&serde_json::json!({"approved": true}), Some(&*shop.role))
    );
    assert_eq!(
        cancel.mail,
        Mail::Cancel {
            reason: "changed my mind".to_owned()
        }
    );
    for (operation, count) in [("started", 1), ("signal", 1), ("cancel", 1)] {
        let audit = format!(
            "audit WHERE operation = '{operation}' AND actor = '{}' AND run_id = '{id}'",
            shop.role
        );
        assert_eq!(shop.rig.count(&audit).await, count, "{operation}");
    }
    assert_eq!(shop.rig.count("starts").await, 0, "no promise without a key");
}

/// I-1.
#[tokio::test]
async fn a_hundred_starts_at_once_with_one_key_are_one_run_and_all_get_its_id() {
    let mut shop = shop().await;
    let starts = (0..100).map(|_| async {
        let mut app = PgConnection::connect(&shop.url).await.unwrap();
        start(&mut app, "'shop/order', NULL, 'order-7'").await
    });
    // As many at once as the server has connections for.
    let mut ids = Vec::new();
    let mut starts: Vec<_> = starts.collect();
    while !starts.is_empty() {
        let rest = starts.split_off(starts.len().min(50));
        ids.extend(futures::future::join_all(starts).await);
        starts = rest;
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(
        (
            shop.rig.count("runs").await,
            shop.rig.count("active").await,
            shop.rig.count("starts WHERE start_key = 'key/order-7'").await
        ),
        (1, 1, 1)
    );
    assert_eq!(shop.rig.count("audit WHERE operation = 'started'").await, 1);
}

#[tokio::test]
async fn a_start_waits_for_another_with_its_key_and_starts_when_that_is_rolled_back() {
    let mut shop = shop().await;
    let mut other = PgConnection::connect(&shop.url).await.unwrap();
    run(&mut shop.app, "BEGIN").await;
    let first = start(&mut shop.app, "'shop/order', NULL, 'k'").await;
    let second = tokio::spawn(async move { start(&mut other, "'shop/order', NULL, 'k'").await });
    shop.rig.waiting("wait_event_type = 'Lock'").await;
    run(&mut shop.app, "ROLLBACK").await;
    assert_ne!(second.await.unwrap(), first);
    assert_eq!(shop.rig.count("runs").await, 1);
}

#[tokio::test]
async fn a_role_without_a_grant_is_refused_everywhere() {
    let mut shop = shop().await;
    let id = started(&mut shop, "'shop/order'").await;
    let before = rows(&mut shop.rig).await;
    let role = format!("stranger_{}", shop.role);
    let url = login(&mut shop.rig, &role).await;
    let mut stranger = PgConnection::connect(&url).await.unwrap();
    let calls = [
        "SELECT everstep.start('shop/order')".to_owned(),
        format!("SELECT everstep.signal('{id}', 'approve', '{{}}')"),
        format!("SELECT everstep.cancel('{id}', 'x')"),
        format!("SELECT everstep.terminate('{id}', 'x')"),
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
    let refusals = ["42501", "P0002", "P0002", "P0002"];
    for (call, code) in calls.iter().zip(refusals) {
        assert_eq!(refused(&mut stranger, call).await.0, code, "{call}");
    }
    for call in &calls[4..] {
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
    shop.rig
        .submit(Submission {
            namespace: "bank".to_owned(),
            ..wish("b")
        })
        .await;
    let foreign: Uuid = shop
        .rig
        .one("SELECT id FROM everstep.runs WHERE namespace = 'bank'")
        .await;
    for call in [
        "everstep.signal('ID', 'a', '{}')",
        "everstep.cancel('ID', 'x')",
        "everstep.terminate('ID', 'x')",
    ] {
        let answer = async |app: &mut PgConnection, id: &str| {
            let (code, message) = refused(app, &format!("SELECT {}", call.replace("ID", id))).await;
            (code, message.replace(id, "ID"))
        };
        let theirs = answer(&mut shop.app, &foreign.to_string()).await;
        assert_eq!(theirs, answer(&mut shop.app, UNKNOWN).await);
        assert_eq!(theirs.0, "P0002");
    }
    let theirs = refused(&mut shop.app, "SELECT everstep.start('bank/name-b')").await;
    let none = refused(&mut shop.app, "SELECT everstep.start('bank/none')").await;
    assert_eq!(theirs, none);
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
        format!("SELECT everstep.phase_for_caller('x', '{UNKNOWN}')"),
        "SELECT everstep.refuse_start('shop/order', NULL, NULL)".to_owned(),
        format!("SELECT everstep.tell_to_end('Cancel', '{UNKNOWN}', 'x')"),
    ] {
        assert_eq!(refused(&mut shop.app, &call).await.0, "42501", "{call}");
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

/// I-26.
#[tokio::test]
async fn the_functions_work_through_a_pooler_in_transaction_mode() {
    let shop = shop().await;
    let server = postgres::server().await;
    let pooler = tokio::task::spawn_blocking(move || {
        PgBouncer::start(
            server,
            "pool_size=1",
            &[
                "pool_mode = transaction",
                "ignore_startup_parameters = extra_float_digits",
            ],
        )
    });
    let url = pooler.await.unwrap();
    let mut session = PgConnection::connect(&url.before(&shop.url)).await.unwrap();
    let mut other = PgConnection::connect(&url.before(&shop.url)).await.unwrap();
    for session in [&mut session, &mut other] {
        // The simple protocol: what is prepared does not survive such a pooler.
        let call = format!(
            "BEGIN; SET LOCAL ROLE {}; SELECT everstep.start('shop/order'); COMMIT",
            shop.role
        );
        run(session, &call).await;
    }
    let mut rig = shop.rig;
    assert_eq!(rig.count("arrivals").await, 2);
}

#[tokio::test]
async fn arguments_that_are_null_empty_or_enormous_are_refused_with_a_code_each() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order'").await;
    let before = rows(&mut shop.rig).await;
    let calls = [
        ("start(NULL)", "22004"),
        ("start('')", "22023"),
        ("start('order')", "22023"),
        ("start('/order')", "22023"),
        ("start('shop/')", "22023"),
        ("start('shop/order/x')", "22023"),
        ("start('shop/' || repeat('x', 1000000))", "22023"),
        ("start('shop/order', NULL, '')", "22023"),
        ("start('shop/order', NULL, repeat('x', 254))", "22023"),
        ("start('shop/order', to_jsonb(repeat('x', 262143)))", "54000"),
        (
            "start('shop/order', (repeat('[', 101) || repeat(']', 101))::jsonb)",
            "54000",
        ),
        ("start('shop/order', '{\"n\": 1e309}')", "54000"),
        (
            "start('shop/order', (repeat('[', 10000) || repeat(']', 10000))::jsonb)",
            "54",
        ),
        ("start('shop/order', '[1e309]', 'k')", "54000"),
        ("start('shop/order', to_jsonb(repeat('x', 262143)), 'k')", "54000"),
        ("start('shop/none', NULL, 'k')", "P0002"),
        ("start('shop/none')", "P0002"),
        ("signal(NULL, 'a', '{}')", "22004"),
        ("signal('ID', NULL, '{}')", "22004"),
        ("signal('ID', 'a', NULL)", "22004"),
        ("signal('ID', '', '{}')", "22023"),
        ("signal('ID', repeat('x', 254), '{}')", "22023"),
        ("signal('ID', 'a', '{}', '')", "22023"),
        ("signal('ID', 'a', '{}', repeat('x', 254))", "22023"),
        ("signal('ID', 'a', to_jsonb(repeat('x', 65535)))", "54000"),
        (
            "signal('ID', 'a', (repeat('[', 100) || repeat(']', 100))::jsonb)",
            "54000",
        ),
        ("signal('ID', 'a', '[-1e309]')", "54000"),
        (
            "signal('ID', 'a', (repeat('[', 10000) || repeat(']', 10000))::jsonb)",
            "54",
        ),
        ("cancel(NULL, 'x')", "22004"),
        ("cancel('ID', NULL)", "22004"),
        ("cancel('ID', '')", "22023"),
        ("cancel('ID', repeat('x', 1025))", "22023"),
        ("terminate(NULL, 'x')", "22004"),
        ("terminate('ID', NULL)", "22004"),
        ("terminate('ID', '')", "22023"),
    ];
    for (call, code) in calls {
        let (said, message) = refused(
            &mut shop.app,
            &format!("SELECT everstep.{}", call.replace("ID", &id.to_string())),
        )
        .await;
        assert!(said.starts_with(code), "{call}: {said} {message}");
        assert!(message.len() < 400, "{call}: {message}");
    }
    assert_eq!(rows(&mut shop.rig).await, before, "nothing half done");
    // At the limits.
    start(
        &mut shop.app,
        "'shop/order', to_jsonb(repeat('x', 262142)), repeat('x', 253)",
    )
    .await;
    start(
        &mut shop.app,
        "'shop/order', (repeat('[', 100) || repeat(']', 100))::jsonb",
    )
    .await;
    start(&mut shop.app, "'shop/order', '[1e308, -1e308]'").await;
    for payload in [
        "to_jsonb(repeat('x', 65534))",
        "(repeat('[', 99) || repeat(']', 99))::jsonb",
        "'null'",
        "'1e308'",
    ] {
        assert_eq!(
            signal(&mut shop.app, &format!("'{id}', 'a', {payload}")).await,
            "Stored",
            "{payload}"
        );
    }
    // All that was accepted can be read.
    let worker = shop.rig.worker().await;
    assert_eq!(shop.rig.store.claim(worker, 10, None).await.unwrap(), 4);
    let loads = shop.rig.store.load(worker, &[], 10).await.unwrap();
    assert_eq!(
        (loads.runs.len(), loads.unreadable.len()),
        (4, 0),
        "{:?}",
        loads.unreadable
    );
    assert_eq!(loads.runs.iter().map(|run| run.mail.len()).sum::<usize>(), 4);
}

#[tokio::test]
async fn a_workflow_that_is_suspended_gone_or_not_accepted_starts_nothing() {
    let mut shop = shop().await;
    shop.rig
        .submit(Submission {
            suspended: true,
            ..order()
        })
        .await;
    assert_eq!(
        refused(&mut shop.app, "SELECT everstep.start('shop/order')").await.0,
        "55000"
    );
    shop.rig
        .run("UPDATE everstep.owners SET suspended = false, gone_at = now()")
        .await;
    assert_eq!(
        refused(&mut shop.app, "SELECT everstep.start('shop/order')").await.0,
        "P0002"
    );
    // Created again under its name, with another definition.
    let again = Submission {
        uid: "again".to_owned(),
        revision: "r9".to_owned(),
        ..order()
    };
    shop.rig.submit(again).await;
    let id = started(&mut shop, "'shop/order'").await;
    let revision = "SELECT revision FROM everstep.runs AS r JOIN everstep.definitions AS d ON d.id = r.definition_id";
    assert_eq!(
        shop.rig.one::<String>(&format!("{revision} WHERE r.id = '{id}'")).await,
        "r9"
    );
}

#[tokio::test]
async fn the_same_dedup_key_again_is_a_duplicate_and_another_payload_is_told() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order'").await;
    assert_eq!(
        signal(&mut shop.app, &format!("'{id}', 'a', '{{\"x\": 1}}', 'd'")).await,
        "Stored"
    );
    assert_eq!(
        signal(&mut shop.app, &format!("'{id}', 'a', '{{\"x\":1.0}}', 'd'")).await,
        "Duplicate"
    );
    assert_eq!(
        signal(&mut shop.app, &format!("'{id}', 'a', '{{\"x\": 2}}', 'd'")).await,
        "DuplicateDiffers"
    );
    assert_eq!(
        signal(&mut shop.app, &format!("'{id}', 'b', '{{\"x\": 1}}', 'd'")).await,
        "DuplicateDiffers"
    );
    assert_eq!(
        signal(&mut shop.app, &format!("'{id}', 'a', '{{\"x\": 1}}'")).await,
        "Stored"
    );
    assert_eq!(shop.rig.count("inbox").await, 2);
    assert_eq!(shop.rig.count("audit WHERE operation = 'signal'").await, 2);
    // An object with that key, whose payload jsonb cannot hold.
    let wish = SignalWish {
        uid: "s1".to_owned(),
        namespace: "shop".to_owned(),
        name: "s1".to_owned(),
        target: Target::Workflow("none".to_owned()),
        signal: "a".to_owned(),
        payload: r#""\u0000""#.to_owned(),
        by: None,
        dedup_key: "e".to_owned(),
        generation: 1,
    };
    let key = start(&mut shop.app, "'shop/order', NULL, 'k'").await;
    let target = Target::Key {
        workflow: "order".to_owned(),
        key: "k".to_owned(),
    };
    let posted = shop.rig.store.post(&[SignalWish { target, ..wish }]).await.unwrap();
    assert!(
        matches!(posted[..], [Posted::Stored { run, .. }] if run == key),
        "{posted:?}"
    );
    assert_eq!(
        signal(&mut shop.app, &format!("'{key}', 'a', '1', 'e'")).await,
        "DuplicateDiffers"
    );
}

#[tokio::test]
async fn a_run_that_is_over_takes_neither_signal_nor_cancel() {
    let mut shop = shop().await;
    let id = started(&mut shop, "'shop/order'").await;
    signal(&mut shop.app, &format!("'{id}', 'a', '1', 'd'")).await;
    shop.rig.store.append(&[finish(id, 1)]).await.unwrap();
    for call in [
        format!("signal('{id}', 'a', '1')"),
        format!("cancel('{id}', 'x')"),
        format!("terminate('{id}', 'x')"),
    ] {
        let (code, message) = refused(&mut shop.app, &format!("SELECT everstep.{call}")).await;
        assert_eq!(code, "55000");
        assert!(message.contains("Succeeded"), "{message}");
    }
    assert_eq!(
        signal(&mut shop.app, &format!("'{id}', 'a', '1', 'd'")).await,
        "Duplicate"
    );
}

#[tokio::test]
async fn cancelling_twice_is_cancelling_once() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order'").await;
    for reason in ["one", "two"] {
        run(&mut shop.app, &format!("SELECT everstep.cancel('{id}', '{reason}')")).await;
    }
    assert_eq!(
        (
            shop.rig.count("inbox").await,
            shop.rig.count("audit WHERE operation = 'cancel'").await
        ),
        (1, 1)
    );
}

/// Also of a run that no worker has met yet, and that was told to cancel before.
#[tokio::test]
async fn terminating_twice_is_terminating_once_and_is_not_a_cancel() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order'").await;
    assert_eq!(shop.rig.count("arrivals").await, 1);
    for call in ["cancel", "terminate", "terminate"] {
        run(&mut shop.app, &format!("SELECT everstep.{call}('{id}', 'no use')")).await;
    }
    let (_, loaded) = shop.rig.owned().await;
    let mail: Vec<Mail> = loaded.mail.into_iter().map(|row| row.mail).collect();
    let reason = "no use".to_owned();
    assert_eq!(
        mail,
        [Mail::Cancel { reason: reason.clone() }, Mail::Terminate { reason }]
    );
    let audit = format!("audit WHERE operation = 'terminate' AND actor = '{}'", shop.role);
    assert_eq!(shop.rig.count(&audit).await, 1);
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

#[tokio::test]
async fn views_show_runs_history_and_steps_of_granted_namespaces() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order'").await;
    let none_yet = "SELECT concat_ws(' ', id, phase, trigger, progress) FROM everstep.run_list";
    let pending: String = row(&mut shop.app, none_yet).await.unwrap().get(0);
    assert_eq!(pending, format!("{id} Pending SQL"), "before any worker has met it");
    let worker = shop.rig.worker().await;
    assert_eq!(shop.rig.store.claim(worker, 10, None).await.unwrap(), 1);
    shop.rig
        .submit(Submission {
            namespace: "bank".to_owned(),
            ..wish("b")
        })
        .await;
    let at = "2026-01-01T00:00:00Z";
    let events = |text: &str| text.replace("AT", at);
    let mut first = step(id, 1);
    first.events =
        events(r#"[{"RunStarted":{"at":"AT"}},{"StepStarted":{"step":"a","attempt":1,"at":"AT"}},"HoldEnded"]"#);
    let mut second = park(id, 2, None);
    second.events = events(
        r#"[{"StepSucceeded":{"step":"a","output":"\u0000"}},{"StepSkipped":{"step":"b"}},{"StepStarted":{"step":"c","attempt":2,"at":"AT"}},{"StepStarted":{"step":"a","attempt":1,"at":"AT","deed":"Undo"}}]"#,
    );
    shop.rig.store.append(&[first]).await.unwrap();
    shop.rig.store.append(&[second]).await.unwrap();
    let all = async |app: &mut PgConnection, query: &str| -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_all(app)
            .await
            .unwrap()
    };
    let listed = "SELECT concat_ws(' ', namespace, workflow, phase, trigger, progress) FROM everstep.run_list ORDER BY id DESC LIMIT 10";
    assert_eq!(all(&mut shop.app, listed).await, ["shop order Sleeping SQL 1/2"]);
    let history = "SELECT concat_ws(' ', seq, place, event, detail ->> 'step') FROM everstep.run_history ORDER BY run_id, seq, place";
    let expected = [
        "1 1 RunStarted",
        "1 2 StepStarted a",
        "1 3 HoldEnded",
        "2 1 StepSucceeded a",
        "2 2 StepSkipped b",
        "2 3 StepStarted c",
        "2 4 StepStarted a",
    ];
    assert_eq!(all(&mut shop.app, history).await, expected);
    let steps = format!(
        "SELECT concat_ws(' ', step, deed, status, attempts) FROM everstep.step_list WHERE run_id = '{id}'
         ORDER BY begun_seq, step, deed"
    );
    let expected = ["a Do Succeeded 1", "a Undo Open 1", "b Do Skipped", "c Do Open 2"];
    assert_eq!(all(&mut shop.app, &steps).await, expected);
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

/// What waits has begun; what timed out is over; what failed and is retried by hand is open again.
#[tokio::test]
async fn steps_that_wait_time_out_or_are_retried_are_shown_as_they_are() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order', NULL, 'k'").await;
    let mut first = step(id, 1);
    first.events = r#"[{"TimerArmed":{"step":"nap","fire_at":"2026-01-01T00:00:00Z"}},
        {"SignalAwaited":{"step":"late","signal":"go"}},{"StepTimedOut":{"step":"late"}},
        {"StepStarted":{"step":"again","attempt":1,"at":"2026-01-01T00:00:00Z"}},
        {"StepFailed":{"step":"again","error":{"kind":"Sql","code":"23505","message":"twice"}}}]"#
        .to_owned();
    shop.rig.store.append(&[first]).await.unwrap();
    let steps = format!(
        "SELECT concat_ws(' ', step, status, ended_at IS NOT NULL) FROM everstep.step_list WHERE run_id = '{id}' ORDER BY step"
    );
    let seen = async |app: &mut PgConnection| -> Vec<String> {
        let query = sqlx::query_scalar(AssertSqlSafe(steps.clone()));
        query.fetch_all(app).await.unwrap()
    };
    assert_eq!(
        seen(&mut shop.app).await,
        ["again Failed t", "late TimedOut t", "nap Open f"]
    );
    let mut second = step(id, 2);
    second.events = r#"[{"RunRetried":{"steps":["again"]}},
        {"StepStarted":{"step":"again","attempt":2,"at":"2026-01-01T00:00:01Z"}}]"#
        .to_owned();
    shop.rig.store.append(&[second]).await.unwrap();
    assert_eq!(seen(&mut shop.app).await[0], "again Open f");
}

/// Every example of the page for users works as it stands there, in the role that the page names.
#[tokio::test]
async fn the_examples_of_the_documentation_work() {
    let mut shop = shop().await;
    shop.rig
        .run("CREATE TABLE public.orders (id text PRIMARY KEY, amount_cents bigint)")
        .await;
    shop.rig
        .run(&format!("GRANT INSERT ON public.orders TO {}", shop.role))
        .await;
    let page = include_str!("../../docs/sql.md");
    let examples: Vec<&str> = page
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        // Grants are the administrator's; the role of the page is another one on a server that tests share.
        let example = example.replace("orders_app", &shop.role);
        if example.contains("grant_namespace") {
            run(&mut shop.rig.sql, &example).await;
            run(
                &mut shop.rig.sql,
                &format!("SELECT everstep.grant_namespace('{}', 'shop')", shop.role),
            )
            .await;
        } else {
            run(&mut shop.app, &example).await;
        }
    }
    assert_eq!(shop.rig.count("starts WHERE start_key = 'key/o-1042'").await, 1);
    for code in ["22004", "22023", "54000", "42501", "P0002", "55000", "42704"] {
        assert!(page.contains(&format!("| `{code}` |")), "{code}");
    }
}

#[tokio::test]
async fn a_run_that_stands_still_after_a_failure_is_retried_once_each_time_it_does() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order', NULL, 'k'").await;
    let retry = format!("SELECT everstep.retry('{id}', 'charge')");
    let (code, message) = refused(&mut shop.app, &retry).await;
    assert_eq!(code, "55000");
    assert!(message.contains("does not stand still"), "{message}");

    let stalls = |seq: i32| {
        let summary = format!(r#"{{"stalled": "PausedOnFailure", "seq": {seq}}}"#);
        format!("UPDATE everstep.runs SET phase = 'Paused', summary = '{summary}', summary_seq = {seq}")
    };
    shop.rig.run(&stalls(7)).await;
    run(&mut shop.app, &retry).await;
    run(&mut shop.app, &retry).await;
    assert_eq!(shop.rig.count("inbox WHERE kind = 'Retry'").await, 1);
    assert_eq!(shop.rig.count("audit WHERE operation = 'retry'").await, 1);
    shop.rig.run(&stalls(9)).await;
    run(&mut shop.app, &format!("SELECT everstep.retry('{id}')")).await;
    let (_, loaded) = shop.rig.owned().await;
    let mail: Vec<Mail> = loaded.mail.into_iter().map(|row| row.mail).collect();
    let from = Some("charge".to_owned());
    assert_eq!(mail, [Mail::Retry { from }, Mail::Retry { from: None }]);
}

#[tokio::test]
async fn a_retry_that_cannot_be_is_refused() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order', NULL, 'k'").await;
    let unknown = format!("SELECT everstep.retry('{UNKNOWN}')");
    let empty = format!("SELECT everstep.retry('{id}', '')");
    for (query, code) in [
        ("SELECT everstep.retry(NULL)", "22004"),
        (&*empty, "22023"),
        (&*unknown, "P0002"),
    ] {
        assert_eq!(refused(&mut shop.app, query).await.0, code, "{query}");
    }
    shop.rig
        .run("UPDATE everstep.runs SET phase = 'Failed', finished_at = everstep.now()")
        .await;
    let (code, message) = refused(&mut shop.app, &format!("SELECT everstep.retry('{id}')")).await;
    assert_eq!(code, "55000");
    assert!(message.contains("is over (Failed)"), "{message}");
}

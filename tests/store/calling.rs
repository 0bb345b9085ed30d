//! The SQL surface, as applications and people use it: with a login of their own, in their own transactions.

use everstep::engine::Mail;
use everstep::store::{Posted, SignalWish, Submission, Target};
use sqlx::{Connection, PgConnection};

use crate::application::{UNKNOWN, order, refused, rows, run, shop, signal, start, started};
use crate::pgbouncer::PgBouncer;
use crate::postgres;
use crate::rig::finish;

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
    let starts = [
        "SELECT everstep.start('shop/order')",
        "SELECT everstep.start('shop/order', NULL, 'k')",
    ];
    shop.rig
        .submit(Submission {
            suspended: true,
            ..order()
        })
        .await;
    for start in starts {
        assert_eq!(refused(&mut shop.app, start).await.0, "55000", "{start}");
    }
    shop.rig
        .run("UPDATE everstep.owners SET suspended = false, gone_at = now()")
        .await;
    for start in starts {
        assert_eq!(refused(&mut shop.app, start).await.0, "P0002", "{start}");
    }
    // Created again under its name, with another definition.
    let again = Submission {
        uid: "again".to_owned(),
        revision: "r9".to_owned(),
        ..order()
    };
    shop.rig.submit(again.clone()).await;
    let id = started(&mut shop, "'shop/order'").await;
    let revision = "SELECT revision FROM everstep.runs AS r JOIN everstep.definitions AS d ON d.id = r.definition_id";
    assert_eq!(
        shop.rig.one::<String>(&format!("{revision} WHERE r.id = '{id}'")).await,
        "r9"
    );

    // That the object before it is gone was not noticed yet: the newer one says what may be started.
    shop.rig.run("UPDATE everstep.owners SET gone_at = NULL").await;
    let id = started(&mut shop, "'shop/order'").await;
    assert_eq!(
        shop.rig.one::<String>(&format!("{revision} WHERE r.id = '{id}'")).await,
        "r9"
    );
    shop.rig
        .submit(Submission {
            generation: 2,
            suspended: true,
            ..again
        })
        .await;
    for start in starts {
        assert_eq!(refused(&mut shop.app, start).await.0, "55000", "{start}");
    }
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
    // A text that speaks of a zero character and holds none, as PostgreSQL's own messages do.
    let escaped = format!("'{id}', 'a', '\"no \\\\u0000\"', 'f'");
    assert_eq!(signal(&mut shop.app, &escaped).await, "Stored");
    assert_eq!(signal(&mut shop.app, &escaped).await, "Duplicate");
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
    let failure = r#"[{"StepStarted":{"step":"charge","attempt":1,"at":"2026-11-21T10:00:00Z"}},
        {"StepFailed":{"step":"charge","error":{"kind":"Status","code":"HTTP_404","message":"not there","status":404}}}]"#;
    let failed = format!("INSERT INTO everstep.journal VALUES ('{id}', 1, everstep.now(), 1, '{failure}')");
    shop.rig.run(&failed).await;
    let elsewhere = format!("SELECT everstep.retry('{id}', 'refund')");
    let (code, message) = refused(&mut shop.app, &elsewhere).await;
    assert_eq!(code, "22023");
    assert!(
        message.contains("'refund' is not what failed") && message.contains("that is charge"),
        "{message}"
    );
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

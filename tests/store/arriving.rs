//! Runs that SQL has started: how they come to the workers, and what their Workflow's object still says of them.

use std::time::Duration;

use everstep::store::{Bell, Command, DeletionPolicy, FactsOf, Retention, Submission};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::timeout;
use uuid::Uuid;

use crate::rig::{Rig, finish, rig, wish};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A database with the Workflow `shop/order`, whose owner may start it.
async fn shop() -> Rig {
    let mut rig = rig().await;
    rig.submit(order()).await;
    rig.run("SELECT everstep.grant_namespace(SESSION_USER::text, 'shop')")
        .await;
    rig
}

fn order() -> Submission {
    Submission {
        name: "order".to_owned(),
        workflow: "order".to_owned(),
        start: None,
        ..wish("order")
    }
}

async fn start(rig: &mut Rig) -> Uuid {
    rig.one("SELECT everstep.start('shop/order')").await
}

async fn mail(rig: &mut Rig, run: Uuid) -> Vec<String> {
    let select = format!("SELECT kind FROM everstep.inbox WHERE run_id = '{run}' ORDER BY id");
    sqlx::query_scalar(AssertSqlSafe(select))
        .fetch_all(&mut rig.sql)
        .await
        .unwrap()
}

#[tokio::test]
async fn arrivals_become_runs_once_however_many_workers_claim() {
    let mut rig = shop().await;
    for _ in 0..50 {
        start(&mut rig).await;
    }
    let (one, other) = (rig.worker().await, rig.worker().await);
    let (x, y) = tokio::join!(rig.store.claim(one, 20, None), rig.store.claim(other, 20, None));
    // Both may have met the same ones, of which one took none then.
    let mut claimed = x.unwrap() + y.unwrap();
    assert!((20..=40).contains(&claimed), "{claimed}");
    // What fits, and no more: the others are there for whoever has room.
    assert_eq!(rig.count("arrivals").await, i64::try_from(50 - claimed).unwrap());
    claimed += rig.store.claim(one, 5, None).await.unwrap();
    claimed += rig.store.claim(other, 50, None).await.unwrap();
    assert_eq!((claimed, rig.count("arrivals").await), (50, 0));
    for table in ["runs", "active", "audit WHERE operation = 'started'"] {
        assert_eq!(rig.count(table).await, 50, "{table}");
    }
    let mine = format!("active WHERE worker_id IN ('{one}', '{other}')");
    assert_eq!(rig.count(&mine).await, i64::try_from(claimed).unwrap());
}

#[tokio::test]
async fn what_a_worker_has_no_room_for_waits_in_the_order_of_the_starts() {
    let mut rig = shop().await;
    let runs = [start(&mut rig).await, start(&mut rig).await, start(&mut rig).await];
    let worker = rig.worker().await;
    for run in runs {
        assert_eq!(rig.store.claim(worker, 1, None).await.unwrap(), 1);
        let newest = "SELECT run_id FROM everstep.active WHERE worker_id IS NOT NULL ORDER BY run_id DESC LIMIT 1";
        assert_eq!(rig.one::<Uuid>(newest).await, run);
    }
    assert_eq!(rig.store.claim(worker, 1, None).await.unwrap(), 0);
}

/// Without end, else: a worker takes from `active` first.
#[tokio::test]
async fn arrivals_are_not_passed_over_by_work_that_came_after_them() {
    let mut rig = shop().await;
    let arrival = start(&mut rig).await;
    let (newer, newest) = (rig.start("newer").await, rig.start("newest").await);
    let worker = rig.worker().await;
    let mut order = Vec::new();
    for _ in 0..3 {
        assert_eq!(rig.store.claim(worker, 1, None).await.unwrap(), 1);
        for loaded in rig.store.load(worker, &order, 10).await.unwrap().runs {
            order.push(loaded.run);
        }
    }
    assert_eq!(order, [newer, arrival, newest]);
}

#[tokio::test]
async fn a_start_by_sql_rings_for_workers_with_a_key_and_without() {
    let mut rig = shop().await;
    let patience = Duration::from_secs(60);
    let mut work = rig.store.listen(Bell::Work);
    for _ in 0..2 {
        timeout(patience, work.rung()).await.expect("a listener begins awake");
    }
    for call in [
        "everstep.start('shop/order')",
        "everstep.start('shop/order', NULL, 'k')",
    ] {
        rig.run(&format!("SELECT {call}")).await;
        timeout(patience, work.rung()).await.expect(call);
    }
}

#[tokio::test]
async fn a_worker_of_other_namespaces_and_one_without_a_lease_leave_arrivals_alone() {
    let mut rig = shop().await;
    start(&mut rig).await;
    let worker = rig.worker().await;
    let bank = ["bank".to_owned()];
    assert_eq!(rig.store.claim(worker, 10, Some(&bank)).await.unwrap(), 0);
    assert_eq!(rig.store.claim(Uuid::nil(), 10, None).await.unwrap(), 0);
    assert_eq!((rig.count("arrivals").await, rig.count("runs").await), (1, 0));
    let shop = ["shop".to_owned()];
    assert_eq!(rig.store.claim(worker, 10, Some(&shop)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_run_that_nobody_has_met_takes_signals_and_is_counted() {
    let mut rig = shop().await;
    let run = start(&mut rig).await;
    rig.run(&format!("SELECT everstep.signal('{run}', 'approve', '{{}}')"))
        .await;
    rig.run("UPDATE everstep.arrivals SET at = at - interval '3 days'")
        .await;
    rig.run("UPDATE everstep.inbox SET received_at = received_at - interval '3 days'")
        .await;
    // Its run has no row yet, and is not gone for that.
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().undelivered, 0);
    assert!(rig.store.ready_oldest().await.unwrap() > 2 * DAY);
    let counts = rig.store.phase_counts().await.unwrap();
    assert_eq!(counts.iter().map(|count| count.runs).collect::<Vec<_>>(), [1]);
    let (_, loaded) = rig.owned().await;
    assert_eq!((loaded.run, loaded.mail.len()), (run, 1));
}

#[tokio::test]
async fn suspending_the_workflow_pauses_what_sql_started_from_it_met_or_not() {
    let mut rig = shop().await;
    let met = start(&mut rig).await;
    let worker = rig.worker().await;
    rig.store.claim(worker, 10, None).await.unwrap();
    let arrived = start(&mut rig).await;
    let suspended = Submission {
        suspended: true,
        generation: 2,
        commands: vec![Command::Pause],
        ..order()
    };
    rig.submit(suspended.clone()).await;
    rig.store.claim(worker, 10, None).await.unwrap();
    for run in [met, arrived] {
        assert_eq!(mail(&mut rig, run).await, ["Pause"]);
    }
    // The same again finds it told.
    rig.submit(suspended).await;
    let resumed = Submission {
        generation: 3,
        commands: vec![Command::Resume],
        ..order()
    };
    rig.submit(resumed).await;
    for run in [met, arrived] {
        assert_eq!(mail(&mut rig, run).await, ["Pause", "Resume"]);
    }
}

/// What submit would tell, facts say; when it is told, there is nothing to submit.
#[tokio::test]
async fn live_run_that_has_not_heard_of_the_suspension_is_a_fact_until_it_has() {
    let mut rig = shop().await;
    let own = Submission {
        start: wish("order").start,
        ..order()
    };
    rig.submit(own).await;
    start(&mut rig).await;
    let worker = rig.worker().await;
    rig.store.claim(worker, 10, None).await.unwrap();
    assert!(!unpaused(&rig).await, "it is not suspended");
    let suspended = |generation, commands| Submission {
        suspended: true,
        generation,
        commands,
        ..order()
    };
    rig.submit(suspended(2, Vec::new())).await;
    for left in [2, 1] {
        assert!(unpaused(&rig).await, "{left} have not heard of it");
        rig.run(
            "INSERT INTO everstep.inbox (run_id, kind, dedup_key, generation, payload, by)
             SELECT id, 'Pause', 'order/2/Pause', 2, '{\"generation\": 2}'::json, 'test' FROM everstep.runs AS r
             WHERE NOT EXISTS (SELECT 1 FROM everstep.inbox AS i WHERE i.run_id = r.id) ORDER BY id LIMIT 1",
        )
        .await;
    }
    assert!(!unpaused(&rig).await, "all have");
    rig.submit(suspended(3, Vec::new())).await;
    assert!(unpaused(&rig).await, "not of this generation's");
    rig.submit(suspended(3, vec![Command::Pause])).await;
    assert!(!unpaused(&rig).await);
}

async fn unpaused(rig: &Rig) -> bool {
    let of = FactsOf {
        uid: "order".to_owned(),
        namespace: "shop".to_owned(),
        workflow: "order".to_owned(),
        start_key: None,
    };
    rig.store.facts(&[of]).await.unwrap()[0].unpaused
}

/// The claim meets the runs while the controller is writing: one of the two must see the other.
#[tokio::test]
async fn a_suspension_that_is_being_written_reaches_what_is_claimed_meanwhile() {
    let mut rig = shop().await;
    let run = start(&mut rig).await;
    let worker = rig.worker().await;
    let mut controller = PgConnection::connect(&rig.url).await.unwrap();
    let write = "BEGIN; UPDATE everstep.owners SET suspended = true, generation = 2 WHERE name = 'order'";
    sqlx::raw_sql(write).execute(&mut controller).await.unwrap();
    let claim = tokio::spawn({
        let store = rig.store.clone();
        async move { store.claim(worker, 10, None).await.unwrap() }
    });
    rig.waiting("wait_event_type = 'Lock'").await;
    sqlx::raw_sql("COMMIT").execute(&mut controller).await.unwrap();
    assert_eq!(claim.await.unwrap(), 1);
    assert_eq!(mail(&mut rig, run).await, ["Pause"]);
}

#[tokio::test]
async fn what_sql_started_ends_with_its_workflow_unless_that_orphans_it() {
    for (policy, expected) in [
        (DeletionPolicy::Background, &["Cancel"][..]),
        (DeletionPolicy::Foreground, &["Cancel"]),
        (DeletionPolicy::Orphan, &[]),
    ] {
        let mut rig = shop().await;
        rig.submit(Submission {
            generation: 2,
            deletion_policy: policy,
            ..order()
        })
        .await;
        let met = start(&mut rig).await;
        let worker = rig.worker().await;
        rig.store.claim(worker, 10, None).await.unwrap();
        let arrived = start(&mut rig).await;
        let live = rig.store.live_owners(None, 10).await.unwrap();
        assert_eq!((live.len(), live[0].live_runs, live[0].uncancelled_runs), (1, 1, 1));
        assert!(rig.store.idle_owners(None, 10).await.unwrap().is_empty());
        let uids = ["order".to_owned()];
        rig.store.suspect(&uids).await.unwrap();
        rig.store.cancel_orphans(&uids, 10, DAY, "test").await.unwrap();
        rig.store.claim(worker, 10, None).await.unwrap();
        for run in [met, arrived] {
            assert_eq!(mail(&mut rig, run).await, expected, "{policy:?}");
        }
    }
}

#[tokio::test]
async fn what_sql_started_is_kept_as_long_as_its_workflow_says() {
    let mut rig = shop().await;
    rig.submit(Submission {
        generation: 2,
        retention: Retention {
            succeeded: 3 * DAY,
            failed: 9 * DAY,
        },
        ..order()
    })
    .await;
    start(&mut rig).await;
    let (_, loaded) = rig.owned().await;
    rig.store.append(&[finish(loaded.run, 1)]).await.unwrap();
    let kept: i64 = rig
        .one("SELECT extract(epoch FROM expires_at - finished_at)::bigint FROM everstep.runs")
        .await;
    assert_eq!(kept, 3 * 24 * 60 * 60);
}

/// I-18: it may take a day until a worker comes, and the definition is needed then.
#[tokio::test]
async fn a_definition_that_an_arrival_needs_is_not_forgotten() {
    let mut rig = shop().await;
    start(&mut rig).await;
    rig.submit(Submission {
        generation: 2,
        revision: "r2".to_owned(),
        ..order()
    })
    .await;
    rig.later("30 days").await;
    rig.store.forget_unused(10).await.unwrap();
    assert_eq!(rig.count("definitions").await, 2);
    rig.run("DELETE FROM everstep.arrivals").await;
    rig.store.forget_unused(10).await.unwrap();
    assert_eq!(rig.count("definitions").await, 1);
}

#[tokio::test]
async fn a_page_of_runs_is_read_from_indexes() {
    let mut rig = shop().await;
    rig.run(
        "INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger)
         SELECT everstep.uuidv7(), CASE n % 1000 WHEN 0 THEN 'shop' ELSE 'bank' END, 'w', 'k' || n, everstep.uuidv7(), 'SQL'
         FROM generate_series(1, 30000) AS n;
         ANALYZE everstep.runs",
    )
    .await;
    start(&mut rig).await;
    for (page, index) in [
        (
            "SELECT id, phase FROM everstep.run_list WHERE id < 'ffffffff-0000-7000-8000-000000000000' ORDER BY id DESC LIMIT 50",
            "runs_pkey",
        ),
        (
            "SELECT id, phase FROM everstep.run_list WHERE namespace = 'shop' ORDER BY id DESC LIMIT 10",
            "runs_in_namespace",
        ),
    ] {
        let mut app = PgConnection::connect(&rig.url).await.unwrap();
        let plan: Vec<String> = sqlx::query(AssertSqlSafe(format!("EXPLAIN {page}")))
            .fetch_all(&mut app)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan on runs"), "{plan}");
    }
}

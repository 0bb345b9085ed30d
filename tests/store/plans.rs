//! What claims and sweeps cost when there is much that does not concern them: pages that the statement itself touched,
//! counted by the server.

use crate::rig::{Rig, park, private};

/// Some ready runs, so that a claim has a choice.
const READY: usize = 20;

const SLEEPERS: &str = "
INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger, phase, created_at)
SELECT everstep.uuidv7(), 'shop', 'sleeper', 'k' || n, (SELECT id FROM everstep.definitions LIMIT 1), 'OnApply',
  'Sleeping', now()
FROM generate_series(1, 100000) AS n;
INSERT INTO everstep.timers (run_id, fire_at)
SELECT id, now() + interval '1 day' + random() * interval '1 day' FROM everstep.runs WHERE workflow = 'sleeper'";

const FINISHED: &str = "
INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger, phase, created_at, finished_at,
  expires_at)
SELECT everstep.uuidv7(), 'shop', 'finished', 'k' || n, (SELECT id FROM everstep.definitions LIMIT 1), 'OnApply',
  'Succeeded', now(), now(), now() + interval '30 days'
FROM generate_series(1, 100000) AS n;
INSERT INTO everstep.journal (run_id, seq, at, nonce, events)
SELECT id, 1, now(), 1, '[]' FROM everstep.runs WHERE workflow = 'finished';
INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload, taken_seq, consumed_seq, outcome)
SELECT id, 'Cancel', 'k', '{\"reason\": \"old\"}', 1, 1, 'Consumed' FROM everstep.runs WHERE workflow = 'finished'";

/// Pages touched by the statements of the store that contain `text`, since the last time.
async fn pages(rig: &mut Rig, text: &str) -> i64 {
    let calls = rig
        .one::<i64>(&format!(
            "SELECT coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint FROM public.pg_stat_statements
             WHERE query LIKE '%{text}%' AND query NOT LIKE '%pg_stat_statements%'"
        ))
        .await;
    rig.run("SELECT public.pg_stat_statements_reset()").await;
    calls
}

/// A claim, a timer sweep and a mail sweep, each with one run to find; the pages that each touched.
async fn cost(rig: &mut Rig, round: i32) -> [i64; 3] {
    let due = rig.start(&format!("due-{round}")).await;
    let mailed = rig.start(&format!("mailed-{round}")).await;
    rig.store
        .append(&[park(due, 1, Some("2020-01-01T00:00:00Z")), park(mailed, 1, None)])
        .await
        .unwrap();
    rig.mail(mailed, "k").await;
    let worker = rig.worker().await;
    rig.run("VACUUM ANALYZE").await;
    pages(rig, "").await;

    assert_eq!(rig.store.claim(worker, 1, None).await.unwrap(), 1);
    let claim = pages(rig, "SET worker_id = $1").await;
    assert_eq!(rig.store.timer_sweep().await.unwrap(), 1);
    let timers = pages(rig, "DELETE FROM everstep.timers").await;
    assert_eq!(rig.store.mail_sweep(Some(worker)).await.unwrap().woken, 1);
    let mail = pages(rig, "WITH untaken").await;
    [claim, timers, mail]
}

#[tokio::test]
async fn sleepers_and_finished_runs_cost_claims_and_sweeps_nothing() {
    let settings = [
        ("shared_preload_libraries", "pg_stat_statements"),
        ("autovacuum", "off"),
    ];
    let (_server, mut rig) = private(&settings).await;
    rig.run("CREATE EXTENSION pg_stat_statements SCHEMA public").await;
    for n in 0..READY {
        rig.start(&format!("ready-{n}")).await;
    }
    let empty = cost(&mut rig, 1).await;
    assert!(empty.iter().all(|pages| *pages > 0), "{empty:?}");
    rig.run(SLEEPERS).await;
    rig.run(FINISHED).await;
    let full = cost(&mut rig, 2).await;
    eprintln!("pages of claim, timer sweep, mail sweep: empty {empty:?}, full {full:?}");
    assert!(
        full[0] * 2 <= empty[0] * 3,
        "a claim: {} pages instead of {}",
        full[0],
        empty[0]
    );
    // Sweeps look the runs up that they found: an index of 200,000 runs is two levels deeper than one of twenty.
    for (sweep, empty, full) in [("timers", empty[1], full[1]), ("mail", empty[2], full[2])] {
        assert!(
            full <= empty + 20,
            "the sweep of {sweep}: {full} pages instead of {empty}"
        );
    }
}

//! What claims and sweeps cost when there is much that does not concern them: pages that the statement itself touched,
//! counted by the server.

use everstep::{
    dev::postgres::Postgres,
    store::{Append, Appended, FactsOf},
};
use uuid::Uuid;

use crate::rig::{Rig, park, private, rig, step};

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
INSERT INTO everstep.runs (id, namespace, workflow, owner_kind, owner_uid, owner_name, projected_seq, start_key,
  definition_id, trigger, phase, created_at, finished_at, expires_at)
SELECT everstep.uuidv7(), 'shop', 'finished', 'Workflow', 'u' || n, 'finished', 0, 'k' || n,
  (SELECT id FROM everstep.definitions LIMIT 1), 'OnApply', 'Succeeded', now(), now(), now() + interval '30 days'
FROM generate_series(1, 100000) AS n;
INSERT INTO everstep.journal (run_id, seq, at, nonce, events)
SELECT id, 1, now(), 1, '[]' FROM everstep.runs WHERE workflow = 'finished';
INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload, taken_seq, consumed_seq, outcome)
SELECT id, 'Cancel', 'k', '{\"reason\": \"old\"}', 1, 1, 'Consumed' FROM everstep.runs WHERE workflow = 'finished';
INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, source_uid, source_name, payload, taken_seq, consumed_seq,
  outcome, shown)
SELECT id, 'Signal', 'go', 'k', 's' || id, 'go', '{}', 1, 1, 'Consumed', true
FROM everstep.runs WHERE workflow = 'finished'";

/// What `everstep.start` leaves for a worker.
const ARRIVAL: &str = "
INSERT INTO everstep.arrivals (run_id, namespace, workflow, workflow_uid, definition_id, actor, at)
SELECT everstep.uuidv7(), namespace, name, uid, definition_id, 'test', now() FROM everstep.owners LIMIT 1";

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

/// Claims, sweeps and the controller's looks, each with little to find; the pages that each touched.
async fn cost(rig: &mut Rig, round: i32) -> [(&'static str, i64); 7] {
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
    rig.run(ARRIVAL).await;
    assert!(rig.store.claim(worker, 100, None).await.unwrap() > 1);
    let admit = pages(rig, "DELETE FROM everstep.arrivals").await;
    assert_eq!(rig.store.timer_sweep().await.unwrap(), 1);
    let timers = pages(rig, "DELETE FROM everstep.timers").await;
    assert_eq!(rig.store.mail_sweep(Some(worker)).await.unwrap().woken, 1);
    let mail = pages(rig, "WITH untaken").await;
    let shop = Some(&["shop".to_owned()][..]);
    assert_eq!(rig.store.changed(1, shop).await.unwrap().len(), 1);
    let changed = pages(rig, "summary_seq > projected_seq").await;
    assert_eq!(rig.store.changed_signals(1, shop).await.unwrap(), []);
    let signals = pages(rig, "NOT i.shown").await;
    assert_eq!(rig.store.signal_facts(&["s".to_owned()]).await.unwrap(), []);
    let facts = pages(rig, "i.source_uid = wish.uid").await;
    [
        ("a claim", claim),
        ("an admission", admit),
        ("the sweep of timers", timers),
        ("the sweep of mail", mail),
        ("the look for changed runs", changed),
        ("the look for signals that came to an end", signals),
        ("what became of a signal", facts),
    ]
}

/// A server that counts the pages of each statement, and whose statistics change only when told.
async fn counted() -> (Postgres, Rig) {
    let settings = [
        ("shared_preload_libraries", "pg_stat_statements"),
        ("autovacuum", "off"),
    ];
    let (server, mut rig) = private(&settings).await;
    rig.run("CREATE EXTENSION pg_stat_statements SCHEMA public").await;
    (server, rig)
}

#[tokio::test]
async fn sleepers_and_finished_runs_cost_claims_and_sweeps_nothing() {
    let (_server, mut rig) = counted().await;
    for n in 0..READY {
        rig.start(&format!("ready-{n}")).await;
    }
    let empty = cost(&mut rig, 1).await;
    assert!(empty.iter().all(|(_, pages)| *pages > 0), "{empty:?}");
    rig.run(SLEEPERS).await;
    rig.run(FINISHED).await;
    for n in 0..READY {
        rig.start(&format!("again-{n}")).await;
    }
    let full = cost(&mut rig, 2).await;
    eprintln!("pages, empty: {empty:?}, full: {full:?}");
    for ((what, empty), (_, full)) in empty.into_iter().zip(full) {
        // Runs that were found are looked up: an index of 200,000 runs is two levels deeper than one of twenty.
        let most = if what == "a claim" { empty * 3 / 2 } else { empty + 20 };
        assert!(full <= most, "{what}: {full} pages instead of {empty}");
    }
}

/// Ten thousand runs of objects that no worker has taken for an hour, and as many that were paused.
const STUCK: &str = "
INSERT INTO everstep.runs (id, namespace, workflow, owner_kind, owner_uid, owner_name, start_key, definition_id, trigger, phase)
SELECT everstep.uuidv7(), 'shop', what, 'Workflow', what || to_char(n, 'FM00000'), what || n, what || n,
  (SELECT id FROM everstep.definitions LIMIT 1), 'OnApply', CASE what WHEN 'paused' THEN 'Paused' ELSE 'Pending' END
FROM generate_series(1, 10000) AS n, UNNEST(ARRAY['paused', 'ready']) AS what;
INSERT INTO everstep.active (run_id, namespace, ready_at)
SELECT id, 'shop', now() - interval '1 hour' FROM everstep.runs WHERE workflow = 'ready'";

/// A look takes a page of objects, and what is known of one costs the same as when the others moved, also as long as the
/// statistics are those of a moment when they did.
#[tokio::test]
async fn many_stuck_runs_cost_a_look_what_they_are_and_another_object_nothing() {
    let (_server, mut rig) = counted().await;
    rig.start("a").await;
    rig.run(SLEEPERS).await;
    rig.run(FINISHED).await;
    rig.run("VACUUM ANALYZE").await;
    let alone = cost_of_facts(&mut rig).await;
    assert_eq!(rig.store.stuck_owners("", 1000, None).await.unwrap(), []);
    let quiet = pages(&mut rig, "DISTINCT ON (r.owner_uid)").await;
    assert!(quiet <= 20, "a look that finds nothing: {quiet} pages");
    rig.run(STUCK).await;
    for _ in ["as it was", "as it is"] {
        let among = cost_of_facts(&mut rig).await;
        let page = rig.store.stuck_owners("paused09500", 1000, None).await.unwrap();
        let ends = [&page[0], &page[499], &page[500], &page[999]].map(|owner| &*owner.uid);
        assert_eq!(ends, ["paused09501", "paused10000", "ready00001", "ready00500"]);
        let look = pages(&mut rig, "DISTINCT ON (r.owner_uid)").await;
        eprintln!("pages of a look: {quiet}, then {look}; of an object: {alone}, then {among}");
        assert!(look <= 20_000 * 10, "a look: {look} pages");
        assert!(among <= alone + 20, "an object: {among} pages instead of {alone}");
        rig.run("VACUUM ANALYZE").await;
    }
}

/// Pages touched to know the facts of an object with a run that goes on.
async fn cost_of_facts(rig: &mut Rig) -> i64 {
    let of = FactsOf {
        uid: "a".to_owned(),
        namespace: "shop".to_owned(),
        workflow: "name-a".to_owned(),
        start_key: Some("uid/a/r1".to_owned()),
    };
    pages(rig, "").await;
    let facts = rig.store.facts(&[of]).await.unwrap();
    assert_eq!((facts[0].active, facts[0].stuck), (1, None));
    pages(rig, "AS why ON").await
}

/// A hundred thousand runs of one Workflow that have ended, and as many that sleep: half of them were started by SQL.
const OTHERS: &str = "
INSERT INTO everstep.runs (id, namespace, workflow, workflow_uid, counted_by, start_key, definition_id, trigger, phase,
  created_at, finished_at)
SELECT everstep.uuidv7(), 'shop', 'name-a', CASE n % 2 WHEN 0 THEN 'a' END, CASE n % 2 WHEN 1 THEN 'a' END, 'k' || n,
  (SELECT id FROM everstep.definitions LIMIT 1), 'SQL', CASE WHEN n > 100000 THEN 'Sleeping' ELSE 'Succeeded' END,
  now(), CASE WHEN n <= 100000 THEN now() + n * interval '1 second' END
FROM generate_series(1, 200000) AS n;
INSERT INTO everstep.timers (run_id, fire_at)
SELECT id, now() + interval '1 day' FROM everstep.runs WHERE phase = 'Sleeping'";

/// Others' runs are counted up to a bound and in an index, and whether they changed is a few looks, however many there are.
#[tokio::test]
async fn many_runs_that_others_started_cost_their_workflow_little() {
    let (_server, mut rig) = counted().await;
    rig.start("a").await;
    rig.run(OTHERS).await;
    rig.run("VACUUM ANALYZE").await;
    pages(&mut rig, "").await;
    let traces = rig.store.traces(&["a".to_owned()]).await.unwrap();
    assert_eq!(traces.len(), 1);
    let look = pages(&mut rig, "num_nonnulls").await;
    let of = FactsOf {
        uid: "a".to_owned(),
        namespace: "shop".to_owned(),
        workflow: "name-a".to_owned(),
        start_key: None,
    };
    let mut costs = Vec::new();
    for statement in ["AS has_others", "stands AS MATERIALIZED"] {
        let facts = rig.store.facts(std::slice::from_ref(&of)).await.unwrap().remove(0);
        assert_eq!((facts.active, facts.succeeded), (20_001, 20_000), "a bound of each");
        costs.push(pages(&mut rig, statement).await);
    }
    let (whether, count) = (costs[0], costs[1]);
    eprintln!("pages of a look: {look}, whether there are others: {whether}, of counting them: {count}");
    assert!(look <= 40, "a look: {look} pages");
    assert!(whether <= 60, "whether there are others: {whether} pages");
    assert!(count <= 1000, "counting them: {count} pages");
}

/// Two hundred thousand rows of the audit, of which the first half is old.
const AUDIT: &str = "
INSERT INTO everstep.audit (at, actor, operation)
SELECT now() - CASE WHEN n <= 100000 THEN interval '2 hours' ELSE interval '0' END, 'test', 'test'
FROM generate_series(1, 200000) AS n";

/// A sweep reads what it removes, and a batch more.
#[tokio::test]
async fn old_rows_of_the_audit_are_removed_without_a_look_at_the_young_ones() {
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    let (_server, mut rig) = counted().await;
    rig.run(AUDIT).await;
    rig.run("VACUUM ANALYZE").await;
    pages(&mut rig, "").await;
    let (mut after, mut removed, mut costs) = (0, 0, Vec::new());
    loop {
        let batch = rig.store.prune_audit(HOUR, after, 10_000).await.unwrap();
        costs.push(pages(&mut rig, "DELETE FROM everstep.audit").await);
        if batch.rows == 0 {
            break;
        }
        (after, removed) = (batch.last, removed + batch.rows);
    }
    eprintln!("pages of a batch: {costs:?}");
    assert_eq!((removed, costs.len()), (100_000, 11));
    let (last, most) = (costs[10], costs[0] * 5 / 4);
    assert!(costs.iter().all(|cost| *cost <= most), "{costs:?}");
    assert!(last <= 250, "a batch that finds nothing: {last} pages");
}

/// Ten thousand parked runs, and then a signal for each in one transaction.
const WAITING: &str = "
INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger, phase)
SELECT everstep.uuidv7(), 'shop', 'waiting', 'k' || n, (SELECT id FROM everstep.definitions LIMIT 1), 'OnApply', 'Waiting'
FROM generate_series(1, 10000) AS n;
VACUUM ANALYZE;
INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
SELECT id, 'Signal', 'go', 'k', '{}' FROM everstep.runs WHERE workflow = 'waiting'";

/// What comes in one transaction is more than the server's statistics expect: a plan for one letter must do for many.
#[tokio::test]
async fn mail_that_comes_all_at_once_costs_each_letter_its_own() {
    const LETTERS: usize = 256;
    let (_server, mut rig) = counted().await;
    rig.start("a").await;
    for statement in WAITING.split(';') {
        rig.run(statement).await;
    }
    pages(&mut rig, "").await;
    // A sweep that compares each with each does not end before the server ends it.
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().woken, 10_000);
    let sweep = pages(&mut rig, "WITH untaken").await;

    let worker = rig.worker().await;
    rig.run(&format!("UPDATE everstep.active SET worker_id = '{worker}'"))
        .await;
    let sweep_of_mine = rig.store.mail_sweep(Some(worker)).await.unwrap();
    assert_eq!(sweep_of_mine.told.len(), 10_000);
    let batch: Vec<Append> = sweep_of_mine
        .told
        .iter()
        .take(LETTERS + 1)
        .map(|(run, row)| Append {
            taken: vec![row.id],
            consumed: vec![row.id],
            ..step(*run, 1)
        })
        .collect();
    pages(&mut rig, "").await;
    assert_eq!(rig.store.append(&batch[..1]).await.unwrap(), [Appended::Mine]);
    let one = pages(&mut rig, "INSERT INTO everstep.journal").await;
    assert_eq!(
        rig.store.append(&batch[1..]).await.unwrap(),
        vec![Appended::Mine; LETTERS]
    );
    let many = pages(&mut rig, "INSERT INTO everstep.journal").await;
    eprintln!("pages of a sweep of 10,000 letters: {sweep}, of an append that takes one: {one}, {LETTERS}: {many}");
    assert!(sweep <= 10_000 * 30, "a sweep: {sweep} pages");
    assert!(one <= 60, "an append of one letter: {one} pages");
    assert!(many <= LETTERS as i64 * 30, "an append: {many} pages");
}

/// A run that nobody carries keeps its mail, and others get theirs.
#[tokio::test]
async fn much_mail_of_one_run_does_not_stand_in_the_way_of_others() {
    let mut rig = crate::rig::rig().await;
    let (flooded, other) = (rig.start("a").await, rig.start("b").await);
    let worker = rig.worker().await;
    assert_eq!(rig.store.claim(worker, 10, None).await.unwrap(), 2);
    rig.run(&format!(
        "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
         SELECT '{flooded}', 'Signal', 'go', n, '{{}}' FROM generate_series(1, 10001) AS n"
    ))
    .await;
    let last = rig.mail(other, "k").await;
    let told = rig.store.mail_sweep(Some(worker)).await.unwrap().told;
    let of = |run: Uuid| {
        told.iter()
            .filter(move |(of, _)| *of == run)
            .map(|(_, row)| row.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(other), [last]);
    let flood = of(flooded);
    assert_eq!(flood.len(), 1000);
    assert!(flood.is_sorted(), "the order of arrival");
}

/// What the look-up of a start, and pages of the views, can use when the tables are large.
#[tokio::test]
async fn looks_at_names_and_journals_have_an_index_each() {
    let mut rig = rig().await;
    rig.run("SET enable_seqscan = off").await;
    for (query, index) in [
        (
            "SELECT uid FROM everstep.owners AS o WHERE o.namespace = 'n' AND o.name = 'w' AND o.kind = 'Workflow'",
            "owners_named",
        ),
        (
            "SELECT uid FROM everstep.owners AS o WHERE o.namespace || '/' || o.name = 'n/w' AND o.kind = 'Workflow'
               AND o.gone_at IS NULL AND o.definition_id IS NOT NULL ORDER BY o.accepted_at DESC LIMIT 1",
            "owners_startable",
        ),
        (
            "SELECT seq FROM everstep.run_history WHERE run_id = '00000000-0000-7000-8000-000000000000'",
            "journal_pkey",
        ),
        (
            "SELECT step FROM everstep.step_list WHERE run_id = '00000000-0000-7000-8000-000000000000'",
            "journal_pkey",
        ),
    ] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN {query}"));
        let lines: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut rig.sql).await.unwrap();
        assert!(lines.iter().any(|line| line.contains(index)), "{query}: {lines:#?}");
    }
}

//! Signals, and what is undone: through the inbox, the sweep, a worker and a real server.

use std::time::Instant;

use everstep::store::Bell;
use serde_json::json;
use sqlx::Connection;
use uuid::Uuid;

use crate::{
    rig::{DEADLINE, Rig, eventually},
    target::Target,
};

impl Rig {
    /// A signal, as a writer stores it.
    async fn signal(&self, run: Uuid, name: &str, key: &str) {
        let insert = "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload, by)
                      VALUES ($1, 'Signal', $2, $3, json_build_object('key', $3), 'alice')
                      ON CONFLICT DO NOTHING";
        sqlx::query(insert)
            .bind(run)
            .bind(name)
            .bind(key)
            .execute(&mut self.sql().await)
            .await
            .unwrap();
        self.store.ring(Bell::Mail);
    }

    /// So many runs of one definition, all at once.
    async fn start_many(&self, body: &serde_json::Value, runs: i64) -> Vec<Uuid> {
        let first = self.start("many", body.clone()).await;
        let more = "WITH born AS (
                      INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger)
                      SELECT everstep.uuidv7(), namespace, workflow, 'test/' || n, definition_id, 'SQL'
                      FROM everstep.runs, generate_series(2, $2) AS n
                      WHERE id = $1
                      RETURNING id, namespace
                    ), ready AS (
                      INSERT INTO everstep.active (run_id, namespace) SELECT id, namespace FROM born
                    )
                    SELECT id FROM born";
        let mut runs: Vec<Uuid> = sqlx::query_scalar(more)
            .bind(first)
            .bind(runs)
            .fetch_all(&mut self.sql().await)
            .await
            .unwrap();
        runs.push(first);
        self.store.ring(Bell::Work);
        runs
    }
}

const WAITING: &str = "SELECT count(*) FROM everstep.runs WHERE phase = 'Waiting'";
const LIVE: &str = "SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL";
const UNTAKEN: &str = "SELECT count(*) FROM everstep.inbox WHERE taken_seq IS NULL AND outcome IS NULL";

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_wakes_the_run_that_waits_and_is_consumed_by_the_append_that_takes_it() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let body = json!({"steps": [{"name": "approval", "waitForSignal": {"signal": "approve", "timeout": "48h"}}]});
    let run = rig.start("waiting", body).await;
    eventually("parking", async || {
        rig.count("SELECT count(*) FROM everstep.timers").await == 1
    })
    .await;
    assert_eq!(rig.phase(run).await, "Waiting");
    let waits = rig.summary(run).await["waitingFor"].as_str().unwrap().to_owned();
    assert!(waits.starts_with("signal approve until "), "{waits}");

    rig.signal(run, "approve", "k").await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    let row = "SELECT (taken_seq = consumed_seq AND outcome = 'Consumed')::int::bigint FROM everstep.inbox";
    assert_eq!(rig.count(row).await, 1);
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_come_early_are_kept_in_their_order_also_across_a_park() {
    let rig = Rig::new().await;
    let go = |name: &str| json!({"name": name, "waitForSignal": {"signal": "go"}});
    let body = json!({
        "steps": [go("a"), {"name": "nap", "sleep": {"for": "1500ms"}}, go("b")],
        "output": {"a": "=steps.a.output.payload.key", "b": "=steps.b.output.payload.key"}
    });
    let run = rig.start("early", body).await;
    for key in ["1", "2", "3"] {
        rig.signal(run, "go", key).await;
    }
    // They come before the run has begun.
    let worker = rig.worker().await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert_eq!(rig.summary(run).await["output"], json!({"a": "1", "b": "2"}));
    assert_eq!(worker.counters.parked.get(), 1, "the second one lay in the snapshot");
    let fates = "SELECT count(*) FROM everstep.inbox
                 WHERE (dedup_key, outcome) IN (('1', 'Consumed'), ('2', 'Consumed'), ('3', 'Undelivered'))
                   AND taken_seq IS NOT NULL AND (consumed_seq IS NULL) = (outcome = 'Undelivered')";
    assert_eq!(rig.count(fates).await, 3);
    rig.is_clean().await;
    worker.stop().await;
}

/// Every run ends by its signal or by its timeout, and the inbox says the same as the run.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_races_between_signal_and_timeout_have_one_winner_each() {
    const RACES: i64 = 10_000;
    let rig = Rig::new().await;
    let workers = [rig.patient_worker().await, rig.patient_worker().await];
    let body = json!({
        "steps": [{"name": "w", "waitForSignal": {"signal": "go", "timeout": "3s", "onTimeout": "Continue"}}],
        "output": "=steps.w.status"
    });
    rig.start_many(&body, RACES).await;
    // Around its timeout each run gets its signal, in portions, each in a transaction of its own.
    let mut sql = rig.sql().await;
    let until = Instant::now() + DEADLINE;
    loop {
        let live = rig.count(LIVE).await;
        if live == 0 {
            break;
        }
        assert!(Instant::now() < until, "{live} runs do not end");
        let portion = "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
                       SELECT r.id, 'Signal', 'go', 'k', '{}'
                       FROM everstep.runs AS r
                       WHERE r.created_at < now() - interval '2900 ms' AND random() < 0.3
                         AND NOT EXISTS (SELECT FROM everstep.inbox AS i WHERE i.run_id = r.id)
                       LIMIT 300";
        sqlx::query(portion).execute(&mut sql).await.unwrap();
        rig.store.ring(Bell::Mail);
    }
    // Those that nobody has raced yet are late.
    eventually("the sweep of late signals", async || rig.count(UNTAKEN).await == 0).await;
    let outcomes = "SELECT r.summary ->> 'output' || ' ' || coalesce(i.outcome, 'none') AS fate, count(*)
                    FROM everstep.runs AS r LEFT JOIN everstep.inbox AS i ON i.run_id = r.id GROUP BY 1 ORDER BY 1";
    let outcomes: Vec<(String, i64)> = sqlx::query_as(outcomes).fetch_all(&mut sql).await.unwrap();
    println!("{outcomes:?}");
    let told = |fate: &str| {
        outcomes
            .iter()
            .find(|(of, _)| of == fate)
            .map_or(0, |(_, count)| *count)
    };
    let (signal, timeout) = (
        told("Succeeded Consumed"),
        told("TimedOut Undelivered") + told("TimedOut none"),
    );
    assert_eq!(signal + timeout, RACES, "{outcomes:?}");
    assert!(
        signal > 0 && told("TimedOut Undelivered") > 0,
        "no race at all: {outcomes:?}"
    );
    rig.is_clean().await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_signals_at_once_find_ten_thousand_waiting_runs_or_one() {
    const SIGNALS: i64 = 10_000;
    let rig = Rig::new().await;
    let workers = [rig.patient_worker().await, rig.patient_worker().await];
    let body = json!({"steps": [{"name": "w", "waitForSignal": {"signal": "go"}}]});
    rig.start_many(&body, SIGNALS).await;
    eventually("waiting", async || rig.count(WAITING).await == SIGNALS).await;
    rig.execute(
        "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
         SELECT id, 'Signal', 'go', 'k', '{}' FROM everstep.runs",
    )
    .await;
    rig.store.ring(Bell::Mail);
    eventually("the ends", async || rig.count(LIVE).await == 0).await;
    let consumed = "SELECT count(*) FROM everstep.inbox WHERE outcome = 'Consumed' AND consumed_seq IS NOT NULL";
    assert_eq!(rig.count(consumed).await, SIGNALS);

    // One run takes them all, uses two in their order, and the others have a fate too.
    let body = json!({
        "steps": [
            {"name": "a", "waitForSignal": {"signal": "go"}},
            {"name": "b", "waitForSignal": {"signal": "go"}},
            {"name": "end", "waitForSignal": {"signal": "end"}}
        ],
        "output": {"a": "=steps.a.output.payload.n", "b": "=steps.b.output.payload.n"}
    });
    let run = rig.start("one", body).await;
    rig.execute(
        "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
         SELECT id, 'Signal', 'go', n, json_build_object('n', n)
         FROM everstep.runs, generate_series(1, 10000) AS n WHERE workflow = 'one' ORDER BY n",
    )
    .await;
    rig.store.ring(Bell::Mail);
    eventually("taking", async || rig.count(UNTAKEN).await == 0).await;
    rig.signal(run, "end", "k").await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert_eq!(rig.summary(run).await["output"], json!({"a": 1, "b": 2}));
    let fates =
        "SELECT count(*) FILTER (WHERE outcome = 'Consumed') * 100000 + count(*) FILTER (WHERE outcome = 'Undelivered')
                 FROM everstep.inbox WHERE run_id = (SELECT id FROM everstep.runs WHERE workflow = 'one')";
    assert_eq!(rig.count(fates).await, 3 * 100_000 + SIGNALS - 2);
    rig.is_clean().await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_undone_newest_first_and_finally_comes_after_it() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let step = |name: &str| {
        json!({
            "name": name,
            "http": {"url": target.url(&format!("/ok/{name}"))},
            "compensate": {"http": {"url": target.url(&format!("/fail/1/undo-{name}"))}, "retry": {"backoff": {"initial": "10ms"}}}
        })
    };
    let body = json!({
        "steps": [step("reserve"), step("charge"), {"name": "no", "fail": {"code": "REJECTED"}}],
        "finally": [{"name": "notify", "http": {"url": target.url("/ok/notify")}}]
    });
    let run = rig.start("saga", body).await;
    assert_eq!(rig.ended(run).await, "Failed");
    assert_eq!(rig.summary(run).await["error"]["code"], "REJECTED");
    let seen: Vec<String> = target.all();
    assert_eq!(
        seen,
        [
            "/ok/reserve",
            "/ok/charge",
            "/fail/1/undo-charge",
            "/fail/1/undo-charge",
            "/fail/1/undo-reserve",
            "/fail/1/undo-reserve",
            "/ok/notify"
        ]
    );
    let [first, again] = &target.seen("/fail/1/undo-charge")[..] else {
        panic!("one retry")
    };
    assert_eq!(first, again, "attempts of one compensation have one key");
    assert_ne!(first, &target.seen("/ok/charge")[0], "doing and undoing have two");
    rig.is_clean().await;
    worker.stop().await;
}

/// A rescuer decides on what was cut off, and what follows from that may be the end of a wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_signal_that_a_takeover_consumes_is_consumed_in_the_inbox_too() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let post = json!({"method": "POST", "url": target.url("/hold/pay")});
    let run = rig
        .start(
            "cut-off",
            json!({
                "steps": [
                    {"name": "pay", "http": post, "continueOnError": true},
                    {"name": "w", "waitForSignal": {"signal": "go"}},
                    {"name": "b", "http": {"url": target.url("/ok/b")}}
                ],
                "output": "=steps.w.output.payload.key"
            }),
        )
        .await;
    eventually("the attempt", async || target.seen("/hold/pay").len() == 1).await;
    for key in ["1", "2"] {
        rig.signal(run, "go", key).await;
    }
    eventually("taking", async || rig.count(UNTAKEN).await == 0).await;
    rig.execute("UPDATE everstep.workers SET expires_at = everstep.now() - interval '1 second'")
        .await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert_eq!(rig.summary(run).await["output"], "1");
    let journal = rig.journal(run).await;
    assert!(journal.contains(&"TakenOver".to_owned()), "{journal:?}");
    assert_eq!(target.seen("/hold/pay").len(), 1, "nobody knows what it did");
    let fates = "SELECT count(*) FROM everstep.inbox
                 WHERE (dedup_key, outcome) IN (('1', 'Consumed'), ('2', 'Undelivered'))
                   AND (consumed_seq > taken_seq) IS DISTINCT FROM (outcome = 'Undelivered')";
    assert_eq!(rig.count(fates).await, 2);
    rig.is_clean().await;
    worker.stop().await;
}

/// A run that stands still is parked: it costs a worker nothing, and mail alone moves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_lets_its_attempt_end_begins_nothing_and_goes_on_when_resumed() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let call = |name: &str, path: &str| json!({"name": name, "http": {"url": target.url(path)}});
    let run = rig
        .start("paused", json!({"steps": [call("a", "/hold"), call("b", "/ok/b")]}))
        .await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;
    let command = async |kind: &str, generation: i64| {
        let insert = "INSERT INTO everstep.inbox (run_id, kind, dedup_key, generation, payload)
                      VALUES ($1, $2, $2 || $3::text, $3, json_build_object('generation', $3))";
        let mut sql = rig.sql().await;
        let insert = sqlx::query(insert).bind(run).bind(kind).bind(generation);
        insert.execute(&mut sql).await.unwrap();
        sql.close().await.unwrap();
        rig.store.ring(Bell::Mail);
    };
    command("Pause", 2).await;
    eventually("the pause", async || {
        rig.journal(run).await.contains(&"RunPaused".to_owned())
    })
    .await;
    target.release();
    eventually("parking", async || {
        rig.count("SELECT count(*) FROM everstep.active").await == 0
    })
    .await;
    assert_eq!(rig.phase(run).await, "Paused");
    assert!(rig.journal(run).await.contains(&"StepSucceeded a".to_owned()));

    // A replica that is behind does not win.
    command("Resume", 1).await;
    eventually("the answer", async || rig.count(UNTAKEN).await == 0).await;
    // Taken with the decision that follows from it: what that says is all that there will be.
    assert!(!rig.journal(run).await.contains(&"RunResumed".to_owned()));
    assert_eq!(
        (rig.phase(run).await.as_str(), target.seen("/ok/b").len()),
        ("Paused", 0)
    );

    command("Resume", 3).await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert_eq!(target.seen("/ok/b").len(), 1);
    rig.is_clean().await;
    worker.stop().await;
}

//! Runs whose rows in `active` or `timers` were lost, and which are put back.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    rig::{Process, Rig, connect, eventually, options},
    target::Target,
};

const REPAIRED: &str = "SELECT count(*) FROM everstep.audit WHERE operation = 'repaired'";
const PARKED: &str = "SELECT count(*) FROM everstep.runs WHERE phase IN ('Sleeping', 'Waiting')
                        AND id NOT IN (SELECT run_id FROM everstep.active)";
const TIMERS: &str = "SELECT count(*) FROM everstep.timers";

impl Rig {
    /// Loses these rows, and repairs so many runs.
    async fn loses(&self, rows: &'static str, runs: u64) {
        self.execute(rows).await;
        // Younger runs are left alone.
        self.execute("UPDATE everstep.runs SET created_at = created_at - interval '1 hour'")
            .await;
        assert_eq!(self.store.repair().await.unwrap(), runs);
    }

    async fn repairs_of(&self, run: Uuid) -> i64 {
        let repairs = "SELECT count(*) FROM everstep.audit WHERE operation = 'repaired' AND run_id = $1";
        sqlx::query_scalar(repairs)
            .bind(run)
            .fetch_one(&mut self.sql().await)
            .await
            .unwrap()
    }
}

fn nap(time: &str) -> Value {
    json!({"name": "nap", "needs": [], "sleep": {"for": time}})
}

fn wait(fields: &Value) -> Value {
    let mut wait = json!({"name": "wait", "needs": [], "waitForSignal": {"signal": "go"}});
    let fields = fields.as_object().unwrap().clone();
    wait["waitForSignal"].as_object_mut().unwrap().extend(fields);
    wait
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_lost_their_timers_end_as_they_should() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let cases = [
        ("sleeps", json!({"steps": [nap("3s")]}), "Succeeded"),
        ("waits", json!({"steps": [wait(&json!({"timeout": "3s"}))]}), "Failed"),
        (
            "waits-for-its-end",
            json!({"steps": [wait(&json!({}))], "timeout": "3s"}),
            "TimedOut",
        ),
        (
            "waits-beside-a-sleep",
            json!({"steps": [wait(&json!({})), nap("3s"), {"name": "no", "needs": ["nap"], "fail": {"code": "NO", "message": "no"}}]}),
            "Failed",
        ),
    ];
    let mut runs = Vec::new();
    for (name, body, _) in &cases {
        runs.push(rig.start(name, body.clone()).await);
    }
    eventually("all are parked", async || rig.count(PARKED).await == 4).await;
    assert_eq!(rig.count(TIMERS).await, 4);
    rig.loses("DELETE FROM everstep.timers", 4).await;
    for (run, (name, _, phase)) in runs.iter().zip(&cases) {
        assert_eq!(rig.ended(*run).await, *phase, "{name}");
        assert_eq!(rig.repairs_of(*run).await, 1, "{name}");
    }
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeper_that_is_not_due_yet_gets_the_same_timer_again() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    rig.start("sleeps", json!({"steps": [nap("1h")]})).await;
    let fires = "SELECT coalesce(min(extract(epoch FROM fire_at) * 1000000)::bigint, 0) FROM everstep.timers";
    eventually("it sleeps", async || rig.count(TIMERS).await == 1).await;
    let at = rig.count(fires).await;
    rig.loses("DELETE FROM everstep.timers", 1).await;
    eventually("it sleeps again", async || rig.count(fires).await == at).await;
    assert_eq!(rig.count("SELECT count(*) FROM everstep.active").await, 0);
    worker.stop().await;
}

/// What it did is under way on the server: whoever goes on does it under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn run_that_lost_its_claim_and_its_worker_goes_on_elsewhere() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let run = rig
        .start(
            "runs",
            json!({"steps": [{"name": "a", "http": {"url": target.url("/hold")}}]}),
        )
        .await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;
    // In this order: no rescuer meets the run.
    rig.execute("DELETE FROM everstep.active").await;
    rig.execute("UPDATE everstep.workers SET expires_at = everstep.now() - interval '1 second'")
        .await;
    eventually("the abort", async || target.given_up("/hold").len() == 1).await;
    rig.loses("DELETE FROM everstep.active", 1).await;
    eventually("the attempt again", async || target.seen("/hold").len() == 2).await;
    target.release();
    assert_eq!(rig.ended(run).await, "Succeeded");
    let keys = target.seen("/hold");
    assert_eq!(keys[0], keys[1]);
    assert_eq!(rig.repairs_of(run).await, 1);
    rig.is_clean().await;
    worker.stop().await;
}

/// An effect that must not be repeated unasked is not performed by another one beside the one who is at it.
#[tokio::test(flavor = "multi_thread")]
async fn run_that_lost_its_claim_alone_is_judged_as_after_a_takeover() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let (one, other) = (rig.patient_worker().await, rig.worker().await);
    let http = json!({"url": target.url("/hold"), "method": "POST"});
    let run = rig.start("runs", json!({"steps": [{"name": "a", "http": http}]})).await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;
    rig.loses("DELETE FROM everstep.active", 1).await;
    eventually("the takeover", async || {
        rig.journal(run).await.contains(&"TakenOver".to_owned())
    })
    .await;
    target.release();
    assert_eq!(rig.ended(run).await, "Failed");
    assert_eq!(rig.summary(run).await["error"]["code"], "Ambiguous");
    assert_eq!(target.seen("/hold").len(), 1);
    assert_eq!(rig.repairs_of(run).await, 1);
    one.stop().await;
    other.stop().await;
    rig.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_that_lost_the_timer_of_its_next_attempt_is_finished() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let undo = json!({
        "http": {"url": target.url("/fail/1/undo")},
        "retry": {"maxAttempts": 3, "backoff": {"initial": "3s", "jitter": 0}}
    });
    let steps = json!([
        {"name": "a", "http": {"url": target.url("/ok/a")}, "compensate": undo},
        {"name": "b", "fail": {"code": "NO", "message": "no"}},
    ]);
    let run = rig.start("undoes", json!({ "steps": steps })).await;
    eventually("its next attempt is far", async || rig.count(TIMERS).await == 1).await;
    assert_eq!(rig.phase(run).await, "Compensating");
    rig.loses("DELETE FROM everstep.timers", 1).await;
    assert_eq!(rig.ended(run).await, "Failed");
    assert_eq!(target.seen("/fail/1/undo").len(), 2);
    assert_eq!(rig.repairs_of(run).await, 1);
    rig.is_clean().await;
    worker.stop().await;
}

/// A look that saw a run between two tables would find it in one of these moments: runs that are claimed, parked, woken by
/// timers and by mail, and ended by two workers, and repairs without a pause. They are born an hour old.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_runs_that_go_on_none_is_put_back() {
    const RUNS: i64 = 60;
    let rig = Rig::new().await;
    rig.execute("ALTER TABLE everstep.runs ALTER COLUMN created_at SET DEFAULT everstep.now() - interval '1 hour'")
        .await;
    let workers = [rig.worker().await, Process::start(connect(&rig.url).await, options())];
    let body = json!({"steps": [
        {"name": "a", "sleep": {"for": "1100ms"}},
        {"name": "b", "waitForSignal": {"signal": "go"}},
        {"name": "c", "waitForSignal": {"signal": "never", "timeout": "1100ms", "onTimeout": "Continue"}},
        {"name": "d", "sleep": {"for": "1100ms"}},
    ]});
    for run in 0..RUNS {
        rig.start(&format!("run-{run}"), body.clone()).await;
    }
    // Each run's signal comes once it waits for it.
    let signals = "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
                   SELECT id, 'Signal', 'go', 'k', '1' FROM everstep.runs WHERE phase = 'Waiting'
                   ON CONFLICT DO NOTHING";
    let live = "SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL";
    let looks = tokio::spawn({
        let store = rig.store.clone();
        async move {
            let mut looks = 0_u64;
            loop {
                assert_eq!(store.repair().await.unwrap(), 0, "after {looks} looks");
                assert_eq!(store.unmoved().await.unwrap(), None, "after {looks} looks");
                looks += 1;
            }
        }
    });
    eventually("all ended", async || {
        rig.execute(signals).await;
        looks.is_finished() || rig.count(live).await == 0
    })
    .await;
    looks.abort();
    assert!(looks.await.unwrap_err().is_cancelled(), "a look failed");
    assert_eq!(rig.count(REPAIRED).await, 0);
    rig.is_clean().await;
    // And would have been, had it been lost.
    rig.start("lost", json!({"steps": [nap("1h")]})).await;
    eventually("it sleeps", async || rig.count(TIMERS).await == 1).await;
    rig.execute("DELETE FROM everstep.timers").await;
    assert_eq!(rig.store.repair().await.unwrap(), 1);
    for worker in workers {
        worker.stop().await;
    }
}

//! The life of a run where nothing goes wrong but its steps.

use std::time::{Duration, Instant};

use everstep::store::StuckReason;
use serde_json::json;

use super::{
    rig::{Process, Rig, connect, eventually, options},
    target::Target,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_through_its_steps_and_ends() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let run = rig
        .start(
            "hello",
            json!({
                "input": {"name": "world"},
                "steps": [
                    {"name": "greet", "set": {"text": "='hello, ' + input.name"}},
                    {"name": "nap", "sleep": {"for": "50ms"}},
                    {"name": "shout", "set": {"text": "=steps.greet.output.text + '!'"}},
                ],
                "output": {"said": "=steps.shout.output.text"},
            }),
        )
        .await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    let summary = rig.summary(run).await;
    assert_eq!(summary["output"], json!({"said": "hello, world!"}));
    assert_eq!(worker.counters.parked.get(), 0, "due within a second: not parked");
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_attempt_is_made_again_under_the_same_key() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let run = rig
        .start(
            "retry",
            json!({
                "steps": [{
                    "name": "call",
                    "http": {"url": target.url("/fail/2")},
                    "retry": {"maxAttempts": 5, "backoff": {"initial": "20ms", "jitter": 0}},
                }],
            }),
        )
        .await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    let keys = target.seen("/fail/2");
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "{keys:?}");
    let journal = rig.journal(run).await;
    assert_eq!(
        journal.iter().filter(|event| *event == "AttemptFailed call").count(),
        2,
        "{journal:?}"
    );
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_sleep_parks_the_run_and_the_timer_wakes_it() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let run = rig
        .start("sleeper", json!({"steps": [{"name": "nap", "sleep": {"for": "2s"}}]}))
        .await;
    eventually("parking", async || {
        rig.count("SELECT count(*) FROM everstep.timers").await == 1
    })
    .await;
    assert_eq!(
        rig.count("SELECT count(*) FROM everstep.active").await,
        0,
        "parked is released"
    );
    assert_eq!(rig.phase(run).await, "Sleeping");
    assert_eq!(rig.ended(run).await, "Succeeded");
    let late = "SELECT (extract(epoch FROM finished_at - started_at) * 1000)::bigint FROM everstep.runs";
    let took = rig.count(late).await;
    assert!((2000..3000).contains(&took), "slept for {took} ms");
    assert_eq!(worker.counters.parked.get(), 1);
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_aborts_the_attempt_and_finally_still_runs() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let run = rig
        .start(
            "cancelled",
            json!({
                "steps": [
                    {"name": "slow", "http": {"url": target.url("/hold")}},
                    {"name": "never", "http": {"url": target.url("/ok/never")}},
                ],
                "finally": [{"name": "tidy", "http": {"url": target.url("/ok/tidy")}}],
            }),
        )
        .await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;
    rig.cancel(run).await;
    assert_eq!(rig.ended(run).await, "Cancelled");
    eventually("the abort", async || target.given_up("/hold").len() == 1).await;
    assert_eq!(target.seen("/ok/tidy").len(), 1);
    assert!(target.seen("/ok/never").is_empty());
    assert_eq!(
        rig.count("SELECT count(*) FROM everstep.inbox WHERE taken_seq IS NULL")
            .await,
        0
    );
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_a_parked_run() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let run = rig
        .start("asleep", json!({"steps": [{"name": "nap", "sleep": {"for": "1h"}}]}))
        .await;
    eventually("parking", async || {
        rig.count("SELECT count(*) FROM everstep.timers").await == 1
    })
    .await;
    rig.cancel(run).await;
    assert_eq!(rig.ended(run).await, "Cancelled");
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_attempt_is_shown_while_it_runs() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let run = rig
        .start(
            "long",
            json!({"steps": [{"name": "slow", "http": {"url": target.url("/hold")}}]}),
        )
        .await;
    eventually("the summary", async || rig.summary(run).await["step"] == "slow").await;
    assert_eq!(rig.phase(run).await, "Running");
    target.release();
    assert_eq!(rig.ended(run).await, "Succeeded");
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_runs_and_perform_each_step_once() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let small = || everstep::worker::WorkerOptions {
        max_runs: 8,
        ..options()
    };
    let one = Process::start(connect(&rig.url).await, small());
    let other = Process::start(connect(&rig.url).await, small());
    let mut runs = Vec::new();
    for i in 0..40 {
        let step = |name: &str| json!({"name": name, "http": {"url": target.url("/ok/shared")}});
        runs.push(
            rig.start(&format!("shared-{i}"), json!({"steps": [step("a"), step("b")]}))
                .await,
        );
    }
    for run in runs {
        assert_eq!(rig.ended(run).await, "Succeeded");
    }
    let mut keys = target.seen("/ok/shared");
    assert_eq!(keys.len(), 80);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 80, "one request a step");
    assert!(one.finished() > 0 && other.finished() > 0, "both worked");
    assert_eq!(
        one.counters.lost.get() + other.counters.lost.get(),
        0,
        "and not against each other"
    );
    rig.is_clean().await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_lets_attempts_end_and_hands_its_runs_on() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let step = |name: &str, path: &str| json!({"name": name, "http": {"url": target.url(path)}});
    let run = rig
        .start(
            "handed",
            json!({"steps": [step("first", "/hold"), step("second", "/ok/second")]}),
        )
        .await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;

    // The result must be one of the drain: the worker looks at its shutdown before it looks at results.
    worker.begin_stop();
    target.release();
    worker.stop().await;
    assert!(target.seen("/ok/second").is_empty(), "nothing begins while handing on");
    assert_eq!(
        rig.count("SELECT count(*) FROM everstep.workers WHERE expires_at > now()")
            .await,
        0,
        "given up"
    );
    assert_eq!(
        rig.count("SELECT count(*) FROM everstep.active WHERE worker_id IS NOT NULL")
            .await,
        0
    );

    let began = Instant::now();
    let next = rig.worker().await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "handed on at once, {:?}",
        began.elapsed()
    );
    assert_eq!(target.seen("/hold").len(), 1, "the first step's result was kept");
    let journal = rig.journal(run).await;
    assert!(
        !journal.iter().any(|event| event.starts_with("TakenOver")),
        "{journal:?}"
    );
    rig.is_clean().await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_does_not_compile_is_left_alone_and_stops_nobody_else() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let newer = rig
        .start(
            "newer",
            json!({"steps": [{"name": "a", "teleport": {"to": "tomorrow"}}]}),
        )
        .await;
    eventually("setting aside", async || worker.counters.set_aside.get() == 1).await;
    let run = rig
        .start("good", json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
        .await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert_eq!(rig.phase(newer).await, "Pending");
    assert_eq!(worker.counters.set_aside.get(), 1, "not again and again");
    // It lives, and the run has no deadline.
    assert_eq!(rig.stuck().await, [(StuckReason::SetAside, 1)]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_decision_cannot_be_stored_is_left_alone_and_stuck() {
    let rig = Rig::new().await;
    rig.execute("ALTER TABLE everstep.journal ADD CHECK (events::text NOT LIKE '%indigestible%')")
        .await;
    let worker = rig.worker().await;
    let bad = json!({"steps": [{"name": "a", "set": {"x": "indigestible"}}]});
    let run = rig.start("bad", bad).await;
    eventually("setting aside", async || worker.counters.set_aside.get() == 1).await;
    assert_eq!(rig.stuck().await, [(StuckReason::SetAside, 1)]);
    assert_eq!(rig.phase(run).await, "Pending");
    worker.stop().await;
}

impl Rig {
    /// Stuck runs by reason.
    async fn stuck(&self) -> Vec<(StuckReason, i64)> {
        let stuck = self.store.stuck().await.unwrap();
        stuck.iter().map(|stuck| (stuck.reason, stuck.runs)).collect()
    }
}

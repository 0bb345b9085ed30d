//! Rules of the run protocol, each by its shortest trace, as a whole worker keeps it. Their statements have tests of
//! their own; here the answers are lost or late, and it is the worker's memory that must be right.

use std::{sync::atomic::Ordering, time::Duration};

use everstep::worker::WorkerOptions;
use serde_json::json;

use super::{
    rig::{Process, Rig, eventually, options},
    target::Target,
};

/// Longer than any test: nothing happens because a lease ran out.
fn long() -> WorkerOptions {
    WorkerOptions {
        lease: Duration::from_secs(60),
        ..options()
    }
}

/// P1: the claim was made, and its answer lost. The run is mine, and nobody else will come for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_claim_was_not_answered_is_carried() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let run = rig
        .start(
            "claimed",
            json!({"steps": [{"name": "a", "http": {"url": target.url("/ok/a")}}]}),
        )
        .await;
    let (proxy, store) = rig.through_proxy("SET worker_id = $1").await;
    proxy.lose(1);
    let worker = Process::start(store, long());
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert_eq!(proxy.lost(), 1);
    let journal = rig.journal(run).await;
    assert!(
        !journal.iter().any(|event| event.starts_with("TakenOver")),
        "{journal:?}"
    );
    assert_eq!(target.seen("/ok/a").len(), 1);
    assert_eq!(worker.counters.registrations.get(), 1);
    rig.is_clean().await;
    worker.stop().await;
}

/// P4: what a late sweep leaves of a terminal run is cleared away by whoever claims it, without an append.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_run_in_active_is_cleared_away() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let run = rig
        .start("over", json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
        .await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    let journal = rig.journal(run).await;
    rig.execute("INSERT INTO everstep.timers SELECT id, now() + interval '1 hour' FROM everstep.runs")
        .await;
    rig.execute("INSERT INTO everstep.active (run_id, namespace) SELECT id, namespace FROM everstep.runs")
        .await;
    eventually("clearing away", async || {
        rig.count("SELECT (SELECT count(*) FROM everstep.active) + (SELECT count(*) FROM everstep.timers)")
            .await
            == 0
    })
    .await;
    assert_eq!(rig.journal(run).await, journal);
    assert_eq!(worker.finished(), 1);
    worker.stop().await;
}

/// P5: a run that was woken for nothing is released by an append, and keeps its timer.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_woken_for_nothing_appends_and_sleeps_on() {
    let rig = Rig::new().await;
    let worker = rig.worker().await;
    let run = rig
        .start("sleeper", json!({"steps": [{"name": "nap", "sleep": {"for": "1h"}}]}))
        .await;
    eventually("parking", async || {
        rig.count("SELECT count(*) FROM everstep.timers").await == 1
    })
    .await;
    let head = "SELECT max(seq)::bigint FROM everstep.journal";
    let fires = "SELECT extract(epoch FROM fire_at)::bigint FROM everstep.timers";
    let (seq, due) = (rig.count(head).await, rig.count(fires).await);
    rig.execute("INSERT INTO everstep.active (run_id, namespace) SELECT id, namespace FROM everstep.runs")
        .await;
    eventually("the release", async || worker.counters.parked.get() == 2).await;
    assert_eq!(rig.count(head).await, seq + 1, "released by an append");
    assert_eq!(rig.count("SELECT count(*) FROM everstep.active").await, 0);
    assert_eq!(rig.count(fires).await, due);
    assert_eq!(rig.phase(run).await, "Sleeping");
    rig.cancel(run).await;
    assert_eq!(rig.ended(run).await, "Cancelled");
    rig.is_clean().await;
    worker.stop().await;
}

/// P7: the decision that wants the attempt is in the journal, and its answer is late; meanwhile a cancel comes.
#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_starts_while_an_append_is_unanswered_and_none_after_a_cancel() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let (proxy, store) = rig.through_proxy("INSERT INTO everstep.journal").await;
    let worker = Process::start(store, long());
    proxy.hold();
    let run = rig
        .start(
            "late",
            json!({"steps": [{"name": "a", "http": {"url": target.url("/ok/a")}}]}),
        )
        .await;
    eventually("the append", async || proxy.held() == 1).await;
    assert_eq!(
        rig.count("SELECT count(*) FROM everstep.journal").await,
        1,
        "it is there"
    );
    rig.cancel(run).await;
    // Each sweep tells it again, and at most four wait for the worker: it has heard the first.
    eventually("the worker to hear of it", async || {
        worker.told.load(Ordering::SeqCst) > 5
    })
    .await;
    assert_eq!(worker.counters.attempts_started.get(), 0);
    proxy.release();
    assert_eq!(rig.ended(run).await, "Cancelled");
    assert_eq!(
        worker.counters.attempts_started.get(),
        0,
        "the cancel was decided on first"
    );
    assert!(target.seen("/ok/a").is_empty());
    rig.is_clean().await;
    worker.stop().await;
}

/// P6: a row that was told many times is taken once, and the run is lost by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn mail_that_many_sweeps_saw_is_taken_once() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let (proxy, store) = rig.through_proxy("INSERT INTO everstep.journal").await;
    let worker = Process::start(store, long());
    let body = json!({
        "steps": [{"name": "a", "http": {"url": target.url("/hold/a")}}],
        "finally": [{"name": "b", "http": {"url": target.url("/hold/b")}}],
    });
    let run = rig.start("told", body).await;
    eventually("the attempt", async || target.seen("/hold/a").len() == 1).await;
    // The append that takes the mail is made, and its answer is late: the sweeps that began before it are told after it.
    proxy.hold();
    rig.cancel(run).await;
    eventually("the append", async || proxy.held() == 1).await;
    eventually("its commit", async || {
        rig.count("SELECT count(*) FROM everstep.inbox WHERE taken_seq IS NOT NULL")
            .await
            == 1
    })
    .await;
    proxy.release();
    eventually("the tidying", async || target.seen("/hold/b").len() == 1).await;
    target.release();
    assert_eq!(rig.ended(run).await, "Cancelled");
    assert_eq!(worker.counters.lost.get(), 0);
    let journal = rig.journal(run).await;
    assert_eq!(
        journal.iter().filter(|event| *event == "CancelRequested").count(),
        1,
        "{journal:?}"
    );
    rig.is_clean().await;
    worker.stop().await;
}

/// P8: a renewal that was made and whose answer came after the fence fell changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_is_answered_late_is_ignored() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let (proxy, store) = rig.through_proxy("SET heartbeat_at").await;
    let worker = Process::start(store, options());
    let run = rig
        .start(
            "late",
            json!({"steps": [{"name": "a", "http": {"url": target.url("/hold")}}]}),
        )
        .await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;
    proxy.hold();
    eventually("the abort", async || target.given_up("/hold").len() == 1).await;
    assert!(proxy.held() > 0, "a renewal was made");
    proxy.release();
    eventually("a new registration", async || worker.counters.registrations.get() >= 2).await;
    target.release();
    assert_eq!(rig.ended(run).await, "Succeeded");
    let journal = rig.journal(run).await;
    assert!(
        journal.iter().any(|event| event.starts_with("TakenOver")),
        "{journal:?}"
    );
    let keys = target.seen("/hold");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    rig.is_clean().await;
    worker.stop().await;
}

//! `/metrics` of a system that is driven: each metric moves with what it counts.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    support::system::{Process, Shop, System, condition, connection, secret, signal, workflow},
    target::Target,
};

/// Moved elsewhere, by what cannot be had by the way.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "everstep_append_conflicts_total",
        "somebody appends to another's run: tests/worker/protocol.rs",
    ),
    (
        "everstep_projection_lag_seconds",
        "status cannot be written: tests/chart/alerting.rs",
    ),
    (
        "everstep_orphan_brake",
        "the objects of many runs are gone: tests/chart/alerting.rs",
    ),
];

/// Long enough for a busy machine.
const LEASE: [(&str, &str); 1] = [("--lease", "3s")];

/// An SQL step, an HTTP step whose first two attempts fail, a pause, and a wait for a signal.
const ORDER: &str = "
steps:
- name: count
  sql: {connection: shopdb, query: SELECT qty FROM stock, readOnly: true}
- name: call
  http: {connection: target, path: /flaky}
  retry: {maxAttempts: 5, backoff: {initial: 20ms, jitter: 0}}
- name: nap
  sleep: {for: 2s}
- name: approval
  waitForSignal: {signal: approve}
";

#[tokio::test]
async fn each_metric_moves_with_what_it_counts() {
    let (system, target, shop) = (System::new("figures").await, Target::start().await, Shop::new().await);
    system.allow(target.port);
    let mut controller = system.start("controller", &[("--orphan-period", "1s")]).await;
    controller.leads().await;
    let mut worker = system.start("worker", &LEASE).await;
    let shopdb = connection(
        "shopdb",
        "{postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}",
    );
    system
        .apply(&(secret("shop", "url", &shop.url) + &shopdb + &connection("target", &target.spec())))
        .await;

    system.apply(&workflow("order", ORDER)).await;
    system
        .until("order", "it waits", |it| it["status"]["run"]["phase"] == "Waiting")
        .await;
    system
        .apply(&signal("said", "{target: {workflow: order}, signal: approve}"))
        .await;
    let ended = system.finished("order").await;
    assert_eq!(ended["status"]["run"]["phase"], "Succeeded", "{:#}", ended["status"]);
    let taken = |it: &Value| condition(it, "Consumed")["status"] == "True";
    system.until_of("signals", "said", "it is consumed", taken).await;
    system.told("order").await;
    let finished = |name: &str, phase: &str| {
        let (namespace, of) = (&system.namespace, "everstep_runs_finished_total");
        format!("{of}{{namespace=\"{namespace}\",workflow=\"{name}\",phase=\"{phase}\"}}")
    };
    moved(
        &mut worker,
        &[
            ("everstep_store_up", 1),
            ("everstep_epoch", 1),
            ("everstep_step_attempts_total{action=\"sql\",outcome=\"succeeded\"}", 1),
            ("everstep_step_attempts_total{action=\"http\",outcome=\"failed\"}", 2),
            ("everstep_step_attempts_total{action=\"http\",outcome=\"succeeded\"}", 1),
            ("everstep_step_duration_seconds_count{action=\"sql\"}", 1),
            ("everstep_step_duration_seconds_count{action=\"http\"}", 3),
            // Two pauses before another attempt, and the nap.
            ("everstep_timer_lateness_seconds_count", 3),
            (&finished("order", "Succeeded"), 1),
        ],
    )
    .await;
    let text = worker.get("/metrics").await.1;
    let figures = samples(&text);
    let batches = figures["everstep_settle_batch_size_count"];
    assert!(batches >= 5.0, "{text}");
    assert_eq!(figures["everstep_settle_seconds_count"], batches);
    assert_eq!(
        figures["everstep_settle_batch_size_sum"],
        figures["everstep_appended_total"]
    );
    // A run that slept for two seconds was not woken two seconds late.
    assert!(
        figures["everstep_timer_lateness_seconds_bucket{le=\"1\"}"] >= 1.0,
        "{text}"
    );
    assert!(
        figures["everstep_settle_seconds_sum"] > 0.0
            && figures["everstep_step_duration_seconds_sum{action=\"sql\"}"] > 0.0
    );
    moved(
        &mut controller,
        &[
            ("everstep_leader", 1),
            ("everstep_status_patches_total{result=\"written\"}", 3),
            ("everstep_signals_total{result=\"stored\"}", 1),
            ("everstep_signals_total{result=\"consumed\"}", 1),
            ("everstep_events_total{result=\"written\"}", 2),
            ("everstep_reconciles_total{result=\"done\"}", 3),
            ("everstep_orphan_passes_total{result=\"done\"}", 1),
        ],
    )
    .await;

    // A worker dies at a step, and another one has it to judge.
    let gate = "{steps: [{name: call, http: {connection: target, path: /gate}}]}";
    system.apply(&workflow("gate", gate)).await;
    let begun = "SELECT count(*) FROM everstep.active WHERE worker_id IS NOT NULL";
    system.until_count(begun, 1).await;
    worker.kill().await;
    let mut worker = system.start("worker", &LEASE).await;
    moved(
        &mut worker,
        &[
            ("everstep_claims_expired_total", 1),
            ("everstep_runs{phase=\"Running\"}", 1),
        ],
    )
    .await;
    system.until_count(begun, 1).await;

    // Its object goes, and with it the attempt.
    system.kubectl(&["delete", "workflow", "gate"]).await;
    moved(
        &mut worker,
        &[
            ("everstep_step_attempts_total{action=\"http\",outcome=\"aborted\"}", 1),
            (&finished("gate", "Cancelled"), 1),
        ],
    )
    .await;
    moved(&mut controller, &[("everstep_orphans_total{result=\"cancelled\"}", 1)]).await;

    let nap = "{suspend: true, steps: [{name: nap, sleep: {for: 1h}}]}";
    system
        .apply(&workflow("nap", &nap.replace("suspend: true, ", "")))
        .await;
    system
        .until("nap", "it sleeps", |it| it["status"]["run"]["phase"] == "Sleeping")
        .await;
    system.apply(&workflow("nap", nap)).await;
    moved(
        &mut controller,
        &[
            ("everstep_runs_stuck{reason=\"Paused\"}", 1),
            ("everstep_runs_stuck_oldest_seconds{reason=\"Paused\"}", 1),
            ("everstep_detector_last_success_timestamp_seconds", 1_700_000_000),
        ],
    )
    .await;

    // It is to go on, and its rows are damaged.
    sqlx::query("UPDATE everstep.runs SET snapshot = '1' WHERE workflow = 'nap'")
        .execute(&mut system.sql().await)
        .await
        .unwrap();
    system
        .apply(&workflow("nap", &nap.replace("suspend: true", "suspend: false")))
        .await;
    moved(&mut worker, &[("everstep_runs_set_aside_total", 1)]).await;
    moved(&mut controller, &[("everstep_runs_stuck{reason=\"SetAside\"}", 1)]).await;

    // Stopped for longer than its lease, it is fenced; and what is ready meanwhile waits.
    worker.signal(Signal::SIGSTOP);
    system.apply(&workflow("late", "{steps: [{name: a, set: {}}]}")).await;
    moved(&mut controller, &[("everstep_ready_oldest_seconds", 4)]).await;
    worker.signal(Signal::SIGCONT);
    moved(&mut worker, &[("everstep_worker_fenced_total", 1)]).await;

    let driven = include_str!("figures.rs");
    let mut names = BTreeSet::new();
    for process in [&mut controller, &mut worker] {
        let text = process.get("/metrics").await.1;
        names.extend(
            text.lines()
                .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())),
        );
    }
    let left: Vec<&String> = names.iter().filter(|name| !driven.contains(name.as_str())).collect();
    assert!(left.is_empty(), "nobody drives {left:?}");
    for (name, why) in ELSEWHERE {
        assert!(names.contains(name), "{name} ({why}) is no metric");
    }
}

/// Waits until each of these samples has at least this value.
async fn moved(process: &mut Process, samples: &[(&str, u32)]) {
    for (sample, least) in samples {
        process.shows(sample, f64::from(*least)).await;
    }
}

/// The samples of a scrape, by name and labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name, value.parse().unwrap())
        })
        .collect()
}

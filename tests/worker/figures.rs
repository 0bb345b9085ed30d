//! What a worker counts.

use std::collections::BTreeMap;

use everstep::engine::Phase;
use serde_json::json;

use crate::{
    rig::{Rig, eventually},
    support::submission::submission,
    target::Target,
};

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_by_action_and_outcome_and_those_that_are_not_aborted_are_timed() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.patient_worker().await;
    let retry = json!({"maxAttempts": 5, "backoff": {"initial": "20ms", "jitter": 0}});
    let run = rig
        .start(
            "retry",
            json!({"steps": [{"name": "call", "http": {"url": target.url("/fail/2")}, "retry": retry}]}),
        )
        .await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    let http = &worker.counters.http;
    // An answer with a status that the step does not take is a failure.
    let ended = |http: &everstep::worker::Attempted| (http.succeeded.get(), http.failed.get(), http.time.get().count);
    assert_eq!(ended(http), (1, 2, 3));

    let held = rig
        .start(
            "held",
            json!({"steps": [{"name": "slow", "http": {"url": target.url("/hold")}}]}),
        )
        .await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;
    assert_eq!(http.aborted.get(), 0);
    rig.cancel(held).await;
    assert_eq!(rig.ended(held).await, "Cancelled");
    eventually("the abort", async || http.aborted.get() == 1).await;
    assert_eq!(ended(http), (1, 2, 3));

    let step =
        json!({"name": "count", "sql": {"connection": "nowhere", "query": "SELECT 1"}, "retry": {"maxAttempts": 1}});
    let failed = rig.start("failed", json!({"steps": [step]})).await;
    assert_eq!(rig.ended(failed).await, "Failed");
    let sql = &worker.counters.sql;
    assert_eq!(ended(sql), (0, 1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_10_000_namespaces_and_workflows_make_a_bounded_number_of_series() {
    const NAMES: usize = 10_000;
    const SERIES: usize = 2_000;
    let rig = Rig::new().await;
    let body = json!({"steps": [{"name": "a", "set": {"x": 1}}]});
    let submissions: Vec<_> = (0..NAMES)
        .map(|n| submission(&format!("namespace-{n}"), &format!("workflow-{n}"), &body))
        .collect();
    for some in submissions.chunks(500) {
        rig.store.submit(some).await.unwrap();
    }
    let worker = rig.patient_worker().await;
    eventually("the end of all runs", async || worker.finished() == NAMES as u64).await;

    let mut series = BTreeMap::new();
    for ended in worker.counters.finished.get() {
        assert_eq!(ended.phase, Phase::Succeeded);
        series.insert((ended.namespace, ended.workflow), ended.runs);
    }
    assert_eq!(series.len(), SERIES + 1);
    let other = series.remove(&("other".to_owned(), "other".to_owned()));
    assert_eq!(other, Some((NAMES - SERIES) as u64));
    assert!(series.values().all(|runs| *runs == 1), "{series:?}");
    worker.stop().await;
}

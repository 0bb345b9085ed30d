//! SIGKILLs of workers and controllers, at random, between the creation of Signals and their consumption: each is consumed
//! exactly once, by the run that it was meant for.
//!
//! `FAULTS_SEED` and `FAULTS_KILLS` repeat or lengthen it.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::{Value, json};

use super::seed::{Random, setting};
use super::support::controlplane;
use super::support::system::{System, condition, workflow};
use super::world::{DEADLINE, Fleet, eventually};

const KILLS: u64 = 40;
/// Signals that come between two kills.
const BATCH: usize = 10;
/// The longest pause between two kills, in milliseconds.
const PAUSE: u64 = 800;
/// How long the last ones may take: a lease, takeovers, and what a busy machine makes of it.
const PATIENCE: Duration = Duration::from_secs(90);

const WAITS: &str =
    "{start: OnDemand, steps: [{name: hold, waitForSignal: {signal: go}}], output: {said: =steps.hold.output.payload}}";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_every_signal_is_consumed_once_by_its_run() {
    let mut random = Random::new("signal_objects");
    let kills = setting("FAULTS_KILLS", KILLS);
    let runs = kills as usize * BATCH;
    let system = System::new("objects").await;
    let mut fleet = Fleet::start(&system, 3, 2).await;
    system.apply(&workflow("held", WAITS)).await;
    system
        .until("held", "is registered", |it| condition(it, "Ready")["status"] == "True")
        .await;
    start(&system, runs).await;

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Signal"));
    let client = controlplane::shared().await.client().await.unwrap();
    let signals: Api<DynamicObject> = Api::namespaced_with(client, &system.namespace, &kind);
    for kill in 0..kills as usize {
        let batch = stream::iter(kill * BATCH..(kill + 1) * BATCH);
        batch
            .for_each_concurrent(BATCH, |number| create(&signals, &kind, number))
            .await;
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE))).await;
        fleet.kill_one(&mut random).await;
    }

    let consumed = "SELECT count(*) FROM everstep.inbox WHERE outcome = 'Consumed' AND shown";
    eventually("all consumed, and shown", PATIENCE, async || {
        system.count(consumed).await == runs as i64
    })
    .await;
    fleet.all_run();
    let ended = "SELECT count(*) FROM everstep.runs
        WHERE phase = 'Succeeded' AND start_key = 'key/k' || (summary->'output'->'said'->>'number')";
    eventually("all runs have what was meant for them", DEADLINE, async || {
        system.count(ended).await == runs as i64
    })
    .await;
    let events =
        "FROM everstep.journal, json_array_elements(events) AS event WHERE event->'SignalConsumed' IS NOT NULL";
    assert_eq!(system.count(&format!("SELECT count(*) {events}")).await, runs as i64);
    let distinct = format!("SELECT count(DISTINCT event->'SignalConsumed'->>'id') {events}");
    assert_eq!(system.count(&distinct).await, runs as i64);
    assert_eq!(
        system.count("SELECT count(*) FROM everstep.inbox").await,
        runs as i64,
        "each was stored once"
    );
    for object in signals.list(&ListParams::default()).await.unwrap().items {
        let object: Value = serde_json::to_value(object).unwrap();
        assert_eq!(condition(&object, "Consumed")["status"], "True", "{object:#}");
    }
    let takeovers = "SELECT count(*) FROM everstep.journal WHERE events::text LIKE '%TakenOver%'";
    eprintln!(
        "signal_objects: {runs} consumed, {kills} kills, {} takeovers",
        system.count(takeovers).await
    );
    fleet.stop().await;
}

/// Starts so many runs by SQL, under the keys k0, k1, ….
async fn start(system: &System, runs: usize) {
    let namespace = &system.namespace;
    let granted =
        format!("SELECT count(*) FROM (SELECT everstep.grant_namespace(current_user::text, '{namespace}')) AS granted");
    system.count(&granted).await;
    let start = format!(
        "SELECT count(everstep.start('{namespace}/held', NULL, 'k' || n)) FROM generate_series(0, {}) AS n",
        runs - 1
    );
    assert_eq!(system.count(&start).await, runs as i64);
}

async fn create(signals: &Api<DynamicObject>, kind: &ApiResource, number: usize) {
    let target = json!({"workflow": "held", "key": format!("k{number}")});
    let spec = json!({"target": target, "signal": "go", "payload": {"number": number}});
    let object = DynamicObject::new(&format!("go-{number}"), kind).data(json!({ "spec": spec }));
    signals.create(&PostParams::default(), &object).await.unwrap();
}

//! What an installation costs while nothing happens: writes, and the controller's memory. The flags are those of the chart.

use std::time::{Duration, Instant};

use everstep::dev::postgres::{Options, Postgres};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    controlplane::{self, Write},
    system::{DEADLINE, Process, System, condition, install_crds, migrate, workflow},
};

/// As in production, where a test's own haste would be seen as writes.
const CALM: &[(&str, &str)] = &[
    ("--lease", "30s"),
    ("--leader-lease-duration", "15s"),
    ("--log", "info"),
];
const MIB: u64 = 1024 * 1024;
/// How long nothing is to happen.
const REST: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn thousand_waiting_runs_cost_no_api_write_and_two_commits_a_second_at_most() {
    const RUNS: usize = 1000;
    const COMMITS_A_SECOND: f64 = 2.0;
    const MEMORY: u64 = 60 * MIB;
    let (_server, system) = alone("waiting").await;
    let controller = system.start("controller", CALM).await;
    let worker = system.start("worker", CALM).await;
    let waits = "{steps: [{name: approval, waitForSignal: {signal: approve}}]}";
    let manifests: String = (0..RUNS)
        .map(|number| workflow(&format!("order-{number}"), waits))
        .collect();
    system.apply_server_side(&manifests).await;
    let shown = "SELECT count(*) FROM everstep.runs WHERE phase = 'Waiting' AND summary_seq <= projected_seq";
    system.until_count(shown, RUNS as i64).await;

    let mut sql = system.sql().await;
    quiet(&system, &mut sql).await;
    let (writes, written, began) = (ours(&system).await.len(), transactions(&mut sql).await, Instant::now());
    // A time, because nothing is to happen.
    tokio::time::sleep(REST).await;
    let commits = (transactions(&mut sql).await - written) as f64 / began.elapsed().as_secs_f64();
    let (after, memory) = (ours(&system).await, resident(&controller));
    eprintln!(
        "{RUNS} waiting runs: {commits:.2} writing commits/s, controller {} KiB, worker {} KiB",
        memory / 1024,
        resident(&worker) / 1024
    );
    assert_eq!(after.len(), writes, "{:#?}", &after[writes..]);
    assert!(commits <= COMMITS_A_SECOND, "{commits} a second");
    assert!(memory < MEMORY, "{memory} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn resync_of_ten_thousand_definitions_writes_nothing_and_fits_into_150_mib() {
    const OBJECTS: usize = 10_000;
    const MEMORY: u64 = 150 * MIB;
    let (_server, system) = alone("definitions").await;
    let one = judged(&system).await;
    let many: Vec<Value> = (1..OBJECTS).map(|number| another(&one, number)).collect();
    controlplane::shared()
        .await
        .restore("everstep.dev/workflows", &many)
        .await
        .unwrap();

    let flags = [CALM, &[("--resync", "10s")]].concat();
    let mut controller = system.start("controller", &flags).await;
    system
        .until_count("SELECT count(*) FROM everstep.owners", OBJECTS as i64)
        .await;
    let mut sql = system.sql().await;
    quiet(&system, &mut sql).await;
    let (writes, written) = (ours(&system).await.len(), transactions(&mut sql).await);
    // Each object is looked at again after 12 s at the latest: so many more are a resync of all.
    controller
        .counts(r#"everstep_reconciles_total{result="done"}"#, 2 * OBJECTS as u32)
        .await;
    let (after, memory) = (ours(&system).await, resident(&controller));
    eprintln!(
        "{OBJECTS} definitions: {} transactions, controller {} KiB",
        transactions(&mut sql).await - written,
        memory / 1024
    );
    assert_eq!(after.len(), writes, "{:#?}", &after[writes..]);
    assert_eq!(transactions(&mut sql).await, written, "PostgreSQL was written");
    assert!(memory < MEMORY, "{memory} bytes");
}

/// A system with a database server that nobody else writes to.
async fn alone(name: &str) -> (Postgres, System) {
    // Its commits are not ours.
    let settings = vec![("autovacuum".to_owned(), "off".to_owned())];
    let start = || {
        let server = Postgres::start(Options {
            settings,
            ..Options::default()
        })
        .unwrap();
        server.create_database("engine").unwrap();
        server
    };
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let url = server.url("engine");
    migrate(url.clone()).await;
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    (server, System::on(plane, name, url).await)
}

/// A small definition that a controller has judged and that nobody starts.
async fn judged(system: &System) -> Value {
    let controller = system.start("controller", CALM).await;
    let spec = "{start: OnDemand, steps: [{name: greet, set: {text: =input.name}}, {name: nap, sleep: {for: 2s}}]}";
    system.apply(&workflow("small-0", spec)).await;
    let registered = |it: &Value| condition(it, "Ready")["reason"] == "Registered";
    let object = system.until("small-0", "is registered", registered).await;
    controller.stop().await;
    object
}

/// The same under another name, as the API server stores it.
fn another(one: &Value, number: usize) -> Value {
    let mut object = one.clone();
    let metadata = &mut object["metadata"];
    metadata.as_object_mut().unwrap().remove("resourceVersion");
    metadata["name"] = json!(format!("small-{number}"));
    metadata["uid"] = json!(Uuid::from_u128(number as u128 + 1));
    object
}

/// Writes of the controller and the worker, Leases apart.
async fn ours(system: &System) -> Vec<Write> {
    let mut writes = controlplane::shared().await.writes().await.unwrap();
    let account = format!("system:serviceaccount:{}:", system.namespace);
    writes.retain(|write| write.user.starts_with(&account) && write.resource != "leases");
    writes
}

/// How many transactions of the server have written so far.
async fn transactions(sql: &mut sqlx::PgConnection) -> i64 {
    let select = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    sqlx::query_scalar(select).fetch_one(sql).await.unwrap()
}

/// Waits until three seconds have passed in which the API server was not written, and PostgreSQL hardly.
async fn quiet(system: &System, sql: &mut sqlx::PgConnection) {
    let until = Instant::now() + DEADLINE;
    loop {
        let before = (ours(system).await.len(), transactions(sql).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = (ours(system).await.len(), transactions(sql).await);
        if after.0 == before.0 && after.1 - before.1 <= 6 {
            return;
        }
        assert!(Instant::now() < until, "no rest: {before:?}, then {after:?}");
    }
}

/// The resident memory of a process, in bytes.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}

//! Alerts on a live system, which a real Prometheus scrapes: what they warn of is caused, they fire, it is mended, they
//! clear. The chart's rules, with shorter patience; the detector's own minute is as it is.

use everstep::dev::postgres::{Options, Postgres, Shutdown};
use serde_json::{Value, json};

use crate::{
    alerts::spec_in,
    support::{
        chart::Release,
        controlplane, postgres,
        prometheus::Prometheus,
        system::{System, condition, install_crds, signal, workflow, workflow_run},
    },
};

/// In seconds: what happened within it is told.
const WINDOW: u32 = 20;

/// Thresholds of seconds.
fn impatient() -> Value {
    let at_once = json!({"for": "0s"});
    let soon = json!({"seconds": 5, "for": "0s"});
    json!({"alerts": {
        "storeDown": at_once,
        "detectorSilent": {"seconds": 30, "for": "0s"},
        "dueWorkNotClaimed": soon,
        "noProgress": {"seconds": 5, "window": "5s", "for": "0s"},
        "runsStuck": at_once,
        "runsPaused": {"seconds": 1, "for": "0s"},
        "projectionLag": soon,
        "signalUndeliverable": {"window": format!("{WINDOW}s"), "for": "0s"},
        "failureRateHigh": {"ratio": 0.2, "runs": 5, "window": format!("{WINDOW}s"), "for": "0s"},
        "retryStorm": {"ratio": 0.5, "perSecond": 1, "window": "5s", "for": "0s"},
    }})
}

/// A system of the chart, and a Prometheus that does not scrape it yet, and says so.
async fn watched(name: &str, database_url: String) -> (System, Release<'static>, Prometheus) {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let system = System::on(plane, name, database_url).await;
    let values = json!({
        "namespaces": [system.namespace],
        "controller": {"leaderLeaseDuration": "1s", "orphanPeriod": "1s"},
        "worker": {"lease": "1s"},
    });
    let release = Release::with_database(plane, &system.namespace, &system.database_url, values).await;
    let prometheus = Prometheus::start(&system.namespace, &spec_in(&system.namespace, impatient()).await).await;
    // Nothing is scraped, and the rules are evaluated: from now on, quiet means something.
    prometheus.fires(&["EverstepDetectorSilent"]).await;
    (system, release, prometheus)
}

#[tokio::test]
async fn death_of_the_only_worker_is_told_until_there_is_another_one() {
    let (system, release, prometheus) = watched("widow", postgres::empty_database().await).await;
    let mut controller = release.start("controller", &[]).await;
    controller.leads().await;
    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;

    system
        .apply(&workflow("nap", "{steps: [{name: nap, sleep: {for: 5s}}]}"))
        .await;
    let sleeps = |it: &Value| it["status"]["run"]["phase"] == "Sleeping";
    system.until("nap", "it sleeps", sleeps).await;
    worker.kill().await;
    system.apply(&workflow("late", "{steps: [{name: a, set: {}}]}")).await;
    prometheus
        .fires(&["EverstepDueWorkNotClaimed", "EverstepNoProgress"])
        .await;
    prometheus
        .fires(&["EverstepRunsStuck:Unclaimed", "EverstepRunsStuck:TimerOverdue"])
        .await;

    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;
    for name in ["nap", "late"] {
        assert_eq!(system.finished(name).await["status"]["run"]["phase"], "Succeeded");
    }
}

#[tokio::test]
async fn what_waits_for_a_person_is_told_until_one_acts() {
    let (system, release, prometheus) = watched("waits", postgres::empty_database().await).await;
    let mut controller = release.start("controller", &[]).await;
    controller.leads().await;
    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;

    let undo = "workflow: {steps: [{name: make, set: {}, compensate: {fail: {code: REFUSED, message: too late}}}, {name: stop, fail: {code: STOP, message: enough}}]}";
    let pause = "workflow: {onFailure: Pause, steps: [{name: stop, fail: {code: STOP, message: enough}}]}";
    let nap = "{steps: [{name: nap, sleep: {for: 1h}}]}";
    system
        .apply(&(workflow_run("undo", undo) + &workflow_run("pause", pause) + &workflow("nap", nap)))
        .await;
    let sleeps = |it: &Value| it["status"]["run"]["phase"] == "Sleeping";
    system.until("nap", "it sleeps", sleeps).await;
    system
        .apply(&workflow("nap", &nap.replacen('{', "{suspend: true, ", 1)))
        .await;
    let stalled = |it: &Value| condition(it, "Stalled")["reason"] == "CompensationFailed";
    system
        .until_of("workflowruns", "undo", "its undo failed", stalled)
        .await;
    prometheus
        .fires(&[
            "EverstepCompensationFailed",
            "EverstepRunsPaused",
            "EverstepRunsStuck:PausedOnFailure",
        ])
        .await;

    let terminated = r#"{"spec": {"desiredState": "Terminated"}}"#;
    for name in ["undo", "pause"] {
        let words = ["patch", "workflowrun", name, "--type=merge", "--patch", terminated];
        system.kubectl(&words).await;
    }
    system.apply(&workflow("nap", nap)).await;
    prometheus.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_of_the_controller_and_of_the_database_is_told_until_it_ends() {
    let mut server = tokio::task::block_in_place(|| Postgres::start(Options::default())).unwrap();
    tokio::task::block_in_place(|| server.create_database("silent")).unwrap();
    let (system, release, prometheus) = watched("silent", server.url("silent")).await;
    let mut controller = release.start("controller", &[]).await;
    controller.leads().await;
    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;

    controller.kill().await;
    prometheus.fires(&["EverstepDetectorSilent"]).await;
    let mut controller = release.start("controller", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;

    // What a database that is away keeps from being claimed is that alert's, also what nobody claimed before.
    worker.kill().await;
    prometheus.scrape(&mut [&mut controller]).await;
    system.apply(&workflow("late", "{steps: [{name: a, set: {}}]}")).await;
    let follows = ["EverstepDueWorkNotClaimed", "EverstepNoProgress"];
    prometheus.fires(&follows).await;
    tokio::task::block_in_place(|| server.stop(Shutdown::Immediate)).unwrap();
    prometheus.fires_without("EverstepStoreDown", &follows).await;
    tokio::task::block_in_place(|| server.resume()).unwrap();
    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;
}

#[tokio::test]
async fn failures_retries_and_lost_signals_are_told_until_there_are_no_more() {
    let (system, release, prometheus) = watched("badly", postgres::empty_database().await).await;
    let mut controller = release.start("controller", &[]).await;
    controller.leads().await;
    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;
    prometheus.has_scraped_for(WINDOW).await;

    let order = "{start: OnDemand, steps: [{name: stop, fail: {code: STOP, message: enough}}]}";
    let runs = (0..6).map(|n| workflow_run(&format!("order-{n}"), "{workflowRef: {name: order}}"));
    system
        .apply(&(workflow("order", order) + &runs.collect::<String>()))
        .await;
    prometheus.fires(&["EverstepFailureRateHigh"]).await;
    system
        .apply(&signal("late", "{target: {run: order-0}, signal: approve}"))
        .await;
    prometheus.fires(&["EverstepSignalUndeliverable"]).await;
    let nowhere = "{retry: {maxAttempts: 1000, backoff: {initial: 100ms, factor: 1, jitter: 0}}, steps: [{name: a, sql: {connection: nowhere, query: SELECT 1}}]}";
    system.apply(&workflow("storm", nowhere)).await;
    prometheus.fires(&["EverstepRetryStorm"]).await;

    system.kubectl(&["delete", "workflow", "storm"]).await;
    prometheus.is_quiet().await;
}

#[tokio::test]
async fn brake_is_told_until_it_is_released() {
    let (system, release, prometheus) = watched("braked", postgres::empty_database().await).await;
    let mut controller = release.start("controller", &[]).await;
    controller.leads().await;
    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;

    let naps = (0..25).map(|n| workflow(&format!("nap-{n}"), "{steps: [{name: nap, sleep: {for: 1h}}]}"));
    system.apply(&naps.collect::<String>()).await;
    let asleep = "SELECT count(*) FROM everstep.runs WHERE phase = 'Sleeping'";
    system.until_count(asleep, 25).await;
    controller.kill().await;
    system.kubectl(&["delete", "workflows", "--all"]).await;
    let mut controller = release.start("controller", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.fires(&["EverstepOrphanBrake"]).await;
    assert_eq!(system.count(asleep).await, 25, "none is cancelled");

    // They were meant to go, says a person, ...
    let mut sql = system.sql().await;
    let grant = "SELECT everstep.grant_namespace(SESSION_USER::text, namespace) FROM everstep.runs LIMIT 1";
    sqlx::raw_sql(grant).execute(&mut sql).await.unwrap();
    sqlx::raw_sql("SELECT everstep.cancel(id, 'gone for good') FROM everstep.runs")
        .execute(&mut sql)
        .await
        .unwrap();
    system.until_count(asleep, 0).await;
    assert!(
        prometheus.firing().await.contains("EverstepOrphanBrake"),
        "it holds for a quarter of an hour"
    );
    // ... and that has passed. Controllers learn the time with what they read.
    sqlx::raw_sql(
        "CREATE OR REPLACE FUNCTION everstep.now() RETURNS timestamptz LANGUAGE sql
         AS $$ SELECT clock_timestamp() + interval '16 minutes' $$",
    )
    .execute(&mut sql)
    .await
    .unwrap();
    system.apply(&workflow("hello", "{steps: [{name: a, set: {}}]}")).await;
    prometheus.is_quiet().await;
}

#[tokio::test]
async fn status_that_cannot_be_written_is_told_until_it_can() {
    let (system, release, prometheus) = watched("lags", postgres::empty_database().await).await;
    let mut controller = release.start("controller", &[]).await;
    controller.leads().await;
    let mut worker = release.start("worker", &[]).await;
    prometheus.scrape(&mut [&mut controller, &mut worker]).await;
    prometheus.is_quiet().await;

    let right = |object: &&Value| object["kind"] == "Role" && object.to_string().contains("workflows/status");
    let role = release.objects.iter().find(right).unwrap();
    let mut less = role.clone();
    for rule in less["rules"].as_array_mut().unwrap() {
        let resources = rule["resources"].as_array_mut().unwrap();
        resources.retain(|resource| resource != "workflows/status");
    }
    system.apply_server_side(&less.to_string()).await;
    let spec = "{steps: [{name: a, set: {}}]}";
    system.apply(&workflow("unseen", spec)).await;
    prometheus.fires(&["EverstepProjectionLag"]).await;
    assert!(system.workflow("unseen").await["status"]["run"].is_null());

    system.apply_server_side(&role.to_string()).await;
    prometheus.is_quiet().await;
    assert_eq!(system.finished("unseen").await["status"]["run"]["phase"], "Succeeded");
}

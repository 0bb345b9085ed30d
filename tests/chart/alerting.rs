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
        system::{System, condition, install_crds, workflow, workflow_run},
    },
};

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
    }})
}

/// A system of the chart, and a Prometheus that does not scrape it yet, and says so.
async fn watched(name: &str, database_url: String) -> (System, Release<'static>, Prometheus) {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let system = System::on(plane, name, database_url).await;
    let values = json!({
        "namespaces": [system.namespace],
        "controller": {"leaderLeaseDuration": "1s"},
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
    let (_system, release, prometheus) = watched("silent", server.url("silent")).await;
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

    tokio::task::block_in_place(|| server.stop(Shutdown::Immediate)).unwrap();
    prometheus.fires(&["EverstepStoreDown"]).await;
    tokio::task::block_in_place(|| server.resume()).unwrap();
    prometheus.is_quiet().await;
}

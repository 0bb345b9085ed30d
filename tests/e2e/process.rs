//! A process of each role as an operator sees it: endpoints, logs, signals; and the commands that print.

use std::time::{Duration, Instant};

use everstep::telemetry;
use nix::sys::signal::Signal;

use crate::support::{
    process,
    system::{Process, System, example, workflow},
};

#[tokio::test]
async fn every_role_answers_on_its_endpoints_and_ends_well_on_sigterm() {
    let system = System::new("roles").await;
    // First the one that takes the database: a worker waits for it.
    for role in ["all", "controller", "worker"] {
        let mut process = system.start(role, &[]).await;
        assert_eq!(process.get("/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(process.get("/readyz").await, (200, "ok\n".to_owned()));
        let (status, metrics) = process.get("/metrics").await;
        assert_eq!(status, 200);
        let store_up = metrics.lines().find(|line| line.starts_with("everstep_store_up"));
        assert_eq!(store_up, Some("everstep_store_up 1"), "{metrics}");
        assert_eq!(process.get("/other").await.0, 404);

        let asked = Instant::now();
        process.signal(Signal::SIGTERM);
        let status = process.ended().await;
        assert_eq!(status.code(), Some(0), "{role}: {status}");
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{role}: {:?}",
            asked.elapsed()
        );
        let last = process.logs().pop().unwrap();
        assert_eq!((&last["message"], &last["role"]), (&"ended".into(), &role.into()));
    }
    assert_eq!(
        system
            .count("SELECT count(*) FROM everstep.workers WHERE expires_at > everstep.now()")
            .await,
        0,
        "leases are given up"
    );
}

#[tokio::test]
async fn worker_that_is_told_to_end_lets_its_attempt_end() {
    let system = System::new("drain").await;
    let payments = crate::support::system::Payments::start(Duration::from_secs(1)).await;
    system.allow(payments.port);
    let controller = system.start("controller", &[]).await;
    let mut worker = system.start("worker", &[]).await;
    let spec = "{steps: [{name: charge, http: {connection: payments, method: POST, path: /v1/charges, body: {}}}]}";
    let connection =
        crate::support::system::connection("payments", &format!("{{http: {{baseUrl: '{}'}}}}", payments.url()));
    system.apply(&(connection + &workflow("drained", spec))).await;
    let until = Instant::now() + crate::support::system::DEADLINE;
    // Not idempotent: its beginning is recorded before its first byte.
    while system.count("SELECT count(*) FROM everstep.journal").await == 0 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.signal(Signal::SIGTERM);
    assert!(worker.ended().await.success());
    assert_eq!(
        system
            .count("SELECT count(*) FROM everstep.runs WHERE phase = 'Succeeded'")
            .await,
        1
    );
    assert_eq!(payments.entries("/v1/charges").len(), 1);
    controller.stop().await;
}

#[tokio::test]
async fn logs_are_json_lines_with_the_ids_as_fields() {
    let system = System::new("logs").await;
    let mut all = system.start("all", &[]).await;
    system.apply(&example("hello.yaml")).await;
    let hello = system.finished("hello").await;
    let started = all.logged("run started", |line| line["message"] == "run started").await;
    assert_eq!(started["run"], hello["status"]["run"]["id"]);
    assert_eq!(started["uid"], hello["metadata"]["uid"]);
    assert_eq!(started["revision"], hello["status"]["revision"]);
    assert_eq!(started["level"], "INFO");
    all.signal(Signal::SIGTERM);
    all.ended().await;
    for line in all.errors().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
        assert!(
            line["level"] != "ERROR" && line["level"] != "WARN",
            "nothing went wrong: {line}"
        );
    }
    assert_eq!(all.output(), "", "logs go to standard error");
}

#[test]
fn panic_is_a_log_line_whatever_the_filter_is() {
    const TEST: &str = "process::panic_is_a_log_line_whatever_the_filter_is";
    if process::is_again() {
        telemetry::init(telemetry::Format::Json, "off").unwrap();
        let task = std::thread::Builder::new().name("reconcile".to_owned());
        let ended = task.spawn(|| panic!("two\nlines")).unwrap().join();
        assert!(ended.is_err());
        return;
    }
    let said = process::again(TEST, &[("RUST_BACKTRACE", "0")]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let errors = String::from_utf8(said.stderr).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    let line: serde_json::Value = serde_json::from_str(&errors).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["message"], "panicked: two\nlines");
    assert_eq!(line["thread"], "reconcile");
    assert!(line["location"].as_str().unwrap().contains("process.rs:"), "{line}");
    assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
}

#[tokio::test]
async fn logs_for_people_are_no_json() {
    let system = System::new("text").await;
    let mut all = system.spawn("all", &[("--log-format", "text")]);
    let until = Instant::now() + Duration::from_secs(60);
    while !all.errors().contains("starting") {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(all.logs().is_empty());
    all.signal(Signal::SIGTERM);
    assert!(all.ended().await.success());
}

#[tokio::test]
async fn commands_that_print_need_nothing() {
    let crd = succeeds(&["crd"]).await;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/crds")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(crd.contains(text.trim()), "`everstep crd` prints what is committed");
    }
    assert!(succeeds(&["completion", "bash"]).await.contains("complete "));
    assert!(succeeds(&["--version"]).await.starts_with("everstep 0."));
    let help = succeeds(&["--help"]).await;
    for word in [
        "controller",
        "worker",
        "all",
        "migrate",
        "crd",
        "dev",
        "completion",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word}");
    }
    for (role, defaults) in [
        (
            "all",
            &[
                "0.0.0.0:8080",
                "30s",
                "5m",
                "60s",
                "1000",
                "auto",
                "deny all",
                "[default: all]",
                "[default: json",
                "[default: info",
            ][..],
        ),
        ("controller", &["0.0.0.0:8080", "5m", "60s"]),
        ("worker", &["30s", "1000", "deny all"]),
        ("migrate", &["auto"]),
        ("dev", &["[default: anywhere]"]),
    ] {
        let help = succeeds(&[role, "--help"]).await;
        for default in defaults {
            assert!(help.contains(default), "{role}: {default}\n{help}");
        }
    }
}

#[tokio::test]
async fn what_crd_prints_can_be_applied() {
    let system = System::new("crds").await;
    let printed = succeeds(&["crd"]).await;
    let said = system.apply_server_side(&printed).await;
    assert_eq!(said.lines().count(), 4, "{said}");
}

async fn succeeds(words: &[&str]) -> String {
    let mut process = Process::spawn(words, &[]);
    let status = process.ended().await;
    assert!(status.success(), "{words:?}: {}", process.errors());
    process.output()
}

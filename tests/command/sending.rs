//! `signal`, `cancel` and `retry` in PostgreSQL.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    person::Person,
    rig::{Rig, eventually},
};

const UNKNOWN: &str = "0192f3c4-7d1e-7aaa-8000-000000000000";

/// A run that waits for `approve`, and the worker that carries it.
async fn waiting() -> (Rig, Person, crate::rig::Process, Uuid) {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    let worker = rig.worker().await;
    let steps = json!([{"name": "approval", "waitForSignal": {"signal": "approve"}}]);
    let body = json!({"steps": steps, "output": "=steps.approval.output.payload"});
    let run = rig.start("order", body).await;
    eventually("the wait", async || rig.phase(run).await == "Waiting").await;
    (rig, person, worker, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_the_step_with_its_payload() {
    let (rig, person, worker, run) = waiting().await;
    let said = person
        .says(&[
            "signal",
            &run.to_string(),
            "approve",
            "-p",
            "approved:=true",
            "-p",
            "by=me",
        ])
        .await;
    assert_eq!(said.ok(), format!("signal approve to run {run}: stored\n"));
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert_eq!(rig.summary(run).await["output"], json!({"approved": true, "by": "me"}));
    // Nobody is there any more.
    let late = person.says(&["signal", &run.to_string(), "approve"]).await;
    late.refused(1, &["is over (Succeeded)", "Nobody waits"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_a_key_is_stored_once_and_another_content_is_refused() {
    let (rig, person, worker, _) = waiting().await;
    let other = [
        "signal",
        "order",
        "other",
        "--via",
        "sql",
        "--dedup-key",
        "t-1",
        "-p",
        "n:=1",
    ];
    assert!(person.says(&other).await.ok().contains(": stored\n"));
    assert!(person.says(&other).await.ok().contains("stored before"));
    let answer = person.says(&[&other[..], &["-o", "json"]].concat()).await.json();
    assert_eq!(answer["answer"], "Duplicate");
    let differs = [
        "signal",
        "order",
        "other",
        "--via",
        "sql",
        "--dedup-key",
        "t-1",
        "-p",
        "n:=2",
    ];
    person
        .says(&differs)
        .await
        .refused(1, &["says something else", "not stored"]);
    assert_eq!(rig.count("SELECT count(*) FROM everstep.inbox").await, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signal_cannot_be_is_said() {
    let (_rig, person, worker, run) = waiting().await;
    let id = &*run.to_string();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["signal", UNKNOWN, "approve"], 1, &["no run"]),
        (&["signal", "ghost", "approve", "--via", "sql"], 1, &["ghost"]),
        (&["signal", id, ""], 1, &["signal is empty"]),
        (&["signal", id, "approve", "-p", "x:=?"], 2, &["not JSON"]),
        (&["signal", id, "approve", "--by", "me"], 2, &["--by", "your role"]),
        (&["signal", id, "approve", "--key", "k"], 2, &["--key"]),
        (&["signal", id, "approve", "--wait"], 2, &["--wait", "--via object"]),
        (
            &["signal", id, "approve", "--expires-after", "1h"],
            2,
            &["--expires-after"],
        ),
        (&["signal", id, "approve", "--via", "object"], 2, &["erun/NAME"]),
        (&["cancel", UNKNOWN, "--terminate"], 1, &["no run"]),
        (&["cancel", UNKNOWN], 1, &["no run"]),
        (&["retry", UNKNOWN], 1, &["no run"]),
        (&["retry", id], 1, &["does not stand still", "onFailure: Pause"]),
    ];
    for (words, code, expected) in cases {
        person.says(words).await.refused(*code, expected);
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_waited_for_and_a_second_one_has_nothing_left() {
    let (rig, person, worker, run) = waiting().await;
    let said = person
        .says(&["cancel", &run.to_string(), "--reason", "ordered twice", "--wait"])
        .await
        .ok();
    assert_eq!(said, format!("run {run} told to cancel\nrun {run} Cancelled\n"));
    let history = person.says(&["history", &run.to_string()]).await.ok();
    assert!(history.contains("cancel requested: ordered twice"), "{history}");
    let again = person.says(&["cancel", &run.to_string()]).await;
    again.refused(1, &["is over (Cancelled)"]);
    rig.is_clean().await;
    worker.stop().await;
}

/// Its object is no WorkflowRun, so there is no `desiredState` that could end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_compensation_has_failed_ends_when_it_is_terminated() {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    let worker = rig.worker().await;
    // Nobody listens there.
    let undo: Value = json!({"http": {"url": "http://127.0.0.1:9/"}, "retry": {"maxAttempts": 1}});
    let steps = json!([{"name": "book", "set": {}, "compensate": undo},
        {"name": "charge", "needs": ["book"], "fail": {"code": "NO"}}]);
    let run = rig.start("order", json!({ "steps": steps })).await;
    eventually("the standstill", async || rig.phase(run).await == "Paused").await;
    assert_eq!(rig.summary(run).await["stalled"], "CompensationFailed");
    let cancel = person.says(&["cancel", &run.to_string()]).await;
    assert!(cancel.errors.contains("cancel it with --terminate"), "{cancel:?}");
    let said = person
        .says(&[
            "cancel",
            "ewf/order",
            "--via",
            "sql",
            "--terminate",
            "--reason",
            "by hand",
        ])
        .await
        .ok();
    assert_eq!(said, format!("run {run} told to terminate\n"));
    assert_eq!(rig.ended(run).await, "Failed");
    let history = person.says(&["history", &run.to_string()]).await.ok();
    assert!(history.contains("terminate requested: by hand"), "{history}");
    rig.is_clean().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stands_still_after_a_failure_is_ended_by_a_cancel_though_it_failed() {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    let worker = rig.worker().await;
    // Nobody listens there.
    let call: Value = json!({"name": "call", "http": {"url": "http://127.0.0.1:9/"}, "retry": {"maxAttempts": 1}});
    let run = rig.start("order", json!({"steps": [call], "onFailure": "Pause"})).await;
    eventually("the standstill", async || rig.phase(run).await == "Paused").await;
    let said = person.says(&["cancel", &run.to_string(), "--wait"]).await.ok();
    let expected = format!("run {run} ended as Failed, for the failure that it stood still after: call: ");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(rig.phase(run).await, "Failed");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stands_still_after_a_failure_goes_on_by_a_retry() {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    let worker = rig.worker().await;
    // Nobody listens there.
    let call: Value = json!({"name": "call", "http": {"url": "http://127.0.0.1:9/"}, "retry": {"maxAttempts": 1}});
    let run = rig.start("order", json!({"steps": [call], "onFailure": "Pause"})).await;
    eventually("the standstill", async || rig.phase(run).await == "Paused").await;
    let wrong = person
        .says(&["retry", "order", "--via", "sql", "--from", "elsewhere"])
        .await;
    assert_eq!(wrong.ok(), format!("run {run} told to retry\n"));
    eventually("the refusal", async || {
        person
            .says(&["history", "order"])
            .await
            .ok()
            .contains("retry refused: `elsewhere` is not what failed")
    })
    .await;
    person
        .says(&["retry", "order", "--via", "sql", "--from", "call"])
        .await
        .ok();
    eventually("the second failure", async || {
        let failures = rig
            .journal(run)
            .await
            .iter()
            .filter(|event| *event == "StepFailed call")
            .count();
        failures == 2 && rig.phase(run).await == "Paused"
    })
    .await;
    let tree = person.says(&["tree", "order"]).await.ok();
    assert!(
        tree.contains("attempt 2") && tree.contains("Waiting for:   retry or cancel"),
        "{tree}"
    );
    worker.stop().await;
}

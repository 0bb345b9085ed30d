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

/// A step that fails for good: nobody listens there.
fn nobody() -> Value {
    json!({"http": {"url": "http://127.0.0.1:9/"}, "retry": {"maxAttempts": 1}})
}

/// A run of this definition that stands still after a failure, and the worker that carries it.
async fn standing(body: Value) -> (Rig, Person, crate::rig::Process, Uuid) {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    let worker = rig.worker().await;
    let run = rig.start("order", body).await;
    eventually("the standstill", async || rig.phase(run).await == "Paused").await;
    (rig, person, worker, run)
}

/// Stands still when `call` has failed.
async fn standing_after_a_failure() -> (Rig, Person, crate::rig::Process, Uuid) {
    let mut call = nobody();
    call["name"] = json!("call");
    standing(json!({"steps": [call], "onFailure": "Pause"})).await
}

/// Its object is no WorkflowRun, so there is no `desiredState` that could end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_compensation_has_failed_ends_when_it_is_terminated() {
    let steps = json!([{"name": "book", "set": {}, "compensate": nobody()},
        {"name": "charge", "needs": ["book"], "fail": {"code": "NO"}}]);
    let (rig, person, worker, run) = standing(json!({ "steps": steps })).await;
    assert_eq!(rig.summary(run).await["stalled"], "CompensationFailed");
    let cancel = person.says(&["cancel", &run.to_string()]).await;
    cancel.refused(
        1,
        &[
            "stands still",
            "could not be undone (book: CompensationFailed: ",
            "cancel it with --terminate",
            &format!("everstep retry {run} --via sql"),
        ],
    );
    assert_eq!(
        rig.count("SELECT count(*) FROM everstep.inbox").await,
        0,
        "nothing was told"
    );
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
async fn a_cancel_is_waited_for_no_longer_when_what_was_done_cannot_be_undone() {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    let worker = rig.worker().await;
    let steps = json!([{"name": "book", "set": {}, "compensate": nobody()},
        {"name": "approval", "needs": ["book"], "waitForSignal": {"signal": "approve"}}]);
    let run = rig.start("order", json!({ "steps": steps })).await;
    eventually("the wait", async || rig.phase(run).await == "Waiting").await;
    let said = person.says(&["cancel", &run.to_string(), "--wait"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.output, format!("run {run} told to cancel\n"));
    let way = format!("everstep cancel {run} --terminate");
    assert!(
        said.errors.contains("stands still") && said.errors.contains(&way),
        "{said:?}"
    );
    // That one ends it.
    let said = person
        .says(&["cancel", &run.to_string(), "--terminate", "--wait"])
        .await;
    assert_eq!(said.ok(), format!("run {run} told to terminate\nrun {run} Cancelled\n"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stands_still_after_a_failure_is_ended_by_a_cancel_though_it_failed() {
    let (rig, person, worker, run) = standing_after_a_failure().await;
    let said = person.says(&["cancel", &run.to_string(), "--wait"]).await.ok();
    let expected = format!("run {run} ended as Failed, for the failure that it stood still after: call: ");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(rig.phase(run).await, "Failed");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stands_still_after_a_failure_goes_on_by_a_retry() {
    let (rig, person, worker, run) = standing_after_a_failure().await;
    let wrong = person
        .says(&["retry", "order", "--via", "sql", "--from", "elsewhere"])
        .await;
    wrong.refused(1, &["'elsewhere' is not what failed", "that is call"]);
    let told = rig.count("SELECT count(*) FROM everstep.inbox").await;
    assert_eq!(told, 0, "nothing was told");
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

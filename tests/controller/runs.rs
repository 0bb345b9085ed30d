//! WorkflowRuns: what their objects say when the database has forgotten.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::{Field, Fixture, eventually};

#[tokio::test]
async fn ended_run_is_neither_forgotten_nor_run_again_when_its_start_key_is_free_again() {
    let fixture = Fixture::new("forgotten").await;
    let _controller = fixture.controller();
    for name in ["first", "second"] {
        fixture
            .apply(&format!(
                "
apiVersion: everstep.dev/v1alpha1
kind: WorkflowRun
metadata: {{name: {name}}}
spec:
  workflowRef: {{name: order}}
  idempotencyKey: order-7
---
apiVersion: everstep.dev/v1alpha1
kind: Workflow
metadata: {{name: order}}
spec: {{start: OnDemand, steps: [{{name: a, set: {{}}}}]}}
"
            ))
            .await;
    }
    eventually("a run", || async {
        fixture.count("SELECT count(*) FROM everstep.runs").await == 1
    })
    .await;
    fixture.finish_all("Failed").await;
    for name in ["first", "second"] {
        eventually("an end", || async { said(&fixture, name).await.2 == "Failed" }).await;
    }
    let before = [said(&fixture, "first").await, said(&fixture, "second").await];

    // As 30 days after the run was retired.
    fixture
        .execute("DELETE FROM everstep.runs; DELETE FROM everstep.starts")
        .await;
    for name in ["first", "second"] {
        let manifest = r#"{"spec": {"ttlAfterFinished": "90d"}}"#;
        let patch = [
            "-n",
            &fixture.namespace,
            "patch",
            "erun",
            name,
            "--type=merge",
            "-p",
            manifest,
        ];
        fixture.plane.kubectl(&patch).await.unwrap();
        eventually("the edit is seen", || async {
            fixture.object("erun", name).await["status"]["observedGeneration"] == 2
        })
        .await;
    }
    let after = [said(&fixture, "first").await, said(&fixture, "second").await];
    assert_eq!(after, before);
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.starts").await, 0);
}

const ORDER: &str = "
apiVersion: everstep.dev/v1alpha1
kind: WorkflowRun
metadata: {name: order-7}
spec:
  workflow: {steps: [{name: a, set: {}}]}
";

/// A duration that the schema takes and nobody means.
const TOO_LONG: &str = r#"{"spec": {"ttlAfterFinished": "5000d"}}"#;

#[tokio::test]
async fn refused_edit_does_not_cut_the_object_off_from_its_run() {
    let fixture = Fixture::new("refused-edit").await;
    let _controller = fixture.controller();
    fixture.apply(ORDER).await;
    eventually("accepted", || async {
        reason(&fixture, "Accepted").await == "Accepted"
    })
    .await;
    patch(&fixture, TOO_LONG).await;
    eventually("refused", || async {
        reason(&fixture, "Accepted").await == "InvalidSpec"
    })
    .await;

    fixture.finish_all("Succeeded").await;
    eventually("an end", || async { reason(&fixture, "Finished").await == "Succeeded" }).await;
    assert_eq!(reason(&fixture, "Accepted").await, "InvalidSpec");
    assert_eq!(
        fixture.object("erun", "order-7").await["status"]["run"]["phase"],
        "Succeeded"
    );
    let unprojected = "SELECT count(*) FROM everstep.runs WHERE summary_seq > projected_seq";
    eventually("marked", || async { fixture.count(unprojected).await == 0 }).await;
}

#[tokio::test]
async fn refused_edit_of_an_ended_run_is_told_and_the_run_is_not_run_again_when_it_is_corrected() {
    let fixture = Fixture::new("refused-late").await;
    let _controller = fixture.controller();
    fixture.apply(ORDER).await;
    eventually("a run", || async {
        fixture.count("SELECT count(*) FROM everstep.runs").await == 1
    })
    .await;
    fixture.finish_all("Succeeded").await;
    eventually("an end", || async { reason(&fixture, "Finished").await == "Succeeded" }).await;
    patch(&fixture, TOO_LONG).await;
    eventually("refused", || async {
        reason(&fixture, "Accepted").await == "InvalidSpec"
    })
    .await;
    eventually("told", || async { fixture.events("InvalidSpec").await == 1 }).await;
    assert_eq!(reason(&fixture, "Finished").await, "Succeeded");
    assert_eq!(reason(&fixture, "Ready").await, "Succeeded");

    // As 30 days after the run was retired.
    fixture
        .execute("DELETE FROM everstep.runs; DELETE FROM everstep.starts")
        .await;
    patch(&fixture, r#"{"spec": {"ttlAfterFinished": "90d"}}"#).await;
    eventually("corrected", || async {
        reason(&fixture, "Accepted").await == "Accepted"
    })
    .await;
    assert_eq!(reason(&fixture, "Finished").await, "Succeeded");
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.starts").await, 0);
}

#[tokio::test]
async fn run_that_was_held_by_its_workflow_begins_as_soon_as_that_lets_it() {
    let fixture = Fixture::new("let-go").await;
    // An object that has waited for ten minutes is looked at twice a minute.
    fixture
        .execute(
            "CREATE OR REPLACE FUNCTION everstep.now() RETURNS timestamptz LANGUAGE sql
             AS $$ SELECT clock_timestamp() + interval '10 minutes' $$",
        )
        .await;
    let _controller = fixture.controller();
    let workflow = |suspend| {
        let spec = format!("{{start: OnDemand, suspend: {suspend}, steps: [{{name: a, set: {{}}}}]}}");
        format!("{{apiVersion: everstep.dev/v1alpha1, kind: Workflow, metadata: {{name: order}}, spec: {spec}}}\n")
    };
    let run = ORDER.replace("workflow: {steps: [{name: a, set: {}}]}", "workflowRef: {name: order}");
    fixture.apply(&run).await;
    eventually("no Workflow", || async {
        reason(&fixture, "Accepted").await == "WorkflowNotFound"
    })
    .await;
    let runs = "SELECT count(*) FROM everstep.runs";
    for (suspend, expected, count) in [(true, "Suspended", 0), (false, "Accepted", 1)] {
        fixture.apply(&workflow(suspend)).await;
        let since = Instant::now();
        eventually(expected, || async { reason(&fixture, "Accepted").await == expected }).await;
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "{expected} after {:?}",
            since.elapsed()
        );
        assert_eq!(fixture.count(runs).await, count);
    }
}

async fn patch(fixture: &Fixture, patch: &str) {
    let namespace = &*fixture.namespace;
    let arguments = ["-n", namespace, "patch", "erun", "order-7", "--type=merge", "-p", patch];
    fixture.plane.kubectl(&arguments).await.unwrap();
}

/// The reason of that condition of the object; empty when there is none.
async fn reason(fixture: &Fixture, kind: &str) -> String {
    let status = fixture.object("erun", "order-7").await["status"].clone();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let condition = conditions.into_iter().find(|condition| condition["type"] == kind);
    condition.unwrap_or_default().text("reason").to_owned()
}

/// The run that is shown, and status and reason of `Ready`.
async fn said(fixture: &Fixture, name: &str) -> (Value, Value, Value) {
    let status = fixture.object("erun", name).await["status"].clone();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    let ready = ready.unwrap_or_default();
    (status["run"].clone(), ready["status"].clone(), ready["reason"].clone())
}

//! WorkflowRuns: what their objects say when the database has forgotten.

use serde_json::Value;

use crate::fixture::{Fixture, eventually};

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

/// The run that is shown, and status and reason of `Ready`.
async fn said(fixture: &Fixture, name: &str) -> (Value, Value, Value) {
    let status = fixture.object("erun", name).await["status"].clone();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    let ready = ready.unwrap_or_default();
    (status["run"].clone(), ready["status"].clone(), ready["reason"].clone())
}

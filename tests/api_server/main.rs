//! The CustomResourceDefinitions as a real API server sees them: accepted, with the columns that people read, taking
//! good objects and refusing bad ones with a message that says what is wrong and where.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod asking;
mod cases;
#[path = "../support/mod.rs"]
mod support;

use asking::{answers_are_as_expected, edits_are_as_expected, put, root, spec_of, with_crds};
use cases::{CONNECTIONS, RUN_EDITS, RUNS, SIGNAL_EDITS, SIGNALS, WORKFLOWS};
use everstep::api::v1alpha1::{
    Condition, ConditionStatus, ConditionType, Connection, Counts, Phase, RunStatus, Signal, Workflow, WorkflowRun,
    WorkflowStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

#[tokio::test]
async fn signals_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<Signal>(SIGNALS).await;
}

#[tokio::test]
async fn runs_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<WorkflowRun>(RUNS).await;
}

#[tokio::test]
async fn signal_never_changes() {
    edits_are_as_expected::<Signal>(SIGNAL_EDITS).await;
}

#[tokio::test]
async fn run_changes_only_in_what_it_is_to_do_and_how_long_it_is_kept() {
    edits_are_as_expected::<WorkflowRun>(RUN_EDITS).await;
}

#[tokio::test]
async fn columns_of_runs_and_signals_show_their_targets() {
    let plane = with_crds().await;
    let namespace = plane.namespace("targets").await.unwrap();
    let client = plane.client().await.unwrap();
    for (name, target) in [("by-workflow", "workflow: order"), ("by-run", "run: again")] {
        let spec = spec_of(&format!("{{target: {{{target}}}, signal: approve, by: anna}}"));
        put::<Signal>(client.clone(), &namespace, name, &spec).await.unwrap();
    }
    put::<WorkflowRun>(client, &namespace, "again", &spec_of("workflowRef: {name: order}"))
        .await
        .unwrap();
    let table = async |kind: &str| {
        let table = plane.kubectl(&["--namespace", &namespace, "get", kind]).await.unwrap();
        let lines = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>()
    };
    let signals = table("esig").await;
    assert_eq!(signals[0], "NAME TARGET SIGNAL BY STORED CONSUMED AGE");
    assert!(signals[1].starts_with("by-run again approve anna "), "{signals:?}");
    assert!(signals[2].starts_with("by-workflow order approve anna "), "{signals:?}");
    let runs = table("erun").await;
    assert_eq!(runs[0], "NAME WORKFLOW STATUS STEP WAITING PROGRESS AGE");
    assert!(runs[1].starts_with("again order "), "{runs:?}");
}

#[tokio::test]
async fn workflows_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<Workflow>(WORKFLOWS).await;
}

#[tokio::test]
async fn connections_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<Connection>(CONNECTIONS).await;
}

#[tokio::test]
async fn crds_can_be_applied_from_the_server_side_after_the_client_side() {
    let plane = with_crds().await;
    let directory = root().join("crds");
    let directory = directory.to_str().unwrap();
    plane.kubectl(&["apply", "--filename", directory]).await.unwrap();
    plane
        .kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", directory])
        .await
        .unwrap();
}

#[tokio::test]
async fn examples_are_taken_from_both_sides_and_a_second_apply_changes_nothing() {
    let plane = with_crds().await;
    let namespace = plane.namespace("examples").await.unwrap();
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.to_str().unwrap();
        let apply = ["--namespace", &namespace, "apply", "--filename", file];
        plane.kubectl(&apply).await.unwrap();
        let again = plane.kubectl(&apply).await.unwrap();
        assert!(ours(&again).count() > 0, "{file} has an object of ours");
        assert!(ours(&again).all(|line| line.ends_with(" unchanged")), "{file}: {again}");
        let server_side = [
            "--namespace",
            &namespace,
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename",
            file,
        ];
        plane.kubectl(&server_side).await.unwrap();
    }
}

#[tokio::test]
async fn object_that_nobody_has_looked_at_does_not_look_healthy() {
    let plane = with_crds().await;
    let namespace = plane.namespace("fresh").await.unwrap();
    let workflows: Api<Workflow> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    let mut manifest = hello("fresh");
    manifest["status"] = json!({"observedGeneration": 1, "revision": "preset"});
    let apply = PatchParams::apply("test").validation_strict();
    let created = workflows
        .patch("fresh", &apply, &Patch::Apply(&manifest))
        .await
        .unwrap();
    let expected = WorkflowStatus {
        observed_generation: Some(-1),
        ..WorkflowStatus::default()
    };
    assert_eq!(created.status, Some(expected), "and a preset status is dropped");
}

#[tokio::test]
async fn columns_show_the_status() {
    let plane = with_crds().await;
    let namespace = plane.namespace("columns").await.unwrap();
    let workflows: Api<Workflow> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    let apply = PatchParams::apply("test").validation_strict();
    let mut manifest = hello("order");
    manifest["spec"]["schedules"] = json!([{"cron": "30-2-*-*-*"}]);
    workflows
        .patch("order", &apply, &Patch::Apply(&manifest))
        .await
        .unwrap();
    manifest.as_object_mut().unwrap().remove("spec");
    manifest["status"] = serde_json::to_value(waiting()).unwrap();
    let written = workflows
        .patch_status("order", &apply, &Patch::Apply(&manifest))
        .await
        .unwrap();
    assert_eq!(written.status, Some(waiting()), "nothing of the status was pruned");

    let get = ["--namespace", &namespace, "get", "ewf", "--output=wide"];
    let table = plane.kubectl(&get).await.unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = "NAME READY STATUS STEP WAITING PROGRESS STUCK AGE REVISION MESSAGE SCHEDULE NEXT";
    assert_eq!(lines.next().unwrap().join(" "), columns);
    let mut row = lines.next().unwrap();
    row.remove(7); // the age
    let expected = "order False Waiting approval+2 approve 2/5 1 7c9f4e21a0b3c5d7 soon 30-2-*-*-* 2026-11-23T09:00:03Z";
    assert_eq!(row.join(" "), expected);

    let narrow = plane.kubectl(&get[..4]).await.unwrap();
    assert_eq!(
        narrow.lines().next().unwrap().split_whitespace().last(),
        Some("AGE"),
        "{narrow}"
    );
    let category = plane
        .kubectl(&["--namespace", &namespace, "get", "everstep", "--output=name"])
        .await
        .unwrap();
    assert_eq!(category.trim(), "workflow.everstep.dev/order");
    let connections = plane.kubectl(&["--namespace", &namespace, "get", "econn"]).await;
    assert!(connections.is_ok(), "{connections:?}");
}

/// The lines about our kinds: a Secret with `stringData` is configured again by every apply.
fn ours(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.contains("everstep.dev/"))
}

fn hello(name: &str) -> Value {
    json!({
        "apiVersion": "everstep.dev/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {"steps": [{"name": "greet", "set": {"text": "hello"}}]},
    })
}

/// A status with every column's value in one word.
fn waiting() -> WorkflowStatus {
    let at: Timestamp = "2026-11-23T09:00:03Z".parse().unwrap();
    WorkflowStatus {
        observed_generation: Some(1),
        revision: Some("7c9f4e21a0b3c5d7".into()),
        sequence: Some(412),
        run: Some(RunStatus {
            id: "0192f3c4-0000-7000-8000-000000000000".into(),
            phase: Phase::Waiting,
            started_at: Some(Time(at)),
            finished_at: None,
            step: Some("approval+2".into()),
            waiting_for: Some("approve".into()),
            progress: Some("2/5".into()),
            attempts: Some(1),
            error: None,
            output: Some(json!({"any": [null, 1.5]})),
            output_omitted: None,
        }),
        counts: Some(Counts {
            active: 1,
            stuck: 1,
            succeeded: 12,
            failed: 0,
        }),
        last_scheduled_at: None,
        next_scheduled_at: Some(Time(at)),
        conditions: vec![Condition {
            kind: ConditionType::Ready,
            status: ConditionStatus::False,
            observed_generation: Some(1),
            last_transition_time: Time(at),
            reason: "Waiting".into(),
            message: "soon".into(),
        }],
    }
}

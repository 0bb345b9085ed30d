//! Runs that are asked for by name, and what their objects tell them: `desiredState`, `suspend`, deletion.

use serde_json::{Value, json};

use crate::{
    support::system::{System, condition, connection, observed, signal, workflow, workflow_run},
    target::Target,
};

/// Does something that can be undone, waits, and says how it ended.
const MADE: &str = "
workflow:
  steps:
  - name: make
    http: {connection: target, method: POST, path: /told, body: made, idempotent: true}
    compensate: {http: {connection: target, method: POST, path: /told, body: undone, idempotent: true}}
  - name: hold
    waitForSignal: {signal: go}
  - name: after
    http: {connection: target, method: POST, path: /told, body: went on, idempotent: true}
  finally:
  - name: tell
    http: {connection: target, method: POST, path: /told, body: =run.result, idempotent: true}
";

#[tokio::test]
async fn cancelled_run_undoes_what_it_did_and_a_terminated_one_does_not() {
    let (system, target) = (System::new("ended").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[]).await;
    system.apply(&connection("target", &target.spec())).await;
    let mut told = 0;
    for (state, expected) in [
        ("Cancelled", &["made", "undone", "Cancelled"][..]),
        ("Terminated", &["made", "Cancelled"]),
    ] {
        let name = state.to_lowercase();
        system.apply(&workflow_run(&name, MADE)).await;
        until(&system, &name, "waits", is_waiting).await;
        desire(&system, &name, state).await;
        let run = finished(&system, &name).await;
        assert_eq!(run["status"]["run"]["phase"], "Cancelled", "{state}: {}", run["status"]);
        assert_eq!(target.told()[told..], *expected, "{state}");
        told += expected.len();
        for kind in ["Succeeded", "Ready"] {
            let condition = condition(&run, kind);
            assert_eq!(
                (&condition["status"], &condition["reason"]),
                (&json!("False"), &json!("Cancelled"))
            );
        }
        assert_eq!(condition(&run, "Stalled")["status"], "True");
    }
    let audited = "SELECT count(*) FROM everstep.audit WHERE operation IN ('cancel', 'terminate')";
    assert_eq!(system.count(audited).await, 2);
}

#[tokio::test]
async fn paused_run_begins_nothing_until_it_is_resumed() {
    let (system, target) = (System::new("paused").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[]).await;
    system
        .apply(&(connection("target", &target.spec()) + &workflow_run("held", MADE)))
        .await;
    until(&system, "held", "waits", is_waiting).await;
    desire(&system, "held", "Paused").await;
    let held = until(&system, "held", "is paused", |it| {
        it["status"]["run"]["phase"] == "Paused"
    })
    .await;
    assert!(observed(&held));
    for (kind, expected) in [
        ("Succeeded", "Unknown"),
        ("Ready", "False"),
        ("Suspended", "True"),
        ("Reconciling", "True"),
    ] {
        let condition = condition(&held, kind);
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!(expected), &json!("Suspended")),
            "{kind}"
        );
    }
    system.apply(&signal("go", "{target: {run: held}, signal: go}")).await;
    let stored = |it: &Value| condition(it, "Stored")["status"] == "True";
    system.until_of("signals", "go", "is stored", stored).await;
    assert_eq!(target.told(), ["made"], "nothing begins");

    desire(&system, "held", "Running").await;
    let held = finished(&system, "held").await;
    assert_eq!(held["status"]["run"]["phase"], "Succeeded", "{}", held["status"]);
    assert_eq!(target.told(), ["made", "went on", "Succeeded"]);
    assert!(condition(&held, "Suspended").is_null());
}

#[tokio::test]
async fn run_whose_undo_fails_for_good_stands_still_until_it_is_terminated() {
    let (system, target) = (System::new("stuck").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[]).await;
    let spec = "
workflow:
  steps:
  - name: make
    http: {connection: target, method: POST, path: /told, body: made, idempotent: true}
    compensate: {http: {connection: target, method: POST, path: /status/422, body: {}, idempotent: true}}
  - name: stop
    fail: {code: STOP, message: enough}
  finally:
  - name: tell
    http: {connection: target, method: POST, path: /told, body: =run.result, idempotent: true}
";
    system
        .apply(&(connection("target", &target.spec()) + &workflow_run("stuck", spec)))
        .await;
    let stalled = |it: &Value| condition(it, "Stalled")["reason"] == "CompensationFailed";
    let run = until(&system, "stuck", "stands still", stalled).await;
    for kind in ["Succeeded", "Ready"] {
        let condition = condition(&run, kind);
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("CompensationFailed")),
            "{kind}"
        );
    }
    assert!(condition(&run, "Finished").is_null());
    assert_eq!(target.told(), ["made"]);

    desire(&system, "stuck", "Terminated").await;
    let run = finished(&system, "stuck").await;
    assert_eq!(run["status"]["run"]["phase"], "Failed", "{}", run["status"]);
    assert_eq!(target.told(), ["made", "Failed"]);
    let told = system.events("stuck").await;
    let told = told.iter().filter(|event| event["reason"] == "CompensationFailed");
    assert_eq!(told.count(), 1);
}

#[tokio::test]
async fn suspended_workflow_stands_still_until_it_is_no_more() {
    let system = System::new("suspended").await;
    let _all = system.start("all", &[]).await;
    let nap = "{steps: [{name: nap, sleep: {for: 5s}}, {name: a, set: {}}]}";
    let suspended = nap.replacen('{', "{suspend: true, ", 1);
    // Never started, and told to stand still in mid-run.
    system
        .apply(&(workflow("early", &suspended) + &workflow("late", nap)))
        .await;
    system
        .until("late", "sleeps", |it| it["status"]["run"]["phase"] == "Sleeping")
        .await;
    system.apply(&workflow("late", &suspended)).await;
    let late = system
        .until("late", "is paused", |it| it["status"]["run"]["phase"] == "Paused")
        .await;
    let early = system
        .until("early", "is suspended", |it| {
            condition(it, "Suspended")["status"] == "True"
        })
        .await;
    assert!(early["status"]["run"].is_null());
    for object in [&early, &late] {
        let ready = condition(object, "Ready");
        assert_eq!(
            (&ready["status"], &ready["reason"]),
            (&json!("False"), &json!("Suspended"))
        );
    }
    system.apply(&(workflow("early", nap) + &workflow("late", nap))).await;
    for name in ["early", "late"] {
        let object = system.finished(name).await;
        assert_eq!(object["status"]["run"]["phase"], "Succeeded", "{name}");
        assert!(condition(&object, "Suspended").is_null(), "{name}");
    }
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 2);
}

#[tokio::test]
async fn suspended_workflow_starts_no_run_that_refers_to_it_until_it_is_no_more() {
    let system = System::new("withheld").await;
    let _all = system.start("all", &[]).await;
    let spec = "{start: OnDemand, steps: [{name: a, set: {}}]}";
    system
        .apply(&workflow("order", &spec.replacen('{', "{suspend: true, ", 1)))
        .await;
    system
        .apply(&workflow_run("held", "{workflowRef: {name: order}}"))
        .await;
    let suspended = |it: &Value| condition(it, "Suspended")["status"] == "True";
    let held = until(&system, "held", "is suspended", suspended).await;
    let accepted = condition(&held, "Accepted");
    assert_eq!(
        (&accepted["status"], &accepted["reason"]),
        (&json!("Unknown"), &json!("Suspended"))
    );
    assert_eq!(system.count("SELECT count(*) FROM everstep.starts").await, 0);

    system.apply(&workflow("order", spec)).await;
    let held = finished(&system, "held").await;
    assert_eq!(held["status"]["run"]["phase"], "Succeeded", "{}", held["status"]);
    assert!(condition(&held, "Suspended").is_null());
}

#[tokio::test]
async fn run_of_a_workflow_has_its_own_input_which_is_held_against_the_params() {
    let system = System::new("inputs").await;
    let _all = system.start("all", &[]).await;
    let spec = "
start: OnDemand
params:
- {name: who, type: string, required: true}
steps:
- {name: greet, set: {text: \"='hello, ' + input.who\"}}
output: {said: =steps.greet.output.text}
";
    let run = |name: &str, more: &str| {
        let spec = format!("{{workflowRef: {{name: greeter}}, {more}}}");
        workflow_run(name, &spec)
    };
    system.apply(&run("early", "input: {who: you}")).await;
    let waits = |it: &Value| condition(it, "Accepted")["reason"] == "WorkflowNotFound";
    until(&system, "early", "waits for its Workflow", waits).await;
    let all = workflow("greeter", spec)
        + &run("good", "input: {who: world}")
        + &run("wrong", "input: {who: 5}")
        + &run("none", "readiness: Accepted")
        + &run("once", "input: {who: first}, idempotencyKey: k")
        + &run("twice", "input: {who: second}, idempotencyKey: k");
    system.apply(&all).await;
    for (name, said) in [("early", "hello, you"), ("good", "hello, world")] {
        let run = finished(&system, name).await;
        assert_eq!(run["status"]["run"]["output"]["said"], said, "{name}");
    }
    for name in ["wrong", "none"] {
        let run = until(&system, name, "is refused", |it| {
            condition(it, "Accepted")["reason"] == "InvalidSpec"
        })
        .await;
        let message = condition(&run, "Accepted")["message"].as_str().unwrap();
        assert!(message.contains("spec.input"), "{name}: {message}");
    }
    let (once, twice) = (finished(&system, "once").await, finished(&system, "twice").await);
    assert_eq!(once["status"]["run"]["id"], twice["status"]["run"]["id"]);
    assert_eq!(once["status"]["run"]["output"], twice["status"]["run"]["output"]);
    assert_eq!(
        system.count("SELECT count(*) FROM everstep.runs").await,
        3,
        "early, good, and one of the key"
    );
}

#[tokio::test]
async fn finished_run_is_deleted_after_its_time_to_live_unless_somebody_keeps_it() {
    let system = System::new("ttl").await;
    let _all = system.start("all", &[]).await;
    let spec = "{workflow: {steps: [{name: a, set: {}}]}, ttlAfterFinished: 1s}";
    let kept = workflow_run("kept", spec).replace(
        "metadata: {name: kept}",
        "metadata: {name: kept, annotations: {argocd.argoproj.io/tracking-id: x}}",
    );
    system.apply(&kept).await;
    finished(&system, "kept").await;
    system.apply(&workflow_run("gone", spec)).await;
    until(&system, "gone", "is deleted", Value::is_null).await;
    let never = spec.replacen('{', "{desiredState: Cancelled, ", 1);
    system.apply(&workflow_run("never", &never)).await;
    until(&system, "never", "is deleted", Value::is_null).await;
    // It ended before the others.
    assert!(!system.get("workflowruns", "kept").await.is_null());
    let phases = "SELECT count(*) FROM everstep.runs WHERE phase = 'Succeeded'";
    assert_eq!(
        system.count(phases).await,
        2,
        "an object's time to live is none of its run's"
    );
}

#[tokio::test]
async fn run_whose_object_is_deleted_is_cancelled() {
    let (system, target) = (System::new("left").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[("--orphan-period", "1s")]).await;
    system
        .apply(&(connection("target", &target.spec()) + &workflow_run("gone", MADE)))
        .await;
    until(&system, "gone", "waits", is_waiting).await;
    system.kubectl(&["delete", "erun", "gone"]).await;
    system
        .until_count("SELECT count(*) FROM everstep.runs WHERE phase = 'Cancelled'", 1)
        .await;
    assert_eq!(target.told(), ["made", "undone", "Cancelled"]);
}

async fn until(system: &System, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    system.until_of("workflowruns", name, what, holds).await
}

async fn finished(system: &System, name: &str) -> Value {
    let finished = |it: &Value| observed(it) && condition(it, "Finished")["status"] == "True";
    until(system, name, "Finished", finished).await
}

async fn desire(system: &System, name: &str, state: &str) {
    let patch = json!({"spec": {"desiredState": state}}).to_string();
    system
        .kubectl(&["patch", "erun", name, "--type=merge", "--patch", &patch])
        .await;
}

fn is_waiting(run: &Value) -> bool {
    run["status"]["run"]["phase"] == "Waiting"
}

//! Signal objects: what becomes of them, whoever is down meanwhile.

use std::time::Instant;

use futures::{StreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::{
    support::{
        controlplane,
        system::{System, condition, connection, signal, workflow},
    },
    target::Target,
};

/// Waits at once, and says what it was told.
const WAITS: &str = "{steps: [{name: hold, waitForSignal: {signal: go}}], output: {said: =steps.hold.output.payload}}";

#[tokio::test]
async fn signal_that_was_created_while_the_controller_was_down_is_consumed_when_it_is_back() {
    let system = System::new("down").await;
    let _worker = system.spawn("worker", &[]);
    let controller = system.start("controller", &[]).await;
    system.apply(&workflow("held", WAITS)).await;
    system.until("held", "waits", is_waiting).await;
    controller.kill().await;

    system
        .apply(&signal(
            "go",
            "{target: {workflow: held}, signal: go, payload: {number: 1}}",
        ))
        .await;
    assert!(system.get("signals", "go").await["status"]["run"].is_null());
    let _controller = system.start("controller", &[]).await;
    system.until_of("signals", "go", "is consumed", is_consumed).await;
    let held = system.finished("held").await;
    assert_eq!(held["status"]["run"]["output"]["said"], json!({"number": 1}));
}

#[tokio::test]
async fn signal_that_is_deleted_after_it_was_stored_is_consumed_all_the_same() {
    let (system, target) = (System::new("withdrawn").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[]).await;
    let spec = "
steps:
- name: gate
  http: {connection: target, path: /gate}
- name: hold
  waitForSignal: {signal: go}
output: {said: =steps.hold.output.payload}
";
    system
        .apply(&(connection("target", &target.spec()) + &workflow("held", spec)))
        .await;
    system
        .until("held", "is at the gate", |held| held["status"]["run"]["step"] == "gate")
        .await;
    system
        .apply(&signal(
            "go",
            "{target: {workflow: held}, signal: go, payload: {number: 2}}",
        ))
        .await;
    let stored = ["wait", "--for=condition=Stored", "--timeout=30s", "esig/go"];
    system.kubectl(&stored).await;
    let object = system.get("signals", "go").await;
    assert_eq!(condition(&object, "Consumed")["status"], "Unknown", "{object:#}");
    system.kubectl(&["delete", "esig", "go"]).await;
    target.open();
    let held = system.finished("held").await;
    assert_eq!(held["status"]["run"]["output"]["said"], json!({"number": 2}));
    // Nobody is left to show it: it must not be looked at for ever.
    system
        .until_count("SELECT count(*) FROM everstep.inbox WHERE shown", 1)
        .await;
}

#[tokio::test]
async fn signal_that_cannot_do_what_it_says_tells_why() {
    let system = System::new("refused").await;
    let _all = system.start("all", &[]).await;
    let nap = "{steps: [{name: nap, sleep: {for: 1h}}]}";
    system
        .apply(&(workflow("asleep", nap) + &workflow("over", "{steps: [{name: a, set: {}}]}")))
        .await;
    system.finished("over").await;
    system
        .until("asleep", "sleeps", |it| it["status"]["run"]["phase"] == "Sleeping")
        .await;

    let once = "{target: {workflow: asleep}, signal: go, payload: {number: 1}, dedupKey: k}";
    system.apply(&signal("once", once)).await;
    system.until_of("signals", "once", "is stored", is_stored).await;
    let rows = [
        (
            "again",
            once.to_owned(),
            "True/Duplicate False/Duplicate True/Duplicate",
        ),
        (
            "otherwise",
            once.replace("number: 1", "number: 2"),
            "True/Duplicate False/Duplicate False/Duplicate",
        ),
        (
            "late",
            "{target: {workflow: over}, signal: go}".to_owned(),
            "False/Rejected False/Rejected False/Rejected",
        ),
        (
            "nobody",
            "{target: {run: nobody}, signal: go, expiresAfter: 1s}".to_owned(),
            "False/TargetNotFound False/TargetNotFound False/TargetNotFound",
        ),
        (
            "large",
            format!(
                "{{target: {{workflow: asleep}}, signal: go, payload: {{a: {}}}}}",
                "x".repeat(65_536)
            ),
            "False/InvalidSpec False/InvalidSpec False/InvalidSpec",
        ),
    ];
    for (name, spec, _) in &rows {
        // On the server's side: the annotation of the other way would hold the payload once more.
        system.apply_server_side(&signal(name, spec)).await;
    }
    for (name, _, expected) in &rows {
        let ended = |it: &Value| matches!(condition(it, "Consumed")["status"].as_str(), Some("True" | "False"));
        let object = system.until_of("signals", name, "has an end", ended).await;
        let said = ["Stored", "Consumed", "Ready"].map(|kind| {
            let condition = condition(&object, kind);
            [&condition["status"], &condition["reason"]].map(|text| text.as_str().unwrap().to_owned())
        });
        assert_eq!(said.map(|words| words.join("/")).join(" "), *expected, "{name}");
        let stalled = condition(&object, "Stalled")["status"] == "True";
        assert_eq!(stalled, condition(&object, "Ready")["status"] == "False", "{name}");
    }
    let object = system.get("signals", "otherwise").await;
    let message = condition(&object, "Stored")["message"].as_str().unwrap();
    assert!(message.contains("payload"), "{message}");
    let object = system.get("signals", "large").await;
    let message = condition(&object, "Stored")["message"].as_str().unwrap();
    assert!(
        message.contains("spec.payload") && message.contains("65536"),
        "{message}"
    );
    assert_eq!(
        system
            .count("SELECT count(*) FROM everstep.inbox WHERE kind = 'Signal'")
            .await,
        1
    );
}

#[tokio::test]
async fn signal_that_is_nested_too_deep_is_refused_and_costs_no_other_one() {
    let system = System::new("deep").await;
    let all = system.start("all", &[]).await;
    system.apply(&workflow("held", WAITS)).await;
    system.until("held", "waits", is_waiting).await;
    // At the limit, over what we take, and over what a JSON reader stands.
    for (name, levels) in [("over", 100), ("beyond", 1000)] {
        let payload = "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        let created = create_deep(&system, name, &payload).await;
        assert_eq!(created, 201, "{name}");
        let wait = [
            "wait",
            "--for=jsonpath={.status.conditions[?(@.type=='Stored')].reason}=InvalidSpec",
        ];
        let said = system
            .kubectl(&[&wait[..], &["--timeout=30s", &format!("esig/{name}")]].concat())
            .await;
        assert!(said.contains("condition met"), "{said}");
    }
    // What the API server itself does not take is no object.
    let payload = "{\"a\":".repeat(10_001) + "1" + &"}".repeat(10_001);
    assert_eq!(create_deep(&system, "absurd", &payload).await, 400);
    // A new process lists them.
    all.stop().await;
    let _all = system.start("all", &[]).await;
    system
        .apply(&signal(
            "go",
            "{target: {workflow: held}, signal: go, payload: {number: 4}}",
        ))
        .await;
    let held = system.finished("held").await;
    assert_eq!(held["status"]["run"]["output"]["said"], json!({"number": 4}));
}

/// Creates a Signal with this payload; the HTTP status of the answer.
async fn create_deep(system: &System, name: &str, payload: &str) -> u16 {
    let body = format!(
        r#"{{"apiVersion": "everstep.dev/v1alpha1", "kind": "Signal", "metadata": {{"name": "{name}"}},
        "spec": {{"target": {{"workflow": "held"}}, "signal": "go", "payload": {payload}}}}}"#
    );
    let path = format!("/apis/everstep.dev/v1alpha1/namespaces/{}/signals", system.namespace);
    let request = axum::http::Request::post(path)
        .header("content-type", "application/json")
        .body(kube::client::Body::from(body.into_bytes()))
        .unwrap();
    let client = controlplane::shared().await.client().await.unwrap();
    client.send(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn signal_whose_target_comes_later_is_stored_then() {
    let system = System::new("early").await;
    let _all = system.start("all", &[]).await;
    system
        .apply(&signal(
            "go",
            "{target: {workflow: held}, signal: go, payload: {number: 3}}",
        ))
        .await;
    let waits = |it: &Value| condition(it, "Stored")["reason"] == "TargetNotFound";
    let object = system.until_of("signals", "go", "looks for its target", waits).await;
    assert_eq!(condition(&object, "Stored")["status"], "Unknown");
    system.apply(&workflow("held", WAITS)).await;
    let held = system.finished("held").await;
    assert_eq!(held["status"]["run"]["output"]["said"], json!({"number": 3}));
    system.until_of("signals", "go", "is consumed", is_consumed).await;
}

#[tokio::test]
async fn hundreds_of_signals_are_consumed_at_once_with_three_writes_each() {
    const RUNS: usize = 200;
    let system = System::new("many").await;
    let _all = system.start("all", &[]).await;
    let spec = WAITS.replacen('{', "{start: OnDemand, ", 1);
    system.apply(&workflow("held", &spec)).await;
    system
        .until("held", "is registered", |it| condition(it, "Ready")["status"] == "True")
        .await;
    let start = format!(
        "SELECT count(everstep.start('{}/held', NULL, 'k' || n)) FROM generate_series(1, {RUNS}) AS n",
        system.namespace
    );
    let granted = format!(
        "SELECT count(*) FROM (SELECT everstep.grant_namespace(current_user::text, '{}')) AS granted",
        system.namespace
    );
    assert_eq!(system.count(&granted).await, 1);
    assert_eq!(system.count(&start).await, i64::try_from(RUNS).unwrap());
    let waiting = "SELECT count(*) FROM everstep.runs WHERE phase = 'Waiting'";
    system.until_count(waiting, RUNS as i64).await;

    let plane = controlplane::shared().await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Signal"));
    let api: Api<DynamicObject> = Api::namespaced_with(plane.client().await.unwrap(), &system.namespace, &kind);
    let (api, kind) = (&api, &kind);
    stream::iter(1..=RUNS)
        .for_each_concurrent(16, |n| async move {
            let spec = json!({"target": {"workflow": "held", "key": format!("k{n}")}, "signal": "go"});
            let object = DynamicObject::new(&format!("go-{n}"), kind).data(json!({ "spec": spec }));
            api.create(&PostParams::default(), &object).await.unwrap();
        })
        .await;
    let created = Instant::now();
    system
        .until_count(
            "SELECT count(*) FROM everstep.inbox WHERE outcome = 'Consumed'",
            RUNS as i64,
        )
        .await;
    eprintln!("{RUNS} signals consumed {:?} after the last create", created.elapsed());
    system
        .until_count("SELECT count(*) FROM everstep.inbox WHERE shown", RUNS as i64)
        .await;
    eprintln!("and shown {:?} after it", created.elapsed());

    let list = api.list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), RUNS);
    for object in &list.items {
        let object = serde_json::to_value(object).unwrap();
        assert_eq!(condition(&object, "Consumed")["status"], "True", "{object:#}");
    }
    let writes = plane.writes().await.unwrap();
    let here = writes.iter().filter(|write| write.namespace == system.namespace);
    let ours =
        here.filter(|write| write.subresource == "status" && write.resource == "signals" || write.resource == "events");
    let ours = ours.count();
    eprintln!("{ours} writes for {RUNS} signals");
    // One or two Events about the Workflow are among them.
    assert!(ours <= 3 * RUNS + 2, "{ours} writes for {RUNS} signals");
}

fn is_waiting(object: &Value) -> bool {
    object["status"]["run"]["phase"] == "Waiting"
}

fn is_stored(signal: &Value) -> bool {
    condition(signal, "Stored")["status"] == "True"
}

fn is_consumed(signal: &Value) -> bool {
    condition(signal, "Consumed")["status"] == "True"
}

//! Every state that an object can be in, recorded from a live system and shown to the judges.

use everstep::dev::postgres::{Options, Postgres, Shutdown};
use serde_json::Value;

use crate::{
    judge::verdicts,
    states::{AFTER, AGAIN, ALONE, AWAY, NEW, State},
    support::{
        controlplane,
        system::{Shop, System, condition, install_crds, migrate, observed, secret},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn judges_agree_about_every_state_of_a_live_system() {
    let (system, shop) = (System::new("judged").await, Shop::new().await);
    system.apply(&secret("shop", "url", &shop.url)).await;
    let mut seen = Vec::new();
    seen.extend(record(&system, NEW).await);
    let _all = system.start("all", &[]).await;
    for states in [ALONE, AFTER, AGAIN] {
        seen.extend(record(&system, states).await);
    }
    judged(&seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_agree_about_objects_that_nobody_can_judge_without_postgresql() {
    let mut server = tokio::task::block_in_place(|| Postgres::start(Options::default())).unwrap();
    tokio::task::block_in_place(|| server.create_database("engine")).unwrap();
    let url = server.url("engine");
    migrate(url.clone()).await;
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let system = System::on(plane, "away", url).await;
    let _controller = system.start("controller", &[]).await;
    tokio::task::block_in_place(|| server.stop(Shutdown::Immediate)).unwrap();
    let seen = record(&system, AWAY).await;
    judged(&seen).await;
}

/// Applies all, and answers each as it is when it is in its state.
async fn record(system: &System, states: &[State]) -> Vec<(State, Value)> {
    let manifests: String = states.iter().map(manifest).collect();
    system.apply(&manifests).await;
    let mut recorded = Vec::new();
    for state in states {
        let (kind, name, _, ready, _) = *state;
        let holds = |object: &Value| match ready.split_once('/') {
            None => object["status"]["observedGeneration"] == -1,
            Some((status, reason)) => {
                let found = condition(object, "Ready");
                let is =
                    |part: &str, expected: &str| found[part] == expected || expected == "*" && found[part].is_string();
                observed(object) && is("status", status) && is("reason", reason)
            }
        };
        let object = system.until_of(kind, name, ready, holds).await;
        recorded.push((*state, object));
    }
    recorded
}

fn manifest((kind, name, spec, ..): &State) -> String {
    let kind = match *kind {
        "workflows" => "Workflow",
        "workflowruns" => "WorkflowRun",
        "signals" => "Signal",
        "connections" => "Connection",
        other => panic!("no kind of ours: {other}"),
    };
    format!("---\napiVersion: everstep.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// All judges say of all objects what is expected of them.
async fn judged(seen: &[(State, Value)]) {
    let objects: Vec<Value> = seen.iter().map(|(_, object)| object.clone()).collect();
    let verdicts = verdicts(&objects).await;
    let mut wrong = Vec::new();
    for (((kind, name, _, ready, health), object), verdict) in seen.iter().zip(verdicts) {
        let state = format!("{kind}/{name} {ready}");
        let found = [&verdict.kstatus, &verdict.argo, &verdict.flux];
        let expected = [health.kstatus(), &format!("{health:?}"), health.kstatus()];
        if found != expected {
            wrong.push(format!(
                "{state}: {found:?} instead of {expected:?}: {}",
                object["status"]
            ));
        }
        let both = ["Reconciling", "Stalled"].map(|of| !condition(object, of).is_null());
        assert_ne!(both, [true, true], "{state}");
        assert!(!verdict.argo_message.is_empty(), "{state}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

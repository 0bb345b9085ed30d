//! Who creates a Signal is who it says it is by: only at admission is the requester known.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    least,
    support::{
        chart::Release,
        controlplane,
        system::{install_crds, signal},
    },
};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn signal_is_by_whoever_creates_it_or_by_a_delegate() {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let namespace = plane.namespace("by").await.unwrap();
    let other = plane.namespace("not-ours").await.unwrap();
    let bind = [
        "create",
        "clusterrolebinding",
        "signal-senders",
        "--clusterrole=cluster-admin",
    ];
    let whom = ["--user=alice@example.com", "--user=portal"];
    plane.kubectl(&[&bind[..], &whom].concat()).await.unwrap();
    let mut values = least();
    values["namespaces"] = json!([namespace]);
    values["admissionPolicies"]["signalBy"]["delegates"] = json!(["portal"]);
    Release::apply(plane, &namespace, values).await;

    let create = async |user: &str, namespace: &str, by: Value| {
        let mut spec = json!({"target": {"workflow": "order"}, "signal": "approve"});
        if !by.is_null() {
            spec["by"] = by;
        }
        let user = format!("--as={user}");
        let words = ["--namespace", namespace, "create", "--dry-run=server", "-f", "-", &user];
        plane.kubectl_with_input(&words, &signal("s", &spec.to_string())).await
    };
    // A policy is in force a moment after it is stored.
    let until = Instant::now() + PATIENCE;
    let refused = loop {
        match create("alice@example.com", &namespace, "bert@example.com".into()).await {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(Instant::now() < until, "nobody objects"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let says = "spec.by must be the user who creates the Signal, \"alice@example.com\", or be left out";
    assert!(refused.contains(says), "{refused}");

    create("alice@example.com", &namespace, "alice@example.com".into())
        .await
        .unwrap();
    create("alice@example.com", &namespace, Value::Null).await.unwrap();
    create("portal", &namespace, "bert@example.com".into()).await.unwrap();
    create("alice@example.com", &other, "bert@example.com".into())
        .await
        .unwrap();
}

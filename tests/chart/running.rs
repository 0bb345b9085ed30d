//! The processes of the chart: its accounts, rights, arguments and files are enough, and no more than enough.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    chart::Release,
    controlplane, postgres,
    system::{DEADLINE, Payments, Shop, System, condition, connection, install_crds, secret, signal, workflow},
};

/// A step in the worker alone, one that waits for a Signal object, and one that needs a Connection and its Secret.
const ORDER: &str = "
input: {sku: WIDGET}
steps:
- {name: greet, set: {text: hello}}
- {name: approval, waitForSignal: {signal: approve}}
- {name: stock, sql: {connection: shopdb, query: SELECT qty FROM stock WHERE sku = $1, args: [=input.sku], readOnly: true}}
output: {qty: =steps.stock.output.row.qty, approved: =steps.approval.output.payload.approved}";

#[tokio::test]
async fn run_with_signal_and_sql_goes_through_with_the_charts_rights() {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let shop = Shop::new().await;
    let system = System::on(plane, "chart", postgres::empty_database().await).await;
    let mut values = json!({
        "namespaces": [system.namespace],
        "egress": {"allowAddresses": ["127.0.0.0/8"]},
        "controller": {"leaderLeaseDuration": "1s"},
        "worker": {"lease": "1s"},
    });
    values["worker"]["secrets"]["named"][&system.namespace] = json!(["shopdb"]);
    let release = Release::with_database(plane, &system.namespace, &system.database_url, values).await;

    // The first one brings the schema up to date, and leads.
    let mut first = release.start("controller", &[]).await;
    first.leads().await;
    let mut second = release.start("controller", &[]).await;
    let worker = release.start("worker", &[]).await;
    let tested = release.spawn_test().await.ended().await;
    assert!(tested.success(), "helm test: {tested}");

    let database = connection(
        "shopdb",
        "{postgres: {urlFrom: {secretKeyRef: {name: shopdb, key: url}}}}",
    );
    let order = workflow("order", ORDER.trim());
    system
        .apply(&(secret("shopdb", "url", &shop.url) + &database + &order))
        .await;
    let waits = |it: &Value| it["status"]["run"]["phase"] == "Waiting";
    system.until("order", "it waits for the signal", waits).await;
    let approve = "{target: {workflow: order}, signal: approve, payload: {approved: true}, ttlAfterFinished: 1s}";
    system.apply(&signal("approve", approve)).await;
    let ended = system.finished("order").await;
    assert_eq!(ended["status"]["run"]["phase"], "Succeeded", "{:#}", ended["status"]);
    assert_eq!(ended["status"]["run"]["output"], json!({"qty": 10, "approved": true}));

    // What the controller does besides: Events, ...
    system.told("order").await;
    first.kill().await;
    second.leads().await;
    // ... a Signal's time to live, the run of an object that is gone.
    let gone = system.until_of("signals", "approve", "its time to live has passed", Value::is_null);
    gone.await;
    system
        .apply(&workflow("nap", "{steps: [{name: nap, sleep: {for: 1h}}]}"))
        .await;
    system
        .until("nap", "it sleeps", |it| it["status"]["run"]["phase"] == "Sleeping")
        .await;
    system.kubectl(&["delete", "workflow", "nap"]).await;
    system
        .until_count("SELECT count(*) FROM everstep.runs WHERE phase = 'Cancelled'", 1)
        .await;

    let refused = plane.writes().await.unwrap();
    let account = format!("system:serviceaccount:{}:", system.namespace);
    let refused: Vec<_> = refused
        .iter()
        .filter(|write| write.user.starts_with(&account) && write.code == 403)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    for process in [second, worker] {
        let said = process.errors();
        assert!(!said.to_lowercase().contains("forbidden"), "{said}");
        process.stop().await;
    }
}

#[tokio::test]
async fn worker_reads_no_secret_that_is_not_named() {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let shop = Shop::new().await;
    let system = System::on(plane, "unnamed", postgres::empty_database().await).await;
    let values = json!({
        "namespaces": [system.namespace],
        "egress": {"allowAddresses": ["127.0.0.0/8"]},
        "worker": {"lease": "1s"},
    });
    let release = Release::with_database(plane, &system.namespace, &system.database_url, values).await;
    let _controller = release.start("controller", &[]).await;
    let _worker = release.start("worker", &[]).await;
    let database = connection(
        "shopdb",
        "{postgres: {urlFrom: {secretKeyRef: {name: shopdb, key: url}}}}",
    );
    let spec = "{retry: {maxAttempts: 100, backoff: {initial: 200ms, factor: 1, max: 200ms}}, steps: [{name: count, sql: {connection: shopdb, query: SELECT qty FROM stock, readOnly: true}}]}";
    system
        .apply(&(secret("shopdb", "url", &shop.url) + &database + &workflow("count", spec)))
        .await;
    let refused = |it: &Value| it["status"]["run"]["error"]["code"] == "SecretForbidden";
    let ended = system.until("count", "the Secret is not for the worker", refused).await;
    let not_ready = |it: &Value| condition(it, "Ready")["reason"] == "SecretForbidden";
    system.until_of("connections", "shopdb", "it says so", not_ready).await;
    assert!(!ended.to_string().contains(&shop.url), "{ended}");

    // What the namespace's admin may grant is enough.
    let role = [
        "create",
        "role",
        "everstep-secrets",
        "--verb=get",
        "--resource=secrets",
        "--resource-name=shopdb",
    ];
    system.kubectl(&role).await;
    let account = format!("--serviceaccount={}:everstep-worker", system.namespace);
    system
        .kubectl(&[
            "create",
            "rolebinding",
            "everstep-secrets",
            "--role=everstep-secrets",
            &account,
        ])
        .await;
    let ended = system.finished("count").await;
    assert_eq!(ended["status"]["run"]["phase"], "Succeeded", "{:#}", ended["status"]);
}

#[tokio::test]
async fn egress_policy_that_changes_in_its_config_map_is_taken_without_a_restart() {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let payments = Payments::start(Duration::ZERO).await;
    let system = System::on(plane, "policy", postgres::empty_database().await).await;
    let values = json!({"namespaces": [system.namespace], "worker": {"lease": "1s"}});
    let release = Release::with_database(plane, &system.namespace, &system.database_url, values).await;
    let _controller = release.start("controller", &[]).await;
    let _worker = release.start("worker", &[]).await;
    let call = format!(
        "{{steps: [{{name: call, http: {{url: '{}/v1/notify', method: POST, idempotent: true, body: {{x: 1}}}}}}]}}",
        payments.url()
    );
    system.apply(&workflow("early", &call)).await;
    let ended = system.finished("early").await;
    assert_eq!(
        ended["status"]["run"]["error"]["code"], "HostNotAllowed",
        "{:#}",
        ended["status"]
    );

    let rule = json!({"hosts": ["127.0.0.1"], "ports": [payments.port], "methods": ["POST"], "namespaces": [system.namespace]});
    let policy = json!({"allow": [rule], "allowAddresses": ["127.0.0.0/8"]}).to_string();
    let patch = json!({"data": {"egress.yaml": policy}}).to_string();
    system
        .kubectl(&[
            "patch",
            "configmap",
            "everstep-egress",
            "--type=merge",
            "--patch",
            &patch,
        ])
        .await;
    release.sync().await;
    let until = Instant::now() + DEADLINE;
    // The file is looked at every other second.
    for attempt in 0.. {
        let name = format!("late{attempt}");
        system.apply(&workflow(&name, &call)).await;
        if system.finished(&name).await["status"]["run"]["phase"] == "Succeeded" {
            break;
        }
        assert!(Instant::now() < until, "the new policy is not taken");
    }
}

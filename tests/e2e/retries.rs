//! A run that is taken up again by another one (`retryOf`): what was done stays done, once.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::system::{Shop, System, condition, connection, example, observed, secret, workflow, workflow_run};

/// Takes a WIDGET, then a GADGET, of which there is none; sleeps, and confirms.
const ORDER: &str = "
start: OnDemand
input: {order: '7'}
steps:
- name: take
  sql: {connection: shopdb, query: \"UPDATE stock SET qty = qty - 1 WHERE sku = 'WIDGET' RETURNING qty\"}
- name: reserve
  sql:
    connection: shopdb
    query: INSERT INTO reservation (order_id, sku) SELECT $1, sku FROM stock WHERE sku = 'GADGET' RETURNING id
    args: [=input.order]
    expect: {minRows: 1, code: NO_GADGET}
- name: nap
  sleep: {for: 2s}
- name: confirm
  sql: {connection: shopdb, query: UPDATE reservation SET confirmed = true WHERE order_id = $1, args: [=input.order]}
output: {left: =steps.take.output.row.qty}
";

#[tokio::test]
async fn retry_does_what_is_left_and_nothing_twice_also_when_its_worker_is_killed() {
    let (system, shop) = (System::new("retryof").await, Shop::new().await);
    system.allow(shop.port);
    let _controller = system.start("controller", &[]).await;
    let worker = system.start("worker", &[]).await;
    let shopdb = connection(
        "shopdb",
        "{postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}",
    );
    let first = workflow_run("first", "{workflowRef: {name: order}, input: {order: '8'}}");
    system
        .apply(&(secret("shop", "url", &shop.url) + &shopdb + &workflow("order", ORDER) + &first))
        .await;
    let failed = finished(&system, "first").await;
    assert_eq!(
        failed["status"]["run"]["error"]["code"], "NO_GADGET",
        "{}",
        failed["status"]
    );

    let mut sql = PgConnection::connect(&shop.url).await.unwrap();
    sqlx::raw_sql("INSERT INTO stock VALUES ('GADGET', 1)")
        .execute(&mut sql)
        .await
        .unwrap();
    // Neither definition nor input nor step: those of the run that failed, from where it did.
    system.apply(&workflow_run("again", "{retryOf: {name: first}}")).await;
    until(&system, "again", "sleeps", |it| {
        it["status"]["run"]["phase"] == "Sleeping"
    })
    .await;
    worker.kill().await;
    let _worker = system.start("worker", &[]).await;
    let again = finished(&system, "again").await;
    let run = &again["status"]["run"];
    assert_eq!(
        (&run["phase"], &run["output"]["left"]),
        (&"Succeeded".into(), &9.into()),
        "{run}"
    );
    assert_eq!(run["progress"], "4/4");
    assert_eq!(again["status"]["revision"], failed["status"]["revision"]);
    for (count, expected) in [
        ("SELECT qty::bigint FROM stock WHERE sku = 'WIDGET'", 9),
        ("SELECT count(*) FROM reservation WHERE order_id = '8' AND confirmed", 1),
        ("SELECT count(*) FROM reservation", 1),
    ] {
        assert_eq!(shop.count(count).await, expected, "{count}");
    }
    let attempts = "SELECT count(*) FROM everstep.journal AS j JOIN everstep.runs AS r ON r.id = j.run_id
        WHERE r.owner_name = 'again' AND j.events::text LIKE '%\"StepStarted\":{\"step\":\"take\"%'";
    assert_eq!(system.count(attempts).await, 0, "no attempt of what was reused");

    for (name, spec, status, reason, said) in [
        (
            "other",
            "{retryOf: {name: first, fromStep: nap}}",
            "False",
            "StepNotDone",
            "Begin with `reserve`",
        ),
        (
            "third",
            "{retryOf: {name: first}}",
            "False",
            "AlreadyRetried",
            "WorkflowRun again has taken over",
        ),
        (
            "lost",
            "{retryOf: {name: first, fromStep: ship}}",
            "False",
            "StepUnknown",
            "name one of `take`",
        ),
        (
            "done",
            "{retryOf: {name: again}}",
            "False",
            "NothingToRetry",
            "`fromStep`",
        ),
        (
            "early",
            "{retryOf: {name: nobody}}",
            "Unknown",
            "RunNotFound",
            "no WorkflowRun nobody",
        ),
    ] {
        system.apply(&workflow_run(name, spec)).await;
        let told = until(&system, name, reason, |it| {
            condition(it, "Accepted")["reason"] == reason
        })
        .await;
        let accepted = condition(&told, "Accepted");
        assert_eq!(accepted["status"], status, "{name}");
        assert!(accepted["message"].as_str().unwrap().contains(said), "{accepted}");
        let stalled = condition(&told, "Stalled")["status"] == "True";
        assert_eq!(stalled, status == "False", "{name}");
    }
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 2);
}

#[tokio::test]
async fn retry_that_fails_undoes_what_it_took_over_and_a_corrected_workflow_may_go_on() {
    let (system, shop) = (System::new("retryundo").await, Shop::new().await);
    system.allow(shop.port);
    let _all = system.start("all", &[]).await;
    let shopdb = connection(
        "shopdb",
        "{postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}",
    );
    let order = "
start: OnDemand
steps:
- name: take
  sql: {connection: shopdb, query: \"UPDATE stock SET qty = qty - 1 WHERE sku = 'WIDGET'\"}
  compensate:
    sql: {connection: shopdb, query: \"UPDATE stock SET qty = qty + 1 WHERE sku = 'WIDGET'\"}
- name: wait
  waitForSignal: {signal: go}
";
    let manifests = secret("shop", "url", &shop.url) + &shopdb + &workflow("order", order);
    system
        .apply(&(manifests + &workflow_run("first", "workflowRef: {name: order}")))
        .await;
    until(&system, "first", "waits", |it| {
        it["status"]["run"]["phase"] == "Waiting"
    })
    .await;
    // Waited for, and then done at once: it begins when the first one has ended.
    system
        .apply(&workflow_run(
            "second",
            "{workflowRef: {name: order}, retryOf: {name: first, fromStep: wait}}",
        ))
        .await;
    until(&system, "second", "waits for its turn", |it| {
        condition(it, "Accepted")["reason"] == "RunNotEnded"
    })
    .await;
    let corrected = order.replace("waitForSignal: {signal: go}", "fail: {code: NEVER}");
    system.apply(&workflow("order", &corrected)).await;
    let terminate = r#"{"spec": {"desiredState": "Terminated"}}"#;
    system
        .kubectl(&["patch", "erun", "first", "--type=merge", "--patch", terminate])
        .await;
    let second = finished(&system, "second").await;
    assert_eq!(
        second["status"]["run"]["error"]["code"], "NEVER",
        "{}",
        second["status"]
    );
    let widgets = "SELECT qty::bigint FROM stock WHERE sku = 'WIDGET'";
    assert_eq!(shop.count(widgets).await, 10, "taken once, and given back once");

    let third = workflow_run("third", "{retryOf: {name: second, fromStep: wait}}");
    system.apply(&third).await;
    let refused = until(&system, "third", "is refused", |it| {
        condition(it, "Accepted")["reason"] == "StepUndone"
    })
    .await;
    let message = condition(&refused, "Accepted")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Begin with `take`"), "{message}");
}

#[tokio::test]
async fn example_publishes_what_the_run_before_has_collected() {
    let system = System::new("again").await;
    let _all = system.start("all", &[]).await;
    system.apply(&example("report-again.yaml")).await;
    let first = finished(&system, "report").await;
    assert_eq!(
        first["status"]["run"]["error"]["code"], "NOT_REVIEWED",
        "{}",
        first["status"]
    );
    let again = finished(&system, "report-again").await;
    assert_eq!(
        again["status"]["run"]["output"],
        json!({"published": "sold: 42"}),
        "{}",
        again["status"]
    );
    let taken_over = "SELECT count(*) FROM everstep.step_list WHERE step = 'collect' AND reused_from = 'report'";
    system.count("SELECT count(*) FROM (SELECT everstep.grant_namespace(current_user::text, namespace) FROM everstep.runs) AS granted").await;
    assert_eq!(system.count(taken_over).await, 1);
}

async fn until(system: &System, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    system.until_of("workflowruns", name, what, holds).await
}

async fn finished(system: &System, name: &str) -> Value {
    let finished = |it: &Value| observed(it) && condition(it, "Finished")["status"] == "True";
    until(system, name, "Finished", finished).await
}

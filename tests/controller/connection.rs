//! What workers found of a Connection is what its status says.

use std::sync::atomic::Ordering::Relaxed;

use everstep::controller::Controller;
use everstep::store::{Bell, Finding};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Field, Fixture, eventually};

const CONNECTION: &str = r#"
apiVersion: everstep.dev/v1alpha1
kind: Connection
metadata: {name: payments}
spec: {http: {baseUrl: "http://127.0.0.1:8099"}}
"#;

#[tokio::test]
async fn connection_is_ready_when_a_worker_says_so_of_this_generation() {
    let fixture = Fixture::new("connection").await;
    let _controller = fixture.controller();
    fixture.apply(CONNECTION).await;
    let ready = || async { columns(&fixture).await };
    eventually("not checked", || async {
        ready().await.starts_with("payments http Unknown NotChecked ")
    })
    .await;

    record(&fixture, 1, false, "ConnectFailed").await;
    eventually("what a worker found", || async {
        ready().await.starts_with("payments http False ConnectFailed ")
    })
    .await;
    record(&fixture, 1, true, "Connected").await;
    eventually("what it found next", || async {
        ready().await.starts_with("payments http True Connected ")
    })
    .await;

    fixture.apply(&CONNECTION.replace("8099", "8100")).await;
    eventually("nobody has tried the new address", || async {
        ready().await.starts_with("payments http Unknown NotChecked ")
    })
    .await;
    let object = fixture.object("econn", "payments").await;
    assert_eq!(object["status"]["observedGeneration"], 2);
}

/// Its statement began before that of another finding, and committed after it.
#[tokio::test]
async fn finding_that_comes_to_light_after_a_later_one_is_shown_and_none_is_told_of_twice() {
    let fixture = Fixture::new("late-finding").await;
    let controller = Controller::new(fixture.context());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(controller.clone().run(shutdown.clone()));
    fixture.apply(CONNECTION).await;
    fixture
        .apply(&CONNECTION.replace("name: payments", "name: other"))
        .await;
    let shows = |name: &'static str, expected: &'static str| {
        let object = fixture.object("econn", name);
        async move { object.await["status"]["conditions"].to_string().contains(expected) }
    };
    for name in ["payments", "other"] {
        eventually("not checked", || shows(name, "NotChecked")).await;
    }
    record(&fixture, 1, true, "Connected").await;
    eventually("the later one", || shows("payments", "Connected")).await;
    let other = fixture.object("econn", "other").await;
    let uid = other["metadata"].text("uid");
    let late = format!(
        "INSERT INTO everstep.connections (uid, namespace, name, generation, ready, reason, message, checked_at)
         SELECT '{uid}', namespace, 'other', 1, false, 'ConnectFailed', '', checked_at - interval '1 s'
         FROM everstep.connections"
    );
    fixture.execute(&late).await;
    fixture.store.ring(Bell::Changed);
    eventually("the earlier one", || shows("other", "ConnectFailed")).await;

    let reads = "SELECT (seq_scan + idx_scan)::bigint FROM pg_stat_user_tables WHERE relname = 'connections'";
    let (reconciled, looked) = (
        controller.counters().reconciled.load(Relaxed),
        fixture.count(reads).await,
    );
    eventually("many looks", || async {
        fixture.store.ring(Bell::Changed);
        fixture.count(reads).await > looked + 20
    })
    .await;
    assert_eq!(controller.counters().reconciled.load(Relaxed), reconciled);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

async fn columns(fixture: &Fixture) -> String {
    let arguments = ["-n", &fixture.namespace, "get", "econn", "payments", "--no-headers"];
    let all = fixture.plane.kubectl(&arguments).await.unwrap();
    let words: Vec<String> = all.split_whitespace().map(str::to_owned).collect();
    words.join(" ")
}

/// As a worker does that has used the Connection.
async fn record(fixture: &Fixture, generation: i64, ready: bool, reason: &str) {
    let object = fixture.object("econn", "payments").await;
    let finding = Finding {
        uid: object["metadata"].text("uid").to_owned(),
        namespace: fixture.namespace.clone(),
        name: "payments".to_owned(),
        generation,
        ready,
        reason: reason.to_owned(),
        message: String::new(),
        checked_at: Timestamp::UNIX_EPOCH,
    };
    fixture.store.record_finding(&finding).await.unwrap();
    fixture.store.ring(Bell::Changed);
}

//! What workers found of a Connection is what its status says.

use everstep::store::{Bell, Finding};
use jiff::Timestamp;

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

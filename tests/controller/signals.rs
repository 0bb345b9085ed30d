//! Signals whose run is removed before they show what became of them.

use crate::fixture::{Field, Fixture, HELLO, eventually};

const GO: &str = "
apiVersion: everstep.dev/v1alpha1
kind: Signal
metadata: {name: go}
spec: {target: {workflow: hello}, signal: go}
";

#[tokio::test]
async fn signal_that_went_with_its_run_is_not_said_again() {
    let fixture = Fixture::new("forgotten").await;
    let controller = fixture.controller();
    fixture.apply(&format!("{HELLO}---{GO}")).await;
    let shows = async |reason: &str| {
        let object = fixture.object("esig", "go").await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let consumed = conditions.iter().find(|condition| condition["type"] == "Consumed");
        consumed.is_some_and(|consumed| consumed.text("reason") == reason)
    };
    eventually("stored", || shows("Buffered")).await;
    let run = fixture.object("esig", "go").await["status"]["run"].clone();
    drop(controller);
    fixture.execute("DELETE FROM everstep.inbox").await;

    // The run goes on: what is posted would be stored.
    let _controller = fixture.controller();
    eventually("forgotten", || shows("Forgotten")).await;
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.inbox").await, 0);
    assert_eq!(fixture.object("esig", "go").await["status"]["run"], run);
}

#[tokio::test]
async fn signal_that_was_refused_or_forgotten_is_deleted_after_its_time_to_live() {
    let fixture = Fixture::new("forgotten-ttl").await;
    let controller = fixture.controller();
    let short = GO.replace("signal: go}", "signal: go, ttlAfterFinished: 1s}");
    // Longer than a duration may be.
    let wrong = short
        .replace("name: go", "name: wrong")
        .replace("ttlAfterFinished", "expiresAfter: 5000d, ttlAfterFinished");
    fixture.apply(&format!("{HELLO}---{short}---{wrong}")).await;
    let is_gone = async |name: &str| {
        let arguments = ["-n", &fixture.namespace, "get", "esig", name, "--ignore-not-found"];
        fixture.plane.kubectl(&arguments).await.unwrap().is_empty()
    };
    eventually("the refused one is gone", || is_gone("wrong")).await;
    eventually("told", || async { fixture.events("InvalidSpec").await == 1 }).await;
    eventually("stored", || async {
        fixture.object("esig", "go").await["status"]["run"].is_string()
    })
    .await;
    drop(controller);
    fixture.execute("DELETE FROM everstep.inbox").await;
    let _controller = fixture.controller();
    eventually("the forgotten one is gone", || is_gone("go")).await;
}

//! Events of what the orphan pass finds.

use everstep::controller::{Controller, Notice};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Field, Fixture, HELLO, eventually};

#[tokio::test]
async fn cancelled_orphan_is_told_once_by_an_event_about_the_vanished_object() {
    let fixture = Fixture::new("told").await;
    let _first = fixture.controller();
    let _second = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    let uid = fixture.object("ewf", "hello").await["metadata"].text("uid").to_owned();
    fixture.delete("hello").await;
    eventually("told", || async { fixture.events("OrphanCancelled").await == 1 }).await;
    let event = event(&fixture, "OrphanCancelled").await;
    assert_eq!(event["regarding"].text("uid"), uid);
    assert_eq!(event["regarding"].text("name"), "hello");
    assert!(event.text("note").contains("1 of its runs"), "{event}");
}

#[tokio::test]
async fn brake_is_told_in_the_namespace_of_the_install_once_for_each_time_it_holds() {
    let fixture = Fixture::new("brake-told").await;
    let mut context = fixture.context();
    context.options.install = fixture.namespace.clone();
    let controller = Controller::new(context);
    let tell = controller.teller();
    let shutdown = CancellationToken::new();
    let controlled = tokio::spawn(controller.run(shutdown.clone()));
    let holds = |second| Notice::BrakeHolds {
        since: Timestamp::from_second(second).unwrap(),
        runs: 500,
        live: 510,
    };
    for notice in [holds(1), holds(1), holds(2)] {
        tell(notice);
    }
    tell(Notice::BrakeReleased {
        since: Timestamp::from_second(2).unwrap(),
    });
    // Told in their order.
    eventually("told", || async { fixture.events("OrphanBrakeReleased").await == 1 }).await;
    assert_eq!(fixture.events("OrphanBrake").await, 2);
    let event = event(&fixture, "OrphanBrake").await;
    assert_eq!(event["regarding"].text("kind"), "Namespace");
    assert_eq!(event.text("type"), "Warning");
    shutdown.cancel();
    controlled.await.unwrap().unwrap();
}

async fn event(fixture: &Fixture, reason: &str) -> Value {
    let arguments = ["-n", &fixture.namespace, "get", "events.events.k8s.io", "-o", "json"];
    let list: Value = serde_json::from_str(&fixture.plane.kubectl(&arguments).await.unwrap()).unwrap();
    let events = list["items"].as_array().unwrap();
    events.iter().find(|event| event["reason"] == reason).unwrap().clone()
}

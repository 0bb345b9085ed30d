//! The database goes away and comes back.

use everstep::dev::postgres::{Options, Postgres};
use everstep::store::Migrations;

use crate::fixture::{Field, Fixture, HELLO, connect, eventually};

#[tokio::test]
async fn outage_of_the_database_is_shown_by_new_objects_only_and_ends_by_itself() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(Options::default()).unwrap())
        .await
        .unwrap();
    server.create_database("away").unwrap();
    let url = server.url("away");
    connect(&url).await.migrate(Migrations::Auto).await.unwrap();
    let fixture = Fixture::on("away", &url).await;
    let _controller = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    let before = fixture.status("hello").await;

    server = tokio::task::spawn_blocking(move || {
        server.kill().unwrap();
        server
    })
    .await
    .unwrap();
    fixture.apply(&HELLO.replace("name: hello", "name: late")).await;
    let accepted = fixture.condition("late", "Accepted").await;
    assert_eq!(
        (accepted.text("status"), accepted.text("reason")),
        ("Unknown", "StoreUnavailable")
    );
    assert_eq!(
        fixture.status("hello").await,
        before,
        "an accepted object keeps its status"
    );

    let server = tokio::task::spawn_blocking(move || {
        server.resume().unwrap();
        server
    })
    .await
    .unwrap();
    let is_accepted = || async { fixture.condition("late", "Accepted").await.text("status") == "True" };
    eventually("accepted after the outage", is_accepted).await;
    drop(fixture);
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

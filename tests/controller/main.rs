//! The controller against a real API server and a real PostgreSQL. Runs are moved by hand: no worker is needed to see
//! what a controller does about them.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

#[path = "../support/mod.rs"]
mod support;

mod connection;
mod election;
mod fixture;
mod leading;
mod notices;
mod orphans;
mod outage;
mod refusal;
mod runs;
mod scopes;
mod signals;

use std::time::Duration;

use fixture::{Field, Fixture, HELLO, eventually};
use serde_json::Value;

#[tokio::test]
async fn invalid_manifest_is_refused_with_its_paths_told_once_and_leaves_no_row() {
    let fixture = Fixture::new("invalid").await;
    let _controller = fixture.controller();
    let manifest = HELLO.replace("name: greet", "name: greet\n    when: steps.nobody.output == 1");
    fixture.apply(&manifest).await;
    let accepted = fixture.condition("hello", "Accepted").await;
    assert_eq!(
        (accepted.text("status"), accepted.text("reason")),
        ("False", "InvalidSpec")
    );
    assert!(accepted.text("message").contains("spec.steps[0].when"), "{accepted}");
    assert_eq!(fixture.columns("hello").await[1..3], ["False", "InvalidSpec"]);
    eventually("an Event", || async { fixture.events("InvalidSpec").await == 1 }).await;
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.runs").await, 0);
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.owners").await, 0);
}

#[tokio::test]
async fn run_that_ends_within_half_a_second_costs_one_status_write_and_one_event() {
    let fixture = Fixture::new("short").await;
    let _controller = fixture.controller();
    fixture.apply(HELLO).await;
    eventually("a run", || async {
        fixture.count("SELECT count(*) FROM everstep.runs").await == 1
    })
    .await;
    fixture.finish_all("Succeeded").await;
    let finished = fixture.condition("hello", "Finished").await;
    assert_eq!(finished.text("reason"), "Succeeded");
    eventually("an Event", || async { fixture.events("Finished").await == 1 }).await;
    assert_eq!(fixture.events("Started").await, 0);
    let writes = fixture.controller_writes().await;
    assert_eq!(writes.len(), 2, "{writes:#?}");
    let columns = fixture.columns("hello").await;
    assert_eq!(columns[..3], ["hello", "True", "Succeeded"], "{columns:?}");
    let unprojected = "SELECT count(*) FROM everstep.runs WHERE summary_seq > projected_seq";
    eventually("marked", || async { fixture.count(unprojected).await == 0 }).await;
}

#[tokio::test]
async fn two_controllers_and_a_second_apply_start_one_run_for_each_object() {
    let fixture = Fixture::new("twice").await;
    let _first = fixture.controller();
    let _second = fixture.controller();
    let all: String = (0..20)
        .map(|n| HELLO.replace("name: hello", &format!("name: hello-{n}")) + "\n---\n")
        .collect();
    fixture.apply(&all).await;
    fixture.apply(&all).await;
    for n in 0..20 {
        fixture.condition(&format!("hello-{n}"), "Accepted").await;
    }
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.runs").await, 20);
    assert_eq!(
        fixture
            .count("SELECT count(DISTINCT owner_uid) FROM everstep.runs")
            .await,
        20
    );
    fixture.finish_all("Failed").await;
    for n in 0..20 {
        assert_eq!(
            fixture
                .condition(&format!("hello-{n}"), "Finished")
                .await
                .text("reason"),
            "Failed"
        );
    }
    eventually("20 Events", || async { fixture.events("Failed").await == 20 }).await;
}

#[tokio::test]
async fn converged_object_costs_no_write_to_either_side() {
    let fixture = Fixture::new("noop").await;
    let _controller = fixture.controller_with(|options| options.resync = Duration::from_millis(50));
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    fixture.finish_all("Succeeded").await;
    fixture.condition("hello", "Finished").await;
    let unprojected = "SELECT count(*) FROM everstep.runs WHERE summary_seq > projected_seq";
    eventually("marked", || async { fixture.count(unprojected).await == 0 }).await;
    eventually("told", || async { fixture.events("Finished").await == 1 }).await;

    // Whoever inserts, updates or locks a row leaves its transaction id in it.
    let tables = [
        "owners",
        "definitions",
        "runs",
        "starts",
        "active",
        "inbox",
        "audit",
        "cluster",
    ];
    let versions = tables.map(|table| format!("SELECT '{table}' || ctid || xmin || xmax AS v FROM everstep.{table}"));
    let versions = format!(
        "SELECT string_agg(v, ' ' ORDER BY v) FROM ({}) AS t",
        versions.join(" UNION ALL ")
    );
    let reads = "SELECT sum(idx_scan + seq_scan)::bigint FROM pg_stat_user_tables WHERE relname = 'owners'";
    let writes = fixture.controller_writes().await.len();
    let before = fixture.text(&versions).await;
    let looked = fixture.count(reads).await;
    eventually("many reconciles", || async { fixture.count(reads).await > looked + 20 }).await;
    assert_eq!(fixture.text(&versions).await, before, "rows were written");
    assert_eq!(
        fixture.controller_writes().await.len(),
        writes,
        "the API server was written to"
    );
}

#[tokio::test]
async fn run_whose_row_vanished_is_there_again_under_its_start_key() {
    let fixture = Fixture::new("vanished").await;
    let _controller = fixture.controller_with(|options| options.resync = Duration::from_millis(200));
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    let key = "SELECT start_key FROM everstep.runs";
    let before = fixture.text(key).await;
    fixture
        .execute("DELETE FROM everstep.active; DELETE FROM everstep.runs")
        .await;
    eventually("repaired", || async {
        fixture.count("SELECT count(*) FROM everstep.runs").await == 1
    })
    .await;
    assert_eq!(fixture.text(key).await, before);
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.active").await, 1);
}

#[tokio::test]
async fn edit_during_a_run_starts_the_new_revision_when_the_run_has_ended() {
    let fixture = Fixture::new("edit").await;
    let _controller = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    fixture.apply(&HELLO.replace("hello, ", "good evening, ")).await;
    let generation = |status: &Value| status["observedGeneration"] == 2;
    eventually("the edit is seen", || async {
        generation(&fixture.status("hello").await)
    })
    .await;
    assert_eq!(fixture.count("SELECT count(*) FROM everstep.runs").await, 1);
    fixture.finish_all("Succeeded").await;
    eventually("the next run", || async {
        fixture.count("SELECT count(*) FROM everstep.runs").await == 2
    })
    .await;
}

#[tokio::test]
async fn run_that_sleeps_is_shown_waiting_until_it_goes_on() {
    let fixture = Fixture::new("sleeping").await;
    let _controller = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    let summary = r#"{"phase": "Sleeping", "progress": "1/3", "attempts": 1, "step": "pause"}"#;
    fixture
        .execute(&format!(
            "UPDATE everstep.runs SET phase = 'Sleeping', summary = '{summary}', summary_seq = summary_seq + 1"
        ))
        .await;
    fixture.store.ring(everstep::store::Bell::Changed);
    let wait = [
        "-n",
        &fixture.namespace,
        "wait",
        "--for=condition=Waiting",
        "ewf/hello",
        "--timeout=60s",
    ];
    fixture.plane.kubectl(&wait).await.unwrap();
    assert_eq!(fixture.columns("hello").await[1..3], ["False", "Sleeping"]);
    fixture.finish_all("Succeeded").await;
    fixture.condition("hello", "Finished").await;
    let conditions = fixture.status("hello").await["conditions"].clone();
    let types: Vec<&str> = conditions
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| condition.text("type"))
        .collect();
    assert!(
        !types.contains(&"Waiting") && !types.contains(&"Reconciling"),
        "{types:?}"
    );
}

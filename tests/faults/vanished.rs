//! Objects that are gone take their runs with them; objects that only seem to be gone do not.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::controlplane::{self, ControlPlane};
use super::support::postgres;
use super::support::system::{Process, install_crds, migrate};
use super::workload::workflow;
use super::world::{DEADLINE, World, eventually, metric};

/// Live runs whose objects vanish at once.
const MANY: usize = 500;
/// Passes that found no proof.
const GIVEN_UP: &str = "everstep_orphan_passes_total{result=\"given_up\"}";
const FLAGS: &[(&str, &str)] = &[("--orphan-period", "1s"), ("--resync", "20s")];
const CANCELS: &str = "SELECT count(*) FROM everstep.inbox WHERE kind = 'Cancel'";
const LIVE: &str = "SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL";

#[tokio::test(flavor = "multi_thread")]
async fn brake_holds_when_all_objects_vanish_while_the_controller_is_down() {
    let world = World::new("vanished", Duration::ZERO).await;
    let mut controller = world.system.start("controller", FLAGS).await;
    let worker = world.system.start("worker", FLAGS).await;
    world.create((0..MANY).map(sleeper)).await;
    eventually("all sleep", DEADLINE, async || asleep(&world).await == MANY as i64).await;

    // One of them: it is really gone.
    controller.stop().await;
    world.system.kubectl(&["delete", "workflow", "sleeper-7"]).await;
    controller = world.system.start("controller", FLAGS).await;
    let cancelled = "SELECT count(*) FROM everstep.runs WHERE workflow = 'sleeper-7' AND phase = 'Cancelled'";
    eventually("it is cancelled", DEADLINE, async || {
        world.system.count(cancelled).await == 1
    })
    .await;
    let logs = controller.logs();
    let acts = logs
        .iter()
        .position(|line| line["message"] == "runs of a deleted object cancelled")
        .unwrap();
    let passes_until_then = logs[..acts]
        .iter()
        .filter(|line| line["message"] == "orphan pass")
        .count();
    assert_eq!(passes_until_then, 2, "one that suspects and one that acts");
    assert_eq!(world.system.count(LIVE).await, MANY as i64 - 1, "and nothing else");

    // All others: that cannot be meant.
    controller.stop().await;
    world.delete_all().await;
    controller = world.system.start("controller", FLAGS).await;
    says_that_the_brake_holds(&mut controller).await;
    passes(&mut controller, 4).await;
    assert_eq!(world.system.count(LIVE).await, MANY as i64 - 1, "nothing was cancelled");
    assert_eq!(world.system.count(CANCELS).await, 1, "nothing will be");

    // Nor by another one that has seen nothing.
    controller.stop().await;
    controller = world.system.start("controller", FLAGS).await;
    says_that_the_brake_holds(&mut controller).await;
    assert_eq!(world.system.count(CANCELS).await, 1);
    controller.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cancelled_when_the_crds_go_or_the_api_server_is_another_one() {
    let plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await;
    let mut world = World::on(&plane, "crds", postgres::database(migrate).await, Duration::ZERO).await;
    let mut controller = world.system.start("controller", FLAGS).await;
    let worker = world.system.start("worker", FLAGS).await;
    world.create((0..MANY).map(sleeper)).await;
    eventually("all sleep", DEADLINE, async || asleep(&world).await == MANY as i64).await;

    // Another API server, which has the CRDs and no objects.
    let theirs = std::mem::replace(&mut world.system.kubeconfig, controlplane::shared().await.kubeconfig());
    drop(super::support::system::System::new("crds-elsewhere").await);
    for role in ["controller", "worker", "all"] {
        let mut stray = world.system.spawn(role, FLAGS);
        let status = stray.ended().await;
        assert_eq!(status.code(), Some(3), "{role}: {}", stray.errors());
    }
    world.system.kubeconfig = theirs;
    untouched(&world).await;

    // The CRDs go under its eyes, and with them every object: Delete events, all of them.
    plane
        .kubectl(&["delete", "crd", "workflows.everstep.dev", "connections.everstep.dev"])
        .await
        .unwrap();
    controller.counts(GIVEN_UP, 3).await;
    untouched(&world).await;
    // They come back, empty.
    install_crds(&plane).await;
    controller.counts(GIVEN_UP, 4).await;
    untouched(&world).await;
    assert!(controller.is_running());
    // They stay, and are taken for what they are. What is missing is weighed: none of those Delete events counts.
    a_quarter_of_an_hour_passes(&world).await;
    says_that_the_brake_holds(&mut controller).await;
    passes(&mut controller, 3).await;
    untouched(&world).await;

    // One that was not there, and sees an empty LIST only.
    controller.stop().await;
    controller = world.system.start("controller", FLAGS).await;
    says_that_the_brake_holds(&mut controller).await;
    passes(&mut controller, 3).await;
    untouched(&world).await;
    controller.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_begin_anew_when_other_crds_have_stayed_for_a_quarter_of_an_hour() {
    let plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await;
    let world = World::on(&plane, "anew", postgres::database(migrate).await, Duration::ZERO).await;
    let mut controller = world.system.start("controller", FLAGS).await;
    let _worker = world.system.start("worker", FLAGS).await;
    world.create((0..3).map(sleeper)).await;
    eventually("all sleep", DEADLINE, async || asleep(&world).await == 3).await;
    // It knows the CRDs.
    let pass = |line: &Value| line["message"] == "orphan pass";
    controller.logged("a pass", pass).await;
    plane
        .kubectl(&["delete", "crd", "workflows.everstep.dev"])
        .await
        .unwrap();
    install_crds(&plane).await;
    let replaced = |line: &Value| line["error"].to_string().contains("was replaced");
    controller.logged("the CRD is another one", replaced).await;
    controller.counts(GIVEN_UP, 3).await;
    assert_eq!(world.system.count(CANCELS).await, 0, "nothing is proven");

    a_quarter_of_an_hour_passes(&world).await;
    world.create([sleeper(7)]).await;
    // Few enough for the brake: the three are missing, and nobody knows why.
    eventually("they are cancelled", DEADLINE, async || {
        world.system.count(CANCELS).await == 3
    })
    .await;
    let anew = |line: &Value| line["error"].to_string().contains("begin anew with the next one");
    assert_eq!(controller.logs().iter().filter(|line| anew(line)).count(), 1);
    world.system.kubectl(&["delete", "workflow", "sleeper-7"]).await;
    eventually("a deletion is believed", DEADLINE, async || {
        world.system.count(CANCELS).await == 4
    })
    .await;
}

/// By the database's clock, which controllers learn with the facts that they read.
async fn a_quarter_of_an_hour_passes(world: &World) {
    let later = "CREATE OR REPLACE FUNCTION everstep.now() RETURNS timestamptz LANGUAGE sql
                 AS $$ SELECT clock_timestamp() + interval '16 minutes' $$";
    let mut sql = world.system.sql().await;
    sqlx::raw_sql(later).execute(&mut sql).await.unwrap();
    world
        .create([workflow("news", json!({"steps": [{"name": "a", "set": {}}]}))])
        .await;
    world.system.finished("news").await;
}

async fn untouched(world: &World) {
    assert_eq!(world.system.count(LIVE).await, MANY as i64, "all runs live");
    assert_eq!(world.system.count(CANCELS).await, 0, "none is to be cancelled");
}

fn sleeper(number: usize) -> Value {
    let spec = json!({"steps": [{"name": "rest", "sleep": {"for": "1h"}}]});
    workflow(&format!("sleeper-{number}"), spec)
}

async fn asleep(world: &World) -> i64 {
    world
        .system
        .count("SELECT count(*) FROM everstep.runs WHERE phase = 'Sleeping'")
        .await
}

fn is_brake(line: &Value) -> bool {
    line["level"] == "ERROR"
        && line["message"]
            .as_str()
            .is_some_and(|text| text.contains("the orphan brake holds"))
}

async fn says_that_the_brake_holds(controller: &mut Process) {
    controller.logged("the brake", is_brake).await;
    eventually("the metric", DEADLINE, async || {
        metric(controller, "everstep_orphan_brake").await == 1.0
    })
    .await;
}

/// Waits for so many passes that the brake stops.
async fn passes(controller: &mut Process, count: usize) {
    let before = controller.logs().iter().filter(|line| is_brake(line)).count();
    eventually("more passes", DEADLINE, async || {
        controller.logs().iter().filter(|line| is_brake(line)).count() >= before + count
    })
    .await;
}

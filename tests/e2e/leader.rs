//! Several controllers, of which one leads: who takes over, when, and that nothing is done twice.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::support::system::{Process, System, workflow};

/// The Lease as it is in production.
const PRODUCTION: &[(&str, &str)] = &[("--leader-lease-duration", "15s")];
/// What a takeover may take after a SIGKILL.
const TAKEOVER: Duration = Duration::from_secs(17);

const BRAKE: &str = "everstep_orphan_brake";

/// A workflow that is done at once.
fn quick(name: &str) -> String {
    workflow(name, "{steps: [{name: say, set: {done: true}}]}")
}

async fn patches(controller: &mut Process) -> f64 {
    controller
        .metric("everstep_status_patches_total{result=\"written\"}")
        .await
}

/// Waits until a controller that led says that it does not any more.
async fn stands_by(controller: &mut Process) {
    let message = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
    let told = |line: &Value| message(line).starts_with("standing by");
    controller.logged("standing by", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_a_killed_leader_in_time_and_from_one_that_ends_at_once() {
    let system = System::new("leader").await;
    let mut first = system.start("controller", PRODUCTION).await;
    first.leads().await;
    let _worker = system.start("worker", &[]).await;
    let mut second = system.start("controller", PRODUCTION).await;

    system.apply(&quick("one")).await;
    system.finished("one").await;
    assert!(patches(&mut first).await >= 1.0);
    assert_eq!(second.metric("everstep_leader").await, 0.0);
    assert_eq!(patches(&mut second).await, 0.0, "a standby writes nothing");

    first.kill().await;
    let killed = Instant::now();
    system.apply(&quick("two")).await;
    second.leads().await;
    let took = killed.elapsed();
    assert!(took <= TAKEOVER, "{took:?}");
    system.finished("two").await;

    let mut third = system.start("controller", PRODUCTION).await;
    assert_eq!(third.metric("everstep_leader").await, 0.0);
    second.stop().await;
    let stopped = Instant::now();
    third.leads().await;
    let took = stopped.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "the Lease was given up, and yet it took {took:?}"
    );
    system.apply(&quick("three")).await;
    system.finished("three").await;
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_leader_says_nothing_of_the_brake_that_the_next_one_holds() {
    let system = System::new("former").await;
    let flags = [("--orphan-period", "1s")];
    let mut first = system.start("controller", &flags).await;
    first.leads().await;
    let _worker = system.start("worker", &[]).await;
    let nap = "{steps: [{name: nap, sleep: {for: 1h}}]}";
    let naps = (0..25).map(|n| workflow(&format!("nap-{n}"), nap));
    system.apply(&naps.collect::<String>()).await;
    let asleep = "SELECT count(*) FROM everstep.runs WHERE phase = 'Sleeping'";
    system.until_count(asleep, 25).await;
    first.kill().await;
    system.kubectl(&["delete", "workflows", "--all"]).await;
    let mut first = system.start("controller", &flags).await;
    first.shows(BRAKE, 1.0).await;

    let mut second = system.start("controller", &flags).await;
    assert_eq!(second.metric(BRAKE).await, 0.0, "a standby weighs nothing");
    first.signal(Signal::SIGSTOP);
    second.shows(BRAKE, 1.0).await;
    first.signal(Signal::SIGCONT);
    stands_by(&mut first).await;
    assert_eq!(first.metric(BRAKE).await, 0.0);
    assert_eq!(second.metric(BRAKE).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_steps_down_when_it_wakes() {
    let system = System::new("frozen").await;
    let mut first = system.start("controller", &[]).await;
    first.leads().await;
    let _worker = system.start("worker", &[]).await;
    let mut second = system.start("controller", &[]).await;
    first.signal(Signal::SIGSTOP);
    second.leads().await;
    system.apply(&quick("meanwhile")).await;
    system.finished("meanwhile").await;

    first.signal(Signal::SIGCONT);
    stands_by(&mut first).await;
    assert_eq!(second.metric("everstep_leader").await, 1.0);
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 1);
}

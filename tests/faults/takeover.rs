//! One worker dies, stalls or is stopped in mid-step, and another one goes on.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::history::{self, Recorded};
use super::support::system::Process;
use super::workload::workflow;
use super::world::{BEYOND, DEADLINE, FLAGS, Flags, LEASE, World, eventually, metric};

/// Longer than any takeover here: the first request is still unanswered when the second one comes.
const LONG: Duration = Duration::from_secs(5);

/// Measurements that may be repeated when the machine was busy.
const TRIES: usize = 3;

/// A system with a controller and two workers, and a Workflow of one request that is under way.
struct Scene {
    world: World,
    controller: Process,
    /// Holds the run.
    busy: Process,
    idle: Process,
}

impl Scene {
    async fn new(name: &str, idempotent: bool) -> Self {
        let world = World::new(name, LONG).await;
        let controller = world.system.start("controller", FLAGS).await;
        let one = world.system.start("worker", FLAGS).await;
        let other = world.system.start("worker", FLAGS).await;
        let http = json!({"connection": "payments", "method": "POST", "path": "/v1/charges",
            "body": {"order": "=input.order"}, "idempotent": idempotent});
        let charge = json!({"name": "charge", "http": http, "output": {"id": "=result.body.id"}});
        let spec = json!({"steps": [charge], "output": {"id": "=steps.charge.output.id"}});
        world.create([workflow("long", spec)]).await;
        eventually("the request", DEADLINE, async || world.requests("long") == 1).await;
        let owner = world.owner("long").await;
        let (busy, idle) = if one.id() == owner { (one, other) } else { (other, one) };
        Self {
            world,
            controller,
            busy,
            idle,
        }
    }

    async fn run(&self) -> Recorded {
        let mut runs = history::runs(&self.world.system.direct_url).await;
        assert_eq!(runs.len(), 1);
        runs.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_of_a_killed_worker_goes_on_within_the_lease_and_two_seconds() {
    // What a busy machine adds is not ours: one of a few must be in time.
    let mut took = Vec::new();
    while took.len() < TRIES && !took.iter().any(|took| *took <= LEASE + BEYOND) {
        took.push(takeover().await);
    }
    eprintln!("takeover: {took:?} after the SIGKILL, with a lease of {LEASE:?}");
    assert!(took.iter().any(|took| *took <= LEASE + BEYOND), "{took:?}");
}

/// From the kill until the other worker sends the request again.
async fn takeover() -> Duration {
    let scene = Scene::new("killed", true).await;
    let killed = Instant::now();
    scene.busy.kill().await;
    eventually("the takeover", DEADLINE, async || scene.world.requests("long") == 2).await;
    let took = killed.elapsed();

    let ended = scene.world.system.finished("long").await;
    assert_eq!(ended["status"]["run"]["phase"], "Succeeded");
    assert_eq!(ended["status"]["run"]["output"]["id"], "ch_1");
    assert_eq!(scene.world.keys("long"), 1, "both requests came with one key");
    let run = history::runs(&scene.world.system.direct_url).await.remove(0);
    assert_eq!(run.count("StepSucceeded", "charge"), 1);
    assert_eq!(run.count("AttemptFailed", "charge"), 0, "a takeover uses up no attempt");
    scene.idle.stop().await;
    scene.controller.stop().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_was_stopped_past_its_lease_is_fenced_and_its_result_is_dropped() {
    let mut scene = Scene::new("stalled", true).await;
    scene.busy.signal(Signal::SIGSTOP);
    let world = &scene.world;
    eventually("the takeover", DEADLINE, async || world.requests("long") == 2).await;
    // Its answer lies in its socket by now, or comes while it is at work again.
    scene.busy.signal(Signal::SIGCONT);
    let busy = &mut scene.busy;
    eventually("the fence", DEADLINE, async || {
        metric(busy, "everstep_worker_fenced_total").await >= 1.0
    })
    .await;

    let ended = scene.world.system.finished("long").await;
    assert_eq!(ended["status"]["run"]["phase"], "Succeeded");
    let run = scene.run().await;
    assert_eq!(run.count("StepSucceeded", "charge"), 1, "{:?}", run.outline());
    assert_eq!(run.how_many("TakenOver"), 1, "{:?}", run.outline());
    assert_eq!(scene.world.requests("long"), 2, "the fenced worker began nothing again");
    assert_eq!(scene.world.keys("long"), 1);
    assert!(history::left_behind(&scene.world.system.direct_url).await.is_empty());

    // It is of use again: alone, it carries the next run.
    scene.idle.stop().await;
    let spec = json!({"steps": [{"name": "say", "set": {"x": 1}}]});
    scene.world.create([workflow("next", spec)]).await;
    scene.world.system.finished("next").await;
    scene.busy.stop().await;
    scene.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_must_not_be_repeated_is_ambiguous_after_a_kill() {
    let scene = Scene::new("ambiguous", false).await;
    scene.busy.kill().await;
    let ended = scene.world.system.finished("long").await;
    assert_eq!(ended["status"]["run"]["phase"], "Failed");
    let runs = history::runs(&scene.world.system.direct_url).await;
    let kinds: Vec<&str> = runs[0]
        .events()
        .filter_map(|(_, fields)| fields["error"]["kind"].as_str())
        .collect();
    assert!(kinds.contains(&"Ambiguous"), "{kinds:?} {:?}", runs[0].outline());
    assert_eq!(scene.world.requests("long"), 1, "it was not sent again");
    scene.idle.stop().await;
    scene.controller.stop().await;
}

/// Runs that are handed on wait for no lease: with this one, whoever waited for it would be seen.
const UNHURRIED: Flags = &[("--lease", "30s")];

#[tokio::test(flavor = "multi_thread")]
async fn stopped_worker_hands_on_at_once_and_loses_no_attempt() {
    let world = World::new("drained", Duration::from_millis(100)).await;
    let controller = world.system.start("controller", FLAGS).await;
    let first = world.system.start("worker", UNHURRIED).await;
    // Some are in a step when the signal comes, some between two.
    const RUNS: usize = 20;
    world
        .create((0..RUNS).map(|number| workflow(&format!("steps-{number}"), steps())))
        .await;
    eventually("all runs begin", DEADLINE, async || {
        world
            .system
            .count("SELECT count(DISTINCT run_id) FROM everstep.journal WHERE seq > 2")
            .await
            == RUNS as i64
    })
    .await;
    let second = world.system.start("worker", UNHURRIED).await;

    let asked = Instant::now();
    first.stop().await;
    let held = "SELECT count(*) FROM everstep.active AS a JOIN everstep.workers AS w ON w.id = a.worker_id WHERE w.session LIKE '%/";
    let held = format!("{held}{}'", second.id());
    let live = "SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL AND phase <> 'Sleeping'";
    eventually("the other one has them", DEADLINE, async || {
        world.system.count(&held).await >= world.system.count(live).await
    })
    .await;
    let took = asked.elapsed();
    eprintln!("drained: handed on {took:?} after the SIGTERM");
    assert!(took <= Duration::from_secs(2), "{took:?}");

    world.all_ended(RUNS, DEADLINE).await;
    for run in history::runs(&world.system.direct_url).await {
        let errors: Vec<_> = run.events().filter_map(|(_, fields)| fields.get("error")).collect();
        assert_eq!(
            run.phase,
            "Succeeded",
            "{}: {errors:?} {:?}",
            run.workflow,
            run.outline()
        );
        let lost = run
            .events()
            .filter(|(name, _)| ["TakenOver", "AttemptFailed"].contains(name))
            .count();
        assert_eq!(lost, 0, "{}: {:?}", run.workflow, run.outline());
    }
    let again: Vec<_> = world
        .payments
        .ledger
        .entries()
        .into_iter()
        .filter(|entry| entry.requests != 1)
        .collect();
    assert!(again.is_empty(), "attempts that were cut off: {again:?}");
    second.stop().await;
    controller.stop().await;
}

/// Twenty short requests, each with a body of its own.
fn steps() -> serde_json::Value {
    let steps: Vec<_> = (0..20)
        .map(|step| {
            let body = json!({"order": "=input.order", "step": step});
            json!({"name": format!("s{step}"), "http": {"connection": "payments", "method": "POST", "path": "/v1/charges", "body": body}})
        })
        .collect();
    json!({ "steps": steps })
}

//! The API server or PostgreSQL is away for a while: what can go on goes on, and afterwards all is well.

use std::time::{Duration, Instant};

use everstep::dev::postgres::{Options, Postgres, Shutdown};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::history;
use super::seed::Random;
use super::support::controlplane::{self, ControlPlane};
use super::support::postgres;
use super::support::system::{System, install_crds, migrate};
use super::workload::{Order, charge, order, reserve, workflow};
use super::world::{DEADLINE, FLAGS, Fleet, World, eventually};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(30);
/// How long after their creation its runs sleep: all of them sleep when it goes, and it is away when they wake.
const REST: Duration = Duration::from_secs(20);
/// After its return, all goes on within this.
const BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_while_the_api_server_is_away() {
    let mut plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await;
    let database = postgres::database(migrate).await;
    let world = World::on(&plane, "away", database, Duration::from_millis(50)).await;
    let mut fleet = Fleet::start(&world.system, 2, 2).await;
    let warm = both_workers_use_payments(&world, &mut fleet).await;

    const RUNS: usize = 40;
    let wake = Timestamp::now() + REST;
    let known: Vec<Order> = (0..RUNS)
        .map(|number| order_through(&format!("known-{number}"), wake, &charge()))
        .collect();
    // No worker has used the shop's Connection yet: nothing of it is remembered.
    let unknown: Vec<Order> = (0..RUNS / 4)
        .map(|number| order_through(&format!("unknown-{number}"), wake, &reserve()))
        .collect();
    let orders = [known, unknown].concat();
    world.create(orders.iter().map(|order| order.manifest.clone())).await;
    eventually("all runs sleep", DEADLINE, async || {
        let asleep = "SELECT count(*) FROM everstep.runs WHERE phase = 'Sleeping'";
        world.system.count(asleep).await == orders.len() as i64
    })
    .await;

    plane.stop_api_server().await.unwrap();
    let gone = Instant::now();
    world.all_ended(warm + RUNS, AWAY).await;
    tokio::time::sleep(AWAY.saturating_sub(gone.elapsed())).await;
    let waiting = "SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL";
    assert_eq!(
        world.system.count(waiting).await,
        orders.len() as i64 - RUNS as i64,
        "they wait for its return"
    );
    fleet.all_run();

    plane.start_api_server().await.unwrap();
    let back = Instant::now();
    world.all_shown(&orders, 2 * AWAY).await;
    eprintln!(
        "away: all statuses right {:?} after the API server's return",
        back.elapsed()
    );
    world.create([order_through("later", wake, &charge()).manifest]).await;
    eventually("a new object is seen", DEADLINE, async || {
        world
            .system
            .count("SELECT count(*) FROM everstep.runs WHERE workflow = 'later'")
            .await
            == 1
    })
    .await;

    let recorded = history::runs(&world.system.direct_url).await;
    let recorded: Vec<_> = recorded
        .into_iter()
        .filter(|run| orders.iter().any(|order| order.name == run.workflow))
        .collect();
    let complaints = history::complaints(&orders, &recorded, &world.payments.ledger.entries());
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert_eq!(
        world.system.count("SELECT count(*) FROM everstep.inbox").await,
        0,
        "nothing was cancelled"
    );
    fleet.all_run();
    fleet.stop().await;
}

/// Runs one request after another until each worker has sent one: then it remembers that Connection. Answers how many.
async fn both_workers_use_payments(world: &World, fleet: &mut Fleet<'_>) -> usize {
    let mut created = 0;
    let until = Instant::now() + DEADLINE;
    while fleet
        .metric("everstep_step_attempts_total{action=\"http\",outcome=\"succeeded\"}")
        .await
        .contains(&0.0)
    {
        assert!(Instant::now() < until, "one of the workers gets no work");
        let names = (created..created + 4).map(|number| format!("warm-{number}"));
        world
            .create(names.map(|name| workflow(&name, json!({"steps": [charge()]}))))
            .await;
        created += 4;
        world.all_ended(created, DEADLINE).await;
    }
    created
}

/// Sleeps until well into the outage, and then takes this step.
fn order_through(name: &str, wake: Timestamp, step: &Value) -> Order {
    let through = step["name"].as_str().unwrap().to_owned();
    let paths = if through == "charge" {
        vec!["/v1/charges"]
    } else {
        Vec::new()
    };
    let spec = json!({"steps": [{"name": "rest", "sleep": {"until": wake}}, step, {"name": "nap", "sleep": {"for": "300ms"}}],
        "output": {"order": "=input.order"}});
    Order {
        manifest: workflow(name, spec),
        output: json!({"order": name}),
        steps: vec!["rest".to_owned(), through, "nap".to_owned()],
        unsteady: Vec::new(),
        paths,
        name: name.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_when_postgresql_is_back() {
    // One whose lease outlives the outage, with all that it has in memory, and one that is fenced by it.
    const MEMBERS: [(&str, &[(&str, &str)]); 4] = [
        ("controller", FLAGS),
        ("controller", FLAGS),
        ("worker", &[("--lease", "6s")]),
        ("worker", FLAGS),
    ];
    let mut random = Random::new("restart");
    let mut server = tokio::task::block_in_place(|| Postgres::start(Options::default())).unwrap();
    tokio::task::block_in_place(|| server.create_database("engine")).unwrap();
    let database = server.url("engine");
    migrate(database.clone()).await;
    let plane = controlplane::shared().await;
    // Installs the CRDs there.
    drop(System::new("restart-crds").await);
    let world = World::on(plane, "restart", database, Duration::from_millis(300)).await;
    let mut fleet = Fleet::of(&world.system, MEMBERS).await;
    let (mut orders, mut took) = (Vec::new(), Vec::new());
    for round in 0..3_usize {
        let batch: Vec<Order> = (0..40).map(|number| order(100 * round + number, &mut random)).collect();
        world.create(batch.iter().map(|order| order.manifest.clone())).await;
        let begun = format!(
            "SELECT count(*) FROM everstep.runs WHERE started_at IS NOT NULL AND workflow LIKE 'order-{}%'",
            round.max(1)
        );
        eventually("runs begin", DEADLINE, async || world.system.count(&begun).await >= 10).await;
        orders.extend(batch);

        // As in a crash, twice: all its processes at once, and its first process only.
        tokio::task::block_in_place(|| {
            if round == 1 {
                server.kill()
            } else {
                server.stop(Shutdown::Immediate)
            }
        })
        .unwrap();
        let away = Instant::now();
        while away.elapsed() < Duration::from_secs(2) {
            none_failed(&world).await;
        }
        tokio::task::block_in_place(|| server.resume()).unwrap();
        let back = Instant::now();
        let name = format!("after-{round}");
        world
            .create([workflow(&name, json!({"steps": [{"name": "say", "set": {"x": 1}}]}))])
            .await;
        let seen = format!("SELECT count(*) FROM everstep.runs WHERE workflow = '{name}' AND phase = 'Succeeded'");
        eventually("a new object's run ends", DEADLINE, async || {
            world.system.count(&seen).await == 1
        })
        .await;
        let stalled = "SELECT count(*) FROM everstep.active WHERE worker_id IS NULL OR worker_id NOT IN \
                       (SELECT id FROM everstep.workers WHERE expires_at > now())";
        eventually("every run that can go on has an owner", DEADLINE, async || {
            world.system.count(stalled).await == 0
        })
        .await;
        took.push(back.elapsed());
        none_failed(&world).await;
    }
    eprintln!("restart: all go on {took:?} after PostgreSQL's return");
    // What a busy machine adds is not ours: one of them must be in time.
    assert!(took.iter().any(|took| *took <= BACK), "{took:?}");
    world.all_ended(orders.len() + 3, Duration::from_secs(60)).await;
    world.all_shown(&orders, DEADLINE).await;
    fleet.all_run();

    let recorded = history::runs(&world.system.direct_url).await;
    let recorded: Vec<_> = recorded
        .into_iter()
        .filter(|run| !run.workflow.starts_with("after-"))
        .collect();
    let mut complaints = history::complaints(&orders, &recorded, &world.payments.ledger.entries());
    complaints.extend(history::left_behind(&world.system.direct_url).await);
    assert!(complaints.is_empty(), "{complaints:#?}");
    let conflicts = fleet.metric("everstep_append_conflicts_total").await;
    eprintln!("restart: appends lost: {conflicts:?}");
    fleet.stop().await;
}

/// An outage is nobody's failure.
async fn none_failed(world: &World) {
    for object in world.workflows().await {
        let status = &object["status"];
        assert!(
            !["Failed", "Cancelled", "TimedOut"].contains(&status["run"]["phase"].as_str().unwrap_or_default()),
            "{status:#}"
        );
        let conditions = status["conditions"].as_array();
        let stalled = conditions.is_some_and(|list| list.iter().any(|condition| condition["type"] == "Stalled"));
        assert!(!stalled, "{status:#}");
    }
}

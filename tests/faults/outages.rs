//! The API server or PostgreSQL is away for a while: what can go on goes on, and afterwards all is well.

use std::time::{Duration, Instant};

use everstep::dev::postgres::{Options, Postgres, Shutdown};
use serde_json::json;

use super::history;
use super::seed::Random;
use super::support::controlplane::ControlPlane;
use super::support::system::{install_crds, migrate};
use super::workload::{Order, order, workflow};
use super::world::{Fleet, World, eventually};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(30);
/// After its return, all goes on within this.
const BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_while_the_api_server_is_away() {
    let mut plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await;
    let database = super::support::postgres::database(migrate).await;
    let world = World::on(&plane, "away", database, Duration::from_millis(50)).await;
    let mut fleet = Fleet::start(&world.system, 2, 2).await;
    const RUNS: usize = 40;
    let orders: Vec<Order> = (0..RUNS).map(long_order).collect();
    world.create(orders.iter().map(|order| order.manifest.clone())).await;
    let started = "SELECT count(*) FROM everstep.runs WHERE started_at IS NOT NULL";
    eventually("all runs begin", BACK * 2, async || {
        world.system.count(started).await == RUNS as i64
    })
    .await;
    // Of the two Connections, no worker has used the shop's yet: nothing of it is remembered.
    eventually("the first steps", BACK * 2, async || {
        world.payments.ledger.entries().len() == RUNS
    })
    .await;

    plane.stop_api_server().await.unwrap();
    let gone = Instant::now();
    let decisions = "SELECT count(*) FROM everstep.journal";
    let before = world.system.count(decisions).await;
    world.all_ended(RUNS, AWAY).await;
    assert!(
        world.system.count(decisions).await > before + RUNS as i64,
        "steps were taken meanwhile"
    );
    tokio::time::sleep(AWAY.saturating_sub(gone.elapsed())).await;
    fleet.all_run();

    plane.start_api_server().await.unwrap();
    let back = Instant::now();
    world.all_shown(&orders, Duration::from_secs(20)).await;
    eprintln!(
        "away: all statuses right {:?} after the API server's return",
        back.elapsed()
    );
    let later = Order { ..long_order(RUNS) };
    world.create([later.manifest.clone()]).await;
    eventually("a new object is seen", BACK, async || {
        world.system.count("SELECT count(*) FROM everstep.runs").await == RUNS as i64 + 1
    })
    .await;

    let recorded = history::runs(&world.system.direct_url).await;
    let recorded: Vec<_> = recorded.into_iter().filter(|run| run.workflow != later.name).collect();
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

/// Steps of all kinds, until well into the outage.
fn long_order(number: usize) -> Order {
    let name = format!("long-{number}");
    let charge = |path: &str| json!({"connection": "payments", "method": "POST", "path": path, "body": {"order": "=input.order"}, "idempotent": true});
    let insert = "INSERT INTO reservation (order_id, times) VALUES ($1, 1) \
                  ON CONFLICT (order_id) DO UPDATE SET times = reservation.times + 1 RETURNING order_id";
    let spec = json!({
        "steps": [
            {"name": "charge", "http": charge("/v1/charges"), "output": {"id": "=result.body.id"}},
            {"name": "rest", "sleep": {"for": "9s"}},
            {"name": "reserve", "sql": {"connection": "shopdb", "query": insert, "args": ["=input.order"]}},
            {"name": "nap", "sleep": {"for": "500ms"}},
            {"name": "notify", "http": charge("/v1/notify")},
        ],
        "output": {"order": "=steps.reserve.output.row.order_id"},
    });
    Order {
        manifest: workflow(&name, spec),
        output: json!({"order": name}),
        steps: ["charge", "rest", "reserve", "nap", "notify"]
            .map(str::to_owned)
            .to_vec(),
        unsteady: Vec::new(),
        paths: vec!["/v1/charges", "/v1/notify"],
        name,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_when_postgresql_is_back() {
    let mut random = Random::new("restart");
    let mut server = tokio::task::block_in_place(|| Postgres::start(Options::default())).unwrap();
    tokio::task::block_in_place(|| server.create_database("engine")).unwrap();
    let database = server.url("engine");
    migrate(database.clone()).await;
    let plane = super::support::controlplane::shared().await;
    // Installs the CRDs there.
    drop(super::support::system::System::new("restart-crds").await);
    let world = World::on(plane, "restart", database, Duration::from_millis(300)).await;
    let mut fleet = Fleet::start(&world.system, 2, 2).await;
    let mut orders = Vec::new();
    for round in 0..3_usize {
        let batch: Vec<Order> = (0..40).map(|number| order(100 * round + number, &mut random)).collect();
        world.create(batch.iter().map(|order| order.manifest.clone())).await;
        let begun = format!(
            "SELECT count(*) FROM everstep.runs WHERE started_at IS NOT NULL AND workflow LIKE 'order-{}%'",
            round.max(1)
        );
        eventually("runs begin", BACK * 2, async || world.system.count(&begun).await >= 10).await;
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
        eventually("a new object's run ends", BACK, async || {
            world.system.count(&seen).await == 1
        })
        .await;
        eprintln!(
            "restart {round}: a new run ended {:?} after PostgreSQL's return",
            back.elapsed()
        );
        let stalled = "SELECT count(*) FROM everstep.active WHERE worker_id IS NULL OR worker_id NOT IN \
                       (SELECT id FROM everstep.workers WHERE expires_at > now())";
        eventually(
            "every run that can go on has an owner",
            BACK.saturating_sub(back.elapsed()),
            async || {
                none_failed(&world).await;
                world.system.count(stalled).await == 0
            },
        )
        .await;
        eprintln!(
            "restart {round}: all owned {:?} after PostgreSQL's return",
            back.elapsed()
        );
    }
    world.all_ended(orders.len() + 3, Duration::from_secs(60)).await;
    world.all_shown(&orders, Duration::from_secs(20)).await;
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
    eprintln!("restart: {conflicts} appends lost");
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

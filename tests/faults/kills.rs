//! SIGKILLs of workers and controllers, at random, while runs come and go: in the end all is as if nobody had died.
//!
//! `FAULTS_SEED`, `FAULTS_KILLS` and `FAULTS_RUNS` repeat or lengthen it.

use std::time::Duration;

use super::history;
use super::seed::{Random, setting};
use super::workload::{Order, order};
use super::world::{DEADLINE, Fleet, World};

const KILLS: u64 = 50;
const RUNS: u64 = 200;
/// Workflows that are created together.
const BATCH: usize = 10;
/// The longest pause between two kills, in milliseconds: a worker lives for about five of them, half as long each.
const PAUSE: u64 = 1200;

/// A run that is taken over several times in a row without a result between is held for up to minutes, lest it kills its
/// workers for ever; on a busy machine leases are lost between the kills too.
const HELD: Duration = Duration::from_secs(300);

/// Long enough for many a kill to fall between an effect and its answer.
const ANSWERS_AFTER: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_every_run_ends_once_with_its_result() {
    let mut random = Random::new("kills");
    let (kills, runs) = (setting("FAULTS_KILLS", KILLS), setting("FAULTS_RUNS", RUNS) as usize);
    let world = World::new("kills", ANSWERS_AFTER).await;
    let mut fleet = Fleet::start(&world.system, 3, 2).await;
    let orders: Vec<Order> = (0..runs).map(|number| order(number, &mut random)).collect();

    // The objects come as evenly as the kills do.
    let mut created = 0;
    for kill in 1..=kills {
        let due = runs * kill as usize / kills as usize;
        while created < due {
            let batch = &orders[created..runs.min(created + BATCH)];
            world.create(batch.iter().map(|order| order.manifest.clone())).await;
            created += batch.len();
        }
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE))).await;
        let role = fleet.kill_one(&mut random).await;
        eprintln!("kill {kill}: a {role}, {created} runs so far");
    }
    world.all_ended(runs, HELD).await;
    world.all_shown(&orders, DEADLINE).await;
    fleet.all_run();

    let recorded = history::runs(&world.system.direct_url).await;
    let mut complaints = history::complaints(&orders, &recorded, &world.payments.ledger.entries());
    complaints.extend(history::left_behind(&world.system.direct_url).await);
    assert!(
        complaints.is_empty(),
        "{} complaints: {complaints:#?}",
        complaints.len()
    );
    let takeovers: usize = recorded.iter().map(|run| run.how_many("TakenOver")).sum();
    let again: u32 = world
        .payments
        .ledger
        .entries()
        .iter()
        .map(|entry| entry.requests - 1)
        .sum();
    eprintln!("kills: {takeovers} takeovers, {again} requests repeated");
    assert!(
        takeovers > 0,
        "little was tested: most of those who were killed held no run"
    );
    fleet.stop().await;
}

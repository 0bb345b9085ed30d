//! SIGKILLs of workers between the posting of a signal and its consumption: each is consumed once, in its order.
//!
//! `FAULTS_SEED` and `FAULTS_KILLS` repeat or lengthen it. Nobody but workers matters here, so nobody else runs.

use std::time::Duration;

use everstep::store::{Bell, Options, Store, Submission};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::history;
use super::seed::{Random, setting};
use super::support::submission::submission;
use super::world::{FLAGS, Fleet, World};

/// Kills that find at least one signal posted and not taken.
const KILLS: u64 = 200;
const WORKERS: usize = 6;
/// Runs that begin before each kill.
const RUNS: usize = 3;
/// The longest pause before signals are posted, in milliseconds: some workers live long enough to call others dead.
const PAUSE: u64 = 400;
/// The longest time from a posting to the kill, in milliseconds: about as long as it takes until the signal is consumed.
const UNTIL_KILL: u64 = 25;

const UNTAKEN: &str = "SELECT count(*) FROM everstep.inbox WHERE taken_seq IS NULL AND outcome IS NULL";

/// A row of the inbox: its id, its run, which signal of the run it is, and what became of it.
type Letter = (i64, Uuid, i32, Option<i32>, Option<String>);

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_consumed_once_whoever_is_killed_between_its_posting_and_its_consumption() {
    let mut random = Random::new("signals");
    let kills = setting("FAULTS_KILLS", KILLS);
    let world = World::new("signal-kills", Duration::ZERO).await;
    let store = connect(&world).await;
    let mut sql = world.system.sql().await;
    let workers = std::iter::repeat_n(("worker", FLAGS), WORKERS);
    let mut fleet = Fleet::of(&world.system, workers).await;

    // A run's first signal comes with it, in the next round, or in the one after that; its second one is never before the
    // first, and may find nobody who waits for it yet.
    let (mut counted, mut rounds) = (0, 0);
    let mut due: Vec<(usize, usize, i32)> = Vec::new();
    while counted < kills {
        assert!(
            rounds < 3 * kills as usize,
            "only {counted} kills of {rounds} found a signal"
        );
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE))).await;
        for run in rounds * RUNS..(rounds + 1) * RUNS {
            let first = rounds + random.below(3) as usize;
            due.push((first, run, 1));
            due.push((first + random.below(3) as usize, run, 2));
        }
        start(&store, &world, rounds * RUNS..(rounds + 1) * RUNS).await;
        post(&mut sql, &store, &mut due, rounds).await;
        tokio::time::sleep(Duration::from_millis(random.below(UNTIL_KILL))).await;
        let untaken: i64 = sqlx::query_scalar(UNTAKEN).fetch_one(&mut sql).await.unwrap();
        fleet.kill_one(&mut random).await;
        counted += u64::from(untaken > 0);
        rounds += 1;
    }
    post(&mut sql, &store, &mut due, usize::MAX).await;
    world.all_ended(rounds * RUNS, Duration::from_secs(90)).await;
    fleet.all_run();

    let recorded = history::runs(&world.system.direct_url).await;
    let rows: Vec<Letter> =
        sqlx::query_as("SELECT id, run_id, dedup_key::int, consumed_seq, outcome FROM everstep.inbox ORDER BY id")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    assert_eq!((recorded.len(), rows.len()), (rounds * RUNS, rounds * RUNS * 2));
    let mut complaints = history::left_behind(&world.system.direct_url).await;
    for run in &recorded {
        let consumed: Vec<(i32, i64)> = run
            .journal
            .iter()
            .flat_map(|(seq, events)| events.iter().map(move |event| (seq, event)))
            .filter_map(|(seq, event)| Some((*seq, event.get("SignalConsumed")?["id"].as_i64().unwrap())))
            .collect();
        let mut own: Vec<_> = rows.iter().filter(|(_, of, ..)| *of == run.id).collect();
        own.sort_by_key(|(.., n, _, _)| *n);
        let posted: Vec<(Option<i32>, i64)> = own.iter().map(|(id, _, _, seq, _)| (*seq, *id)).collect();
        let said: Vec<(Option<i32>, i64)> = consumed.iter().map(|(seq, id)| (Some(*seq), *id)).collect();
        let all = own.iter().all(|(.., outcome)| outcome.as_deref() == Some("Consumed"));
        if run.phase != "Succeeded" || said != posted || !all {
            complaints.push(format!(
                "{} is {}: {said:?}, {own:?}, {:?}",
                run.workflow,
                run.phase,
                run.outline()
            ));
        }
    }
    assert!(
        complaints.is_empty(),
        "{} complaints: {complaints:#?}",
        complaints.len()
    );
    let takeovers: usize = recorded.iter().map(|run| run.how_many("TakenOver")).sum();
    eprintln!(
        "signals: {counted} of {rounds} kills found signals under way; {} signals, {takeovers} takeovers",
        rows.len()
    );
    assert!(takeovers > 0, "little was tested: nobody who was killed held a run");
    fleet.stop().await;
}

/// The engine's own way into the database of this world, which a controller has made its own and left: runs without an
/// object are orphans to it.
pub(crate) async fn connect(world: &World) -> Store {
    world.system.start("controller", FLAGS).await.stop().await;
    let options = Options {
        url: world.system.direct_url.clone(),
        max_connections: 2,
        application_name: "everstep-test".to_owned(),
    };
    Store::connect(&options).await.unwrap()
}

async fn start(store: &Store, world: &World, runs: std::ops::Range<usize>) {
    let wait = |name: &str| json!({"name": name, "waitForSignal": {"signal": "go"}});
    let body = json!({"steps": [wait("a"), wait("b")]});
    let wishes: Vec<Submission> = runs
        .map(|run| submission(&world.system.namespace, &format!("run-{run}"), &body))
        .collect();
    store.submit(&wishes).await.unwrap();
    store.ring(Bell::Work);
}

/// Posts what is due by this round, of each run in its order.
async fn post(sql: &mut PgConnection, store: &Store, due: &mut Vec<(usize, usize, i32)>, round: usize) {
    due.sort_unstable();
    let now = due.partition_point(|(when, ..)| *when <= round);
    let insert = "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
                  SELECT r.id, 'Signal', 'go', $2, '{}' FROM everstep.runs AS r WHERE r.workflow = $1";
    for (_, run, n) in due.drain(..now) {
        let insert = sqlx::query(insert).bind(format!("run-{run}")).bind(n.to_string());
        assert_eq!(insert.execute(&mut *sql).await.unwrap().rows_affected(), 1);
    }
    store.ring(Bell::Mail);
}

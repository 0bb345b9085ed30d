//! Runs whose object is gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use everstep::leading::Leading;
use everstep::maintenance::orphans::{self, Counters, News, Orphans};
use everstep::store::{DeletionPolicy, FactsOf, Retention, Start, Submission};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, HELLO, eventually};

const CANCELS: &str = "SELECT count(*) FROM everstep.inbox WHERE kind = 'Cancel'";

#[tokio::test]
async fn run_of_a_deleted_object_is_cancelled_when_the_deletion_was_seen() {
    let fixture = Fixture::new("deleted").await;
    let _controller = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    fixture.delete("hello").await;
    eventually("cancelled", || async { fixture.count(CANCELS).await == 1 }).await;
}

#[tokio::test]
async fn run_of_an_object_deleted_while_the_controller_was_down_is_cancelled_after_its_return() {
    let fixture = Fixture::new("down").await;
    let first = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.apply(&HELLO.replace("name: hello", "name: other")).await;
    fixture.condition("hello", "Accepted").await;
    fixture.condition("other", "Accepted").await;
    drop(first);
    fixture.delete("hello").await;
    let _second = fixture.controller();
    eventually("cancelled", || async { fixture.count(CANCELS).await >= 1 }).await;
    let right = "SELECT count(*) FROM everstep.inbox JOIN everstep.runs ON run_id = runs.id WHERE workflow = 'hello'";
    assert_eq!((fixture.count(right).await, fixture.count(CANCELS).await), (1, 1));
}

#[tokio::test]
async fn finished_object_that_was_deleted_is_found_gone_and_nothing_else_is() {
    let fixture = Fixture::new("idle").await;
    let _controller = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.apply(&HELLO.replace("name: hello", "name: other")).await;
    for name in ["hello", "other"] {
        fixture.condition(name, "Accepted").await;
    }
    fixture.finish_all("Succeeded").await;
    for name in ["hello", "other"] {
        fixture.condition(name, "Finished").await;
    }
    fixture.delete("hello").await;
    let gone = "SELECT count(*) FROM everstep.owners WHERE gone_at IS NOT NULL";
    eventually("on record", || async { fixture.count(gone).await == 1 }).await;
    let name = "SELECT name FROM everstep.owners WHERE gone_at IS NOT NULL";
    assert_eq!(fixture.text(name).await, "hello");
    assert_eq!(fixture.count(CANCELS).await, 0);
}

#[tokio::test]
async fn brake_holds_when_the_objects_of_500_live_runs_vanish_at_once() {
    let fixture = Fixture::new("brake").await;
    fixture
        .store
        .adopt_cluster(&fixture.cluster().await, "default")
        .await
        .unwrap();
    start(&fixture, 500).await;
    let (shutdown, passes) = passes(&fixture);
    let suspects = "SELECT count(*) FROM everstep.owners WHERE suspected_at < everstep.now() - interval '2 s'";
    eventually("many passes", || async { fixture.count(suspects).await == 500 }).await;
    assert_eq!(fixture.count(CANCELS).await, 0);
    shutdown.cancel();
    passes.await.unwrap();
}

#[tokio::test]
async fn brake_releases_what_came_back_and_cancels_the_rest_when_it_has_held_long_enough() {
    let fixture = Fixture::new("back").await;
    fixture
        .store
        .adopt_cluster(&fixture.cluster().await, "default")
        .await
        .unwrap();
    start(&fixture, 50).await;
    let back = Arc::new(AtomicBool::new(false));
    let news = Arc::new(Mutex::new(Vec::new()));
    let counters = Arc::new(Counters::default());
    let mut orphans = orphans_of(&fixture);
    orphans.counters = counters.clone();
    orphans.sight = Box::new({
        let back = back.clone();
        // Two objects are gone for good.
        move |uid| Some(back.load(Relaxed) && !["uid-3", "uid-4"].contains(&uid))
    });
    orphans.tell = Box::new({
        let news = news.clone();
        move |one| news.lock().unwrap().push(one)
    });
    let shutdown = CancellationToken::new();
    let passes = tokio::spawn(orphans::run(orphans, shutdown.clone()));
    eventually("the brake holds", || async { counters.brake.load(Relaxed) }).await;

    back.store(true, Relaxed);
    let suspects = "SELECT count(*) FROM everstep.owners WHERE suspected_at IS NOT NULL";
    eventually("released", || async { fixture.count(suspects).await == 2 }).await;
    let so_far = counters.passes.load(Relaxed);
    eventually("more passes", || async { counters.passes.load(Relaxed) > so_far + 3 }).await;
    assert!(counters.brake.load(Relaxed), "it holds for a quarter of an hour");
    assert_eq!(fixture.count(CANCELS).await, 0);

    // A later time, which the store learns from the next answer that carries it.
    fixture
        .execute(
            "CREATE OR REPLACE FUNCTION everstep.now() RETURNS timestamptz LANGUAGE sql
             AS $$ SELECT clock_timestamp() + interval '16 minutes' $$",
        )
        .await;
    let anybody = FactsOf {
        uid: "uid-0".to_owned(),
        namespace: fixture.namespace.clone(),
        workflow: "order-0".to_owned(),
        start_key: None,
    };
    fixture.store.facts(&[anybody]).await.unwrap();
    eventually("cancelled", || async { fixture.count(CANCELS).await == 2 }).await;
    assert!(!counters.brake.load(Relaxed));
    eventually("told", || async { news.lock().unwrap().len() == 4 }).await;
    let news = std::mem::take(&mut *news.lock().unwrap());
    let [
        News::BrakeHolds { runs: 50, live: 50, .. },
        News::BrakeReleased { .. },
        News::Cancelled { uid: first, .. },
        News::Cancelled { uid: second, .. },
    ] = &news[..]
    else {
        panic!("{news:?}")
    };
    assert_eq!((first.as_str(), second.as_str()), ("uid-3", "uid-4"));
    assert_eq!(counters.returned.load(Relaxed), 48);
    shutdown.cancel();
    passes.await.unwrap();
}

/// I-11, with passes half a second apart; and whoever deletes many objects is obeyed in the end, without a human.
#[tokio::test]
async fn many_deletions_one_by_one_are_cancelled_by_the_allowance_of_each_period() {
    const RUNS: usize = 60;
    let fixture = Fixture::new("trickle").await;
    fixture
        .store
        .adopt_cluster(&fixture.cluster().await, "default")
        .await
        .unwrap();
    start(&fixture, RUNS).await;
    let mut orphans = orphans_of(&fixture);
    let (deletions, deleted) = mpsc::channel(RUNS);
    orphans.deleted = deleted;
    orphans.period = Duration::from_secs(2);
    // The watches show an object until they tell its deletion.
    let gone = Arc::new(AtomicUsize::new(0));
    let watched = gone.clone();
    orphans.sight = Box::new(move |uid| {
        let number = uid.strip_prefix("uid-").map(|number| number.parse::<usize>().unwrap());
        Some(number.is_some_and(|number| number >= watched.load(Relaxed)))
    });
    orphans.counters = Arc::default();
    let counters = orphans.counters.clone();
    let shutdown = CancellationToken::new();
    let passes = tokio::spawn(orphans::run(orphans, shutdown.clone()));
    believed(&deletions).await;
    for portion in 0..RUNS / 10 {
        let before = counters.passes.load(Relaxed);
        gone.store(10 * (portion + 1), Relaxed);
        (0..10).for_each(|n| deletions.try_send(format!("uid-{}", 10 * portion + n)).unwrap());
        eventually("a pass", || async { counters.passes.load(Relaxed) > before }).await;
    }
    eventually("cancelled", || async { fixture.count(CANCELS).await == RUNS as i64 }).await;
    assert!(!counters.brake.load(Relaxed));
    let most = "SELECT max(n) FROM (SELECT count(*) OVER (ORDER BY received_at
        RANGE BETWEEN CURRENT ROW AND interval '1900 ms' FOLLOWING) AS n FROM everstep.inbox) AS w";
    assert_eq!(fixture.count(most).await, 20);
    shutdown.cancel();
    passes.await.unwrap();
}

/// What one controller has proven, the next one need not see again.
#[tokio::test]
async fn deletions_that_wait_for_their_period_survive_the_controller() {
    let fixture = Fixture::new("waits").await;
    fixture
        .store
        .adopt_cluster(&fixture.cluster().await, "default")
        .await
        .unwrap();
    start(&fixture, 50).await;
    let mut first = orphans_of(&fixture);
    let (deletions, deleted) = mpsc::channel(50);
    first.deleted = deleted;
    first.period = Duration::from_secs(3600);
    let shutdown = CancellationToken::new();
    let passes = tokio::spawn(orphans::run(first, shutdown.clone()));
    believed(&deletions).await;
    (0..50).for_each(|n| deletions.try_send(format!("uid-{n}")).unwrap());
    eventually("a share", || async { fixture.count(CANCELS).await == 20 }).await;
    shutdown.cancel();
    passes.await.unwrap();

    // A Delete event that only the first one has seen would be 30 missing objects here, and the brake would hold.
    let (shutdown, passes) = self::passes(&fixture);
    eventually("the rest", || async { fixture.count(CANCELS).await == 50 }).await;
    shutdown.cancel();
    passes.await.unwrap();
}

#[tokio::test]
async fn deletions_that_no_pass_can_act_upon_are_remembered_up_to_a_bound() {
    const MANY: usize = 11_000;
    let fixture = Fixture::new("many").await;
    let cluster = fixture.cluster().await;
    fixture.store.adopt_cluster(&cluster, "default").await.unwrap();
    let mut orphans = orphans_of(&fixture);
    let (deletions, deleted) = mpsc::channel(MANY);
    orphans.deleted = deleted;
    let counters = orphans.counters.clone();
    let shutdown = CancellationToken::new();
    let passes = tokio::spawn(orphans::run(orphans, shutdown.clone()));
    believed(&deletions).await;
    fixture.execute("ALTER TABLE everstep.owners RENAME TO away").await;
    (0..MANY).for_each(|n| deletions.try_send(format!("uid-{n}")).unwrap());
    let left = || MANY - deletions.capacity();
    eventually("as many as fit", || async { left() <= MANY - 10_000 }).await;
    let so_far = counters.given_up.load(Relaxed);
    eventually("more passes", || async { counters.given_up.load(Relaxed) > so_far + 3 }).await;
    assert_eq!(left(), MANY - 10_000);

    fixture.execute("ALTER TABLE everstep.away RENAME TO owners").await;
    eventually("the others, too", || async { left() == 0 }).await;
    shutdown.cancel();
    passes.await.unwrap();
}

#[tokio::test]
async fn another_api_server_is_no_evidence() {
    let fixture = Fixture::new("other").await;
    fixture
        .store
        .adopt_cluster(&fixture.cluster().await, "default")
        .await
        .unwrap();
    start(&fixture, 3).await;
    // Another one than the database says, from the beginning: nobody is even a suspect.
    fixture
        .execute("UPDATE everstep.cluster SET id = '00000000-0000-0000-0000-000000000000'")
        .await;
    let stranger = crate::fixture::connect(&fixture.url).await;
    let mut orphans = orphans_of(&fixture);
    orphans.store = stranger;
    orphans.sight = Box::new(|_| panic!("no pass begins"));
    let counters = orphans.counters.clone();
    let shutdown = CancellationToken::new();
    let passes = tokio::spawn(orphans::run(orphans, shutdown.clone()));
    eventually("given up", || async { counters.given_up.load(Relaxed) >= 3 }).await;
    assert_eq!(fixture.count(CANCELS).await, 0);
    shutdown.cancel();
    passes.await.unwrap();
}

/// Live runs of objects that no API server has.
async fn start(fixture: &Fixture, runs: usize) {
    let submissions: Vec<Submission> = (0..runs)
        .map(|n| Submission {
            uid: format!("uid-{n}"),
            kind: "Workflow".to_owned(),
            namespace: fixture.namespace.clone(),
            name: format!("order-{n}"),
            workflow: format!("order-{n}"),
            generation: 1,
            deletion_policy: DeletionPolicy::Background,
            retention: Retention::default(),
            suspended: false,
            revision: "00000000000000aa".to_owned(),
            body: r#"{"steps": []}"#.to_owned(),
            start: Some(Start {
                start_key: format!("uid/uid-{n}/aa"),
                input: None,
                trigger: "OnApply".to_owned(),
                counted_by: None,
            }),
            only_when_idle: true,
            commands: Vec::new(),
        })
        .collect();
    fixture.store.submit(&submissions).await.unwrap();
}

/// Passes ten times a second, with watches that show nothing.
fn passes(fixture: &Fixture) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let shutdown = CancellationToken::new();
    let orphans = orphans_of(fixture);
    (shutdown.clone(), tokio::spawn(orphans::run(orphans, shutdown)))
}

/// Waits until deletions are believed: before it has met the API server, none is.
async fn believed(deletions: &mpsc::Sender<String>) {
    deletions.try_send("nobody".to_owned()).unwrap();
    eventually("met", || async { deletions.capacity() == deletions.max_capacity() }).await;
}

fn orphans_of(fixture: &Fixture) -> Orphans {
    let (_, deleted) = mpsc::channel(1);
    Orphans {
        client: fixture.client.clone(),
        store: fixture.store.clone(),
        namespaces: None,
        period: Duration::from_millis(100),
        sight: Box::new(|_| Some(false)),
        deleted,
        leading: Leading::always(),
        actor: "test".to_owned(),
        tell: Box::new(|_| ()),
        counters: Arc::default(),
    }
}

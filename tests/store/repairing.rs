//! Runs that lost what should move them are put back, and no others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use everstep::engine::{Phase, Summary};
use everstep::leading::Leading;
use everstep::maintenance::detector::{self, Seen, Sight};
use everstep::store::{Append, Appended, StuckReason, Then, Told};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::application::{shop, start};
use crate::rig::{Rig, finish, park, rig, step, told};

const SOON: Option<&str> = Some("2100-01-01T00:00:00Z");

/// Parked in this phase with these words, and with a timer or without one.
fn parked(run: Uuid, phase: Phase, waiting_for: &str, wake_at: Option<&str>) -> Append {
    let wake_at = wake_at.map(|at| at.parse().unwrap());
    let told = told(phase);
    let summary = Summary {
        waiting_for: Some(waiting_for.to_owned()),
        wake_at,
        ..told.summary
    };
    let then = Then::Park {
        wake_at,
        snapshot: serde_json::json!({}),
        told: Told { summary, ..told },
    };
    Append { then, ..step(run, 1) }
}

impl Rig {
    /// A run of an object of this name, as this decision leaves it; old enough to be looked at.
    async fn left(&mut self, name: &str, decision: impl Fn(Uuid) -> Append) -> Uuid {
        let run = self.start(name).await;
        self.store.append(&[decision(run)]).await.unwrap();
        run
    }

    /// Names of the objects whose runs were put back, by the audit.
    async fn repaired(&mut self) -> Vec<String> {
        let names: Option<String> = self
            .one(
                "SELECT string_agg(object_uid, ' ' ORDER BY object_uid) FROM everstep.audit
                 WHERE operation = 'repaired' AND actor = 'controller' AND epoch = 1 AND run_id IS NOT NULL",
            )
            .await;
        names.unwrap_or_default().split(' ').map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn who_lost_its_timer_or_its_place_is_put_back_once_and_who_waits_is_left_alone() {
    let mut rig = rig().await;
    let sleeps = |run| park(run, 1, SOON);
    let waits = |run| parked(run, Phase::Waiting, "signal go", None);
    for name in ["lost-place", "has-place"] {
        rig.start(name).await;
    }
    rig.left("lost-sleeper", sleeps).await;
    rig.left("has-timer", sleeps).await;
    let until = |run| parked(run, Phase::Waiting, "signal go until 2100-01-01T00:00:00Z", SOON);
    rig.left("lost-wait-with-an-end", until).await;
    // As an earlier release left it.
    let said = |run| parked(run, Phase::Waiting, "signal go until 2100-01-01T00:00:00Z", None);
    rig.left("lost-wait-with-an-end-in-words", said).await;
    rig.left("lost-wait-beside-a-sleep", |run| {
        parked(run, Phase::Waiting, "signal go", SOON)
    })
    .await;
    let undoes = |run| parked(run, Phase::Compensating, "retry at 2100-01-01T00:00:00Z", SOON);
    rig.left("lost-undo", undoes).await;
    rig.left("has-no-end", waits).await;
    let cleans = |run| parked(run, Phase::Cancelling, "signal go", None);
    rig.left("has-no-end-in-finally", cleans).await;
    rig.left("has-mail", sleeps).await;
    rig.left("is-paused", |run| parked(run, Phase::Paused, "resume", None))
        .await;
    rig.left("is-over", |run| finish(run, 1)).await;
    // It took its signal and its worker died, before its summary was written again.
    let woken = rig.left("lost-after-its-signal", waits).await;
    assert_eq!(rig.store.append(&[step(woken, 2)]).await.unwrap(), [Appended::Mine]);
    rig.run(
        "DELETE FROM everstep.active USING everstep.runs
           WHERE id = run_id AND owner_uid LIKE 'lost%';
         DELETE FROM everstep.timers USING everstep.runs
           WHERE id = run_id AND owner_uid LIKE ANY (ARRAY['lost%', 'has-mail']);
         INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
           SELECT id, 'Signal', 'go', 'k', '1' FROM everstep.runs WHERE owner_uid = 'has-mail'",
    )
    .await;
    assert_eq!(rig.store.repair().await.unwrap(), 0, "they are younger than a minute");
    rig.later("2 minutes").await;
    assert_eq!(rig.store.repair().await.unwrap(), 7);
    let expected = [
        "lost-after-its-signal",
        "lost-place",
        "lost-sleeper",
        "lost-undo",
        "lost-wait-beside-a-sleep",
        "lost-wait-with-an-end",
        "lost-wait-with-an-end-in-words",
    ];
    assert_eq!(rig.repaired().await, expected);
    assert_eq!(rig.store.unmoved().await.unwrap(), None);
    assert_eq!(rig.store.repair().await.unwrap(), 0);
    assert_eq!(rig.repaired().await, expected);
}

/// What SQL started has no object.
#[tokio::test]
async fn run_without_an_object_is_put_back_and_one_that_no_worker_has_met_is_not_lost() {
    let mut shop = shop().await;
    let lost = start(&mut shop.app, "'shop/order'").await;
    let rig = &mut shop.rig;
    let worker = rig.worker().await;
    assert_eq!(rig.store.claim(worker, 10, None).await.unwrap(), 1);
    rig.run("DELETE FROM everstep.active").await;
    start(&mut shop.app, "'shop/order'").await;
    rig.later("2 minutes").await;
    assert_eq!(rig.store.repair().await.unwrap(), 1);
    let repaired = "SELECT run_id FROM everstep.audit WHERE operation = 'repaired' AND object_uid IS NULL";
    assert_eq!(rig.one::<Uuid>(repaired).await, lost);
}

/// Its worker may have it in memory though the row is gone: nobody else gets it before the journal says so.
#[tokio::test]
async fn run_that_is_put_back_is_not_free_before_a_rescuer_has_taken_it_over() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.owned().await;
    rig.run("DELETE FROM everstep.active").await;
    rig.later("20 seconds").await;
    rig.run("UPDATE everstep.runs SET created_at = created_at - interval '1 minute'")
        .await;
    assert_eq!(rig.store.repair().await.unwrap(), 1);
    let other = rig.worker().await;
    assert_eq!(rig.store.claim(other, 10, None).await.unwrap(), 0);
    let dead = rig.store.dead(other, 10).await.unwrap().runs;
    assert_eq!((dead.len(), dead[0].loaded.run, dead[0].worker), (1, run, Uuid::nil()));
}

/// The mail sweep is at it, and has not committed.
#[tokio::test]
async fn run_that_is_being_woken_meanwhile_is_not_put_back() {
    let mut rig = rig().await;
    let run = rig.left("a", |run| park(run, 1, SOON)).await;
    rig.run("DELETE FROM everstep.timers").await;
    rig.later("2 minutes").await;
    let mut sweep = PgConnection::connect(&rig.url).await.unwrap();
    let mut sweep = sweep.begin().await.unwrap();
    sqlx::query("INSERT INTO everstep.active (run_id, namespace) VALUES ($1, 'shop')")
        .bind(run)
        .execute(&mut *sweep)
        .await
        .unwrap();
    let repair = tokio::spawn({
        let store = rig.store.clone();
        async move { store.repair().await }
    });
    rig.waiting("wait_event_type = 'Lock'").await;
    sweep.commit().await.unwrap();
    assert_eq!(repair.await.unwrap().unwrap(), 0);
    assert_eq!(rig.count("audit WHERE operation = 'repaired'").await, 0);
    assert_eq!(rig.count("active WHERE worker_id IS NULL").await, 1);
}

/// Waits until the detector has seen this; sooner than it looks for lost runs again.
async fn until_seen(seen: &Seen, what: impl Fn(&Sight) -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !what(&seen.last()) {
        assert!(Instant::now() < until, "it has not seen it: {:?}", seen.last());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Also who led before: the look that it would have had next was not at these runs.
#[tokio::test]
async fn who_begins_to_lead_puts_back_what_was_lost_at_once() {
    let mut rig = rig().await;
    rig.left("a", |run| park(run, 1, SOON)).await;
    let (told, leading) = Leading::when_told();
    let (seen, shutdown) = (Arc::new(Seen::default()), CancellationToken::new());
    let detector = tokio::spawn(detector::run(
        rig.store.clone(),
        Arc::clone(&seen),
        leading,
        shutdown.clone(),
    ));
    told.say(true);
    until_seen(&seen, |sight| sight.at.is_some()).await;
    told.say(false);
    until_seen(&seen, |sight| sight.at.is_none()).await;
    rig.run("DELETE FROM everstep.timers").await;
    rig.later("2 minutes").await;
    told.say(true);
    until_seen(&seen, |sight| sight.at.is_some()).await;
    assert_eq!(rig.repaired().await, ["a"]);
    assert_eq!(seen.last().stuck, [], "what was put back is not stuck");
    shutdown.cancel();
    detector.await.unwrap();
}

#[tokio::test]
async fn what_is_more_than_one_repair_takes_is_seen_as_stuck_until_the_next_look() {
    let mut rig = rig().await;
    rig.start("a").await;
    rig.run(
        "INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger, created_at)
         SELECT everstep.uuidv7(), 'shop', 'lost', 'k' || n, d.id, 'SQL', everstep.now() - interval '1 hour'
         FROM everstep.definitions AS d, generate_series(1, 10001) AS n",
    )
    .await;
    let (seen, shutdown) = (Arc::new(Seen::default()), CancellationToken::new());
    let detector = tokio::spawn(detector::run(
        rig.store.clone(),
        Arc::clone(&seen),
        Leading::always(),
        shutdown.clone(),
    ));
    until_seen(&seen, |sight| sight.at.is_some()).await;
    let stuck: Vec<_> = seen
        .last()
        .stuck
        .iter()
        .map(|stuck| (stuck.reason, stuck.runs))
        .collect();
    assert_eq!(stuck, [(StuckReason::NoMover, 1)]);
    until_seen(&seen, |sight| sight.stuck.is_empty()).await;
    assert_eq!(rig.count("audit WHERE operation = 'repaired'").await, 10_001);
    shutdown.cancel();
    detector.await.unwrap();
}

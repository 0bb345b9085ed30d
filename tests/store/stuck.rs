//! Which runs are stuck, and which are not.

use std::time::Duration;

use everstep::engine::Phase;
use everstep::store::{Append, StuckReason, Then};
use uuid::Uuid;

use crate::application::{shop, start};
use crate::rig::{Rig, finish, park, rig, step, told};

const GRACE: Duration = Duration::from_secs(60);

impl Rig {
    /// Stuck runs by reason, with those that nothing moves.
    async fn stuck(&self) -> Vec<(StuckReason, i64)> {
        let mut stuck = self.store.stuck(GRACE).await.unwrap();
        stuck.extend(self.store.unmoved(GRACE).await.unwrap());
        stuck.iter().map(|stuck| (stuck.reason, stuck.runs)).collect()
    }
}

/// Parked in this phase, for this reason.
fn standing(run: Uuid, seq: i32, phase: Phase, stalled: Option<&str>) -> Append {
    let mut told = told(phase);
    told.summary.stalled = stalled.map(Into::into);
    let then = Then::Park {
        wake_at: None,
        snapshot: serde_json::json!({}),
        told,
    };
    Append { then, ..step(run, seq) }
}

#[tokio::test]
async fn a_run_that_nobody_takes_is_stuck_after_a_minute_and_not_before() {
    let mut shop = shop().await;
    let rig = &mut shop.rig;
    rig.start("a").await;
    start(&mut shop.app, "'shop/order'").await;
    assert_eq!(rig.stuck().await, []);
    rig.later("2 minutes").await;
    assert_eq!(rig.stuck().await, [(StuckReason::Unclaimed, 2)]);
    let oldest = rig.store.stuck(GRACE).await.unwrap()[0].oldest;
    assert!((120..150).contains(&oldest.as_secs()), "{oldest:?}");
    // Taken: by somebody who lives.
    let worker = rig.worker().await;
    assert_eq!(rig.store.claim(worker, 10, None).await.unwrap(), 2);
    assert_eq!(rig.stuck().await, []);
}

#[tokio::test]
async fn a_run_of_a_dead_worker_that_nobody_takes_over_is_stuck() {
    let mut rig = rig().await;
    rig.start("a").await;
    rig.owned().await;
    rig.later("80 seconds").await;
    assert_eq!(
        rig.stuck().await,
        [],
        "its lease ended 50 s ago: a takeover may be under way"
    );
    rig.later("95 seconds").await;
    assert_eq!(rig.stuck().await, [(StuckReason::ClaimExpired, 1)]);
    // Nor is there such a worker any more.
    rig.run("DELETE FROM everstep.workers").await;
    assert_eq!(rig.stuck().await, [(StuckReason::ClaimExpired, 1)]);
}

#[tokio::test]
async fn a_wait_is_not_stuck_before_its_time_and_a_timer_is_a_minute_after_it() {
    let mut rig = rig().await;
    let (sleeper, waiter) = (rig.start("sleeper").await, rig.start("waiter").await);
    let worker = rig.worker().await;
    assert_eq!(rig.store.claim(worker, 10, None).await.unwrap(), 2);
    let at = rig.store.now() + jiff::SignedDuration::from_mins(5);
    let wait = standing(waiter, 1, Phase::Waiting, None);
    let appends = [park(sleeper, 1, Some(&at.to_string())), wait];
    rig.store.append(&appends).await.unwrap();
    rig.later("4 minutes").await;
    assert_eq!(rig.stuck().await, []);
    rig.later("7 minutes").await;
    assert_eq!(rig.stuck().await, [(StuckReason::TimerOverdue, 1)]);
    // A timer that was lost is seen, too.
    rig.run("DELETE FROM everstep.timers").await;
    assert_eq!(rig.stuck().await, [(StuckReason::NoMover, 1)]);
}

#[tokio::test]
async fn a_run_that_a_living_worker_lets_pass_its_deadline_is_stuck() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.owned().await;
    let mut told = told(Phase::Running);
    told.deadline = Some(rig.store.now());
    let runs = Append {
        then: Then::Keep { told: Some(told) },
        ..step(run, 1)
    };
    rig.store.append(&[runs]).await.unwrap();
    rig.run("UPDATE everstep.workers SET expires_at = expires_at + interval '1 hour'")
        .await;
    rig.later("50 seconds").await;
    assert_eq!(rig.stuck().await, []);
    rig.later("70 seconds").await;
    assert_eq!(rig.stuck().await, [(StuckReason::DeadlineOverdue, 1)]);
}

#[tokio::test]
async fn what_waits_for_a_person_is_stuck_at_once_by_its_reason_and_what_ended_is_not() {
    let rig = rig().await;
    let mut runs = Vec::new();
    for name in ["paused", "failed", "undo", "ended"] {
        runs.push(rig.start(name).await);
    }
    let worker = rig.worker().await;
    assert_eq!(rig.store.claim(worker, 10, None).await.unwrap(), 4);
    let appends = [
        standing(runs[0], 1, Phase::Paused, None),
        standing(runs[1], 1, Phase::Paused, Some("PausedOnFailure")),
        standing(runs[2], 1, Phase::Paused, Some("CompensationFailed")),
        finish(runs[3], 1),
    ];
    rig.store.append(&appends).await.unwrap();
    let expected = [
        (StuckReason::CompensationFailed, 1),
        (StuckReason::Paused, 1),
        (StuckReason::PausedOnFailure, 1),
    ];
    assert_eq!(rig.stuck().await, expected);
}

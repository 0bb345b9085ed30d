//! Which runs are stuck, and which are not.

use std::time::Duration;

use everstep::engine::Phase;
use everstep::store::{Append, FactsOf, StuckFacts, StuckReason, Submission, Then, Told};
use uuid::Uuid;

use crate::application::{shop, start};
use crate::rig::{Rig, edited, finish, park, rig, step, told};

impl Rig {
    /// Stuck runs by reason, with those that nothing moves.
    async fn stuck(&self) -> Vec<(StuckReason, i64)> {
        let mut stuck = self.store.stuck().await.unwrap();
        stuck.extend(self.store.unmoved().await.unwrap());
        stuck.iter().map(|stuck| (stuck.reason, stuck.runs)).collect()
    }

    /// What the object of this UID is told of its stuck runs.
    async fn stuck_of(&self, uid: &str) -> Option<StuckFacts> {
        let of = FactsOf {
            uid: uid.to_owned(),
            namespace: "shop".to_owned(),
            workflow: format!("name-{uid}"),
            start_key: None,
        };
        self.store.facts(&[of]).await.unwrap().remove(0).stuck
    }

    /// The first objects with stuck runs whose UID is greater, by UID.
    async fn owners(&self, after: &str, limit: i64) -> Vec<(String, StuckReason)> {
        let owners = self.store.stuck_owners(after, limit, None).await.unwrap();
        owners.into_iter().map(|owner| (owner.uid, owner.reason)).collect()
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
    let oldest = rig.store.stuck().await.unwrap()[0].oldest;
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
    assert_eq!(rig.stuck_of("sleeper").await.unwrap().reason, StuckReason::NoMover);
    assert_eq!(rig.stuck_of("waiter").await, None);
}

#[tokio::test]
async fn a_run_that_a_living_worker_lets_pass_its_deadline_is_stuck() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.owned().await;
    let mut told = told(Phase::Running);
    told.deadline = Some(rig.store.now());
    told.summary.wake_at = told.deadline;
    let overdue = told.clone();
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
    assert_eq!(
        rig.owners("", 10).await,
        [("a".to_owned(), StuckReason::DeadlineOverdue)]
    );
    let in_finally = Append {
        then: Then::Keep {
            told: Some(Told {
                summary: self::told(Phase::Running).summary,
                ..overdue
            }),
        },
        ..step(run, 2)
    };
    rig.store.append(&[in_finally]).await.unwrap();
    assert_eq!(rig.stuck().await, [], "its result is known");
}

/// Its worker says so again and again; what it says no more is not so.
#[tokio::test]
async fn a_run_that_a_living_worker_cannot_carry_is_stuck_as_long_as_it_says_so() {
    const HOLDS: Duration = Duration::from_secs(300);
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (worker, _) = rig.owned().await;
    rig.run("UPDATE everstep.workers SET expires_at = expires_at + interval '1 hour'")
        .await;
    let mut told = told(Phase::Running);
    told.deadline = Some(rig.store.now());
    told.summary.wake_at = told.deadline;
    let runs = Append {
        then: Then::Keep { told: Some(told) },
        at: rig.store.now(),
        ..step(run, 1)
    };
    rig.store.append(&[runs]).await.unwrap();
    let stranger = rig.worker().await;
    rig.store.set_aside(stranger, &[run], HOLDS).await.unwrap();
    assert_eq!(rig.stuck().await, [], "it is another's");
    rig.store.set_aside(worker, &[run], HOLDS).await.unwrap();
    assert_eq!(rig.stuck().await, [(StuckReason::SetAside, 1)]);
    assert_eq!(rig.owners("", 10).await, [("a".to_owned(), StuckReason::SetAside)]);
    rig.later("4 minutes").await;
    assert_eq!(
        rig.stuck().await,
        [(StuckReason::SetAside, 1)],
        "not for its deadline, too"
    );
    let oldest = rig.store.stuck().await.unwrap()[0].oldest;
    assert!(
        (240..270).contains(&oldest.as_secs()),
        "since its last decision: {oldest:?}"
    );
    rig.later("6 minutes").await;
    assert_eq!(rig.stuck().await, [(StuckReason::DeadlineOverdue, 1)]);
    rig.store.set_aside(worker, &[run], HOLDS).await.unwrap();
    rig.run("UPDATE everstep.workers SET expires_at = expires_at - interval '2 hours'")
        .await;
    assert_eq!(rig.stuck().await, [(StuckReason::ClaimExpired, 1)]);
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
    for (name, reason) in [
        ("failed", Some(StuckReason::PausedOnFailure)),
        ("paused", Some(StuckReason::Paused)),
        ("undo", Some(StuckReason::CompensationFailed)),
        ("ended", None),
    ] {
        assert_eq!(rig.stuck_of(name).await.map(|stuck| stuck.reason), reason, "{name}");
    }
    let owners = ["failed", "paused", "undo"].map(str::to_owned);
    let reasons = [
        StuckReason::PausedOnFailure,
        StuckReason::Paused,
        StuckReason::CompensationFailed,
    ];
    let expected: Vec<_> = owners.into_iter().zip(reasons).collect();
    assert_eq!(rig.owners("", 10).await, expected);
}

/// A run may be paused for weeks while signals come.
#[tokio::test]
async fn a_run_stands_still_since_it_was_told_to_and_not_since_its_last_letter() {
    let rig = rig().await;
    let (told, earlier) = (rig.start("told").await, rig.start("earlier").await);
    let since = "2020-01-01T00:00:00.5Z".parse().unwrap();
    let letter = rig.store.now();
    for (run, still_since) in [(told, Some(since)), (earlier, None)] {
        let mut paused = standing(run, 1, Phase::Paused, Some("PausedOnFailure"));
        if let Then::Park { told, .. } = &mut paused.then {
            told.summary.still_since = still_since;
        }
        let again = Append {
            seq: 2,
            nonce: 2,
            at: letter,
            ..paused.clone()
        };
        rig.store.append(&[paused]).await.unwrap();
        rig.store.append(&[again]).await.unwrap();
    }
    assert_eq!(rig.stuck_of("told").await.unwrap().since, since);
    assert_eq!(
        rig.stuck_of("earlier").await.unwrap().since,
        letter,
        "its release did not tell"
    );
    let oldest = rig.store.stuck().await.unwrap()[0].oldest;
    assert!(oldest > Duration::from_secs(6 * 365 * 24 * 3600), "{oldest:?}");
}

#[tokio::test]
async fn an_object_is_told_why_its_run_is_stuck_and_since_when_until_it_moves() {
    let mut shop = shop().await;
    let rig = &mut shop.rig;
    rig.start("a").await;
    start(&mut shop.app, "'shop/order'").await;
    assert_eq!((rig.stuck_of("a").await, rig.owners("", 10).await), (None, vec![]));
    let ready = rig
        .one::<i64>("SELECT extract(epoch FROM ready_at)::bigint FROM everstep.active")
        .await;
    rig.later("2 minutes").await;
    let stuck = rig.stuck_of("a").await.unwrap();
    assert_eq!((stuck.runs, stuck.reason), (1, StuckReason::Unclaimed));
    assert!(
        (stuck.since.as_second() - ready).abs() <= 1,
        "{} and {ready}",
        stuck.since
    );
    // What SQL started has no object.
    assert_eq!(rig.stuck().await, [(StuckReason::Unclaimed, 2)]);
    let owners = rig
        .store
        .stuck_owners("", 10, Some(&["shop".to_owned()]))
        .await
        .unwrap();
    let owner = &owners[0];
    assert_eq!(
        (&*owner.uid, &*owner.kind, &*owner.namespace, &*owner.name, owner.reason),
        ("a", "Workflow", "shop", "name-a", StuckReason::Unclaimed)
    );
    assert_eq!(owners.len(), 1);
    let elsewhere = rig
        .store
        .stuck_owners("", 10, Some(&["bank".to_owned()]))
        .await
        .unwrap();
    assert_eq!(elsewhere, []);
    let worker = rig.worker().await;
    assert_eq!(rig.store.claim(worker, 10, None).await.unwrap(), 2);
    assert_eq!((rig.stuck_of("a").await, rig.owners("", 10).await), (None, vec![]));
}

#[tokio::test]
async fn of_several_stuck_runs_of_an_object_the_one_that_has_been_for_longest_speaks() {
    let mut rig = rig().await;
    let first = rig.start("a").await;
    rig.owned().await;
    let second = Submission {
        only_when_idle: false,
        ..edited("a", 2)
    };
    assert!(rig.submit(second).await.started);
    rig.run("UPDATE everstep.active SET ready_at = ready_at - interval '10 minutes' WHERE worker_id IS NULL")
        .await;
    rig.later("2 minutes").await;
    let stuck = rig.stuck_of("a").await.unwrap();
    assert_eq!((stuck.runs, stuck.reason), (2, StuckReason::Unclaimed));
    assert_eq!(rig.owners("", 10).await, [("a".to_owned(), StuckReason::Unclaimed)]);
    rig.run("UPDATE everstep.workers SET expires_at = expires_at - interval '1 hour'")
        .await;
    let stuck = rig.stuck_of("a").await.unwrap();
    assert_eq!((stuck.runs, stuck.reason), (2, StuckReason::ClaimExpired));
    assert_eq!(rig.owners("", 10).await, [("a".to_owned(), StuckReason::ClaimExpired)]);
    rig.store.append(&[finish(first, 1)]).await.unwrap();
    let stuck = rig.stuck_of("a").await.unwrap();
    assert_eq!((stuck.runs, stuck.reason), (1, StuckReason::Unclaimed));
}

#[tokio::test]
async fn objects_with_stuck_runs_come_in_pages_by_uid() {
    let mut rig = rig().await;
    for uid in ["c", "a", "b"] {
        rig.start(uid).await;
    }
    rig.later("2 minutes").await;
    let unclaimed = |uids: &[&str]| -> Vec<_> {
        let owners = uids.iter().map(|uid| ((*uid).to_owned(), StuckReason::Unclaimed));
        owners.collect()
    };
    assert_eq!(rig.owners("", 2).await, unclaimed(&["a", "b"]));
    assert_eq!(rig.owners("b", 2).await, unclaimed(&["c"]));
    assert_eq!(rig.owners("c", 2).await, []);
}

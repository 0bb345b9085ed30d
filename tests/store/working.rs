//! Leases, claims, loads and takeovers: who holds a run.

use std::time::Duration;

use everstep::engine::{Event, Mail};
use everstep::store::{Append, Appended, TakeOver};
use uuid::Uuid;

use crate::rig::{LEASE, finish, rig, step};

/// P8: fenced once is fenced for ever.
#[tokio::test]
async fn a_lease_that_expired_cannot_be_renewed() {
    let mut rig = rig().await;
    let worker = rig.worker().await;
    assert!(rig.store.renew(worker, LEASE).await.unwrap());
    rig.later("31 seconds").await;
    assert!(!rig.store.renew(worker, LEASE).await.unwrap());
    assert_ne!(rig.worker().await, worker);
}

#[tokio::test]
async fn a_worker_that_gave_up_its_lease_is_dead_at_once() {
    let rig = rig().await;
    let worker = rig.worker().await;
    rig.store.deregister(worker).await.unwrap();
    assert!(!rig.store.renew(worker, LEASE).await.unwrap());
}

#[tokio::test]
async fn rows_of_workers_long_dead_go_away() {
    let mut rig = rig().await;
    rig.worker().await;
    rig.later("2 days").await;
    rig.worker().await;
    assert_eq!(rig.count("workers").await, 1);
}

#[tokio::test]
async fn a_run_is_claimed_by_one_worker() {
    let rig = rig().await;
    for uid in ["a", "b", "c"] {
        rig.start(uid).await;
    }
    let (one, other) = (rig.worker().await, rig.worker().await);
    let (x, y) = tokio::join!(rig.store.claim(one, 2, None), rig.store.claim(other, 3, None));
    assert_eq!(x.unwrap() + y.unwrap(), 3);
    let mine = rig.store.load(one, &[], 10).await.unwrap().runs;
    let theirs = rig.store.load(other, &[], 10).await.unwrap().runs;
    assert_eq!(mine.len() + theirs.len(), 3);
    assert!(mine.iter().all(|run| theirs.iter().all(|other| other.run != run.run)));
}

#[tokio::test]
async fn a_worker_without_a_lease_claims_nothing() {
    let mut rig = rig().await;
    rig.start("a").await;
    let worker = rig.worker().await;
    rig.later("31 seconds").await;
    assert_eq!(rig.store.claim(worker, 1, None).await.unwrap(), 0);
}

#[tokio::test]
async fn a_claim_keeps_to_its_namespaces() {
    let rig = rig().await;
    rig.start("a").await;
    let worker = rig.worker().await;
    assert_eq!(
        rig.store.claim(worker, 1, Some(&["other".to_owned()])).await.unwrap(),
        0
    );
    assert_eq!(rig.store.claim(worker, 1, Some(&["shop".to_owned()])).await.unwrap(), 1);
}

/// P1: a claim whose answer was lost is found by the next load.
#[tokio::test]
async fn what_is_mine_is_loaded_whether_the_claim_was_answered_or_not() {
    let rig = rig().await;
    let run = rig.start("a").await;
    let worker = rig.worker().await;
    rig.store.claim(worker, 1, None).await.unwrap();
    let loaded = rig.loaded(worker).await;
    assert_eq!(loaded.run, run);
    assert!(
        rig.store.load(worker, &[run], 10).await.unwrap().runs.is_empty(),
        "held already"
    );
}

/// P2: owner, journal and mail of one snapshot; a run that was taken over in between is not mine.
#[tokio::test]
async fn a_load_reads_origin_tail_and_mail_of_runs_that_are_mine() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (worker, loaded) = rig.owned().await;
    assert_eq!((loaded.seq, loaded.tail.len(), loaded.mail.len()), (0, 0, 0));
    let origin = &loaded.origin;
    assert_eq!(
        (&*origin.cluster, &*origin.namespace, &*origin.workflow),
        ("cluster-1", "shop", "name-a")
    );
    assert_eq!(
        (&*origin.start_key, &*origin.revision, origin.input["n"].as_i64()),
        ("uid/a/r1", "r1", Some(1))
    );

    rig.store.append(&[step(run, 1)]).await.unwrap();
    rig.mail(run, "k").await;
    let loaded = rig.loaded(worker).await;
    assert_eq!((loaded.seq, &loaded.tail[0].events[..]), (1, &[Event::HoldEnded][..]));
    assert_eq!(loaded.tail[0].at, step(run, 1).at);
    assert_eq!(
        loaded.mail[0].mail,
        Mail::Cancel {
            reason: "test".to_owned()
        }
    );

    let other = rig.worker().await;
    rig.run(&format!("UPDATE everstep.active SET worker_id = '{other}'"))
        .await;
    assert!(rig.store.load(worker, &[], 10).await.unwrap().runs.is_empty());
}

#[tokio::test]
async fn a_journal_of_a_later_release_does_not_hide_the_other_runs() {
    let rig = rig().await;
    let (run, _) = (rig.start("a").await, rig.start("b").await);
    let worker = rig.worker().await;
    rig.store.claim(worker, 2, None).await.unwrap();
    let unknown = Append {
        events: r#"[{"Teleported":{}}]"#.to_owned(),
        ..step(run, 1)
    };
    rig.store.append(&[unknown]).await.unwrap();
    let loads = rig.store.load(worker, &[], 10).await.unwrap();
    assert_eq!((loads.runs.len(), loads.unreadable[0].run), (1, run));
}

#[tokio::test]
async fn a_definition_is_read_as_it_was_written() {
    let rig = rig().await;
    rig.start("a").await;
    let (_, loaded) = rig.owned().await;
    let body = rig.store.definition(loaded.definition).await.unwrap();
    assert_eq!(body.to_string(), r#"{"input":{"n":1},"steps":[]}"#);
}

fn taken_over(run: Uuid, seq: i32, dead: Uuid, nonce: i64) -> TakeOver {
    let events = r#"[{"TakenOver":{}}]"#.to_owned();
    TakeOver {
        dead,
        append: Append {
            events,
            nonce,
            ..step(run, seq)
        },
    }
}

/// P3, and the fence: the old owner, awake again, loses.
#[tokio::test]
async fn a_dead_workers_run_is_taken_over_once_and_free_again() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (dead, _) = rig.owned().await;
    rig.store.append(&[step(run, 1)]).await.unwrap();
    let early = rig.worker().await;
    assert!(
        rig.store.dead(early, 10).await.unwrap().runs.is_empty(),
        "its owner is alive"
    );
    assert_eq!(
        rig.store
            .take_over(early, &[taken_over(run, 2, dead, 1)])
            .await
            .unwrap(),
        [Appended::Lost]
    );

    rig.later("31 seconds").await;
    assert!(
        rig.store.dead(early, 10).await.unwrap().runs.is_empty(),
        "the rescuer is dead itself"
    );
    assert_eq!(
        rig.store
            .take_over(early, &[taken_over(run, 2, dead, 1)])
            .await
            .unwrap(),
        [Appended::Lost],
        "who is dead takes nothing over, whatever it read before"
    );
    let (me, rival) = (rig.worker().await, rig.worker().await);
    let deaths = rig.store.dead(me, 10).await.unwrap();
    assert_eq!(
        (
            deaths.runs[0].worker,
            deaths.runs[0].loaded.run,
            deaths.runs[0].loaded.seq
        ),
        (dead, run, 1)
    );
    let (mine, theirs) = ([taken_over(run, 2, dead, 1)], [taken_over(run, 2, dead, 2)]);
    let (x, y) = tokio::join!(rig.store.take_over(me, &mine), rig.store.take_over(rival, &theirs));
    let mut answers = [x.unwrap().remove(0), y.unwrap().remove(0)];
    answers.sort_by_key(|answer| *answer == Appended::Lost);
    assert_eq!(answers, [Appended::Mine, Appended::Lost]);
    assert_eq!(rig.count("active WHERE worker_id IS NULL").await, 1);
    assert_eq!(
        rig.store.append(&[finish(run, 2)]).await.unwrap(),
        [Appended::Lost],
        "the old owner"
    );
}

/// What one could not carry, another one perhaps can.
#[tokio::test]
async fn a_run_that_was_set_aside_is_not_any_more_when_it_is_taken_over() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (dead, _) = rig.owned().await;
    let long = Duration::from_secs(3600);
    rig.store.set_aside(dead, &[run], long).await.unwrap();
    rig.later("31 seconds").await;
    let me = rig.worker().await;
    let taken = rig.store.take_over(me, &[taken_over(run, 1, dead, 1)]).await.unwrap();
    assert_eq!(taken, [Appended::Mine]);
    assert_eq!(rig.store.claim(me, 1, None).await.unwrap(), 1);
    assert_eq!(rig.store.stuck().await.unwrap(), []);
}

/// P3: a rescuer that read before another takeover does not take the run from its new, live owner.
#[tokio::test]
async fn a_rescuer_that_comes_late_takes_nothing_from_a_live_owner() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (dead, _) = rig.owned().await;
    rig.later("31 seconds").await;
    let me = rig.worker().await;
    rig.store.take_over(me, &[taken_over(run, 1, dead, 1)]).await.unwrap();
    rig.store.claim(me, 1, None).await.unwrap();
    assert_eq!(
        rig.store.take_over(me, &[taken_over(run, 2, dead, 1)]).await.unwrap(),
        [Appended::Lost]
    );
    assert_eq!(rig.count(&format!("active WHERE worker_id = '{me}'")).await, 1);
}

/// P4: whoever meets a terminal run in `active` removes it without an append.
#[tokio::test]
async fn what_is_left_of_a_terminal_run_is_removed_and_of_a_live_one_is_not() {
    let mut rig = rig().await;
    let (over, live) = (rig.start("a").await, rig.start("b").await);
    rig.store.append(&[finish(over, 1)]).await.unwrap();
    rig.run(&format!(
        "INSERT INTO everstep.active (run_id, namespace) VALUES ('{over}', 'shop')"
    ))
    .await;
    rig.run(&format!(
        "INSERT INTO everstep.timers VALUES ('{over}', now()), ('{live}', now())"
    ))
    .await;
    rig.mail(over, "k").await;
    let worker = rig.worker().await;
    rig.store.claim(worker, 10, None).await.unwrap();
    let loads = rig.store.load(worker, &[], 10).await.unwrap();
    assert_eq!(loads.runs.iter().filter(|run| run.is_terminal()).count(), 1);

    assert_eq!(rig.store.discard(&[over, live]).await.unwrap(), 1);
    assert_eq!((rig.count("active").await, rig.count("timers").await), (1, 1));
    assert_eq!(rig.count("inbox WHERE outcome = 'Undelivered'").await, 1);
    assert_eq!(rig.count("journal").await, 1);
}

#[tokio::test]
async fn time_is_the_databases_and_never_ahead_of_it() {
    let mut rig = rig().await;
    rig.later("1 hour").await;
    rig.worker().await;
    for _ in 0..100 {
        let ours = rig.store.now();
        let theirs: jiff_sqlx::Timestamp = rig.one("SELECT everstep.now()").await;
        let behind = theirs.to_jiff().duration_since(ours);
        assert!(
            !behind.is_negative() && behind < jiff::SignedDuration::from_secs(20),
            "{behind}"
        );
    }
}

#[tokio::test]
async fn a_store_apart_works_on_a_runtime_of_its_own() {
    let rig = rig().await;
    let worker = rig.worker().await;
    let store = rig.store.clone();
    let renewed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move { store.apart(1).renew(worker, Duration::from_secs(5)).await })
    });
    assert!(
        tokio::task::spawn_blocking(|| renewed.join().unwrap())
            .await
            .unwrap()
            .unwrap()
    );
}

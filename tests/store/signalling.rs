//! Signals of objects: stored once, taken by one decision, consumed by the same or a later one.

use std::time::Duration;

use everstep::engine::{Mail, Phase};
use everstep::store::{
    Append, Appended, Bell, Listener, Posted, SignalOutcome, SignalWish, Start, Submission, TakeOver, Target,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::rig::{Rig, edited, finish, park, rig, step, wish};

/// An object that says `approve` to the Workflow of `wish("a")`.
fn approve(uid: &str) -> SignalWish {
    SignalWish {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        name: format!("signal-{uid}"),
        target: Target::Workflow("name-a".to_owned()),
        signal: "approve".to_owned(),
        payload: r#"{"approved":true}"#.to_owned(),
        by: Some("alice".to_owned()),
        dedup_key: uid.to_owned(),
        generation: 1,
    }
}

async fn post(rig: &Rig, wish: SignalWish) -> Posted {
    rig.store.post(&[wish]).await.unwrap().remove(0)
}

async fn stored(rig: &Rig, wish: SignalWish) -> i64 {
    match post(rig, wish).await {
        Posted::Stored { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

/// `taken_seq`, `consumed_seq` and outcome of a row.
async fn fate(rig: &mut Rig, id: i64) -> (Option<i32>, Option<i32>, Option<String>) {
    let select = "SELECT taken_seq, consumed_seq, outcome FROM everstep.inbox WHERE id = $1";
    sqlx::query_as(select).bind(id).fetch_one(&mut rig.sql).await.unwrap()
}

#[tokio::test]
async fn a_signal_is_stored_once_whatever_its_target_is_by_then() {
    let mut rig = rig().await;
    let first = rig.start("a").await;
    let stored = post(&rig, approve("s")).await;
    assert!(
        matches!(stored, Posted::Stored { run, .. } if run == first),
        "{stored:?}"
    );
    rig.store.append(&[finish(first, 1)]).await.unwrap();
    rig.submit(edited("a", 2)).await;
    assert_eq!(
        post(&rig, approve("s")).await,
        stored,
        "not to the run that is current now"
    );
    assert_eq!(
        (
            rig.count("inbox").await,
            rig.count("audit WHERE operation = 'signal'").await
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn two_replicas_that_post_the_same_objects_store_each_once() {
    let mut rig = rig().await;
    rig.start("a").await;
    let wishes: Vec<_> = (0..200).map(|n| approve(&format!("s{n}"))).collect();
    let reversed: Vec<_> = wishes.iter().rev().cloned().collect();
    let (one, other) = tokio::join!(rig.store.post(&wishes), rig.store.post(&reversed));
    let mut other = other.unwrap();
    other.reverse();
    assert_eq!(one.unwrap(), other);
    assert_eq!(rig.count("inbox").await, 200);
}

#[tokio::test]
async fn a_target_is_a_workflow_a_run_or_a_key_of_the_same_namespace() {
    let rig = rig().await;
    let workflow = rig.start("a").await;
    let of_run = Submission {
        kind: "WorkflowRun".to_owned(),
        name: "run-1".to_owned(),
        workflow: "name-a".to_owned(),
        start: Some(Start {
            start_key: "key/k".to_owned(),
            input: None,
            trigger: "Run".to_owned(),
            counted_by: None,
        }),
        ..wish("r")
    };
    let run = rig.submit(of_run).await.run.unwrap();
    assert_ne!(run, workflow);
    let key = |workflow: &str| Target::Key {
        workflow: workflow.to_owned(),
        key: "k".to_owned(),
    };
    let cases = [
        ("1", "shop", Target::Workflow("name-a".to_owned()), Some(workflow)),
        ("2", "shop", Target::WorkflowRun("run-1".to_owned()), Some(run)),
        ("3", "shop", key("name-a"), Some(run)),
        ("4", "shop", key("other"), None),
        ("5", "shop", Target::Workflow("run-1".to_owned()), None),
        ("6", "bank", Target::Workflow("name-a".to_owned()), None),
        ("7", "bank", key("name-a"), None),
    ];
    for (uid, namespace, target, expected) in cases {
        let posted = post(
            &rig,
            SignalWish {
                namespace: namespace.to_owned(),
                target,
                ..approve(uid)
            },
        )
        .await;
        let found = match posted {
            Posted::Stored { run, .. } => Some(run),
            Posted::TargetNotFound => None,
            other => panic!("{uid}: {other:?}"),
        };
        assert_eq!(found, expected, "{uid}");
    }
}

#[tokio::test]
async fn duplicates_ends_and_what_cannot_be_stored_are_told_apart_and_spoil_nobody() {
    let rig = rig().await;
    let run = rig.start("a").await;
    let over = rig.start("b").await;
    rig.store.append(&[finish(over, 1)]).await.unwrap();
    stored(&rig, approve("first")).await;
    let again = |uid: &str| SignalWish {
        dedup_key: "first".to_owned(),
        ..approve(uid)
    };
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let with = |uid: &str, payload: String| SignalWish {
        payload,
        ..approve(uid)
    };
    let posted = rig
        .store
        .post(&[
            SignalWish {
                payload: r#"{ "approved": true }"#.to_owned(),
                ..again("same")
            },
            SignalWish {
                payload: "1".to_owned(),
                ..again("other")
            },
            SignalWish {
                target: Target::Workflow("name-b".to_owned()),
                ..approve("late")
            },
            SignalWish {
                target: Target::Workflow("none".to_owned()),
                ..approve("early")
            },
            with("syntax", "{".to_owned()),
            with("deep", nested(100)),
            with("fits", nested(99)),
            with("large", format!("\"{}\"", "x".repeat(65_535))),
            SignalWish {
                by: Some("\0".to_owned()),
                ..approve("nul")
            },
            approve("fine"),
        ])
        .await
        .unwrap();
    assert_eq!(
        posted[0],
        Posted::Duplicate {
            run,
            same_payload: true
        }
    );
    assert_eq!(
        posted[1],
        Posted::Duplicate {
            run,
            same_payload: false
        }
    );
    assert_eq!(
        posted[2],
        Posted::Rejected {
            run: over,
            phase: Phase::Succeeded
        }
    );
    assert_eq!(posted[3], Posted::TargetNotFound);
    for place in [4, 5, 7, 8] {
        assert!(
            matches!(posted[place], Posted::Invalid(_)),
            "{place}: {:?}",
            posted[place]
        );
    }
    for place in [6, 9] {
        assert!(
            matches!(posted[place], Posted::Stored { .. }),
            "{place}: {:?}",
            posted[place]
        );
    }
}

/// P6, and first in, first out.
#[tokio::test]
async fn signals_are_read_in_their_order_taken_once_and_consumed_later() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let one = stored(&rig, approve("1")).await;
    let two = stored(&rig, approve("2")).await;
    let (worker, loaded) = rig.owned().await;
    let names: Vec<_> = loaded.mail.iter().map(|row| row.id).collect();
    assert_eq!(names, [one, two]);
    let Mail::Signal(signal) = &loaded.mail[0].mail else {
        panic!("{loaded:?}")
    };
    assert_eq!(
        (signal.id, &*signal.name, signal.by.as_deref()),
        (one, "approve", Some("alice"))
    );

    let takes = Append {
        taken: vec![one, two],
        consumed: vec![one],
        ..step(run, 1)
    };
    assert_eq!(
        rig.store.append(std::slice::from_ref(&takes)).await.unwrap(),
        [Appended::Mine]
    );
    assert_eq!(
        fate(&mut rig, one).await,
        (Some(1), Some(1), Some("Consumed".to_owned()))
    );
    assert_eq!(fate(&mut rig, two).await, (Some(1), None, None));
    assert!(rig.store.mail_sweep(Some(worker)).await.unwrap().told.is_empty());
    // A second decision that takes them is lost, though its place is free.
    assert_eq!(
        rig.store.append(&[Append { seq: 2, ..takes }]).await.unwrap(),
        [Appended::Lost]
    );

    let consumes = Append {
        consumed: vec![two],
        ..step(run, 2)
    };
    assert_eq!(rig.store.append(&[consumes]).await.unwrap(), [Appended::Mine]);
    assert_eq!(
        fate(&mut rig, two).await,
        (Some(1), Some(2), Some("Consumed".to_owned()))
    );
}

/// One row, taken and ended by one decision, is written by one part of the statement.
#[tokio::test]
async fn a_run_that_ends_gives_up_what_it_took_before_and_what_it_takes_now() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let kept = stored(&rig, approve("1")).await;
    rig.store
        .append(&[Append {
            taken: vec![kept],
            ..step(run, 1)
        }])
        .await
        .unwrap();
    let now = stored(&rig, approve("2")).await;
    let late = stored(&rig, approve("3")).await;
    let cancel = rig.mail(run, "k").await;
    let end = Append {
        taken: vec![now, cancel],
        undelivered: vec![kept, now],
        ..finish(run, 2)
    };
    assert_eq!(rig.store.append(&[end]).await.unwrap(), [Appended::Mine]);
    let undelivered = Some("Undelivered".to_owned());
    assert_eq!(fate(&mut rig, kept).await, (Some(1), None, undelivered.clone()));
    assert_eq!(fate(&mut rig, now).await, (Some(2), None, undelivered.clone()));
    assert_eq!(
        fate(&mut rig, cancel).await,
        (Some(2), Some(2), Some("Consumed".to_owned()))
    );
    // P4: what it never saw is the sweep's.
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().undelivered, 1);
    assert_eq!(fate(&mut rig, late).await, (None, None, undelivered));
}

/// P10: a decision that lost ends nothing.
#[tokio::test]
async fn a_lost_decision_consumes_nothing() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let id = stored(&rig, approve("1")).await;
    rig.store.append(&[step(run, 1)]).await.unwrap();
    let late = Append {
        nonce: 1,
        taken: vec![id],
        consumed: vec![id],
        ..step(run, 1)
    };
    assert_eq!(rig.store.append(&[late]).await.unwrap(), [Appended::Lost]);
    assert_eq!(fate(&mut rig, id).await, (None, None, None));
}

#[tokio::test]
async fn a_signal_wakes_a_parked_run() {
    let rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[park(run, 1, None)]).await.unwrap();
    stored(&rig, approve("1")).await;
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().woken, 1);
}

/// Tampered with, past the table's checks.
#[tokio::test]
async fn mail_that_cannot_be_read_stops_nobody_elses() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (worker, _) = rig.owned().await;
    rig.run("ALTER TABLE everstep.inbox DROP CONSTRAINT inbox_command_is_readable")
        .await;
    rig.run(&format!(
        "INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload) VALUES ('{run}', 'Pause', 'k', '[]')"
    ))
    .await;
    let id = stored(&rig, approve("1")).await;
    let told = rig.store.mail_sweep(Some(worker)).await.unwrap().told;
    assert_eq!(told.iter().map(|(_, row)| row.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn facts_say_what_became_of_a_signal_and_changes_are_told_until_shown() {
    let rig = rig().await;
    let run = rig.start("a").await;
    let one = stored(&rig, approve("1")).await;
    let two = stored(&rig, approve("2")).await;
    let three = stored(&rig, approve("3")).await;
    let uids = ["3", "none", "1", "2"].map(str::to_owned);
    let facts = rig.store.signal_facts(&uids).await.unwrap();
    let order: Vec<_> = facts.iter().map(|fact| (&*fact.uid, fact.id, fact.run)).collect();
    assert_eq!(order, [("3", three, run), ("1", one, run), ("2", two, run)]);
    assert!(facts.iter().all(|fact| fact.outcome.is_none()));
    assert!(
        rig.store.changed_signals(10, None).await.unwrap().is_empty(),
        "stored is no news"
    );
    rig.store.mark_signals_shown(&[one]).await.unwrap();

    let events = format!(
        r#"[{{"SignalConsumed":{{"step":"approval","id":{one}}}}},{{"SignalRejected":{{"id":{two},"reason":"BufferFull"}}}}]"#
    );
    let decided = Append {
        events,
        taken: vec![one, two],
        consumed: vec![one],
        undelivered: vec![two],
        ..step(run, 1)
    };
    rig.store.append(&[decided]).await.unwrap();
    rig.store.append(&[finish(run, 2)]).await.unwrap();
    rig.store.mail_sweep(None).await.unwrap();
    let outcomes: Vec<_> = rig
        .store
        .signal_facts(&uids)
        .await
        .unwrap()
        .into_iter()
        .map(|fact| fact.outcome)
        .collect();
    let rejected = Some(everstep::engine::Rejection::BufferFull);
    assert_eq!(outcomes[0], Some(SignalOutcome::Undelivered { reason: None }));
    assert_eq!(
        outcomes[1],
        Some(SignalOutcome::Consumed {
            step: Some("approval".to_owned()),
        })
    );
    assert_eq!(outcomes[2], Some(SignalOutcome::Undelivered { reason: rejected }));

    let changed = rig.store.changed_signals(10, None).await.unwrap();
    assert_eq!(
        changed.iter().map(|signal| signal.id).collect::<Vec<_>>(),
        [one, two, three]
    );
    assert_eq!(
        (&*changed[0].namespace, &*changed[0].name, &*changed[0].uid),
        ("shop", "signal-1", "1")
    );
    rig.store.mark_signals_shown(&[one, two]).await.unwrap();
    assert_eq!(rig.store.changed_signals(10, None).await.unwrap()[0].id, three);
}

#[tokio::test]
async fn a_target_is_found_whose_run_another_object_with_its_key_started() {
    let rig = rig().await;
    let of = |uid: &str| Submission {
        kind: "WorkflowRun".to_owned(),
        workflow: "order".to_owned(),
        start: Some(Start {
            start_key: "key/k".to_owned(),
            input: None,
            trigger: "Run".to_owned(),
            counted_by: None,
        }),
        ..wish(uid)
    };
    let first = rig.submit(of("one")).await;
    let second = rig.submit(of("two")).await;
    assert_eq!((second.run, second.started), (first.run, false));
    let wish = SignalWish {
        target: Target::WorkflowRun("name-two".to_owned()),
        ..approve("1")
    };
    let posted = post(&rig, wish).await;
    assert!(
        matches!(posted, Posted::Stored { run, .. } if Some(run) == first.run),
        "{posted:?}"
    );
}

#[tokio::test]
async fn the_tables_refuse_mail_that_nobody_could_read() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    for values in [
        "'Terminate', NULL, NULL, '{}'",
        "'Pause', NULL, 1, '{\"generation\": 2}'",
        "'Resume', NULL, NULL, '{\"generation\": 2}'",
        "'Retry', NULL, NULL, '{\"from\": 1}'",
        "'Retry', NULL, NULL, '[]'",
        "'Signal', NULL, NULL, '1'",
        "'Signal', '', NULL, '1'",
    ] {
        let insert = format!(
            "INSERT INTO everstep.inbox (run_id, kind, dedup_key, signal, generation, payload)
             SELECT '{run}', v.kind, 'k', v.signal, v.generation::bigint, v.payload::json
             FROM (VALUES ({values})) AS v (kind, signal, generation, payload)"
        );
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&mut rig.sql)
            .await
            .unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "23514", "{values}");
    }
    // A data error is the caller's, not an outage.
    let long = SignalWish {
        dedup_key: "x".repeat(5000),
        ..approve("1")
    };
    assert!(matches!(post(&rig, long).await, Posted::Invalid(_)));
}

/// A signal that a run has taken and keeps; answers its id.
async fn kept(rig: &mut Rig, run: Uuid, seq: i32, uid: &str) -> i64 {
    let id = stored(rig, approve(uid)).await;
    let takes = Append {
        taken: vec![id],
        ..step(run, seq)
    };
    assert_eq!(rig.store.append(&[takes]).await.unwrap(), [Appended::Mine]);
    assert_eq!(fate(rig, id).await, (Some(seq), None, None));
    id
}

/// What follows from a takeover may be that a wait begins, and a signal that the run keeps is for it.
#[tokio::test]
async fn a_takeover_says_which_kept_signals_it_consumed() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (dead, _) = rig.owned().await;
    let (used, full, other) = (
        kept(&mut rig, run, 1, "used").await,
        kept(&mut rig, run, 2, "full").await,
        kept(&mut rig, run, 3, "other").await,
    );
    rig.later("31 seconds").await;
    let me = rig.worker().await;
    let take_over = |seq| TakeOver {
        dead,
        append: Append {
            consumed: vec![used],
            undelivered: vec![full],
            ..step(run, seq)
        },
    };
    assert_eq!(
        rig.store.take_over(me, &[take_over(3)]).await.unwrap(),
        [Appended::Lost],
        "decided on an older head"
    );
    assert_eq!(
        fate(&mut rig, used).await,
        (Some(1), None, None),
        "and nothing of it happened"
    );
    assert_eq!(
        rig.store.take_over(me, &[take_over(4)]).await.unwrap(),
        [Appended::Mine]
    );
    assert_eq!(
        fate(&mut rig, used).await,
        (Some(1), Some(4), Some("Consumed".to_owned()))
    );
    assert_eq!(
        fate(&mut rig, full).await,
        (Some(2), None, Some("Undelivered".to_owned()))
    );
    assert_eq!(fate(&mut rig, other).await, (Some(3), None, None));
}

/// What no other ring of the same statement would tell: a controller that polls once a second is too late.
#[tokio::test]
async fn whatever_ends_a_signal_rings_for_controllers() {
    let patience = Duration::from_secs(20);
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (dead, _) = rig.owned().await;
    let ids = [
        kept(&mut rig, run, 1, "1").await,
        kept(&mut rig, run, 2, "2").await,
        kept(&mut rig, run, 3, "3").await,
    ];
    let mut changed: Listener = rig.store.listen(Bell::Changed);
    for _ in 0..2 {
        timeout(patience, changed.rung()).await.unwrap();
    }
    let consumes = Append {
        consumed: vec![ids[0]],
        ..step(run, 4)
    };
    rig.store.append(&[consumes]).await.unwrap();
    timeout(patience, changed.rung())
        .await
        .expect("an append that consumed");
    let rejects = Append {
        undelivered: vec![ids[1]],
        ..step(run, 5)
    };
    rig.store.append(&[rejects]).await.unwrap();
    timeout(patience, changed.rung())
        .await
        .expect("an append that rejected");

    rig.later("31 seconds").await;
    let me = rig.worker().await;
    let append = Append {
        consumed: vec![ids[2]],
        ..step(run, 6)
    };
    rig.store.take_over(me, &[TakeOver { dead, append }]).await.unwrap();
    timeout(patience, changed.rung())
        .await
        .expect("a takeover that consumed");

    let late = stored(&rig, approve("4")).await;
    rig.run(&format!(
        "UPDATE everstep.runs SET phase = 'Failed', finished_at = now() WHERE id = '{run}'"
    ))
    .await;
    rig.store.discard(&[run]).await.unwrap();
    assert_eq!(fate(&mut rig, late).await.2.as_deref(), Some("Undelivered"));
    timeout(patience, changed.rung()).await.expect("mail of a finished run");

    let later =
        "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload) VALUES ($1, 'Signal', 'x', 'k', '1')";
    sqlx::query(later).bind(run).execute(&mut rig.sql).await.unwrap();
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().undelivered, 1);
    timeout(patience, changed.rung()).await.expect("a sweep");
}

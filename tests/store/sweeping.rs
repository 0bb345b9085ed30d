//! Sweeps: mail, timers, the doorbell, retention, figures.

use std::time::Duration;

use everstep::engine::Phase;
use everstep::store::{Append, Bell, PhaseCount, Retired};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::rig::{Rig, edited, finish, park, rig, step, wish};

#[tokio::test]
async fn mail_of_a_parked_run_wakes_it_once() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[park(run, 1, None)]).await.unwrap();
    rig.mail(run, "k").await;
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().woken, 1);
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().woken, 0);
    let (worker, loaded) = rig.owned().await;
    assert_eq!(loaded.mail.len(), 1);
    assert_eq!(rig.store.mail_sweep(Some(worker)).await.unwrap().told.len(), 1);
}

/// Mail that was taken wakes nobody again, and is told to nobody.
#[tokio::test]
async fn mail_that_was_taken_is_over() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (owner, _) = rig.owned().await;
    let letter = rig.mail(run, "k").await;
    let takes = Append {
        taken: vec![letter],
        ..step(run, 1)
    };
    rig.store.append(&[takes]).await.unwrap();
    assert!(rig.store.mail_sweep(Some(owner)).await.unwrap().told.is_empty());
    rig.store.append(&[park(run, 2, None)]).await.unwrap();
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().woken, 0);
}

#[tokio::test]
async fn mail_is_told_to_the_owner_alone() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (owner, _) = rig.owned().await;
    let id = rig.mail(run, "k").await;
    let stranger = rig.worker().await;
    assert!(rig.store.mail_sweep(Some(stranger)).await.unwrap().told.is_empty());
    let sweep = rig.store.mail_sweep(Some(owner)).await.unwrap();
    assert_eq!((sweep.told[0].0, sweep.told[0].1.id, sweep.woken), (run, id, 0));
}

/// The writer's transaction may stay open for minutes, and its row may have a lower id than one that was taken.
#[tokio::test]
async fn mail_that_becomes_visible_late_is_found() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (owner, _) = rig.owned().await;
    let mut writer = PgConnection::connect(&rig.url).await.unwrap();
    let insert = "INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload) VALUES ($1, 'Cancel', 'slow', '{\"reason\": \"\"}')";
    let mut open = writer.begin().await.unwrap();
    sqlx::query(insert).bind(run).execute(&mut *open).await.unwrap();
    let second = rig.mail(run, "quick").await;
    let told = |sweep: everstep::store::Sweep| sweep.told.iter().map(|(_, row)| row.id).collect::<Vec<_>>();
    assert_eq!(told(rig.store.mail_sweep(Some(owner)).await.unwrap()), [second]);
    open.commit().await.unwrap();
    assert_eq!(
        told(rig.store.mail_sweep(Some(owner)).await.unwrap()),
        [second - 1, second]
    );
}

/// P4: also mail that comes after the end.
#[tokio::test]
async fn mail_of_a_terminal_run_becomes_undelivered() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[finish(run, 1)]).await.unwrap();
    rig.mail(run, "k").await;
    let sweep = rig.store.mail_sweep(None).await.unwrap();
    assert_eq!((sweep.undelivered, sweep.woken), (1, 0));
    assert_eq!(
        rig.count("inbox WHERE outcome = 'Undelivered' AND taken_seq IS NULL")
            .await,
        1
    );
}

#[tokio::test]
async fn mail_of_a_kind_unknown_to_this_release_is_left_to_a_later_one() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[park(run, 1, None)]).await.unwrap();
    rig.run(&format!(
        "INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload) VALUES ('{run}', 'Teleport', 'k', '1')"
    ))
    .await;
    assert_eq!(rig.store.mail_sweep(None).await.unwrap().woken, 0);
}

/// P10: never early, and a run that mail has woken since is woken once.
#[tokio::test]
async fn a_due_timer_wakes_its_run_and_one_not_due_does_not() {
    let mut rig = rig().await;
    let (due, not_due, awake) = (rig.start("a").await, rig.start("b").await, rig.start("c").await);
    let past = Some("2020-01-01T00:00:00Z");
    let parks = [
        park(due, 1, past),
        park(not_due, 1, Some("2100-01-01T00:00:00Z")),
        park(awake, 1, past),
    ];
    rig.store.append(&parks).await.unwrap();
    rig.mail(awake, "k").await;
    rig.store.mail_sweep(None).await.unwrap();
    assert_eq!(rig.store.timer_sweep().await.unwrap(), 2);
    assert_eq!((rig.count("active").await, rig.count("timers").await), (2, 1));
    assert_eq!(
        rig.store.next_timer().await.unwrap(),
        Some("2100-01-01T00:00:00Z".parse().unwrap())
    );
}

#[tokio::test]
async fn two_timer_sweeps_at_once_wake_each_run_once() {
    let mut rig = rig().await;
    for uid in ["a", "b", "c", "d"] {
        let run = rig.start(uid).await;
        rig.store
            .append(&[park(run, 1, Some("2020-01-01T00:00:00Z"))])
            .await
            .unwrap();
    }
    let (one, other) = tokio::join!(rig.store.timer_sweep(), rig.store.timer_sweep());
    assert_eq!(one.unwrap() + other.unwrap(), 4);
    assert_eq!((rig.count("active").await, rig.count("timers").await), (4, 0));
}

#[tokio::test]
async fn a_ring_is_heard_by_its_listeners_and_a_listener_begins_awake() {
    let rig = rig().await;
    let patience = Duration::from_secs(60);
    let mut work = rig.store.listen(Bell::Work);
    timeout(patience, work.rung()).await.expect("awake from the beginning");
    timeout(patience, work.rung())
        .await
        .expect("and when the connection stands");
    rig.store.ring(Bell::Work);
    timeout(patience, work.rung()).await.expect("the ring");
}

#[tokio::test]
async fn a_start_rings_for_workers_and_a_finish_for_controllers() {
    let rig = rig().await;
    let patience = Duration::from_secs(60);
    let (mut work, mut changed) = (rig.store.listen(Bell::Work), rig.store.listen(Bell::Changed));
    for _ in 0..2 {
        timeout(patience, work.rung()).await.unwrap();
        timeout(patience, changed.rung()).await.unwrap();
    }
    let run = rig.submit(wish("a")).await.run.unwrap();
    timeout(patience, work.rung()).await.expect("the start");
    rig.store.append(&[finish(run, 1)]).await.unwrap();
    timeout(patience, changed.rung()).await.expect("the finish");
}

#[tokio::test]
async fn a_listener_whose_connection_was_cut_is_woken_when_it_stands_again() {
    let mut rig = rig().await;
    let patience = Duration::from_secs(60);
    let mut mail = rig.store.listen(Bell::Mail);
    for _ in 0..2 {
        timeout(patience, mail.rung()).await.unwrap();
    }
    rig.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()").await;
    timeout(patience, mail.rung())
        .await
        .expect("a ring may have been missed");
}

#[tokio::test]
async fn retention_keeps_the_row_while_the_object_lives_and_the_tombstone_longer() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[step(run, 1)]).await.unwrap();
    rig.store.append(&[finish(run, 2)]).await.unwrap();
    rig.mail(run, "k").await;
    rig.run("UPDATE everstep.runs SET expires_at = now() - interval '1 s'")
        .await;
    assert_eq!(rig.store.retire(10).await.unwrap(), Retired { runs: 1, tombstones: 0 });
    assert_eq!(
        (
            rig.count("journal").await,
            rig.count("inbox").await,
            rig.count("runs").await
        ),
        (0, 0, 1)
    );
    assert_eq!(
        rig.store.retire(10).await.unwrap(),
        Retired::default(),
        "nothing is left to do"
    );
    // Nothing restarts because it was forgotten.
    assert!(!rig.submit(wish("a")).await.started);
    assert_eq!(rig.count("starts WHERE retired_at IS NOT NULL").await, 1);

    rig.run("UPDATE everstep.owners SET gone_at = everstep.now()").await;
    assert_eq!(rig.store.retire(10).await.unwrap(), Retired { runs: 1, tombstones: 0 });
    assert_eq!((rig.count("runs").await, rig.count("starts").await), (0, 1));
    rig.later("31 days").await;
    assert_eq!(rig.store.retire(10).await.unwrap(), Retired { runs: 0, tombstones: 1 });
}

/// Else its object, which knows nothing of an end, would be said again.
#[tokio::test]
async fn retention_waits_a_day_for_a_signal_whose_outcome_is_not_shown() {
    let mut rig = rig().await;
    let (run, other) = (rig.start("a").await, rig.start("b").await);
    for run in [run, other] {
        rig.run(&format!(
            "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, source_uid, source_name, payload)
             VALUES ('{run}', 'Signal', 'go', 'k', 'signal of {run}', 'go', '1')"
        ))
        .await;
        rig.store.append(&[finish(run, 1)]).await.unwrap();
    }
    rig.store.mail_sweep(None).await.unwrap();
    rig.run("UPDATE everstep.runs SET expires_at = now() - interval '1 s'")
        .await;
    assert_eq!(rig.store.retire(10).await.unwrap(), Retired::default());
    let changed = rig.store.changed_signals(1, None).await.unwrap();
    rig.store.mark_signals_shown(&[changed[0].id]).await.unwrap();
    assert_eq!(rig.store.retire(10).await.unwrap().runs, 1);
    assert_eq!(rig.count(&format!("inbox WHERE run_id = '{other}'")).await, 1);
    rig.later("25 hours").await;
    assert_eq!(rig.store.retire(10).await.unwrap().runs, 1, "nobody watches it");
    assert_eq!(rig.count("inbox").await, 0);
}

#[tokio::test]
async fn runs_that_are_not_over_never_expire() {
    let mut rig = rig().await;
    rig.start("a").await;
    rig.later("10 years").await;
    assert_eq!(rig.store.retire(10).await.unwrap().runs, 0);
}

#[tokio::test]
async fn figures_tell_live_phases_and_the_oldest_wait() {
    let mut rig = rig().await;
    let (a, _) = (rig.start("a").await, rig.start("b").await);
    rig.store.append(&[park(a, 1, None)]).await.unwrap();
    let mut counts = rig.store.phase_counts().await.unwrap();
    counts.sort_by_key(|count| count.phase.as_str());
    let expected = [(Phase::Pending, 1), (Phase::Sleeping, 1)].map(|(phase, runs)| PhaseCount { phase, runs });
    assert_eq!(counts, expected);
    rig.later("1 minute").await;
    let oldest = rig.store.ready_oldest().await.unwrap();
    assert!(
        oldest >= Duration::from_secs(60) && oldest < Duration::from_secs(120),
        "{oldest:?}"
    );
    let worker = rig.worker().await;
    rig.store.claim(worker, 1, None).await.unwrap();
    assert_eq!(rig.store.ready_oldest().await.unwrap(), Duration::ZERO);
}

#[tokio::test]
async fn definitions_and_owners_go_when_nothing_refers_to_them_and_no_sooner() {
    let mut rig = rig().await;
    let first = rig.start("a").await;
    rig.store.append(&[finish(first, 1)]).await.unwrap();
    let second = rig.submit(edited("a", 2)).await.run.unwrap();
    let forget = async |rig: &Rig| {
        let done = rig.store.forget_unused(10).await.unwrap();
        (done.definitions, done.owners)
    };
    rig.later("8 days").await;
    assert_eq!(
        forget(&rig).await,
        (0, 0),
        "a run has the first revision, the object the second"
    );
    rig.run(&format!("DELETE FROM everstep.runs WHERE id = '{first}'"))
        .await;
    assert_eq!(forget(&rig).await, (1, 0));
    assert_eq!(
        rig.one::<String>("SELECT revision FROM everstep.definitions").await,
        "r2"
    );

    rig.store.append(&[finish(second, 1)]).await.unwrap();
    rig.run("UPDATE everstep.owners SET gone_at = everstep.now() - interval '8 days'")
        .await;
    assert_eq!(forget(&rig).await, (0, 0), "it has a run");
    rig.run("DELETE FROM everstep.runs").await;
    assert_eq!(forget(&rig).await, (0, 0), "it has a tombstone");
    rig.run("DELETE FROM everstep.starts; UPDATE everstep.owners SET gone_at = NULL")
        .await;
    assert_eq!(forget(&rig).await, (0, 0), "it is not gone");
    rig.run("UPDATE everstep.owners SET gone_at = everstep.now() - interval '6 days'")
        .await;
    assert_eq!(forget(&rig).await, (0, 0), "a start of it may not be committed yet");
    rig.later("9 days").await;
    assert_eq!(forget(&rig).await, (0, 1));
    assert_eq!(forget(&rig).await, (1, 0), "its definition follows");
    assert_eq!((rig.count("owners").await, rig.count("definitions").await), (0, 0));
    assert_eq!(rig.count("audit WHERE operation = 'forgotten'").await, 3);
    assert_eq!(forget(&rig).await, (0, 0));
}

#[tokio::test]
async fn what_an_object_left_within_the_week_stays() {
    let mut rig = rig().await;
    let first = rig.start("a").await;
    rig.store.append(&[finish(first, 1)]).await.unwrap();
    rig.submit(edited("a", 2)).await;
    rig.run(&format!("DELETE FROM everstep.runs WHERE id = '{first}'"))
        .await;
    assert_eq!(rig.store.forget_unused(10).await.unwrap().definitions, 0);
    rig.later("8 days").await;
    assert_eq!(rig.store.forget_unused(10).await.unwrap().definitions, 1);
}

/// A submit that has seen the definition there, and has not referred to it yet, when retention comes.
#[tokio::test]
async fn definition_that_a_submit_is_about_to_use_is_not_forgotten() {
    let mut rig = rig().await;
    let first = rig.start("a").await;
    rig.store.append(&[finish(first, 1)]).await.unwrap();
    rig.submit(edited("a", 2)).await;
    rig.run(&format!("DELETE FROM everstep.runs WHERE id = '{first}'"))
        .await;
    rig.later("8 days").await;

    // As submit does: owners first, then definitions, runs last.
    let mut submit = sqlx::PgConnection::connect(&rig.url).await.unwrap();
    let mut run = async |sql: &str| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut submit)
            .await
            .unwrap()
    };
    run("BEGIN; INSERT INTO everstep.owners AS o SELECT * FROM everstep.owners
         ON CONFLICT (uid) DO UPDATE SET uid = o.uid WHERE false")
    .await;
    let forgetting = tokio::spawn({
        let store = rig.store.clone();
        async move { store.forget_unused(10).await }
    });
    rig.waiting("wait_event_type = 'Lock'").await;
    run("UPDATE everstep.owners SET definition_id = (SELECT id FROM everstep.definitions WHERE revision = 'r1')").await;
    run("COMMIT").await;
    let forgotten = forgetting.await.unwrap();
    // Or it gave way after half a second, when this machine is busy.
    assert!(forgotten.is_err() || forgotten.unwrap().definitions == 0);
    assert_eq!(rig.count("definitions WHERE revision = 'r1'").await, 1);
    // And r2, which nobody has any more but its run, stays with that.
    assert_eq!(rig.store.forget_unused(10).await.unwrap().definitions, 0);
}

/// Ages the rows of the audit that are there.
async fn aged_audit(rig: &mut Rig, interval: &str) {
    rig.run(&format!("UPDATE everstep.audit SET at = at - interval '{interval}'"))
        .await;
}

#[tokio::test]
async fn rows_of_the_audit_go_when_they_are_old_and_the_newest_stays() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut rig = rig().await;
    for uid in ["a", "b", "c"] {
        rig.start(uid).await;
    }
    let prune = async |rig: &Rig, after| rig.store.prune_audit(HOUR, after, 4).await.unwrap();
    assert_eq!(prune(&rig, 0).await.rows, 0, "they are young");
    aged_audit(&mut rig, "61 minutes").await;
    rig.start("d").await;
    let all = rig.count("audit").await;
    let first = prune(&rig, 0).await;
    assert_eq!(first.rows, 4, "a batch");
    let second = prune(&rig, first.last).await;
    assert_eq!((first.rows + second.rows, rig.count("audit").await), (all - 2, 2));
    assert_eq!(
        prune(&rig, second.last).await.rows,
        0,
        "those of the last start are young"
    );
    aged_audit(&mut rig, "2 hours").await;
    assert_eq!(prune(&rig, 0).await.rows, 1);
    assert_eq!(prune(&rig, 0).await.rows, 0, "the newest stays");
    let newest = "SELECT max(id) = (SELECT last_value FROM everstep.audit_id_seq) FROM everstep.audit";
    assert!(rig.one::<bool>(newest).await);
}

#[tokio::test]
async fn findings_that_nobody_renewed_for_a_day_are_offered_in_pages_and_go_when_told() {
    let mut rig = rig().await;
    for (uid, namespace) in [("a", "shop"), ("b", "shop"), ("c", "bank"), ("young", "shop")] {
        let age = if uid == "young" { 23 } else { 25 };
        rig.run(&format!(
            "INSERT INTO everstep.connections (uid, namespace, name, generation, ready, reason, message, checked_at)
             VALUES ('{uid}', '{namespace}', 'n', 1, true, 'Connected', '', everstep.now() - interval '{age} hours')"
        ))
        .await;
    }
    let shop = ["shop".to_owned()];
    let old =
        async |rig: &Rig, after, limit, namespaces| rig.store.old_findings(after, limit, namespaces).await.unwrap();
    assert_eq!(old(&rig, "", 10, None).await, ["a", "b", "c"]);
    assert_eq!(old(&rig, "", 1, None).await, ["a"]);
    assert_eq!(old(&rig, "a", 10, Some(&shop[..])).await, ["b"]);
    let told = ["b", "young"].map(str::to_owned);
    assert_eq!(
        rig.store.forget_findings(&told).await.unwrap(),
        1,
        "one was renewed meanwhile"
    );
    assert_eq!(rig.count("connections WHERE uid <> 'b'").await, 3);
}

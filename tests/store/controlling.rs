//! What controllers ask for: starts, facts, projection, orphans, findings.

use std::time::Duration;

use everstep::engine::Phase;
use everstep::store::{DeletionPolicy, FactsOf, Finding};

use crate::rig::{Rig, edited, finish, park, private, rig, step, wish};

const FRESH: Duration = Duration::from_secs(60);
const MOST: i64 = 100;

fn of(uid: &str) -> FactsOf {
    FactsOf {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        workflow: format!("name-{uid}"),
        start_key: Some(format!("uid/{uid}/r1")),
    }
}

/// I-1.
#[tokio::test]
async fn the_same_wish_again_starts_nothing_and_writes_nothing() {
    let mut rig = rig().await;
    let first = rig.submit(wish("a")).await;
    assert!(first.started && !first.stale && !first.waiting);
    let rows = "SELECT concat_ws(' ', (SELECT xmin::text FROM everstep.runs), (SELECT count(*) FROM everstep.audit),
                (SELECT ctid::text FROM everstep.owners), (SELECT count(*) FROM everstep.active))";
    let before: String = rig.one(rows).await;
    let second = rig.submit(wish("a")).await;
    assert_eq!((second.run, second.started, second.waiting), (first.run, false, false));
    assert_eq!(rig.one::<String>(rows).await, before);
}

#[tokio::test]
async fn many_objects_start_in_one_call_and_are_answered_in_their_order() {
    let rig = rig().await;
    let wishes: Vec<_> = (0..500).rev().map(|n| wish(&format!("u{n:03}"))).collect();
    let answers = rig.store.submit(&wishes).await.unwrap();
    assert!(answers.iter().all(|answer| answer.started));
    assert!(answers.iter().zip(&wishes).all(|(answer, wish)| answer.uid == wish.uid));
}

/// P9: two replicas, at generations 1 and 2.
#[tokio::test]
async fn two_replicas_at_different_generations_start_one_live_run() {
    let mut rig = rig().await;
    for n in 0..20 {
        let uid = format!("u{n}");
        let (old, new) = ([wish(&uid)], [edited(&uid, 2)]);
        let (x, y) = tokio::join!(rig.store.submit(&old), rig.store.submit(&new));
        let (x, y) = (x.unwrap().remove(0), y.unwrap().remove(0));
        assert_eq!(i32::from(x.started) + i32::from(y.started), 1, "{x:?} {y:?}");
        let live = rig
            .count(&format!("runs WHERE owner_uid = '{uid}' AND finished_at IS NULL"))
            .await;
        assert_eq!(live, 1);
        assert_eq!(
            rig.one::<i64>(&format!("SELECT generation FROM everstep.owners WHERE uid = '{uid}'"))
                .await,
            2
        );
    }
}

#[tokio::test]
async fn a_stale_replica_changes_nothing() {
    let mut rig = rig().await;
    rig.submit(edited("a", 2)).await;
    let stale = rig.submit(wish("a")).await;
    assert!(stale.stale && !stale.started && stale.run.is_none());
    assert_eq!((rig.count("runs").await, rig.count("definitions").await), (1, 1));
}

#[tokio::test]
async fn a_new_revision_waits_for_the_run_that_goes_on() {
    let rig = rig().await;
    let run = rig.start("a").await;
    let waits = rig.submit(edited("a", 2)).await;
    assert!(waits.waiting && !waits.started && waits.run.is_none());
    rig.store.append(&[finish(run, 1)]).await.unwrap();
    assert!(rig.submit(edited("a", 2)).await.started);
}

#[tokio::test]
async fn a_revision_runs_once_also_when_the_edit_is_reverted() {
    let rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[finish(run, 1)]).await.unwrap();
    let second = rig.start_of_edit().await;
    rig.store.append(&[finish(second, 1)]).await.unwrap();
    let reverted = everstep::store::Submission {
        generation: 3,
        ..wish("a")
    };
    let answer = rig.submit(reverted).await;
    assert_eq!((answer.run, answer.started), (Some(run), false));
}

impl crate::rig::Rig {
    async fn start_of_edit(&self) -> uuid::Uuid {
        self.submit(edited("a", 2)).await.run.unwrap()
    }
}

/// The other direction of an orphan.
#[tokio::test]
async fn a_run_that_vanished_comes_back_under_its_id_and_its_journal_counts() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[step(run, 1)]).await.unwrap();
    rig.run("DELETE FROM everstep.runs; DELETE FROM everstep.active").await;
    assert!(rig.store.facts(&[of("a")]).await.unwrap()[0].run_row_missing);
    let repaired = rig.submit(wish("a")).await;
    assert_eq!((repaired.run, repaired.started), (Some(run), false));
    let (_, loaded) = rig.owned().await;
    assert_eq!((loaded.run, loaded.seq), (run, 1));
    assert_eq!(rig.count("audit WHERE operation = 'repaired'").await, 1);
}

#[tokio::test]
async fn facts_tell_owner_runs_and_counts_of_many_objects_in_the_order_asked() {
    let rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[finish(run, 1)]).await.unwrap();
    let next = rig.start_of_edit().await;
    let facts = rig.store.facts(&[of("unknown"), of("a")]).await.unwrap();
    assert!(facts[0].owner.is_none() && facts[0].run.is_none() && facts[0].wished.is_none());
    let a = &facts[1];
    assert_eq!(a.owner.as_ref().unwrap().revision, "r2");
    assert_eq!(a.run.as_ref().unwrap().id, next, "the live one");
    let wished = a.wished.as_ref().unwrap();
    assert_eq!(
        (wished.id, wished.phase, &*wished.revision),
        (run, Phase::Succeeded, "r1")
    );
    assert_eq!(wished.summary.as_ref().unwrap().progress, "1/2");
    assert_eq!((a.active, a.stuck, a.succeeded, a.failed), (1, None, 1, 0));
}

/// A converged object: asking writes nothing to the log of the server, locks no row and uses up no transaction id.
/// On a server of its own, since the log is the server's.
#[tokio::test]
async fn reading_facts_writes_nothing() {
    let quiet = [("autovacuum", "off"), ("checkpoint_timeout", "1d")];
    let (_server, mut rig) = private(&quiet).await;
    rig.start("a").await;
    // Vacuumed: reading may tidy a page, once.
    rig.run("VACUUM").await;
    rig.store.facts(&[of("a")]).await.unwrap();
    let mut wrote = Vec::new();
    // The server itself notes at times what runs, at most once in 15 s: not twice in a row.
    for _ in 0..3 {
        rig.run("CHECKPOINT").await;
        let before = (trace(&mut rig).await, rows(&mut rig).await);
        for _ in 0..20 {
            let facts = rig.store.facts(&[of("a")]).await.unwrap();
            assert_eq!(facts.len(), 1);
        }
        let after = (trace(&mut rig).await, rows(&mut rig).await);
        assert_eq!(after.1, before.1, "a row was written or locked");
        if after.0 == before.0 {
            return;
        }
        wrote.push((before.0, after.0));
    }
    panic!("each time, something was written: {wrote:?}");
}

/// Where the log ends, and the next transaction id.
async fn trace(rig: &mut Rig) -> String {
    rig.one("SELECT pg_current_wal_insert_lsn() || ' ' || pg_snapshot_xmax(pg_current_snapshot())")
        .await
}

/// The versions of all rows that facts are read from, and their locks.
async fn rows(rig: &mut Rig) -> String {
    let of = |table| format!("SELECT '{table}' || ctid || ' ' || xmin || ' ' || xmax FROM everstep.{table}");
    let tables = ["owners", "runs", "starts", "definitions", "active", "connections"].map(of);
    rig.one(&format!(
        "SELECT string_agg(row, ', ' ORDER BY row) FROM ({}) AS r (row)",
        tables.join(" UNION ALL ")
    ))
    .await
}

#[tokio::test]
async fn changed_runs_are_told_until_their_summary_was_shown() {
    let rig = rig().await;
    let run = rig.start("a").await;
    let changed = rig.store.changed(10, None).await.unwrap();
    assert_eq!(
        (changed[0].run, &*changed[0].owner_name, changed[0].summary_seq),
        (run, "name-a", 0)
    );
    rig.store.mark_projected(&[(run, 0)]).await.unwrap();
    assert!(rig.store.changed(10, None).await.unwrap().is_empty());
    rig.store.append(&[park(run, 1, None)]).await.unwrap();
    assert_eq!(rig.store.changed(10, None).await.unwrap()[0].summary_seq, 1);
    rig.store.mark_projected(&[(run, 1)]).await.unwrap();
    rig.store.mark_projected(&[(run, 0)]).await.unwrap();
    assert!(rig.store.changed(10, None).await.unwrap().is_empty(), "never backwards");
}

#[tokio::test]
async fn an_orphans_runs_are_cancelled_once_with_one_audit_row() {
    let mut rig = rig().await;
    rig.start("a").await;
    let uids = ["a".to_owned()];
    assert!(
        rig.store
            .cancel_orphans(&uids, MOST, FRESH, "controller")
            .await
            .unwrap()
            .is_empty(),
        "no suspicion"
    );
    rig.store.suspect(&uids).await.unwrap();
    let owner = rig.store.live_owners(None, 10).await.unwrap().remove(0);
    assert_eq!((&*owner.uid, owner.live_runs, owner.uncancelled_runs), ("a", 1, 1));
    assert!(owner.suspected_at.is_some() && owner.gone_at.is_none());
    assert_eq!(
        rig.store
            .cancel_orphans(&uids, MOST, FRESH, "controller")
            .await
            .unwrap()[0]
            .runs,
        1
    );
    assert_eq!(
        rig.store
            .cancel_orphans(&uids, MOST, FRESH, "controller")
            .await
            .unwrap()[0]
            .runs,
        0
    );
    assert_eq!(
        (
            rig.count("inbox").await,
            rig.count("audit WHERE operation = 'orphan'").await
        ),
        (1, 1)
    );
    let owner = rig.store.live_owners(None, 10).await.unwrap().remove(0);
    assert!(owner.gone_at.is_some() && owner.uncancelled_runs == 0);
    let (_, loaded) = rig.owned().await;
    assert_eq!(loaded.mail.len(), 1);
}

/// I-11: the bound is the statement's.
#[tokio::test]
async fn runs_beyond_the_bound_wait_for_another_call_and_replicas_at_once_choose_the_same() {
    let mut rig = rig().await;
    let uids: Vec<String> = (0..9).map(|n| format!("u{n}")).collect();
    for uid in &uids {
        rig.start(uid).await;
    }
    rig.store.suspect(&uids).await.unwrap();
    let sent = |answers: Vec<everstep::store::Cancelled>| answers.iter().map(|one| one.runs).sum::<i64>();
    let (one, other) = tokio::join!(
        rig.store.cancel_orphans(&uids, 4, FRESH, "one"),
        rig.store.cancel_orphans(&uids, 4, FRESH, "other")
    );
    assert!(sent(one.unwrap()) + sent(other.unwrap()) >= 4);
    let after = rig.count("inbox").await;
    assert!([4, 8].contains(&after), "{after}: together, or one after the other");
    let within = async |seconds| {
        let period = Duration::from_secs(seconds);
        rig.store.orphans_cancelled_within(period).await.unwrap()
    };
    assert_eq!(within(60).await, after);
    assert_eq!(
        sent(rig.store.cancel_orphans(&uids, 100, FRESH, "one").await.unwrap()),
        9 - after
    );
    assert_eq!(within(60).await, 9);
    let gone = rig.store.live_owners(None, 10).await.unwrap();
    assert!(
        gone.iter()
            .all(|owner| owner.gone_at.is_some() && owner.uncancelled_runs == 0)
    );
    rig.later("61 seconds").await;
    assert_eq!(
        rig.store
            .orphans_cancelled_within(Duration::from_secs(60))
            .await
            .unwrap(),
        0
    );
}

/// I-10: the statement reads its suspicion again.
#[tokio::test]
async fn a_suspicion_that_is_old_refuted_or_of_another_epoch_cancels_nothing() {
    let mut rig = rig().await;
    rig.start("a").await;
    let uids = ["a".to_owned()];
    rig.store.suspect(&uids).await.unwrap();
    rig.run("UPDATE everstep.cluster SET epoch = 2").await;
    assert!(
        rig.store
            .cancel_orphans(&uids, MOST, FRESH, "c")
            .await
            .unwrap()
            .is_empty(),
        "another epoch"
    );
    rig.store.suspect(&uids).await.unwrap();
    rig.store.seen_alive(&uids).await.unwrap();
    assert!(
        rig.store
            .cancel_orphans(&uids, MOST, FRESH, "c")
            .await
            .unwrap()
            .is_empty(),
        "refuted"
    );
    rig.store.suspect(&uids).await.unwrap();
    rig.later("61 seconds").await;
    assert!(
        rig.store
            .cancel_orphans(&uids, MOST, FRESH, "c")
            .await
            .unwrap()
            .is_empty(),
        "old"
    );
    assert_eq!(rig.count("inbox").await, 0);
}

#[tokio::test]
async fn a_suspicion_keeps_its_first_time_until_the_object_is_seen() {
    let mut rig = rig().await;
    rig.start("a").await;
    let uids = ["a".to_owned()];
    rig.store.suspect(&uids).await.unwrap();
    let first = rig.store.live_owners(None, 1).await.unwrap()[0].suspected_at;
    rig.later("1 minute").await;
    rig.store.suspect(&uids).await.unwrap();
    assert_eq!(rig.store.live_owners(None, 1).await.unwrap()[0].suspected_at, first);
    rig.store.seen_alive(&uids).await.unwrap();
    assert_eq!(rig.store.live_owners(None, 1).await.unwrap()[0].suspected_at, None);
}

#[tokio::test]
async fn runs_of_an_object_that_says_orphan_go_on() {
    let mut rig = rig().await;
    rig.submit(everstep::store::Submission {
        deletion_policy: DeletionPolicy::Orphan,
        ..wish("a")
    })
    .await;
    let uids = ["a".to_owned()];
    rig.store.suspect(&uids).await.unwrap();
    assert_eq!(
        rig.store.cancel_orphans(&uids, MOST, FRESH, "c").await.unwrap()[0].runs,
        0
    );
    assert_eq!(
        (
            rig.count("inbox").await,
            rig.count("owners WHERE gone_at IS NOT NULL").await
        ),
        (0, 1)
    );
}

#[tokio::test]
async fn owners_come_in_pages_live_ones_apart_from_idle_ones() {
    let rig = rig().await;
    for uid in ["a", "b", "c"] {
        rig.start(uid).await;
    }
    let b = rig.store.facts(&[of("b")]).await.unwrap()[0].run.as_ref().unwrap().id;
    rig.store.append(&[finish(b, 1)]).await.unwrap();
    let page = rig.store.live_owners(None, 1).await.unwrap();
    let rest = rig.store.live_owners(Some(&page[0].uid), 10).await.unwrap();
    assert_eq!((&*page[0].uid, &*rest[0].uid, rest.len()), ("a", "c", 1));
    assert_eq!(rig.store.idle_owners(None, 10).await.unwrap()[0].uid, "b");
    assert_eq!(rig.store.live_owned_runs().await.unwrap(), 2);
}

#[tokio::test]
async fn a_finding_of_an_older_generation_does_not_win() {
    let rig = rig().await;
    let finding = Finding {
        uid: "c".to_owned(),
        namespace: "shop".to_owned(),
        name: "db".to_owned(),
        generation: 2,
        ready: true,
        reason: "Connected".to_owned(),
        message: String::new(),
        checked_at: jiff::Timestamp::UNIX_EPOCH,
    };
    rig.store.record_finding(&finding).await.unwrap();
    let old = Finding {
        generation: 1,
        ready: false,
        ..finding
    };
    rig.store.record_finding(&old).await.unwrap();
    let found = rig.store.connection_findings(&["c".to_owned()]).await.unwrap();
    assert!(found[0].ready && found[0].checked_at > jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(
        rig.store.findings_since(found[0].checked_at, 10).await.unwrap().len(),
        1
    );
}
